package resilience

import "time"

// A Policy is what a route says about time and failure. The zero Policy sets no
// limits and repeats nothing.
type Policy struct {
	// Timeout bounds the whole call, all attempts together; 0 means no bound but the caller's.
	Timeout time.Duration
	Retry   Retry
	// Hedge sends a call again before the first attempt has failed; nil never does.
	Hedge *Hedge
	// Priority is which of the cluster's Thresholds hold (Envoy RouteAction.priority).
	Priority Priority
	// Rate limits the calls of this process that take the route; nil does not.
	Rate *Rate
	// Global limits the calls of all processes together; nil does not.
	Global *GlobalRate
	// Idle ends a call on which neither side has sent anything for so long; 0 never does
	// (Envoy RouteAction.idle_timeout).
	Idle time.Duration
	// Fault is what is done to the calls on purpose; nil is nothing.
	Fault *Fault
	// Fallback is the answer to calls whose attempts are spent; nil is none.
	Fallback *Fallback
	// Bandwidth bounds how fast the bodies of the route's calls go, all of them together.
	Bandwidth Bandwidths
	// Off are the kinds of policy that are turned off, of those that stand here.
	Off Switches
}

// Bandwidths bound both ways; the zero Bandwidths bound neither.
type Bandwidths struct{ Request, Response Bandwidth }

// InForce is p without the policies that Off turns off, so that whoever follows it need not ask. The time of a try
// stays where retries are off: the first try has it all the same.
func (p Policy) InForce() Policy {
	if p.Off.Off(NoRetries) {
		p.Retry = Retry{TryTimeout: p.Retry.TryTimeout}
	}
	if p.Off.Off(NoHedges) {
		p.Hedge = nil
	}
	if p.Off.Off(NoRates) {
		p.Rate = nil
	}
	if p.Off.Off(NoGlobalRates) {
		p.Global = nil
	}
	if p.Off.Off(NoBandwidths) {
		p.Bandwidth = Bandwidths{}
	}
	if p.Off.Off(NoFallbacks) {
		p.Fallback = nil
	}
	if p.Off.Off(NoFaults) {
		p.Fault = nil
	}
	return p
}
