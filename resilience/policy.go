package resilience

import "time"

// A Policy is what a route says about time and failure. The zero Policy sets no
// limits and repeats nothing.
type Policy struct {
	// Timeout bounds the whole call, all attempts together; 0 means no bound but the caller's.
	Timeout time.Duration
	Retry   Retry
}
