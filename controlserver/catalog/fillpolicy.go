package catalog

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weftmesh/weft/controlserver/trafficpolicy"
)

// traffic decodes and checks the spec of a TrafficPolicy.
func (d *document) traffic(spec *yaml.Node, root *path) {
	o := &d.object
	o.Traffic, o.source = &trafficpolicy.Spec{}, newSource(d.text, d.first, d.nth, d.prefix)
	var said []string // what a block lacks is not said where the field that it lacks is wrong
	f := filler{report: func(n *yaml.Node, p *path, s Severity, format string, args ...any) {
		said = append(said, p.String())
		d.report(n, p, s, format, args...)
	}}
	f.object(spec, reflect.ValueOf(o.Traffic).Elem(), root)
	for _, finding := range o.Traffic.Check(o.policyName()) {
		field := strings.TrimSuffix(root.String()+"."+finding.Field, ".")
		if !slices.ContainsFunc(said, func(f string) bool { return f == field || strings.HasPrefix(f, field+".") }) {
			d.reportLine(o.At(field).Line, field, Error, finding.Message)
		}
	}
	v := validator{report: func(p *path, s Severity, message string) {
		d.reportLine(o.At(p.String()).Line, p.String(), s, message)
	}}
	if t := o.Traffic.Target; t != nil && t.Service != "" {
		v.host(root.field("target").field("service"), t.Service, true)
	}
	if from := o.Traffic.From; from != nil {
		at := root.field("from")
		if from.Namespace != "" && !dnsLabel.MatchString(from.Namespace) {
			v.fail(at.field("namespace"), "%q is not a namespace", from.Namespace)
		}
		v.labels(at.field("labels"), from.Labels)
	}
}
