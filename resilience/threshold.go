package resilience

// Thresholds bound what is in flight to a cluster (Envoy circuit_breakers.thresholds).
// They are literal: 0 lets nothing through, as in Envoy. Each priority has its own.
type Thresholds struct {
	MaxConnections uint32
	MaxPending     uint32 // calls that wait for a connection (Envoy max_pending_requests)
	MaxRequests    uint32 // attempts in flight
	MaxRetries     uint32 // retries in flight; not asked where there is a Budget (Envoy)
}

// DefaultThresholds are Envoy's: 1024, and 3 retries.
func DefaultThresholds() Thresholds { return Thresholds{1024, 1024, 1024, 3} }

// A Priority is the class of a route's calls, of which each has thresholds of its own (Envoy RoutingPriority).
type Priority uint8

// The priorities.
const (
	DefaultPriority Priority = iota
	HighPriority
)

// Priorities is how many there are.
const Priorities = 2

// InUse is what a cluster has in flight in one priority: the live side of Thresholds.
// The zero InUse has nothing in flight.
type InUse struct {
	Connections, Pending, Requests, Retries Gauge
}
