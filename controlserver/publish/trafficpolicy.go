package publish

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/trafficpolicy"
	"github.com/weftmesh/weft/resilience"
)

// The blocks of a TrafficPolicy that are a route's, a cluster's and a server's.
var (
	routeBlocks = map[string]Part{
		"client.rateLimit": Rate, "client.globalRateLimit": GlobalRate, "client.hedge": Hedge, "client.fallback": Fallback,
		"client.fault": Fault, "client.bandwidth": Bandwidth, "client.idleTimeout": Idle, "disable": Switches,
	}
	clusterBlocks = map[string]Part{
		"client.breaker": Breaker, "client.hostBreaker": HostBreaker, "client.admission": Admission, "disable": Switches,
	}
	serverBlocks = map[string]Part{
		"server.rateLimit": Rate, "server.globalRateLimit": GlobalRate, "server.concurrency": Concurrency, "server.shedding": Shedding,
		"server.lateness": Late, "server.fault": Fault, "server.bandwidth": Bandwidth, "server.healthPaths": HealthPaths,
		"server.trustedCallers": Trusted, "disable": Switches,
	}
)

// withBlocks adds where blocks of TrafficPolicies come from.
func (v *View) withBlocks(from Origins, origins []trafficpolicy.Origin, blocks map[string]Part) Origins {
	if len(origins) == 0 {
		return from
	}
	out := maps.Clone(from)
	if out == nil {
		out = Origins{}
	}
	for _, o := range origins {
		part, ok := blocks[o.Block]
		if object := v.policies[o.Policy]; ok && object != nil {
			out[part] = append(slices.Clip(out[part]), Origin{object, "spec." + o.Block})
		}
	}
	return out
}

// policiesOf are the TrafficPolicies and PeerAuthentications by the words in which they are named as an origin.
func policiesOf(c *catalog.Catalog) map[string]*catalog.Object {
	all := map[string]*catalog.Object{}
	for _, o := range c.Objects() {
		if o.Kind == catalog.KindTrafficPolicy || o.Kind == catalog.KindPeerAuthentication {
			all[o.Origin().String()] = o
		}
	}
	return all
}

// caller is the client as TrafficPolicies know callers.
func (v *View) caller() trafficpolicy.Caller {
	return trafficpolicy.Caller{Namespace: v.client.Namespace, ServiceAccount: v.client.ServiceAccount, Labels: v.client.Labels}
}

// A Serving is what a server is told of the calls it takes, and where that is configured.
type Serving struct {
	resilience.Serving
	// Trusted are the callers whose headers count that steer the mesh; nil if nobody says.
	Trusted []trafficpolicy.Principal
	From    Origins
}

// Serving is what the servers of a cluster are told, if they are the mesh's library's: the first of them, where they are
// known, stands for all.
func (v *View) Serving(cluster string) Serving {
	s, port, subset, ok := v.parse(cluster)
	if !ok {
		return Serving{}
	}
	for _, e := range v.endpoints(s, port, subset) {
		if at, err := netip.ParseAddrPort(e.Addr); err == nil {
			return v.served(trafficpolicy.Workload{
				Namespace: s.Namespace, Address: at.Addr().Unmap().String(), Port: uint32(at.Port()), Labels: e.Labels,
			})
		}
	}
	name, _, _ := strings.Cut(s.Host, ".")
	return v.served(trafficpolicy.Workload{Namespace: s.Namespace, Service: name, Port: cmp.Or(port.TargetPort, port.Number)})
}

// serving is what the process that listens at addr, "ip:port", is told.
func (v *View) serving(addr string) Serving {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return Serving{}
	}
	return v.served(trafficpolicy.Workload{
		Namespace: v.client.Namespace, Address: at.Addr().Unmap().String(), Port: uint32(at.Port()),
	})
}

func (v *View) served(w trafficpolicy.Workload) Serving {
	told := v.catalog.ServerPolicy(w)
	return Serving{told.Serving, told.Trusted, v.withBlocks(nil, told.Origins, serverBlocks)}
}

// SharedLimits are the limits of all processes together, by name.
func (v *View) SharedLimits() []trafficpolicy.SharedLimit { return v.catalog.SharedLimits() }
