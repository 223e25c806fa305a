package catalog

import (
	"reflect"
	"slices"
	"strings"

	"github.com/weftmesh/weft/controlserver/trafficpolicy"
)

// trafficPolicy warns of what of a policy nothing obeys. A service that is not there yet, or a route, may come.
func (k *checker) trafficPolicy(p *policy) {
	k.shadowed(p)
	t := p.Traffic.Target
	if t == nil {
		if f := p.Traffic.From; f != nil && f.Namespace != "" && f.Namespace != p.Namespace && p.Namespace != k.mesh.RootNamespace {
			k.warn(p.Object, "spec.from.namespace", "callers in %s do not obey it: without a target it is for those in %s", f.Namespace, p.Namespace)
		}
		return
	}
	if !k.declared(p.host) {
		k.warn(p.Object, "spec.target.service", "no service has the host %q%s", p.host, k.suggest(p.host))
		return
	}
	s := k.find(p.Namespace, p.host) // nil for a wildcard
	if s == nil {
		return
	}
	if _, ok := s.Port(t.Port); !ok && t.Port != 0 && len(s.Ports) > 0 {
		k.warn(p.Object, "spec.target.port", "%s has no port %d; there is %s", s.Host, t.Port, portList(s))
	}
	if t.Route != "" {
		k.targetRoute(p, s)
	}
	if p.Namespace == s.Namespace || p.Namespace == k.mesh.RootNamespace {
		return
	}
	if p.Traffic.Server != nil {
		k.warn(p.Object, "spec.server", "the servers of %s do not obey it: it would have to stand in their namespace, %s, or in %s",
			s.Host, s.Namespace, k.mesh.RootNamespace)
	}
	if f := p.Traffic.From; f != nil && f.Namespace != "" && f.Namespace != p.Namespace {
		k.warn(p.Object, "spec.from.namespace", "callers in %s do not obey it: it would have to stand in their namespace, in %s or in %s",
			f.Namespace, s.Namespace, k.mesh.RootNamespace)
	}
}

// targetRoute warns if no VirtualService for the host has the route.
func (k *checker) targetRoute(p *policy, s *Service) {
	var names []string
	some := false
	for pattern := range patterns(s.Host) {
		for _, vs := range k.routes[pattern] {
			some = true
			for _, r := range vs.Spec.GetHttp() {
				if r.GetName() != "" {
					names = append(names, r.GetName())
				}
			}
		}
	}
	route := p.Traffic.Target.Route
	switch near := closest(route, names); {
	case slices.Contains(names, route):
	case !some:
		k.warn(p.Object, "spec.target.route", "no VirtualService has routes for %s", s.Host)
	case len(names) == 0:
		k.warn(p.Object, "spec.target.route", "no route for %s has a name (http[].name)", s.Host)
	case near != "":
		k.warn(p.Object, "spec.target.route", "no route for %s has the name %q; did you mean %q?", s.Host, route, near)
	default:
		k.warn(p.Object, "spec.target.route", "no route for %s has the name %q; there are %s", s.Host, route, strings.Join(names, ", "))
	}
}

// shadowed warns of blocks that an older policy for the same has.
func (k *checker) shadowed(p *policy) {
	for _, other := range k.traffic.byHost[p.Namespace][p.host] {
		if other == p {
			return
		}
		if !sameTarget(p.Traffic.Target, other.Traffic.Target) || !reflect.DeepEqual(p.Traffic.From, other.Traffic.From) {
			continue
		}
		had := slices.Concat(other.calls.Origins, other.serving.Origins)
		for _, o := range slices.Concat(p.calls.Origins, p.serving.Origins) {
			sameBlock := func(x trafficpolicy.Origin) bool { return x.Block == o.Block }
			if o.Block != trafficpolicy.Disable && slices.ContainsFunc(had, sameBlock) {
				k.warn(p.Object, "spec."+o.Block, "%s at %s is older and has one for the same calls: this one is not used", other.Key(), other.Position)
			}
		}
	}
}

// sameTarget compares what is more than the host.
func sameTarget(a, b *trafficpolicy.Target) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Port == b.Port && a.Route == b.Route)
}
