package identity

import (
	"fmt"
	"strings"
)

// faults are what is wrong with a guard.
type faults struct {
	all        []error
	at         []place // that is being looked at
	connection bool    // it is among Connections
}

// A place is a step on the way to what is wrong: an element of a list, or, if i is negative, something that has a name.
type place struct {
	before, name string
	i            int
}

// in goes on to a place, and out leaves it.
func (f *faults) in(before, name string, i int) { f.at = append(f.at, place{before, name, i}) }

func (f *faults) out() { f.at = f.at[:len(f.at)-1] }

// add says what is wrong with what is being looked at.
func (f *faults) add(format string, args ...any) {
	var where strings.Builder
	for _, p := range f.at {
		where.WriteString(p.before)
		where.WriteString(p.name)
		if p.i >= 0 {
			fmt.Fprintf(&where, "[%d]", p.i)
		}
	}
	f.all = append(f.all, fmt.Errorf("%s: "+format, append([]any{where.String()}, args...)...))
}

// called is a thing by its name, or, if it has none, by its number.
func called(kind, name string, i int) string {
	if name == "" {
		return fmt.Sprintf("%s %d", kind, i)
	}
	return kind + " " + name
}
