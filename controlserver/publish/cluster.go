package publish

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// clusterName is Istio's name for a subset of a port of a service, so that
// dashboards and people can read it.
func clusterName(port uint32, subset, host string) string {
	return "outbound|" + strconv.FormatUint(uint64(port), 10) + "|" + subset + "|" + host
}

// parseCluster is the reverse of clusterName.
func parseCluster(name string) (port uint32, subset, host string, ok bool) {
	parts := strings.Split(name, "|")
	if len(parts) != 4 || parts[0] != "outbound" {
		return 0, "", "", false
	}
	n, err := strconv.ParseUint(parts[1], 10, 16)
	return uint32(n), parts[2], parts[3], err == nil
}

// cluster is the policy of a cluster, without its endpoints.
func (v *View) cluster(s *catalog.Service, port catalog.Port, subset string) resolver.Cluster {
	c := resolver.Cluster{
		Name:  clusterName(port.Number, subset, s.Host),
		HTTP2: port.Protocol == catalog.HTTP2 || port.Protocol == catalog.GRPC,
	}
	rule := v.traffic(s, port, subset)
	c.Balance.Kind = v.balance(rule.balance)
	c.Thresholds = thresholds(rule.pool)
	if v.client.Dialect.isGRPC() {
		// Of all that bounds a cluster gRPC knows one limit (gRFC A32), of what ejects hosts nothing
		// that a DestinationRule can ask for (gRFC A50).
		if c.Thresholds[resilience.DefaultPriority].MaxRequests == unlimited {
			c.Thresholds = nil
		}
		return c
	}
	c.ConnectTimeout = connectTimeout(rule.pool)
	c.Budget = budget(rule.budget)
	c.Outlier = outlier(rule.outlier)
	return c
}

// balance is how a cluster is balanced. gRPC's clients refuse clusters with what they
// lack; over many calls round robin, which they all have, shares alike.
func (v *View) balance(lb *networking.LoadBalancerSettings) balancer.Kind {
	kind := balancer.LeastRequest
	switch lb.GetSimple() {
	case networking.LoadBalancerSettings_ROUND_ROBIN:
		kind = balancer.RoundRobin
	case networking.LoadBalancerSettings_RANDOM:
		kind = balancer.Random
	}
	switch {
	case kind == balancer.Random && v.client.Dialect.isGRPC(),
		kind == balancer.LeastRequest && v.client.Dialect == GRPC:
		return balancer.RoundRobin
	}
	return kind
}

// endpoints are who serves a cluster, in a stable order.
func (v *View) endpoints(s *catalog.Service, port catalog.Port, subset string) []balancer.Endpoint {
	var want map[string]string
	if subset != "" {
		sub, ok := v.catalog.DestinationRule(v.client.Namespace, s).Subset(subset)
		if !ok {
			return nil
		}
		want = sub.GetLabels()
	}
	var out []balancer.Endpoint
	for _, e := range s.Endpoints(port.Number) {
		if !e.Matches(want) {
			continue
		}
		for _, ip := range v.addresses(e.Address) {
			out = append(out, balancer.Endpoint{
				Addr:     net.JoinHostPort(ip, strconv.FormatUint(uint64(e.Port), 10)),
				Hostname: hostname(e.Address, ip),
				Weight:   max(e.Weight, 1),
				Locality: e.Locality,
				Health:   e.Health,
				Labels:   e.Labels,
			})
		}
	}
	slices.SortStableFunc(out, func(a, b balancer.Endpoint) int { return cmp.Compare(a.Addr, b.Addr) })
	return slices.CompactFunc(out, func(a, b balancer.Endpoint) bool { return a.Addr == b.Addr })
}

// addresses are the IP addresses of an endpoint's address, which may be a name.
func (v *View) addresses(address string) []string {
	if net.ParseIP(address) != nil {
		return []string{address}
	}
	if v.lookup == nil {
		return nil
	}
	return v.lookup(address)
}

func hostname(address, ip string) string {
	if address == ip {
		return ""
	}
	return address
}
