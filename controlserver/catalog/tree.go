package catalog

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxFile is how many bytes a file may have.
const MaxFile = 64 << 20

// What one document may hold. Kubernetes stores nothing larger than 1.5 MiB.
const (
	maxDocument = 3 << 19
	maxDepth    = 64
	maxNodes    = 1 << 20 // after aliases are followed
	maxFindings = 100     // of one document
)

// A pair is a field of a mapping.
type pair struct{ key, value *yaml.Node }

// fields returns the fields of a mapping, those merged in by "<<" last.
func fields(n *yaml.Node) []pair {
	out := make([]pair, 0, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Tag == "!!merge" {
			if v = resolve(v); v.Kind == yaml.SequenceNode {
				merged = append(merged, v.Content...)
			} else {
				merged = append(merged, v)
			}
			continue
		}
		out = append(out, pair{k, v})
	}
	if len(merged) == 0 {
		return out
	}
	have := map[string]bool{}
	for _, f := range out {
		have[f.key.Value] = true
	}
	for _, m := range merged {
		if m = resolve(m); m.Kind != yaml.MappingNode {
			continue
		}
		for _, f := range fields(m) {
			if !have[f.key.Value] {
				have[f.key.Value] = true
				out = append(out, f)
			}
		}
	}
	return out
}

// resolve follows aliases.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// survey walks a tree once, before anything else does: it bounds depth and size
// with aliases followed, and finds keys given twice or that are no strings.
type survey struct {
	report func(n *yaml.Node, p *path, format string, args ...any)
	nodes  int
	failed bool
}

// walk reports whether the tree may be read on.
func (s *survey) walk(n *yaml.Node, p *path, depth int) bool {
	n = resolve(n)
	s.nodes++
	switch {
	case s.failed:
		return false
	case depth > maxDepth:
		s.failed = true
		s.report(n, p, "nested deeper than %d levels", maxDepth)
		return false
	case s.nodes > maxNodes:
		s.failed = true
		s.report(n, p, "more than %d values once aliases are followed", maxNodes)
		return false
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, c := range n.Content {
			s.walk(c, p.at(i), depth+1)
		}
	case yaml.MappingNode:
		s.keys(n, p)
		for i := 0; i+1 < len(n.Content); i += 2 {
			s.walk(n.Content[i+1], p.field(n.Content[i].Value), depth+1)
		}
	}
	return !s.failed
}

func (s *survey) keys(n *yaml.Node, p *path) {
	var seen map[string]int
	if len(n.Content) > 2 {
		seen = make(map[string]int, len(n.Content)/2)
	}
	for i := 0; i < len(n.Content); i += 2 {
		k := n.Content[i]
		switch {
		case k.Kind != yaml.ScalarNode:
			s.failed = true
			s.report(k, p, "a key must be a string")
			continue
		case kindOf(k) == boolScalar:
			s.failed = true
			s.report(k, p.field(k.Value), "key %s", surprise(k))
		}
		if seen == nil || k.Tag == "!!merge" {
			continue
		}
		if _, ok := seen[k.Value]; ok {
			s.failed = true
			s.report(k, p.field(k.Value), "key %q given twice", k.Value)
		}
		seen[k.Value] = k.Line
	}
}

// scalar is how Kubernetes, which reads YAML 1.1, takes a scalar.
type scalar uint8

const (
	stringScalar scalar = iota
	boolScalar
	numberScalar
	nullScalar
)

func kindOf(n *yaml.Node) scalar {
	switch n.ShortTag() {
	case "!!bool":
		return boolScalar
	case "!!int", "!!float":
		return numberScalar
	case "!!null":
		return nullScalar
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0 {
		if _, ok := oldBool(n.Value); ok {
			return boolScalar
		}
	}
	return stringScalar
}

// oldBool reports the value of the words that YAML 1.1 takes for booleans.
func oldBool(s string) (value, ok bool) {
	switch s {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE":
		return true, true
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE":
		return false, true
	}
	return false, false
}

// surprise says why a scalar is not the string it looks like.
func surprise(n *yaml.Node) string {
	switch kindOf(n) {
	case boolScalar:
		if v := strings.ToLower(n.Value); v == "true" || v == "false" {
			return fmt.Sprintf("`%s` is a boolean: quote it", n.Value)
		}
		return fmt.Sprintf("`%s` is a boolean in YAML 1.1: quote it", n.Value)
	case numberScalar:
		return fmt.Sprintf("`%s` is a number: quote it", n.Value)
	}
	return fmt.Sprintf("`%s` is not a string", n.Value)
}
