package publish

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A Route is a route, and where its policies come from.
type Route struct {
	resolver.Route
	From Origins
}

// Beyond is what clients of a dialect can't do of a route's policies, be they told where the rate limit service is.
func (v *View) Beyond(d Dialect, r Route) []Loss {
	_, lost := d.limitRoute(r.Policy, r.From, &v.asked)
	return lost
}

// Routes are the routes of calls that the client makes to a name, as they are configured: a client is told of what its
// dialect can do. There are none if the client knows no such name.
func (v *View) Routes(name string) []Route {
	s, port := v.find(name)
	if s == nil {
		return nil
	}
	return v.routes(s, port)
}

// routes are the routes of calls that a client makes to a port of a service.
func (v *View) routes(s *catalog.Service, port catalog.Port) []Route {
	var rules []*networking.HTTPRoute
	vs := v.catalog.VirtualService(v.client.Namespace, s.Host)
	if port.Protocol.IsHTTP() && vs != nil {
		rules = vs.Spec.GetHttp()
	}
	if len(rules) == 0 {
		own := Route{Route: resolver.Route{
			Name:   "default",
			To:     []resolver.Target{{Cluster: clusterName(port.Number, "", s.Host), Weight: 1}},
			Policy: resilience.Policy{Retry: defaultRetry},
		}}
		v.apply(&own, s, port, "")
		return []Route{own}
	}
	var out []Route
	for i, rule := range rules {
		route := Route{
			Route: resolver.Route{Name: rule.GetName(), To: v.targets(vs, rule.GetRoute(), s, port), Policy: policy(rule)},
			From:  origins(rule, vs.Object, i),
		}
		v.apply(&route, s, port, rule.GetName())
		if len(rule.GetRoute()) == 0 {
			route.Unsupported = "the VirtualService's rule has an action that is not supported yet"
		}
		if len(rule.GetMatch()) == 0 {
			return append(out, route) // matches all: what follows is never reached
		}
		for _, m := range rule.GetMatch() {
			if v.unconcerned(m, vs.Spec.GetGateways(), port) != "" {
				continue
			}
			one := route
			one.Name, one.Match = routeName(rule, m), matchOf(m)
			out = append(out, one)
			if one.Match.Path == (resolver.PathMatch{}) && len(one.Match.Headers) == 0 && len(one.Match.Query) == 0 {
				return out
			}
		}
	}
	return out
}

// apply adds what TrafficPolicies say of the calls that take a rule.
func (v *View) apply(r *Route, s *catalog.Service, port catalog.Port, rule string) {
	calls := v.catalog.ClientPolicy(v.caller(), s, port.Number, rule)
	calls.Apply(&r.Policy)
	r.From = v.withBlocks(r.From, calls.Origins, routeBlocks)
}

// A Skipped is a match of a VirtualService that a client is not told of.
type Skipped struct{ Route, Why string }

// Skipped lists the matches of a service's routes that cannot hold for the client.
func (v *View) Skipped(name string) []Skipped {
	s, port := v.find(name)
	if s == nil || !port.Protocol.IsHTTP() {
		return nil
	}
	vs := v.catalog.VirtualService(v.client.Namespace, s.Host)
	if vs == nil {
		return nil
	}
	var out []Skipped
	for _, rule := range vs.Spec.GetHttp() {
		for _, m := range rule.GetMatch() {
			if why := v.unconcerned(m, vs.Spec.GetGateways(), port); why != "" {
				out = append(out, Skipped{routeName(rule, m), why})
			}
		}
	}
	return out
}

func routeName(rule *networking.HTTPRoute, m *networking.HTTPMatchRequest) string {
	if m.GetName() == "" {
		return rule.GetName()
	}
	return rule.GetName() + "." + m.GetName()
}

// unconcerned says why a match cannot hold for the client at all; empty if it can.
func (v *View) unconcerned(m *networking.HTTPMatchRequest, gateways []string, port catalog.Port) string {
	if g := m.GetGateways(); len(g) > 0 {
		gateways = g
	}
	if len(gateways) > 0 && !slices.Contains(gateways, "mesh") {
		return "it is for gateways, not for the mesh"
	}
	if m.GetPort() != 0 && m.GetPort() != port.Number {
		return fmt.Sprintf("it is for port %d, and %d is called", m.GetPort(), port.Number)
	}
	if ns := m.GetSourceNamespace(); ns != "" && ns != v.client.Namespace {
		return fmt.Sprintf("it is for callers in namespace %s, and the caller is in %s", ns, v.client.Namespace)
	}
	for _, k := range sorted(m.GetSourceLabels()) {
		if want := m.GetSourceLabels()[k]; v.client.Labels[k] != want {
			return fmt.Sprintf("it is for callers with the label %s=%s", k, want)
		}
	}
	return ""
}

// targets are the weighted clusters of a rule. Without a port a destination is
// called on the port that was called, or on its only one.
func (v *View) targets(vs *catalog.VirtualService, to []*networking.HTTPRouteDestination, s *catalog.Service, called catalog.Port) []resolver.Target {
	var out []resolver.Target
	for _, d := range to {
		dest := d.GetDestination()
		host := v.catalog.Expand(vs.Namespace, dest.GetHost())
		port := dest.GetPort().GetNumber()
		if port == 0 {
			port = called.Number
			if other := v.service(host); other != nil && host != s.Host {
				if _, ok := other.Port(port); !ok && len(other.Ports) == 1 {
					port = other.Ports[0].Number
				}
			}
		}
		out = append(out, resolver.Target{Cluster: clusterName(port, dest.GetSubset(), host), Weight: uint32(max(d.GetWeight(), 0))})
	}
	if len(out) == 1 {
		out[0].Weight = 1
	}
	return out
}

func matchOf(m *networking.HTTPMatchRequest) resolver.Match {
	out := resolver.Match{Path: pathOf(m.GetUri(), m.GetIgnoreUriCase())}
	pseudo := func(name string, s *networking.StringMatch) {
		if s != nil {
			out.Headers = append(out.Headers, resolver.HeaderMatch{Name: name, Is: textOf(s)})
		}
	}
	pseudo(":method", m.GetMethod())
	pseudo(":authority", m.GetAuthority())
	pseudo(":scheme", m.GetScheme())
	for _, name := range sorted(m.GetHeaders()) {
		out.Headers = append(out.Headers, resolver.HeaderMatch{Name: name, Is: textOf(m.GetHeaders()[name])})
	}
	for _, name := range sorted(m.GetWithoutHeaders()) {
		h := resolver.HeaderMatch{Name: name, Is: textOf(m.GetWithoutHeaders()[name]), Invert: true}
		h.MissingAsEmpty = h.Is.Kind != resolver.StringPresent
		out.Headers = append(out.Headers, h)
	}
	for _, name := range sorted(m.GetQueryParams()) {
		out.Query = append(out.Query, resolver.QueryMatch{Name: name, Is: textOf(m.GetQueryParams()[name])})
	}
	return out
}

func pathOf(s *networking.StringMatch, ignoreCase bool) resolver.PathMatch {
	switch m := s.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return resolver.PathMatch{Kind: resolver.PathExact, Value: m.Exact, IgnoreCase: ignoreCase}
	case *networking.StringMatch_Prefix:
		if m.Prefix == "/" || m.Prefix == "" {
			return resolver.PathMatch{}
		}
		return resolver.PathMatch{Kind: resolver.PathPrefix, Value: m.Prefix, IgnoreCase: ignoreCase}
	case *networking.StringMatch_Regex:
		return resolver.PathMatch{Kind: resolver.PathRegex, Value: m.Regex}
	}
	return resolver.PathMatch{}
}

// textOf reads a StringMatch; one that says nothing asks for presence.
func textOf(s *networking.StringMatch) resolver.StringMatch {
	switch m := s.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return resolver.StringMatch{Kind: resolver.StringExact, Value: m.Exact}
	case *networking.StringMatch_Prefix:
		return resolver.StringMatch{Kind: resolver.StringPrefix, Value: m.Prefix}
	case *networking.StringMatch_Regex:
		return resolver.StringMatch{Kind: resolver.StringRegex, Value: m.Regex}
	}
	return resolver.StringMatch{Kind: resolver.StringPresent}
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
