package publish

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/resolver"
)

// told is what the client is told of the routes to a port of a service, in its dialect.
func (v *View) told(s *catalog.Service, port catalog.Port) []resolver.Route {
	var out []resolver.Route
	for _, r := range v.routes(s, port) {
		asked := &v.asked
		if v.config.RateLimits == "" {
			asked = nil
		}
		policy, lost := v.client.Dialect.limitRoute(r.Policy, r.From, asked)
		r.Policy = policy
		if !v.client.Dialect.isGRPC() {
			out = append(out, r.Route)
		} else if phrased := forGRPC(r.Route); len(phrased) > 0 {
			out = append(out, phrased...)
		} else {
			continue // no call of the client's takes it
		}
		v.lose(lost)
	}
	return out
}

// forGRPC says with what gRPC's own client understands what a route says, by as
// many routes as that takes; none if no RPC can take the route.
func forGRPC(r resolver.Route) []resolver.Route {
	if len(r.Match.Query) > 0 { // an RPC has no query
		return nil
	}
	headers, ok := rpcHeaders(r.Match.Headers)
	if !ok {
		return nil
	}
	routes := []resolver.Route{r}
	routes[0].Match.Headers = nil
	if p := r.Match.Path; p.Kind == resolver.PathSegmentPrefix { // refused with the whole table
		prefix := strings.TrimSuffix(p.Value, "/")
		routes = append(routes, routes[0])
		routes[0].Match.Path.Kind, routes[0].Match.Path.Value = resolver.PathExact, prefix
		routes[1].Match.Path.Kind, routes[1].Match.Path.Value = resolver.PathPrefix, prefix+"/"
	}
	for _, h := range headers {
		if len(routes) >= mostPhrased {
			h.MissingAsEmpty = false
		}
		routes = withHeader(routes, h)
	}
	return routes
}

// mostPhrased bounds the routes that one becomes: six headers that must be absent
// or different. Of further ones only "different" is said.
const mostPhrased = 64

// rpcHeaders decides what is known of every RPC: its method, scheme and content
// type. gRPC's client would never match those.
func rpcHeaders(headers []resolver.HeaderMatch) (rest []resolver.HeaderMatch, ok bool) {
	for _, h := range headers {
		var value string
		switch h.Name {
		case ":method":
			value = "POST"
		case ":scheme":
			value = "http"
		default:
			rest = append(rest, h)
			continue
		}
		if h.Is.Holds(value) == h.Invert {
			return nil, false
		}
	}
	return rest, true
}

// withHeader adds a condition to each route. One that an absent header fulfils
// takes two routes, since gRPC's client never matches an absent header otherwise.
func withHeader(routes []resolver.Route, h resolver.HeaderMatch) []resolver.Route {
	absentHolds := h.MissingAsEmpty && h.Is.Holds("") == !h.Invert
	h.MissingAsEmpty = false
	var out []resolver.Route
	add := func(r resolver.Route, h resolver.HeaderMatch) {
		r.Match.Headers = append(slices.Clip(r.Match.Headers), h)
		out = append(out, r)
	}
	for _, r := range routes {
		if absentHolds {
			add(r, resolver.HeaderMatch{Name: h.Name, Is: resolver.StringMatch{Kind: resolver.StringPresent}, Invert: true})
		}
		add(r, h)
	}
	return out
}
