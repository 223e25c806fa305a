package catalog

import (
	"cmp"
	"slices"
	"strings"
)

// A Finding is something wrong with a document, a file, or what they make
// together. One without a Name is about the file.
type Finding struct {
	Position
	Kind, Namespace, Name string
	// Field is the path of the field, e.g. "spec.http[0].route[1].weight"; may be empty.
	Field    string
	Message  string
	Severity Severity

	// cross says that the object itself is sound and does not fit the others.
	cross bool
	// blames are the others whose change may have caused it.
	blames []*Object
}

// Key returns the name of the object the finding is about.
func (f Finding) Key() Key { return Key{f.Kind, f.Namespace, f.Name} }

// String returns "file:line: Kind/namespace/name: field: message"; what is
// unknown is left out.
func (f Finding) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.Position.String())
		b.WriteString(": ")
	}
	if f.Kind != "" {
		b.WriteString(f.Kind)
		if f.Name != "" {
			b.WriteString("/" + f.Namespace + "/" + f.Name)
		}
		b.WriteString(": ")
	}
	if f.Field != "" {
		b.WriteString(f.Field)
		b.WriteString(": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// Severity says what a finding means for the object.
type Severity uint8

// The severities.
const (
	// Error refuses the object: its last good version stays in use.
	Error Severity = iota
	// Warning leaves the object in use.
	Warning
)

func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// sortFindings orders findings by place and drops repetitions.
func sortFindings(all []Finding) []Finding {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.CompactFunc(all, func(a, b Finding) bool {
		return a.Position == b.Position && a.Key() == b.Key() && a.Field == b.Field && a.Message == b.Message
	})
}
