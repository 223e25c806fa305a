package catalog

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weftmesh/weft/controlserver/trafficpolicy"
)

// ours decodes and checks the spec of a kind that is ours; it reports false for all others.
func (d *document) ours(spec *yaml.Node, root *path) bool {
	o := &d.object
	o.source = newSource(d.text, d.first, d.nth, d.prefix)
	switch o.Kind {
	case KindTrafficPolicy:
		o.Traffic = &trafficpolicy.Spec{}
		d.fill(spec, root, reflect.ValueOf(o.Traffic).Elem(), func() []trafficpolicy.Finding { return o.Traffic.Check(o.policyName()) })
		d.names(root)
	case KindMeshConfig:
		o.Mesh = &MeshConfig{}
		d.fill(spec, root, reflect.ValueOf(o.Mesh).Elem(), func() []trafficpolicy.Finding {
			return trafficpolicy.Fields(reflect.ValueOf(o.Mesh).Elem())
		})
		v := d.validator()
		v.meshConfig(o.Mesh, root)
	case KindRevocation:
		o.Revocation = &Revocation{}
		d.fill(spec, root, reflect.ValueOf(o.Revocation).Elem(), func() []trafficpolicy.Finding {
			return trafficpolicy.Fields(reflect.ValueOf(o.Revocation).Elem())
		})
		v := d.validator()
		v.revocation(o.Revocation, root)
	default:
		return false
	}
	return true
}

// fill decodes a spec into v, and checks it.
func (d *document) fill(spec *yaml.Node, root *path, v reflect.Value, check func() []trafficpolicy.Finding) {
	filler{report: d.report}.object(spec, v, root)
	for _, finding := range check() {
		field := strings.TrimSuffix(root.String()+"."+finding.Field, ".")
		// What a block lacks is not said where the field that it lacks is wrong.
		if !slices.ContainsFunc(d.mistaken, func(f string) bool { return f == field || strings.HasPrefix(f, field+".") }) {
			d.reportLine(d.object.At(field).Line, field, Error, finding.Message)
		}
	}
}

// names checks the names of hosts, namespaces and labels in a TrafficPolicy.
func (d *document) names(root *path) {
	o := &d.object
	v := d.validator()
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
