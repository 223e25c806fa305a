package catalog

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
)

// Parse reads a file of documents in Kubernetes' form, YAML or JSON, as
// Kubernetes reads them. It returns the objects that may be used, and all that
// is wrong with the rest, in the order of the file. One bad document does not
// spoil the others. It keeps no hold on data after the objects are gone.
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

// A document becomes an object, or findings.
type document struct {
	*parser
	first    int
	text     []byte
	nth      int
	prefix   string
	object   Object
	findings []Finding
	errors   int
}

func (d *document) report(n *yaml.Node, p *path, s Severity, format string, args ...any) {
	d.reportLine(d.first+n.Line-1, p.String(), s, fmt.Sprintf(format, args...))
}

func (d *document) reportLine(line int, field string, s Severity, message string) {
	if s == Error {
		d.errors++
	}
	switch {
	case len(d.findings) > maxFindings:
		return
	case len(d.findings) == maxFindings:
		field, message = "", "more findings left out"
		if d.errors > 0 {
			s = Error
		}
	}
	d.findings = append(d.findings, Finding{Position: Position{d.file, line}, Field: field, Message: message, Severity: s})
}

// read reads the document. One that is not sound is read only as far as its name.
func (d *document) read(n *yaml.Node, sound bool) {
	line := d.first + n.Line - 1
	d.object.Position = Position{d.file, line}
	var spec, kind, version *yaml.Node
	for _, f := range fields(n) {
		v := resolve(f.value)
		switch f.key.Value {
		case "apiVersion":
			version = v
			d.object.APIVersion, _ = d.text1(v, (*path)(nil).field("apiVersion"))
		case "kind":
			kind = v
			d.object.Kind, _ = d.text1(v, (*path)(nil).field("kind"))
		case "metadata":
			d.metadata(v)
		case "spec":
			spec = v
		case "status":
		default:
			if sound {
				d.report(f.key, (*path)(nil).field(f.key.Value), Error, "unknown field; a document has apiVersion, kind, metadata and spec")
			}
		}
	}
	if d.object.Namespace == "" {
		d.object.Namespace = DefaultNamespace
	}
	if d.known(n, kind, version) && sound {
		d.spec(n, spec)
	}
	d.finish(line)
}

func (d *document) finish(line int) {
	o := &d.object
	for i := range d.findings {
		f := &d.findings[i]
		f.Kind, f.Namespace, f.Name = o.Kind, o.Namespace, o.Name
	}
	if o.Name != "" && o.Kind != "" {
		if first, ok := d.seen[o.Key()]; ok {
			d.errors++
			d.findings = append(d.findings, Finding{
				Position: Position{d.file, line}, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Field: "metadata.name",
				Message: "name already taken at " + Position{d.file, first}.String() + "; the first one is used",
			})
		} else {
			d.seen[o.Key()] = line
		}
	}
	d.parser.findings = append(d.parser.findings, d.findings...)
	if d.errors == 0 && o.Spec != nil {
		d.objects = append(d.objects, *o)
	}
}

// known reports whether the document is of a kind that is served; it reports
// what is wrong with kind, apiVersion and name.
func (d *document) known(n, kind, version *yaml.Node) bool {
	o := &d.object
	group, _, found := strings.Cut(o.APIVersion, "/")
	if !found {
		group = ""
	}
	switch {
	case kind == nil:
		d.report(n, nil, Error, "kind is missing")
		return false
	case version == nil:
		d.report(n, nil, Error, "apiVersion is missing")
		return false
	case o.Kind == "" || o.APIVersion == "":
		return false
	}
	_, isServed := served[o.Kind]
	at := (*path)(nil).field("apiVersion")
	switch {
	case isServed && group == "networking.istio.io" && !slices.Contains(versions, o.APIVersion), isServed && group != "networking.istio.io":
		d.report(version, at, Error, "%s is not one of %s", o.APIVersion, strings.Join(versions, ", "))
		return false
	case slices.Contains(notYet[group], o.Kind):
		d.report(kind, nil, Warning, "kind %s is not supported yet", o.Kind)
		return false
	case !isServed && slices.Contains(kinds(), o.Kind):
		d.report(version, at, Error, "%s has no kind %s", o.APIVersion, o.Kind)
		return false
	case !isServed:
		message := fmt.Sprintf("unknown kind %q", o.Kind)
		if near := closest(o.Kind, kinds()); near != "" {
			message += fmt.Sprintf("; did you mean %q?", near)
		}
		d.report(kind, nil, Error, "%s", message)
		return false
	}
	switch {
	case o.Name == "" && d.errors == 0:
		d.report(n, (*path)(nil).field("metadata").field("name"), Error, "is missing")
	case o.Name != "" && !objectName.MatchString(o.Name):
		d.report(n, (*path)(nil).field("metadata").field("name"), Error, "%q must be lower-case letters, digits, '-' and '.'", o.Name)
	}
	if !dnsLabel.MatchString(o.Namespace) {
		d.report(n, (*path)(nil).field("metadata").field("namespace"), Error, "%q must be lower-case letters, digits and '-'", o.Namespace)
	}
	return true
}

var (
	objectName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	dnsLabel   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

func (d *document) metadata(n *yaml.Node) {
	p := (*path)(nil).field("metadata")
	if n.Kind != yaml.MappingNode {
		d.report(n, p, Error, "must be an object, not %s", describe(n))
		return
	}
	for _, f := range fields(n) {
		v, fp := resolve(f.value), p.field(f.key.Value)
		switch f.key.Value {
		case "name":
			d.object.Name, _ = d.text1(v, fp)
		case "namespace":
			d.object.Namespace, _ = d.text1(v, fp)
		case "labels":
			d.object.Labels = d.texts(v, fp)
		case "annotations":
			d.object.Annotations = d.texts(v, fp)
		case "creationTimestamp":
			if v.Kind == yaml.ScalarNode && kindOf(v) == nullScalar {
				continue
			}
			t, err := time.Parse(time.RFC3339, v.Value)
			if err != nil {
				d.report(v, fp, Error, "%q is not a time such as \"2026-01-02T15:04:05Z\"", v.Value)
			}
			d.object.Created = t
		case "generateName", "uid", "resourceVersion", "generation", "managedFields", "ownerReferences",
			"finalizers", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds":
		default:
			d.report(f.key, fp, Error, "unknown field; metadata has name, namespace, labels and annotations")
		}
	}
}

// text1 reads a string.
func (d *document) text1(n *yaml.Node, p *path) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.report(n, p, Error, "must be a string, not %s", describe(n))
	case kindOf(n) == nullScalar:
		return "", true
	case kindOf(n) != stringScalar:
		d.report(n, p, Error, "%s", surprise(n))
	default:
		return n.Value, true
	}
	return "", false
}

func (d *document) texts(n *yaml.Node, p *path) map[string]string {
	if n.Kind == yaml.ScalarNode && kindOf(n) == nullScalar {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.report(n, p, Error, "must be an object, not %s", describe(n))
		return nil
	}
	out := make(map[string]string, len(n.Content)/2)
	for _, f := range fields(n) {
		if s, ok := d.text1(resolve(f.value), p.key(f.key.Value)); ok {
			out[f.key.Value] = s
		}
	}
	return out
}

// spec decodes and validates the spec of a served kind.
func (d *document) spec(n, spec *yaml.Node) {
	root := (*path)(nil).field("spec")
	if spec == nil || spec.Kind == yaml.ScalarNode && kindOf(spec) == nullScalar {
		d.report(n, root, Error, "is missing")
		return
	}
	var m proto.Message
	switch d.object.Kind {
	case KindServiceEntry:
		m = &networking.ServiceEntry{}
	case KindWorkloadEntry:
		m = &networking.WorkloadEntry{}
	case KindVirtualService:
		m = &networking.VirtualService{}
	case KindDestinationRule:
		m = &networking.DestinationRule{}
	}
	dec := decoder{report: d.report, served: served[d.object.Kind]}
	dec.message(spec, m.ProtoReflect(), root, "")
	o := &d.object
	o.Spec, o.source = m, newSource(d.text, d.first, d.nth, d.prefix)
	v := validator{report: func(p *path, s Severity, message string) {
		field := p.String()
		if len(d.findings) <= maxFindings {
			d.reportLine(o.At(field).Line, field, s, message)
		} else if s == Error {
			d.errors++
		}
	}}
	switch spec := m.(type) {
	case *networking.ServiceEntry:
		v.serviceEntry(spec, root)
	case *networking.WorkloadEntry:
		v.workloadEntry(spec, root)
	case *networking.VirtualService:
		v.virtualService(spec, root)
	case *networking.DestinationRule:
		v.destinationRule(spec, root)
	}
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
