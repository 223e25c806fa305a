package catalog

import (
	"github.com/weftmesh/weft/controlserver/trafficpolicy"
)

// ClientPolicy returns what TrafficPolicies say of the calls that a caller makes to a port of a service. route is the name
// of the VirtualService's rule (http[].name) that such a call takes; empty for what is a cluster's, and where
// there is no rule or it has no name. What is a route's is to be asked of the service that is called, what is a cluster's of
// the service that the route leads to. The same arguments return the same pointers.
func (c *Catalog) ClientPolicy(caller trafficpolicy.Caller, service *Service, port uint32, route string) trafficpolicy.Calls {
	return trafficpolicy.Calls{}
}

// ServerPolicy returns what TrafficPolicies say of the calls that a process serves.
func (c *Catalog) ServerPolicy(w trafficpolicy.Workload) trafficpolicy.Serving {
	return trafficpolicy.Serving{}
}

// TellsCallersApart reports whether a TrafficPolicy holds for some callers of a namespace only: then clients that differ in
// labels or service account may see different things.
func (c *Catalog) TellsCallersApart() bool { return false }

// SharedLimits returns the limits that all processes share, by name.
func (c *Catalog) SharedLimits() []trafficpolicy.SharedLimit { return nil }
