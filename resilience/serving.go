package resilience

// A Serving is what a server says of the calls it takes. The zero Serving takes all of them.
type Serving struct {
	// Rate limits the calls of this process; nil does not. A quota per caller is a descriptor
	// of it with the key "caller".
	Rate *Rate
	// Global limits the calls that all processes serve together; nil does not.
	Global *GlobalRate
	// MaxRequests bounds how many calls are in flight; 0 does not.
	MaxRequests uint32
	// Adaptive finds the bound by itself; nil does not.
	Adaptive *Adaptive
	// Shedding lets calls beyond a bound queue, as long as that drains; nil refuses them at once. Without a
	// bound it stands for the zero Adaptive too.
	Shedding *Shedding
	// Late refuses work whose deadline has passed; nil means the zero Lateness.
	Late *Lateness
	// Fault is what is done to the calls on purpose; nil is nothing.
	Fault *Fault
	// Bandwidth bounds how fast bodies go, all calls together.
	Bandwidth Bandwidths
	// HealthPaths are the paths of health checks, which are never shed; nil means /healthz, /livez and
	// /readyz. gRPC's own health service is always one.
	HealthPaths []string
	// Off are the kinds of policy that are turned off, of those that stand here.
	Off Switches
}
