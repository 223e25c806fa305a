package trafficpolicy

import (
	"time"

	"github.com/weftmesh/weft/resilience"
)

// A Caller is what of a client decides which policies hold for its calls.
type Caller struct {
	Namespace      string
	ServiceAccount string
	Labels         map[string]string
}

// A Workload is what of a process decides which policies hold for the calls it serves.
type Workload struct {
	Namespace string
	// Service is the name it registers under, without a namespace; may be empty.
	Service string
	// Address and Port are where it listens. The address is an IP address; an unspecified one stands for any.
	Address string
	Port    uint32
	// Labels tell it from others at the same port where the address is unspecified.
	Labels map[string]string
}

// Calls is what policies say of the calls of a client. The zero Calls says nothing. The values are not to be modified.
type Calls struct {
	// These are the route's.
	Rate      *resilience.Rate
	Global    *resilience.GlobalRate
	Hedge     *resilience.Hedge
	Fallback  *resilience.Fallback
	Fault     *resilience.Fault
	Bandwidth resilience.Bandwidths
	Idle      time.Duration

	// These are the cluster's.
	Breaker     *resilience.Trip
	HostBreaker *resilience.Trip
	Admission   *resilience.Admission

	// Off is both the route's and the cluster's.
	Off resilience.Switches

	Origins []Origin
}

// Serving is what policies say of the calls that a server takes. The values are not to be modified.
type Serving struct {
	resilience.Serving

	Origins []Origin
}

// An Origin says which policy a block was taken from.
type Origin struct {
	// Block is a field of Spec, such as "client.hedge".
	Block string
	// Policy is where it stands: "TrafficPolicy/NAMESPACE/NAME at FILE:LINE".
	Policy string
}

// A SharedLimit is a limit of all processes together, as the rate limit service keeps it.
//
// A call falls under it if it was described by all of Entries, in their order, and by no others. Where an
// entry has no Value, each value is a limit of its own.
type SharedLimit struct {
	// Name is that of the policy, of its block and of the limit: "NAMESPACE/NAME/server/0".
	Name string
	// Domain is the name space of the limit; always Domain.
	Domain string
	// Entries begin with one whose key is LimitKey and whose value is Name.
	Entries []resilience.Entry
	// Requests may be made in each Per.
	Requests uint32
	Per      time.Duration
}

const (
	// Domain is the name space of all limits of TrafficPolicies.
	Domain = "weft"
	// LimitKey is the key of the entry that names the limit (Envoy generic_key). It is no fact: every call has it.
	LimitKey = "generic_key"
)

// Apply adds what is the route's to the policy of a route. A fault's delay and abort take the place of those that p
// has, each by itself.
func (c *Calls) Apply(p *resilience.Policy) {
	p.Rate, p.Global, p.Hedge, p.Fallback = c.Rate, c.Global, c.Hedge, c.Fallback
	p.Bandwidth, p.Idle = c.Bandwidth, c.Idle
	p.Off |= c.Off
	if c.Fault == nil {
		return
	}
	fault := *c.Fault
	if p.Fault != nil && fault.Delay == 0 {
		fault.Delay, fault.DelayPercent = p.Fault.Delay, p.Fault.DelayPercent
	}
	if p.Fault != nil && fault.Abort == (resilience.Abort{}) {
		fault.Abort, fault.AbortPercent = p.Fault.Abort, p.Fault.AbortPercent
	}
	p.Fault = &fault
}
