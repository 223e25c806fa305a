package resolver

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// Nearest returns the up to three names that somebody who wrote name most likely
// meant, the likeliest first: those that differ by a few letters, and those one of
// which is the beginning of the other up to a dot or a colon.
func Nearest(name string, names iter.Seq[string]) []string {
	type near struct {
		name     string
		distance int
	}
	var found []near
	name = match.ToLower(name)
	for n := range names {
		other := match.ToLower(n)
		d := 0
		switch {
		case extends(name, other), extends(other, name):
		default:
			if d = distance(name, other); d > max(1, min(len(name), len(other))/3) {
				continue
			}
		}
		found = append(found, near{n, d})
	}
	slices.SortFunc(found, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
	})
	var out []string
	for _, f := range found[:min(3, len(found))] {
		out = append(out, f.name)
	}
	return out
}

// extends reports whether long is short and more behind a dot or a colon.
func extends(long, short string) bool {
	return short != "" && len(long) > len(short) && strings.HasPrefix(long, short) && (long[len(short)] == '.' || long[len(short)] == ':')
}

// distance is how many letters must be put in, left out or exchanged to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
