package stage

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// A Screen shows a story and, below it, how things stand: a live table on a terminal, plain lines elsewhere.
type Screen struct {
	live  bool
	lines int // of the table that is on the terminal now
	last  time.Time
}

// NewScreen returns the screen that is standard output.
func NewScreen() *Screen { return &Screen{live: term.IsTerminal(int(os.Stdout.Fd()))} }

// Say prints a line of the story, above the table.
func (s *Screen) Say(format string, args ...any) {
	s.clear()
	fmt.Printf(format+"\n", args...)
}

// Show draws a table; without a terminal it prints plain instead, at most every two seconds, if it is not empty.
func (s *Screen) Show(table, plain string) {
	if !s.live {
		if time.Since(s.last) >= 2*time.Second && plain != "" {
			s.last = time.Now()
			fmt.Println(plain)
		}
		return
	}
	s.clear()
	fmt.Print(table)
	s.lines = strings.Count(table, "\n")
}

// clear takes the table off the terminal.
func (s *Screen) clear() {
	if s.lines > 0 {
		fmt.Printf("\x1b[%dA\x1b[J", s.lines)
		s.lines = 0
	}
}
