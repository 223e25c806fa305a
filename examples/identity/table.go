package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// table is how the callers stand, as a terminal shows it.
func table(names []string, v view) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %-10s %-40s %-6s %24s %24s  %s\n", "caller", "identity", "root", "HTTP ok/refused/failed", "gRPC ok/refused/failed", "stream")
	for _, name := range names {
		c, ok := v.callers[name]
		if !ok {
			continue
		}
		stream := "-"
		if c.Listening {
			stream = "open"
		}
		fmt.Fprintf(&b, "  %-10s %-40s %-6s %24s %24s  %s\n", name, cmp.Or(c.ID, "none"), cmp.Or(c.Root, "-"), c.HTTP, c.GRPC, stream)
	}
	return b.String()
}

// line is the same where there is no terminal.
func line(v view) string {
	var parts []string
	for _, name := range []string{"branch", "audit", "old-till", "till", "stranger", "impostor"} {
		if c, ok := v.callers[name]; ok {
			parts = append(parts, fmt.Sprintf("%s HTTP %s gRPC %s", name, c.HTTP, c.GRPC))
		}
	}
	return "    " + strings.Join(parts, " | ")
}

func (c count) String() string { return fmt.Sprintf("%d/%d/%d", c.Answered, c.Refused, c.Failed) }

// A row is what an act came to.
type row struct {
	title  string
	took   time.Duration // until it had come about
	calls  int           // of those who must not be harmed
	failed int
	wrong  []string
}

// count counts the calls of an act.
func (r *row) count(s span, unharmed []string) {
	for _, name := range unharmed {
		a, b := s.was.callers[name], s.now.callers[name]
		for _, c := range []count{b.HTTP.since(a.HTTP), b.GRPC.since(a.GRPC)} {
			r.calls += c.tried()
			r.failed += c.Refused + c.Failed
		}
	}
}

func (r *row) held() bool { return len(r.wrong) == 0 }

func (r *row) verdict() string {
	word := "held"
	if !r.held() {
		word = "DID NOT HOLD"
	}
	return fmt.Sprintf("%s: came about in %.1f s; %d calls of those who may, %d of them failed", word, r.took.Seconds(), r.calls, r.failed)
}

// summary is the whole story.
func summary(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %8s %8s\n", "calls", "failed")
	for i, r := range rows {
		word := "held"
		if !r.held() {
			word = "NOT HELD"
		}
		fmt.Fprintf(&b, "  %8d %8d %8s  %d. %s\n", r.calls, r.failed, word, i+1, r.title)
	}
	return b.String()
}
