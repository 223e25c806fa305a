package catalog

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Parse reads a file of documents in Kubernetes' form, YAML or JSON, as
// Kubernetes reads them. It returns the objects that may be used, and all that
// is wrong with the rest, in the order of the file. One bad document does not
// spoil the others. It keeps no hold on data after the objects are gone.
//
// An AuthorizationPolicy or PeerAuthentication with a mistake is among the objects as one that refuses all that it may
// have been for, and a Revocation as what can be read of it.
//
// A document may be 1.5 MiB at most, a file 64 MiB.
func Parse(file string, data []byte) ([]Object, []Finding) {
	p := parser{file: file, seen: map[Key]int{}}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	switch {
	case len(data) > MaxFile:
		p.fail(0, "file of %s is larger than %s", size(len(data)), size(MaxFile))
		return nil, p.findings
	case len(bytes.TrimSpace(data)) == 0:
		p.fail(0, "file is empty")
		return nil, p.findings
	}
	split(data, p.text)
	return p.objects, p.findings
}

type parser struct {
	file     string
	objects  []Object
	findings []Finding
	seen     map[Key]int // line of each object of the file
}

// split cuts a file at the lines that begin with "---", before any YAML is read,
// so that an error in one document ends there.
func split(data []byte, each func(text []byte, first int)) {
	start, first := 0, 1
	for pos, line := 0, 1; pos < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		if l := data[pos:end]; bytes.HasPrefix(l, []byte("---")) && (len(l) == 3 || l[3] == ' ' || l[3] == '\n' || l[3] == '\r' || l[3] == '\t') {
			if pos > start {
				each(data[start:pos], first)
			}
			start, first = pos, line
		}
		pos = end
	}
	each(data[start:], first)
}

// text reads the text between two separators: one document, or none.
func (p *parser) text(text []byte, first int) {
	if hollow(text) {
		return
	}
	if len(text) > maxDocument {
		p.fail(first, "document of %s is larger than %s, the most that Kubernetes stores", size(len(text)), size(maxDocument))
		return
	}
	if i := firstInvalid(text); i >= 0 {
		p.fail(first+bytes.Count(text[:i], []byte("\n")), "not UTF-8: byte 0x%02x", text[i])
		return
	}
	if bytes.IndexByte(text, '\t') >= 0 && bytes.HasPrefix(bytes.TrimLeft(text, "-\r\n\t "), []byte("{")) {
		// Indented JSON: YAML has no tabs there, and JSON has none elsewhere.
		text = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
	}
	docs, err := documents(text)
	for i, doc := range docs {
		if len(doc.Content) > 0 {
			p.document(doc.Content[0], text, first, i)
		}
	}
	if err != nil {
		line, message := syntaxError(err)
		last := bytes.Count(bytes.TrimRight(text, "\n"), []byte("\n")) + 1
		p.fail(first+min(max(line, 1), last)-1, "not YAML: %s", message)
	}
}

// fail reports something that cannot be laid to one object.
func (p *parser) fail(line int, format string, args ...any) {
	p.findings = append(p.findings, Finding{Position: Position{p.file, line}, Message: fmt.Sprintf(format, args...)})
}

func (p *parser) document(n *yaml.Node, text []byte, first, nth int) {
	d := document{parser: p, first: first, text: text, nth: nth}
	s := survey{report: func(n *yaml.Node, at *path, format string, args ...any) { d.report(n, at, Error, format, args...) }}
	if n = resolve(n); n.Kind != yaml.MappingNode {
		if n.Kind == yaml.ScalarNode && kindOf(n) == nullScalar {
			return
		}
		p.fail(first+n.Line-1, "document must be an object with apiVersion, kind, metadata and spec, not %s", describe(n))
		return
	}
	sound := s.walk(n, nil, 0)
	if !sound && s.nodes > maxNodes {
		p.findings = append(p.findings, d.findings...)
		return
	}
	if items, ok := listItems(n); ok && sound {
		for i, item := range items {
			if item = resolve(item); item.Kind != yaml.MappingNode {
				p.fail(first+item.Line-1, "items[%d] must be an object, not %s", i, describe(item))
				continue
			}
			one := document{parser: p, first: first, text: text, nth: nth, prefix: "items[" + strconv.Itoa(i) + "]"}
			one.read(item, true)
		}
		return
	}
	d.read(n, sound)
}

// listItems returns the documents in a List, as kubectl writes them.
func listItems(n *yaml.Node) ([]*yaml.Node, bool) {
	var list bool
	var items *yaml.Node
	for _, f := range fields(n) {
		v := resolve(f.value)
		switch f.key.Value {
		case "kind":
			list = strings.HasSuffix(v.Value, "List")
		case "items":
			items = v
		}
	}
	if !list || items == nil || items.Kind != yaml.SequenceNode {
		return nil, false
	}
	return items.Content, true
}

// hollow reports whether a text has nothing but comments, directives and separators.
func hollow(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if rest, ok := bytes.CutPrefix(line, []byte("---")); ok {
			line = bytes.TrimSpace(rest)
		}
		if len(line) > 0 && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}

func firstInvalid(text []byte) int {
	if utf8.Valid(text) {
		return -1
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

var atLine = regexp.MustCompile(`^line (\d+): `)

// syntaxError takes the line out of a YAML error.
func syntaxError(err error) (line int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := atLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	if strings.HasPrefix(message, "did not find expected") {
		line++ // the parser, other than the scanner, counts from 0
	}
	return line, message
}

func size(n int) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
