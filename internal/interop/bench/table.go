package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// A table is one kind of figure.
type table struct {
	Title string
	Note  string
	Rows  []row
}

// A row sets a subject beside its peer.
type row struct {
	What, Subject, Peer string
	Of, PeerOf          figure
	// Ratio says that Against is a quotient and not a difference.
	Ratio   bool
	Against float64
	// Ceiling bounds Against, or Of where there is no peer to it; nil means none was set.
	Ceiling *ceiling
}

// A figure is the mean of the rounds, and the least of them.
type figure struct {
	Mean, Least float64
	Unit        string
}

// A ceiling that is asserted fails the run.
type ceiling struct {
	Most     float64
	Absolute bool // bounds the subject's own figure
	Asserted bool
}

// slack is for allocations of what else runs in a process.
const slack = 0.5

func (r *row) kept() bool {
	c := r.Ceiling
	value := r.Against
	if c.Absolute {
		value = r.Of.Mean
	}
	if c.Asserted {
		return value <= c.Most+slack
	}
	return value <= c.Most
}

func (t *table) broken() bool {
	return slices.ContainsFunc(t.Rows, func(r row) bool { return r.Ceiling != nil && r.Ceiling.Asserted && !r.kept() })
}

func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", t.Title)
	if t.Note != "" {
		fmt.Fprintf(w, "%s\n", t.Note)
	}
	fmt.Fprintln(w)
	lines := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	cells := func(c ...string) { fmt.Fprintf(lines, "| %s\t|\n", strings.Join(c, "\t| ")) }
	cells("what", "subject", "peer", "subject's", "(least)", "peer's", "(least)", "against", "ceiling", "ok")
	cells(slices.Repeat([]string{"---"}, 10)...)
	for _, r := range t.Rows {
		of, least := r.Of.text()
		peerOf, peerLeast := r.PeerOf.text()
		cells(r.What, r.Subject, r.Peer, of, least, peerOf, peerLeast, r.against(), r.most(), r.verdict())
	}
	lines.Flush() // to the terminal
}

func (f figure) text() (mean, least string) {
	if f.Unit == "" {
		return "", ""
	}
	form := "%.1f"
	if f.Mean >= 1000 {
		form = "%.0f"
	}
	mean = fmt.Sprintf(form, f.Mean)
	if f.Unit != "allocs" {
		mean += " " + f.Unit
	}
	return mean, fmt.Sprintf("("+form+")", f.Least)
}

func (r *row) against() string {
	switch {
	case r.PeerOf.Unit == "":
		return ""
	case r.Ratio:
		return fmt.Sprintf("%.2fx", r.Against)
	default:
		return fmt.Sprintf("%+.1f", r.Against)
	}
}

func (r *row) most() string {
	c := r.Ceiling
	switch {
	case c == nil:
		return ""
	case c.Absolute:
		return fmt.Sprintf("%g", c.Most)
	case r.Ratio:
		return fmt.Sprintf("%.2fx", c.Most)
	default:
		return fmt.Sprintf("%+g", c.Most)
	}
}

func (r *row) verdict() string {
	switch {
	case r.Ceiling == nil:
		return ""
	case r.kept():
		return "ok"
	case r.Ceiling.Asserted:
		return "BROKEN"
	default:
		return "over"
	}
}
