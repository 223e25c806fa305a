package catalog

import (
	"strconv"
	"strings"
)

// A path leads from a document's root to a field. Nil is the root. Paths share
// their beginnings and become text only when something is reported.
type path struct {
	up    *path
	name  string
	index int
	kind  step
}

type step uint8

const (
	fieldStep step = iota // .name
	keyStep               // [name] of a map
	indexStep             // [index] of a list
)

func (p *path) field(name string) *path { return &path{up: p, name: name} }
func (p *path) key(name string) *path   { return &path{up: p, name: name, kind: keyStep} }
func (p *path) at(i int) *path          { return &path{up: p, index: i, kind: indexStep} }

func (p *path) String() string {
	if p == nil {
		return ""
	}
	var b strings.Builder
	p.write(&b)
	return b.String()
}

func (p *path) write(b *strings.Builder) {
	if p.up != nil {
		p.up.write(b)
	}
	switch p.kind {
	case indexStep:
		b.WriteString("[" + strconv.Itoa(p.index) + "]")
	case keyStep:
		b.WriteString("[" + p.name + "]")
	default:
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(p.name)
	}
}

// nextStep takes the first step off a path's text. Within brackets dots do not count.
func nextStep(text string) (name, rest string) {
	text = strings.TrimPrefix(text, ".")
	if strings.HasPrefix(text, "[") {
		if i := strings.IndexByte(text, ']'); i > 0 {
			return text[1:i], text[i+1:]
		}
		return text, ""
	}
	if i := strings.IndexAny(text, ".["); i >= 0 {
		return text[:i], text[i:]
	}
	return text, ""
}
