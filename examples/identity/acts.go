package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weftmesh/weft/controlserver/ca"
)

// An act is one thing that an operator does while the bank is open, and what must be true then.
type act struct {
	title string
	do    func(context.Context) error
	// missing is what has not come about yet of what was done; empty when all has.
	missing func(span) string
	// wrong is what is not as it must be from when it has come about.
	wrong func(span) []string
	// unharmed are those of whose calls none may fail, from before it is done.
	unharmed []string
	// tell is what else there is to see.
	tell func(span) []string
}

// A span is how all stood before an act, when it had come about, a moment ago, and now.
type span struct{ was, begin, last, now view }

func (d *director) acts() []act {
	return []act{
		{
			title:    "no identity is asked for: all is plaintext, and anybody who asks is answered",
			do:       func(context.Context) error { return nil },
			wrong:    func(s span) []string { return s.as(nobody, "branch", "audit", "old-till") },
			unharmed: []string{"branch", "audit", "old-till"},
		},
		{
			title:   "PERMISSIVE: members of the mesh speak mutual TLS, the old till can't",
			do:      d.permit,
			missing: func(s span) string { return s.encrypted("PERMISSIVE", "branch", "audit") },
			wrong: func(s span) []string {
				return slices.Concat(s.as(themselves, "branch", "audit"), s.as(nobody, "old-till"))
			},
			unharmed: []string{"branch", "audit", "old-till"},
			tell:     reports,
		},
		{
			title:    "the old till gives way to one that is of the mesh",
			do:       d.replaceTill,
			missing:  func(s span) string { return cmp.Or(s.encrypted("PERMISSIVE", everybody...), s.plaintext()) },
			wrong:    func(s span) []string { return s.as(themselves, everybody...) },
			unharmed: []string{"branch", "audit"},
			tell: func(span) []string {
				return []string{"no call comes over plaintext any more: STRICT will refuse nobody"}
			},
		},
		{
			title:    "STRICT: who has proved no identity is not let in",
			do:       d.apply("strict.yaml", "peers.yaml"),
			missing:  func(s span) string { return s.encrypted("STRICT", everybody...) },
			wrong:    func(s span) []string { return s.as(themselves, everybody...) },
			unharmed: everybody,
		},
		{
			title:    "back: PERMISSIVE, and DISABLE: all is plaintext again",
			do:       d.back,
			missing:  func(s span) string { return s.bare(everybody...) },
			wrong:    func(s span) []string { return s.as(nobody, everybody...) },
			unharmed: everybody,
		},
		{
			title:    "and forth: PERMISSIVE, and STRICT",
			do:       d.forth,
			missing:  func(s span) string { return s.encrypted("STRICT", everybody...) },
			wrong:    func(s span) []string { return s.as(themselves, everybody...) },
			unharmed: everybody,
		},
		{
			title:    "strangers knock: one speaks plaintext, one has a certificate in branch's name, of another authority",
			do:       d.knock,
			missing:  tried,
			wrong:    func(s span) []string { return shutOut(view{}, s.now, strangers...) },
			unharmed: everybody,
			tell:     turnedAway,
		},
		{
			title:    "a new root is announced: all are told to believe it, too",
			do:       func(context.Context) error { return d.rotate(ca.AnnounceRoot) },
			missing:  func(s span) string { return s.now.rooted(2, "") },
			unharmed: everybody,
		},
		{
			title:    "the new root signs",
			do:       d.rotateWhenDue(ca.SwitchRoot),
			missing:  func(s span) string { return s.now.rooted(2, s.was.callers["branch"].Root) },
			unharmed: everybody,
		},
		{
			title:    "the old root is retired",
			do:       d.rotateWhenDue(ca.RetireRoot),
			missing:  func(s span) string { return s.now.rooted(1, "") },
			unharmed: everybody,
		},
		{
			title:    "a policy says who may call: branch, audit and till",
			do:       d.apply("allowed.yaml", "access.yaml"),
			missing:  func(s span) string { return s.now.ruled("callers") },
			unharmed: everybody,
		},
		{
			title:    "the policy is tightened: audit may not call any more",
			do:       d.apply("tightened.yaml", "access.yaml"),
			missing:  func(s span) string { return s.stopped("audit") },
			wrong:    func(s span) []string { return slices.Concat(shutOut(s.begin, s.now, "audit"), answered(s, "audit")) },
			unharmed: []string{"branch", "till"},
			tell:     func(s span) []string { return []string{"audit is told: " + s.now.callers["audit"].Error} },
		},
		{
			title:    "the till is stolen: its identity is revoked",
			do:       d.apply("revoked.yaml", "revoked.yaml"),
			missing:  func(s span) string { return s.stopped("till") },
			wrong:    func(s span) []string { return shutOut(s.begin, s.now, "till", "stranger", "impostor") },
			unharmed: []string{"branch"},
			tell:     func(s span) []string { return []string{"the till is told: " + s.now.callers["till"].Error} },
		},
	}
}

// everybody is who is of the bank, once the till is.
var everybody = []string{"branch", "audit", "till"}

// strangers are those who do not belong to the bank.
var strangers = []string{"stranger", "impostor"}

// tried is missing while the strangers have hardly tried.
func tried(s span) string {
	for _, name := range strangers {
		if c := s.now.callers[name]; c.HTTP.tried() < 10 || c.GRPC.tried() < 10 {
			return name + " has hardly tried"
		}
	}
	return ""
}

// turnedAway is what became of the strangers.
func turnedAway(s span) (out []string) {
	for _, name := range strangers {
		c := s.now.callers[name]
		out = append(out, fmt.Sprintf("%s tried %d calls over HTTP and %d over gRPC: %d reached a handler", name, c.HTTP.tried(), c.GRPC.tried(), s.now.reached(name)))
	}
	for _, name := range slices.Sorted(maps.Keys(s.now.doors)) {
		if away := s.now.doors[name].TurnedAway; len(away) > 0 {
			out = append(out, fmt.Sprintf("%s reports connections turned away: %v", name, away))
		}
	}
	return out
}

// reports are what servers know of who speaks plaintext, as an operator sees it on their debug page: when somebody last had
// such a connection, and how many there have been.
func reports(s span) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(s.now.doors)) {
		for _, p := range s.now.doors[name].Plaintext {
			out = append(out, fmt.Sprintf("%s reports plaintext from %s: %d connections, the last was there %.1f s ago", name, p.Addr, p.Connections, time.Since(p.Last).Seconds()))
		}
	}
	return out
}
