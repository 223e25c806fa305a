package trafficpolicy

// A RateLimit bounds calls by a bucket of tokens in each process: a common bucket (requests, per, burst), buckets for calls
// of a kind (limits), or both.
type RateLimit struct {
	// Requests is how many calls there may be in each per. Default: there is no common bucket.
	Requests uint32 `json:"requests"`
	// Per is the time in which so many requests may be made, 50ms at least; they come back evenly over it, not all at its end.
	// Needed beside requests.
	Per Duration `json:"per"`
	// Burst is how many calls may be made at once after a pause. Default: requests.
	Burst uint32 `json:"burst"`
	// Limits bound calls of a kind; each that fits a call is asked, in order.
	Limits []Limit `json:"limits"`
	// Common says which calls need a token of the common bucket: "all", or "others", those that none of limits
	// fits. Default: all.
	Common Common `json:"common"`
	// MaxKeys is how many values a limit with by tells apart; the value that was not seen longest is
	// forgotten, and has a full bucket when it comes again. Default: 1024.
	MaxKeys uint32 `json:"maxKeys" rule:"max=1000000"`
	// Headers says that answers tell what is left of the limit (x-ratelimit-limit, -remaining, -reset). Default: false.
	Headers bool `json:"headers"`
}

// A Limit bounds calls of a kind. It needs at least one of match and by.
type Limit struct {
	// Match are facts that calls must have with these values. Default: none are asked for.
	Match map[Fact]string `json:"match"`
	// By are facts whose values have a bucket each: [caller] is a quota for each caller. Default: one bucket for all.
	By []Fact `json:"by"`
	// Requests is how many calls there may be in each per.
	Requests uint32 `json:"requests" rule:"required"`
	// Per is the time in which so many requests may be made, 50ms at least.
	Per Duration `json:"per" rule:"required"`
	// Burst is how many calls may be made at once after a pause. Default: requests.
	Burst uint32 `json:"burst"`
}

// A GlobalRateLimit bounds the calls of all processes together. The control server counts; processes draw on it in
// batches, so that most calls ask nobody.
type GlobalRateLimit struct {
	// Limits bound calls; each that fits a call is asked.
	Limits []GlobalLimit `json:"limits" rule:"required"`
	// Lease is how processes draw on the limits. Default: as an empty one, with its defaults.
	Lease *Lease `json:"lease"`
	// FailClosed refuses calls while the control server can't be asked. Default: false, they go.
	FailClosed bool `json:"failClosed"`
	// Timeout bounds one question to the control server. Default: 20ms.
	Timeout Duration `json:"timeout"`
}

// A GlobalLimit bounds calls of a kind, or all.
type GlobalLimit struct {
	// Name tells the limit from the others of the list in figures. Default: its index.
	Name string `json:"name"`
	// Match are facts that calls must have with these values. Default: none are asked for.
	Match map[Fact]string `json:"match"`
	// By are facts whose values have a limit each. Default: one limit for all.
	By []Fact `json:"by"`
	// Requests is how many calls there may be in each per.
	Requests uint32 `json:"requests" rule:"required"`
	// Per is the time in which so many requests may be made, 1s at least.
	Per Duration `json:"per" rule:"required"`
}

// A Lease is how a process draws on a limit that is kept elsewhere.
type Lease struct {
	// Batch is how many tokens a process asks for at a time. Default: 100.
	Batch uint32 `json:"batch"`
	// Ahead asks for more while so many are left; it is less than batch. Default: a quarter of batch.
	Ahead uint32 `json:"ahead"`
	// Holds is how long tokens are good if the control server does not say. Default: 1s.
	Holds Duration `json:"holds"`
	// Again is how long after a failure the control server is left alone. Default: 1s.
	Again Duration `json:"again"`
}
