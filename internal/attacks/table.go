package attacks

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// The columns of the table in docs/security.md.
var columns = []string{"Row", "Attack", "weft", "grpc-go RBAC", "Envoy"}

const (
	tableBegins = "<!-- attacks: written by tests -->\n"
	tableEnds   = "<!-- /attacks -->"
)

// Results are the cells of one column, by the names of attacks.
type Results map[string]string

// Outcomes adds what became of an attack, by the wires that it went on.
func (r Results) Outcomes(a *Attack, by map[Wire]Outcome) {
	var cells []string
	for _, w := range a.On {
		if o, ok := by[w]; ok {
			cells = append(cells, a.Cell(o))
		}
	}
	switch same := slices.Compact(slices.Clone(cells)); {
	case len(cells) == 0:
		return
	case len(same) == 1:
		r[a.Name()] = same[0]
	default:
		parts := make([]string, 0, len(cells))
		for _, w := range a.On {
			if o, ok := by[w]; ok {
				parts = append(parts, w.String()+": "+a.Cell(o))
			}
		}
		r[a.Name()] = strings.Join(parts, "; ")
	}
}

// Check compares a column of the table in the file with the results, or, if update is set, writes them there.
func (r Results) Check(file, column string, update bool) error {
	at := slices.Index(columns, column)
	if at < 2 {
		return fmt.Errorf("attacks: there is no column %q", column)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("attacks: %w", err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegins)
	old, after, ok2 := strings.Cut(rest, tableEnds)
	if !ok || !ok2 {
		return fmt.Errorf("attacks: %s has no table", file)
	}
	was := cellsOf(old)
	var b strings.Builder
	attacks := Rows()
	sums := make([]sum, len(columns))
	for i := range attacks {
		a := &attacks[i]
		cells := []string{a.ID, a.What + " (" + on(a.On) + ")", "–", "–", "–"}
		if c, ok := was[a.Name()]; ok {
			copy(cells[2:], c[2:])
		}
		if cells[at] = "–"; r[a.Name()] != "" {
			cells[at] = r[a.Name()]
		}
		b.WriteString(row(cells...))
		for c := range sums {
			sums[c].add(a, cells[c])
		}
	}
	found := row(columns...) + "|" + strings.Repeat("---|", len(columns)) + "\n" + row("", "forms that no handler is to see: how many of those tried were seen", sums[2].String(), sums[3].String(), sums[4].String()) + b.String()
	if found == old {
		return nil
	}
	if !update {
		return fmt.Errorf("attacks: column %q of %s is not what the test found; go test -update writes it:\n%s", column, file, found)
	}
	return os.WriteFile(file, []byte(before+tableBegins+found+tableEnds+after), 0o644) //nolint:gosec // a page for everybody
}

// A sum is how many forms of a column reached a handler that must not have.
type sum struct{ tried, reached int }

func (s *sum) add(a *Attack, cell string) {
	if a.Want != Blocked || cell == "–" {
		return
	}
	s.tried++
	if strings.Contains(cell, "**reached**") {
		s.reached++
	}
}

func (s *sum) String() string { return fmt.Sprintf("%d of %d", s.reached, s.tried) }

func on(wires []Wire) string {
	names := make([]string, 0, len(wires))
	for _, w := range wires {
		names = append(names, w.String())
	}
	return strings.Join(names, ", ")
}

func row(cells ...string) string {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// cellsOf are the rows of a table by the names of their attacks.
func cellsOf(table string) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != len(columns) {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		what := cells[1]
		if i := strings.LastIndex(what, " ("); i >= 0 {
			what = what[:i]
		}
		out[cells[0]+" | "+what] = cells
	}
	return out
}
