package wire

import (
	"maps"
	"slices"
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// securedRoutes refuses whatever a server's routes say to the filters that guard it, as it has one guard for all of them, and
// routes that it would not see.
func securedRoutes(p *place, m *hcmv3.HttpConnectionManager, g *guarding) {
	if m.GetRds() != nil && len(g.names) > 0 {
		p.refuse("rds", "not supported beside filters that guard a server: its routes could say other")
	}
	q := p.in("route_config")
	c := m.GetRouteConfig()
	look := func(p place, configs map[string]*anypb.Any) {
		in := p.in("typed_per_filter_config")
		for _, name := range slices.Sorted(maps.Keys(configs)) {
			a, disabled, err := unwrapFilter(configs[name])
			if err != nil {
				continue // it has been refused
			}
			if guards(string(a.MessageName())) || disabled && slices.Contains(g.names, name) {
				in.refuse(name, "not supported: a server has one guard for all its routes")
			}
		}
	}
	look(q, c.GetTypedPerFilterConfig())
	for i, v := range c.GetVirtualHosts() {
		vp := q.at("virtual_hosts", i)
		look(vp, v.GetTypedPerFilterConfig())
		for j, r := range v.GetRoutes() {
			rp := vp.at("routes", j)
			look(rp, r.GetTypedPerFilterConfig())
			for k, w := range r.GetRoute().GetWeightedClusters().GetClusters() {
				wp := rp.in("route.weighted_clusters")
				look(wp.at("clusters", k), w.GetTypedPerFilterConfig())
			}
		}
	}
}

// guards reports whether a filter of this type could decide who is let in.
func guards(kind string) bool {
	return strings.Contains(kind, "rbac") || strings.Contains(kind, "auth") || strings.Contains(kind, "jwt")
}
