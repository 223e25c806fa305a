package identity

import (
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/weftmesh/weft/internal/match"
)

type listed map[string][]string

func (l listed) Values(n match.HeaderName) []string { return l[n.Lower] }
func (l listed) All() iter.Seq2[string, []string]   { return maps.All(l) }

// A service that is asked after another sees, and can list, what that has made of the header.
func TestAChangedHeaderIsListedAsItIs(t *testing.T) {
	h := changedHeader{listed{"a": {"1"}, "b": {"2"}, "gone": {"3"}}, &Verdict{
		Set:    []HeaderField{{"b", "4"}, {"new", "5"}},
		Append: []HeaderField{{"a", "6"}, {"new", "7"}},
		Remove: []string{"gone"},
	}}
	got := map[string][]string{}
	for name, values := range h.All() {
		if got[name] != nil {
			t.Errorf("%s comes twice", name)
		}
		got[name] = values
	}
	want := map[string][]string{"a": {"1", "6"}, "b": {"4"}, "new": {"5", "7"}}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("listed %v, want %v", got, want)
	}
	for range h.All() {
		break // who has seen enough stops
	}
}
