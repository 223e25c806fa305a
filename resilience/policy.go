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
}
