package trafficpolicy

// A Concurrency bounds how many calls a server has in flight. It has either max or adaptive.
type Concurrency struct {
	// Max is the bound.
	Max uint32 `json:"max"`
	// Adaptive finds the bound by itself, from how much slower calls become the more there are. An empty one is in force
	// with its defaults.
	Adaptive *Adaptive `json:"adaptive"`
}

// An Adaptive finds the bound by comparing what calls take with what they take when there are few.
type Adaptive struct {
	// Percentile of the latencies stands for all of them. Default: 50.
	Percentile Percent `json:"percentile"`
	// Min is the least bound. Default: 3.
	Min uint32 `json:"min"`
	// Max is the greatest bound. Default: 1000, or min if that is more.
	Max uint32 `json:"max"`
	// Update is how often the bound is computed. Default: 100ms.
	Update Duration `json:"update"`
	// Remeasure is how often the bound goes down to min, to see what calls take then. Default: 60s.
	Remeasure Duration `json:"remeasure"`
	// Jitter is by how much of remeasure, in percent, that comes later at random, lest all servers do it at once. Default: 15.
	Jitter Percent `json:"jitter"`
	// Samples is how many calls a measurement takes. Default: 50.
	Samples uint32 `json:"samples"`
	// Fixed is what a call takes when there are few, if that is known. Default: it is measured. With it there is neither
	// remeasure nor jitter.
	Fixed Duration `json:"fixed"`
	// Buffer is the percentage of that by which calls may be slower without harm. Default: 25.
	Buffer Percent `json:"buffer"`
}

// A Shedding is how long calls may queue before some are refused, the least critical ones first (x-weft-criticality).
type Shedding struct {
	// Target is how long a call may wait while the queue does not drain; it is less than interval. Default: 5ms.
	Target Duration `json:"target"`
	// Interval is how long a call may wait else, and how long the queue must stand to count. Default: 100ms.
	Interval Duration `json:"interval"`
}

// A Lateness is how a server refuses work that nobody waits for any more.
type Lateness struct {
	// Tolerance is how long after its deadline a call is still served. Default: not at all.
	Tolerance Duration `json:"tolerance"`
	// MaxPercent of the calls within interval are refused for it at most, lest a clock that is wrong stop
	// everything. Default: 20.
	MaxPercent Percent `json:"maxPercent"`
	// Interval is the time over which maxPercent holds. Default: 10s.
	Interval Duration `json:"interval"`
}
