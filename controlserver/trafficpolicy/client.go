package trafficpolicy

// A Hedge sends a call that has no answer yet once more, to another host; the first answer counts. It is for calls that are
// idempotent, and paid from the retry budget. It needs at least one of delay, percentile and chance.
type Hedge struct {
	// Delay is how long to wait for an answer before each further attempt; beside percentile, what holds while too few
	// answers have come to tell it by.
	Delay Duration `json:"delay"`
	// Percentile of what the service's answers took lately takes the place of delay: 95 sends one call in twenty again.
	// Less than 100. Default: delay is fixed.
	Percentile Percent `json:"percentile"`
	// Max is how many attempts may be added to a call. Default: 1.
	Max uint32 `json:"max"`
	// Chance is the percentage of calls that get a second attempt at once, without waiting. Default: none.
	Chance Percent `json:"chance"`
}

// A Breaker stops calls for a while once too many failed. It needs at least one of failures and percent.
type Breaker struct {
	// Failures opens it after so many failures one after the other. Default: it does not count them.
	Failures uint32 `json:"failures"`
	// Percent opens it when so many of a hundred calls within window failed. Default: it does not compare them.
	Percent Percent `json:"percent"`
	// Volume is how many calls there must be within window before percent counts. Default: 20.
	Volume uint32 `json:"volume"`
	// Window is how far back calls count for percent. Default: 10s.
	Window Duration `json:"window"`
	// Open is how long it stays open before calls may probe. Default: 5s.
	Open Duration `json:"open"`
	// Probes is how many calls may probe at a time, and how many in a row have to succeed to close it. Default: 1.
	Probes uint32 `json:"probes"`
}

// An Admission refuses a caller's own calls the more of them fail, so that a server that can't keep up is not asked in vain.
type Admission struct {
	// Window is how far back calls count, 1s at least. Default: 30s.
	Window Duration `json:"window"`
	// Threshold is the percentage of successes below which calls are refused, 1 at least. Default: 95.
	Threshold Percent `json:"threshold"`
	// Aggression is how fast refusals grow as successes fall: 1 is linear, more is faster; 1 at least. Default: 1.
	Aggression float64 `json:"aggression"`
	// MinRate is how many calls a second there must be for any to be refused, 4294967295 at most. Default: however few.
	MinRate float64 `json:"minRate"`
	// MaxPercent of the calls are refused at most. Default: 80.
	MaxPercent Percent `json:"maxPercent"`
}

// A Fallback is what a caller gets when the attempts of a call are spent: the last good answer if it is young enough, else
// the one that is configured. GET and HEAD requests have it, and unary gRPC calls: where some of these change something, let the
// target name a route that only reads. It needs at least one of maxAge and answer.
type Fallback struct {
	// MaxAge is how old a last good answer may be. Default: none are kept.
	MaxAge Duration `json:"maxAge"`
	// MaxAnswers is how many good answers each process keeps. Default: 256.
	MaxAnswers uint32 `json:"maxAnswers" rule:"max=1000000"`
	// MaxBytes is how long the body of an answer may be that is kept, 64MiB at most. Default: 64KiB.
	MaxBytes Size `json:"maxBytes" rule:"max=67108864"`
	// Answer is the configured answer. Default: none.
	Answer *Answer `json:"answer"`
}

// An Answer is an answer that no server gave. It has either httpStatus or grpcStatus.
type Answer struct {
	// HTTPStatus is the HTTP status, 200 to 599. Only HTTP calls get the answer.
	HTTPStatus uint32 `json:"httpStatus" rule:"min=200,max=599"`
	// GRPCStatus is the name of the gRPC status, such as OK or UNAVAILABLE. Only gRPC calls get the answer.
	GRPCStatus GRPCStatus `json:"grpcStatus"`
	// Headers are the answer's headers. Default: none.
	Headers map[string]string `json:"headers"`
	// Body is the answer's body, with httpStatus. Default: empty.
	Body string `json:"body"`
	// Message is the answer's message on the wire (protobuf), in base64, with grpcStatus OK. Default: the empty message.
	Message Base64 `json:"message"`
}
