package catalog

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
)

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
	mistaken []string // fields that could not be read
}

func (d *document) report(n *yaml.Node, p *path, s Severity, format string, args ...any) {
	field := p.String()
	if s == Error && len(d.mistaken) <= maxFindings {
		d.mistaken = append(d.mistaken, field)
	}
	d.reportLine(d.first+n.Line-1, field, s, fmt.Sprintf(format, args...))
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
	d.finish(line, spec, sound)
}

func (d *document) finish(line int, spec *yaml.Node, sound bool) {
	o := &d.object
	for i := range d.findings {
		f := &d.findings[i]
		f.Kind, f.Namespace, f.Name = o.Kind, o.Namespace, o.Name
	}
	twice := false
	if o.Name != "" && o.Kind != "" {
		if first, ok := d.seen[o.Key()]; ok {
			twice = true
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
	switch standIn, ok := d.standIn(spec, sound); {
	case d.errors == 0 && !o.none():
		d.objects = append(d.objects, *o)
	case d.errors > 0 && ok && !twice:
		d.objects = append(d.objects, standIn)
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
	case isServed && !slices.Contains(versions(o.Kind), o.APIVersion):
		d.report(version, at, Error, "%s is not one of %s", o.APIVersion, strings.Join(versions(o.Kind), ", "))
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
	if d.ours(spec, root) {
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
	case KindPeerAuthentication:
		m = &security.PeerAuthentication{}
	case KindRequestAuthentication:
		m = &security.RequestAuthentication{}
	case KindAuthorizationPolicy:
		m = &security.AuthorizationPolicy{}
	}
	kind, schema := d.object.Kind, ""
	if served[kind] == nil {
		schema = "*"
	}
	dec := decoder{report: d.report, served: served[kind], instead: instead[kind], zeros: zeros[kind], extra: d.presence}
	if schema == "*" {
		dec.hollow = "is empty, which counts as if it were left out"
	}
	dec.message(spec, m.ProtoReflect(), root, schema)
	o := &d.object
	o.Spec = m
	v := d.validator()
	if _, there := o.Annotations[dryRun]; there && o.Kind != KindAuthorizationPolicy {
		v.fail((*path)(nil).field("metadata").field("annotations").key(dryRun), "is for AuthorizationPolicies alone: this would not be only tried")
	}
	switch spec := m.(type) {
	case *networking.ServiceEntry:
		v.serviceEntry(spec, root)
	case *networking.WorkloadEntry:
		v.workloadEntry(spec, root)
	case *networking.VirtualService:
		v.virtualService(spec, root)
	case *networking.DestinationRule:
		v.destinationRule(spec, root)
	case *security.PeerAuthentication:
		v.peerAuthentication(spec, root)
	case *security.RequestAuthentication:
		v.requestAuthentication(spec, root)
	case *security.AuthorizationPolicy:
		v.authorizationPolicy(spec, o.Annotations, root)
	}
}

// validator reports what is wrong with the spec that was decoded. What a field lacks is not said where something in it could
// not be read.
func (d *document) validator() *validator {
	return &validator{namespace: d.object.Namespace, report: func(p *path, s Severity, message string) {
		field := p.String()
		if slices.ContainsFunc(d.mistaken, func(m string) bool {
			rest, ok := strings.CutPrefix(m, field)
			return ok && (rest == "" || s == Error && (rest[0] == '.' || rest[0] == '['))
		}) {
			return
		}
		if len(d.findings) <= maxFindings {
			d.reportLine(d.object.At(field).Line, field, s, message)
		} else if s == Error {
			d.errors++
		}
	}}
}
