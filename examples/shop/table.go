package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// A screen shows how the shop is doing: a live table on a terminal, plain lines elsewhere.
type screen struct {
	live  bool
	lines int // of the table that is on the terminal now
	title string
	last  time.Time
}

func newScreen() *screen { return &screen{live: term.IsTerminal(int(os.Stdout.Fd()))} }

// say prints a line of the story, above the table.
func (s *screen) say(format string, args ...any) {
	s.clear()
	fmt.Printf(format+"\n", args...)
}

// show draws the table; without a terminal, a line every two seconds.
func (s *screen) show(rows []row) {
	if !s.live {
		if time.Since(s.last) < 2*time.Second || len(rows) == 0 {
			return
		}
		s.last = time.Now()
		var parts []string
		for _, r := range rows {
			parts = append(parts, fmt.Sprintf("%s/%s %.0f/s %.0f%% ok %.1f%% p50 %.1fms p99 %.1fms",
				r.service, r.version, r.rate, 100*r.share, 100*r.success, r.p50, r.p99))
		}
		fmt.Println("    " + strings.Join(parts, " | "))
		return
	}
	s.clear()
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %-12s %-8s %9s %7s %9s %8s %8s\n", "service", "version", "req/s", "share", "success", "p50", "p99")
	for _, r := range rows {
		fmt.Fprintf(&b, "  %-12s %-8s %9.1f %6.0f%% %8.1f%% %6.1fms %6.1fms\n",
			r.service, r.version, r.rate, 100*r.share, 100*r.success, r.p50, r.p99)
	}
	fmt.Print(b.String())
	s.lines = strings.Count(b.String(), "\n")
}

// clear takes the table off the terminal.
func (s *screen) clear() {
	if s.lines > 0 {
		fmt.Printf("\x1b[%dA\x1b[J", s.lines)
		s.lines = 0
	}
}
