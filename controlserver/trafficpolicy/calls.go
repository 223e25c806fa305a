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

// Calls is what the policy says of the calls of a client. name is its "NAMESPACE/NAME", and origin is where it stands.
func (s *Spec) Calls(name, origin string) Calls {
	out := Calls{Off: s.off()}
	took := origins{out: &out.Origins, policy: origin}
	if b := s.Client; b != nil {
		if took.block("client.rateLimit", b.RateLimit != nil) {
			out.Rate = b.RateLimit.value()
		}
		if took.block("client.globalRateLimit", b.GlobalRateLimit != nil) {
			out.Global = b.GlobalRateLimit.value(name + "/client")
		}
		if took.block("client.hedge", b.Hedge != nil) {
			out.Hedge = b.Hedge.value()
		}
		if took.block("client.breaker", b.Breaker != nil) {
			out.Breaker = b.Breaker.value()
		}
		if took.block("client.hostBreaker", b.HostBreaker != nil) {
			out.HostBreaker = b.HostBreaker.value()
		}
		if took.block("client.admission", b.Admission != nil) {
			out.Admission = b.Admission.value()
		}
		if took.block("client.fallback", b.Fallback != nil) {
			out.Fallback = b.Fallback.value()
		}
		if took.block("client.fault", b.Fault != nil) {
			out.Fault = b.Fault.value()
		}
		if took.block("client.bandwidth", b.Bandwidth != nil) {
			out.Bandwidth = b.Bandwidth.value()
		}
		if took.block("client.idleTimeout", b.IdleTimeout != 0) {
			out.Idle = time.Duration(b.IdleTimeout)
		}
	}
	took.block(Disable, out.Off != 0)
	return out
}

// Take adds the blocks of a less specific policy that c has not.
func (c *Calls) Take(from Calls) {
	for _, o := range from.Origins {
		if o.Block != Disable && has(c.Origins, o.Block) {
			continue
		}
		switch o.Block {
		case "client.rateLimit":
			c.Rate = from.Rate
		case "client.globalRateLimit":
			c.Global = from.Global
		case "client.hedge":
			c.Hedge = from.Hedge
		case "client.breaker":
			c.Breaker = from.Breaker
		case "client.hostBreaker":
			c.HostBreaker = from.HostBreaker
		case "client.admission":
			c.Admission = from.Admission
		case "client.fallback":
			c.Fallback = from.Fallback
		case "client.fault":
			c.Fault = from.Fault
		case "client.bandwidth":
			c.Bandwidth = from.Bandwidth
		case "client.idleTimeout":
			c.Idle = from.Idle
		case Disable:
			c.Off |= from.Off
		}
		c.Origins = append(c.Origins, o)
	}
}

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

// Holds reports whether a policy holds for a caller.
func (f *From) Holds(c Caller) bool {
	if f == nil {
		return true
	}
	for k, v := range f.Labels {
		if got, ok := c.Labels[k]; !ok || got != v {
			return false
		}
	}
	return (f.Namespace == "" || f.Namespace == c.Namespace) && (f.ServiceAccount == "" || f.ServiceAccount == c.ServiceAccount)
}
