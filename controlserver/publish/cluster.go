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

// A Cluster is a cluster, and where its policies come from.
type Cluster struct {
	resolver.Cluster
	From Origins
}

// Lost is what clients of a dialect can't do of it.
func (c Cluster) Lost(d Dialect) []Loss {
	_, lost := d.limitCluster(c.Cluster, c.From)
	return lost
}

// Configured is a cluster without its endpoints as it is configured: a client is told of what its dialect can do.
func (v *View) Configured(name string) (Cluster, bool) {
	s, port, subset, ok := v.parse(name)
	if !ok {
		return Cluster{}, false
	}
	return v.cluster(s, port, subset), true
}

// cluster is the policy of a cluster, without its endpoints, as it is configured.
func (v *View) cluster(s *catalog.Service, port catalog.Port, subset string) Cluster {
	rule := v.traffic(s, port, subset)
	calls := v.catalog.ClientPolicy(v.caller(), s, port.Number, "")
	tls, auto := v.clientTLS(s, port, subset, rule.from)
	return Cluster{
		Cluster: resolver.Cluster{
			Name:           clusterName(port.Number, subset, s.Host),
			HTTP2:          port.Protocol == catalog.HTTP2 || port.Protocol == catalog.GRPC,
			Balance:        balancer.Policy{Kind: balance(rule.balance)},
			ConnectTimeout: connectTimeout(rule.pool),
			TLS:            tls,
			AutoTLS:        auto,
			Thresholds:     thresholds(rule.pool),
			Budget:         budget(rule.budget),
			Outlier:        outlier(rule.outlier),
			Breaker:        calls.Breaker,
			HostBreaker:    calls.HostBreaker,
			Admission:      calls.Admission,
			Off:            calls.Off,
		},
		From: v.withBlocks(rule.from, calls.Origins, clusterBlocks),
	}
}

// balance is how a cluster is balanced.
func balance(lb *networking.LoadBalancerSettings) balancer.Kind {
	switch lb.GetSimple() {
	case networking.LoadBalancerSettings_ROUND_ROBIN:
		return balancer.RoundRobin
	case networking.LoadBalancerSettings_RANDOM:
		return balancer.Random
	}
	return balancer.LeastRequest
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

				MutualTLS: v.config.TrustDomain != "" && v.catalog.AutoTLS(s, e, v.config.DefaultMode),
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
	if v.config.Lookup == nil {
		return nil
	}
	return v.config.Lookup(address)
}

func hostname(address, ip string) string {
	if address == ip {
		return ""
	}
	return address
}
