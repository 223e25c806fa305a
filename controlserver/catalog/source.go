package catalog

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"

	"go.yaml.in/yaml/v3"
)

// A source is the text an object was read from. Its tree is built when a line
// is asked for, so that objects without findings cost their text only.
type source struct {
	text   []byte // a document, or several after one another
	first  int    // the line of the file at which text begins, from 1
	nth    int    // which document of text
	prefix string // where in the document the object stands: "items[3]" in a List

	tree func() *yaml.Node
}

func newSource(text []byte, first, nth int, prefix string) *source {
	s := &source{text: text, first: first, nth: nth, prefix: prefix}
	s.tree = sync.OnceValue(func() *yaml.Node {
		dec := yaml.NewDecoder(bytes.NewReader(s.text))
		for i := 0; ; i++ {
			var n yaml.Node
			if dec.Decode(&n) != nil {
				return nil
			}
			if i == s.nth {
				return &n
			}
		}
	})
	return s
}

// line returns the line of the file at which a field stands, or the nearest
// thing around it.
func (s *source) line(field string) int {
	root := s.tree()
	if root == nil || len(root.Content) == 0 {
		return s.first
	}
	n, line := root.Content[0], root.Content[0].Line
	n, line = descend(n, line, s.prefix)
	_, line = descend(n, line, field)
	return s.first + line - 1
}

// descend follows a path as far as it goes.
func descend(n *yaml.Node, line int, text string) (*yaml.Node, int) {
	for text != "" {
		var name string
		name, text = nextStep(text)
		n = resolve(n)
		found := false
		switch n.Kind {
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Content) {
				n, found = n.Content[i], true
				line = n.Line
			}
		case yaml.MappingNode:
			for _, f := range fields(n) {
				if f.key.Value == name {
					n, line, found = f.value, f.key.Line, true
					break
				}
			}
		}
		if !found {
			return n, line
		}
	}
	return n, line
}

// documents reads all documents of a text. What it could read before an error is
// returned with it.
func documents(text []byte) ([]*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var docs []*yaml.Node
	for {
		var n yaml.Node
		switch err := dec.Decode(&n); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return docs, err
		}
		docs = append(docs, &n)
	}
}
