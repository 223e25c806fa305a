package catalog

import (
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
	security "istio.io/api/security/v1beta1"
	selection "istio.io/api/type/v1beta1"
)

// standIn returns what is used in place of a document that is refused, until it is sound or an earlier version of it is found:
// who it would have kept out must not get in by its mistake. An AuthorizationPolicy refuses every request of the workloads it
// selects, a PeerAuthentication wants mTLS of all connections to them, and what can be read of a Revocation holds. If what
// it selects can't be read, it is for its whole namespace. All other kinds are not there, nor is what would have no effect.
func (d *document) standIn(spec *yaml.Node, sound bool) (Object, bool) {
	o := d.object
	o.refused = true
	if o.Name == "" || !objectName.MatchString(o.Name) || !dnsLabel.MatchString(o.Namespace) {
		return o, false
	}
	switch o.Kind {
	case KindRevocation:
		return o, o.Revocation != nil && len(o.Revocation.Serials)+len(o.Revocation.Identities) > 0
	case KindAuthorizationPolicy:
		part := d.part(spec, sound, "action")
		idle := part.GetAction() == security.AuthorizationPolicy_AUDIT || o.dryRun() || d.given(spec, sound, "targetRef", "targetRefs")
		o.Spec = &security.AuthorizationPolicy{
			Selector: d.part(spec, sound, "selector").GetSelector(), Action: security.AuthorizationPolicy_DENY, Rules: []*security.Rule{{}},
		}
		return o, !idle
	case KindPeerAuthentication:
		o.Spec = &security.PeerAuthentication{
			Selector: d.part(spec, sound, "selector").GetSelector(),
			Mtls:     &security.PeerAuthentication_MutualTLS{Mode: security.PeerAuthentication_MutualTLS_STRICT},
		}
		return o, true
	}
	return o, false
}

// part reads one field of a spec; one with a mistake is as if it were left out.
func (d *document) part(spec *yaml.Node, sound bool, name string) *security.AuthorizationPolicy {
	m := &security.AuthorizationPolicy{}
	if !sound || spec == nil || spec.Kind != yaml.MappingNode {
		return m
	}
	for _, f := range fields(spec) {
		if f.key.Value != name {
			continue
		}
		failed := false
		dec := decoder{report: func(_ *yaml.Node, _ *path, s Severity, _ string, _ ...any) { failed = failed || s == Error }}
		one := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{f.key, f.value}}
		dec.message(one, m.ProtoReflect(), nil, "*")
		v := validator{report: func(_ *path, s Severity, _ string) { failed = failed || s == Error }}
		v.selector(nil, m.GetSelector())
		if failed {
			return &security.AuthorizationPolicy{}
		}
	}
	return m
}

// given reports whether a spec has one of some fields.
func (d *document) given(spec *yaml.Node, sound bool, names ...string) bool {
	return sound && spec != nil && spec.Kind == yaml.MappingNode &&
		slices.ContainsFunc(fields(spec), func(f pair) bool { return slices.Contains(names, f.key.Value) })
}

// with returns a Revocation that takes back what either does.
func (r *Revocation) with(o *Revocation) *Revocation {
	return &Revocation{Serials: slices.Concat(r.Serials, o.Serials), Identities: slices.Concat(r.Identities, o.Identities), Reason: r.Reason}
}

// refusals says what is used in place of documents that are refused.
func (k *checker) refusals() {
	for _, o := range k.objects {
		if !o.refused {
			continue
		}
		var selector *selection.WorkloadSelector
		does := "what can be read of it holds"
		switch spec := o.Spec.(type) {
		case *security.AuthorizationPolicy:
			selector, does = spec.GetSelector(), "every request is refused"
		case *security.PeerAuthentication:
			selector, does = spec.GetSelector(), "connections without mTLS are refused"
		}
		switch {
		case o.Revocation != nil:
		case len(selector.GetMatchLabels()) > 0:
			does += " by the workloads that it selects"
		case o.Namespace == k.mesh.RootNamespace:
			does += " by all workloads"
		default:
			does += " by all workloads of namespace " + strconv.Quote(o.Namespace)
		}
		k.warn(o, "", "it has mistakes, and no earlier version is known: %s until it is sound", does)
	}
}
