package resilience

import "time"

// A GlobalRate limits the calls of all processes together, by a service that keeps the limits
// (Envoy ratelimit and RateLimitService).
type GlobalRate struct {
	// Domain is the name space of the limits.
	Domain string
	// Descriptors each name a limit, for the calls that have all of their entries: where an entry has no Value, each
	// value of the call's has a limit of its own.
	Descriptors [][]Entry
	// Lease is how this process draws on the limits.
	Lease Lease
	// Timeout bounds one question; 0 means 20 ms (Envoy).
	Timeout time.Duration
}
