package publish

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/controlserver/trafficpolicy"
)

// The blocks of a TrafficPolicy that are a route's, a cluster's and a server's.
var (
	routeBlocks = map[string]Part{
		"client.rateLimit": Rate, "client.globalRateLimit": GlobalRate, "client.hedge": Hedge, "client.fallback": Fallback,
		"client.fault": Fault, "client.bandwidth": Bandwidth, "client.idleTimeout": Idle, "off": Switches,
	}
	clusterBlocks = map[string]Part{
		"client.breaker": Breaker, "client.hostBreaker": HostBreaker, "client.admission": Admission, "off": Switches,
	}
	serverBlocks = map[string]Part{
		"server.rateLimit": Rate, "server.globalRateLimit": GlobalRate, "server.concurrency": Concurrency, "server.shedding": Shedding,
		"server.lateness": Late, "server.fault": Fault, "server.bandwidth": Bandwidth, "server.healthPaths": HealthPaths, "off": Switches,
	}
)

// withBlocks adds where blocks of TrafficPolicies come from.
func withBlocks(from Origins, origins []trafficpolicy.Origin, blocks map[string]Part) Origins {
	if len(origins) == 0 {
		return from
	}
	out := maps.Clone(from)
	if out == nil {
		out = Origins{}
	}
	for _, o := range origins {
		if part, ok := blocks[o.Block]; ok {
			out[part] = append(slices.Clip(out[part]), Origin{Field: "spec." + o.Block, policy: o.Policy})
		}
	}
	return out
}

// caller is the client as TrafficPolicies know callers.
func (v *View) caller() trafficpolicy.Caller {
	return trafficpolicy.Caller{Namespace: v.client.Namespace, ServiceAccount: v.client.ServiceAccount, Labels: v.client.Labels}
}

// serving is what the process that listens at addr, "ip:port", is told of the calls it serves.
func (v *View) serving(addr string) trafficpolicy.Serving {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return trafficpolicy.Serving{}
	}
	return v.catalog.ServerPolicy(trafficpolicy.Workload{
		Namespace: v.client.Namespace, Address: at.Addr().Unmap().String(), Port: uint32(at.Port()),
	})
}
