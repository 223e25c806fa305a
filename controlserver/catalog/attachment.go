package catalog

import (
	selection "istio.io/api/type/v1beta1"
)

// An attachment is what a policy is for.
type attachment interface {
	GetSelector() *selection.WorkloadSelector
	GetTargetRef() *selection.PolicyTargetReference
	GetTargetRefs() []*selection.PolicyTargetReference
}

// attached reports whether a policy is for a workload. One with targetRefs is for gateways and waypoints.
func attached(a attachment, w Workload) bool {
	return a.GetTargetRef() == nil && len(a.GetTargetRefs()) == 0 && selects(a.GetSelector().GetMatchLabels(), w.Labels)
}

// attachment checks what a policy is for.
func (v *validator) attachment(p *path, a attachment) {
	refs := a.GetTargetRefs()
	if a.GetSelector() != nil && (a.GetTargetRef() != nil || len(refs) > 0) || a.GetTargetRef() != nil && len(refs) > 0 {
		v.fail(p.field("selector"), "only one of selector, targetRef and targetRefs may be given")
	}
	v.selector(p.field("selector"), a.GetSelector())
	if a.GetTargetRef() != nil {
		v.target(p.field("targetRef"), a.GetTargetRef())
	}
	for i, ref := range refs {
		v.target(p.field("targetRefs").at(i), ref)
	}
}

func (v *validator) selector(p *path, s *selection.WorkloadSelector) {
	if s == nil {
		return
	}
	if len(s.GetMatchLabels()) == 0 {
		v.warn(p, "has no labels: it selects every workload")
	}
	v.labels(p.field("matchLabels"), s.GetMatchLabels())
}

// target checks what a policy is for that is for a gateway or a waypoint, of which there are none.
func (v *validator) target(p *path, ref *selection.PolicyTargetReference) {
	if ref.GetName() == "" {
		v.fail(p.field("name"), "is missing")
	}
	if ref.GetNamespace() != "" {
		v.fail(p.field("namespace"), "must be left out: it is the policy's own")
	}
	switch ref.GetGroup() + "/" + ref.GetKind() {
	case "/Service", "core/Service", "networking.istio.io/ServiceEntry", "gateway.networking.k8s.io/Gateway", "gateway.networking.k8s.io/GatewayClass":
		v.warn(p, "holds for gateways and waypoints, of which there are none: the policy holds for nothing; use selector")
	default:
		v.fail(p.field("kind"), "%q of group %q is not a Service, ServiceEntry, Gateway or GatewayClass", ref.GetKind(), ref.GetGroup())
	}
}
