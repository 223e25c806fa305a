package wire

import (
	"math"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// unsupportedKey is where a route's metadata carries Route.Unsupported.
const unsupportedKey = "weft.unsupported"

// DecodeRouteTable reads a RouteConfiguration.
func DecodeRouteTable(a *anypb.Any) (*RouteTable, error) {
	var m routev3.RouteConfiguration
	r, err := open(a, "route configuration", &m)
	if err != nil {
		return nil, err
	}
	p := r.root()
	t := &RouteTable{Name: m.GetName(), VirtualHosts: decodeHosts(&p, &m)}
	if err := r.err(); err != nil {
		return nil, err
	}
	t.Warnings = r.warnings()
	return t, nil
}

func decodeHosts(p *place, m *routev3.RouteConfiguration) []resolver.VirtualHost {
	p.ignores(m, "name", "virtual_hosts", "vhost_header", "internal_only_headers", "most_specific_header_mutations_wins",
		"validate_clusters", "max_direct_response_body_size_bytes", "cluster_specifier_plugins",
		"ignore_port_in_host_matching", "metadata", "typed_per_filter_config")
	if m.GetVhostHeader() != "" {
		p.refuse("vhost_header", "not supported: it changes who answers")
	}
	before := len(p.errs)
	var hosts []resolver.VirtualHost
	owner := map[string]int{}
	whole := decodeSaid(p, m.GetTypedPerFilterConfig(), p, nil, nil)
	for i, v := range m.GetVirtualHosts() {
		q := p.at("virtual_hosts", i)
		hosts = append(hosts, decodeHost(&q, v, whole))
		if len(v.GetDomains()) == 0 {
			q.refuse("domains", "none")
		}
		for j, d := range v.GetDomains() {
			dp := q.at("domains", j)
			if star := strings.IndexByte(d, '*'); d == "" {
				dp.refuse("", "empty")
			} else if star > 0 && star < len(d)-1 || strings.Count(d, "*") > 1 {
				dp.refuse("", "%q: one star, at the beginning or at the end", d)
			}
			if first, taken := owner[strings.ToLower(d)]; taken {
				dp.refuse("", "%q is there already, in virtual_hosts[%d]", d, first)
			}
			owner[strings.ToLower(d)] = i
		}
	}
	if len(p.errs) == before { // what is left is for the matchers to say
		if _, err := resolver.NewTable(&resolver.Service{VirtualHosts: hosts}); err != nil {
			p.refuse("virtual_hosts", "%w", err)
		}
	}
	return hosts
}

func decodeHost(p *place, m *routev3.VirtualHost, up *said) resolver.VirtualHost {
	v := resolver.VirtualHost{Name: m.GetName(), Domains: m.GetDomains()}
	p.ignores(m, "name", "domains", "routes", "matcher", "retry_policy", "hedge_policy", "virtual_clusters", "include_request_attempt_count",
		"include_attempt_count_in_response", "include_is_timeout_retry_header", "metadata",
		"typed_per_filter_config", "rate_limits")
	up = decodeSaid(p, m.GetTypedPerFilterConfig(), p, m.GetRateLimits(), nil).under(up)
	for i, r := range m.GetRoutes() {
		q := p.at("routes", i)
		v.Routes = append(v.Routes, decodeRoute(&q, r, p, m, up))
	}
	p.limitsKeep(m.GetRateLimits())
	if m.GetMatcher() != nil {
		p.warn("matcher", "not supported: calls that only it would answer fail")
		v.Routes = append(v.Routes, resolver.Route{Unsupported: "the virtual host's matcher is not supported"})
	}
	return v
}

func decodeRoute(p *place, m *routev3.Route, hostAt *place, host *routev3.VirtualHost, up *said) resolver.Route {
	r := resolver.Route{Name: m.GetName()}
	p.ignores(m, "name", "match", "metadata", "decorator", "tracing", "stat_prefix", "typed_per_filter_config",
		"route", "redirect", "direct_response", "filter_action", "non_forwarding_action")
	q := p.in("match")
	r.Match, r.Unsupported = decodeMatch(&q, m.GetMatch())
	if r.Unsupported != "" {
		return r
	}
	if why := m.GetMetadata().GetFilterMetadata()[unsupportedKey].GetFields()["reason"].GetStringValue(); why != "" {
		r.Unsupported = why
		return r
	}
	switch a := m.GetAction().(type) {
	case *routev3.Route_Route:
		q := p.in("route")
		own := decodeOwn(p, m.GetMetadata())
		s := decodeSaid(p, m.GetTypedPerFilterConfig(), &q, a.Route.GetRateLimits(), own).under(up)
		policy := decodeAction(&q, a.Route, host, own, &r)
		policy.Rate, policy.Fault, policy.Bandwidth = s.rate, s.fault, s.bandwidth
		policy.Global = s.limits(&q, a.Route, hostAt, host, own)
		q.limitsKeep(a.Route.GetRateLimits())
		policy.Off = own.switches() | s.off
		own.unknown()
		if r.Unsupported == "" {
			r.Policy = policy
		}
	case *routev3.Route_Redirect:
		r.Unsupported = "redirect is not supported"
	case *routev3.Route_DirectResponse:
		r.Unsupported = "direct_response is not supported"
	case *routev3.Route_FilterAction:
		r.Unsupported = "filter_action is not supported"
	case *routev3.Route_NonForwardingAction:
		r.Unsupported = "non_forwarding_action is for servers"
		if len(m.GetTypedPerFilterConfig()) > 0 {
			p.warn("typed_per_filter_config", "not supported yet with a non_forwarding_action, has no effect")
		}
	default:
		r.Unsupported = "the route has no action that is known"
	}
	return r
}

// decodeTargets reads where a route leads; its second result says why nowhere.
func decodeTargets(p *place, m *routev3.RouteAction) ([]resolver.Target, string) {
	switch c := m.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		if c.Cluster == "" {
			p.refuse("cluster", "empty")
		}
		return []resolver.Target{{Cluster: c.Cluster, Weight: 1}}, ""
	case *routev3.RouteAction_WeightedClusters:
		q := p.in("weighted_clusters")
		return decodeWeighted(&q, c.WeightedClusters)
	case *routev3.RouteAction_ClusterHeader:
		return nil, "cluster_header is not supported"
	case *routev3.RouteAction_ClusterSpecifierPlugin, *routev3.RouteAction_InlineClusterSpecifierPlugin:
		return nil, "cluster_specifier_plugin is not supported"
	}
	return nil, "the route leads to no cluster that is known"
}

func decodeWeighted(p *place, m *routev3.WeightedCluster) ([]resolver.Target, string) {
	p.ignores(m, "clusters", "total_weight", "runtime_key_prefix") // the sum counts (gRFC A28)
	var (
		targets []resolver.Target
		sum     uint64
	)
	for i, c := range m.GetClusters() {
		q := p.at("clusters", i)
		q.ignores(c, "name", "cluster_header", "weight")
		switch {
		case c.GetClusterHeader() != "":
			return nil, "cluster_header is not supported"
		case c.GetName() == "":
			q.refuse("name", "empty")
		}
		targets = append(targets, resolver.Target{Cluster: c.GetName(), Weight: c.GetWeight().GetValue()})
		sum += uint64(c.GetWeight().GetValue())
	}
	if sum == 0 {
		p.refuse("clusters", "no cluster has a weight")
	}
	if sum > math.MaxUint32 {
		p.refuse("clusters", "the weights' sum %d is more than %d", sum, uint32(math.MaxUint32))
	}
	return targets, ""
}

// EncodeRouteTable is the reverse of DecodeRouteTable. An Unsupported route answers
// 501 with its reason, where there is a proxy to answer.
func EncodeRouteTable(t RouteTable) proto.Message { return encodeHosts(t.Name, t.VirtualHosts) }

func encodeHosts(name string, hosts []resolver.VirtualHost) *routev3.RouteConfiguration {
	// A cluster that is not there fails the calls that take it, not the whole table.
	m := &routev3.RouteConfiguration{Name: name, ValidateClusters: wrapperspb.Bool(false)}
	for _, v := range hosts {
		h := &routev3.VirtualHost{Name: v.Name, Domains: v.Domains}
		for i := range v.Routes {
			h.Routes = append(h.Routes, encodeRoute(&v.Routes[i]))
		}
		m.VirtualHosts = append(m.VirtualHosts, h)
	}
	return m
}

func encodeRoute(r *resolver.Route) *routev3.Route {
	m := &routev3.Route{Name: r.Name, Match: encodeMatch(&r.Match)}
	if r.Unsupported == "" {
		action, rest := encodeAction(r), ownPolicy(&r.Policy)
		m.TypedPerFilterConfig, action.RateLimits = encodeSaid(&r.Policy, rest)
		m.Action = &routev3.Route_Route{Route: action}
		m.Metadata = rest.metadata()
		return m
	}
	m.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
		Status: 501,
		Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: r.Unsupported}},
	}}
	m.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		unsupportedKey: {Fields: map[string]*structpb.Value{"reason": structpb.NewStringValue(r.Unsupported)}},
	}}
	return m
}

// ownPolicy is what no field of a route carries.
func ownPolicy(p *resilience.Policy) fields {
	rest := fields{}
	rest.bool("unguarded", p.Retry.Unguarded && p.Retry.Attempts > 0 && p.Retry.On != 0)
	rest.in("hedge", ownHedge(p))
	rest.in("fallback", encodeFallback(p.Fallback))
	rest.text(offField, p.Off.String())
	return rest
}

func encodeTargets(m *routev3.RouteAction, to []resolver.Target) {
	if len(to) == 1 && to[0].Weight <= 1 {
		m.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: to[0].Cluster}
		return
	}
	w := &routev3.WeightedCluster{}
	for _, t := range to {
		w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: t.Cluster, Weight: wrapperspb.UInt32(t.Weight)})
	}
	m.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
}
