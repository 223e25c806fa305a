package resilience

import (
	"strconv"
	"time"
)

// A Fault is what is done to calls on purpose (Envoy fault filter), and what only
// a library can do. The zero Fault does nothing.
type Fault struct {
	// Delay holds a share of the calls back for so long.
	Delay        time.Duration
	DelayPercent Fraction
	// Abort answers a share of the calls in the server's place.
	Abort        Abort
	AbortPercent Fraction
	// BytesPerSecond slows the bodies of a share of the answers down (Envoy response_rate_limit).
	BytesPerSecond uint64
	SlowPercent    Fraction
	// Break is what is done to the connection of a share of the calls.
	Break        Break
	BreakPercent Fraction
	// ByHeader lets callers say what is done to their calls by Envoy's x-envoy-fault
	// headers, in the shares that are configured at most.
	ByHeader bool
	// MaxActive bounds how many calls have a fault at a time; 0 means no bound.
	MaxActive uint32
}

// An Abort is an answer that no server gave. The zero Abort is none.
type Abort struct {
	Status int    // HTTP; 0 if it is by gRPC
	Code   uint32 // gRPC; counts when GRPC is set
	GRPC   bool
}

// A Break is what happens to a connection.
type Break struct {
	Kind BreakKind
	// After is how many bytes of the body come through before a BodyReset, or between pauses of a SlowBody.
	After int64
	// Pause is how long a SlowBody stops each time.
	Pause time.Duration
}

// A BreakKind is a way to break a connection.
type BreakKind uint8

// The kinds.
const (
	NoBreak            BreakKind = iota
	ConnectionRefused            // nobody listens
	BodyReset                    // the connection is reset in the middle of a body
	SlowBody                     // the body stops again and again
	CorruptCertificate           // the peer's certificate can't be verified
)

// An Injection is what is done to one call: the delay first, then the abort, if there is
// one. The zero Injection is nothing.
type Injection struct {
	Delay          time.Duration
	Abort          Abort
	BytesPerSecond uint64
	Break          Break
}

// The headers by which callers ask for faults (Envoy). A percentage that is missing is the one configured.
var (
	delayHeader   = faultHeader{HeaderName{Lower: "x-envoy-fault-delay-request", Canonical: "X-Envoy-Fault-Delay-Request"}, HeaderName{Lower: "x-envoy-fault-delay-request-percentage", Canonical: "X-Envoy-Fault-Delay-Request-Percentage"}}
	abortHeader   = faultHeader{HeaderName{Lower: "x-envoy-fault-abort-request", Canonical: "X-Envoy-Fault-Abort-Request"}, HeaderName{Lower: "x-envoy-fault-abort-request-percentage", Canonical: "X-Envoy-Fault-Abort-Request-Percentage"}}
	grpcHeader    = faultHeader{HeaderName{Lower: "x-envoy-fault-abort-grpc-request", Canonical: "X-Envoy-Fault-Abort-Grpc-Request"}, abortHeader.percent}
	throughHeader = faultHeader{HeaderName{Lower: "x-envoy-fault-throughput-response", Canonical: "X-Envoy-Fault-Throughput-Response"}, HeaderName{Lower: "x-envoy-fault-throughput-response-percentage", Canonical: "X-Envoy-Fault-Throughput-Response-Percentage"}}
)

type faultHeader struct{ value, percent HeaderName }

// Decide says what is done to the call that has the headers h, which may be nil; not ok means
// nothing. roll returns a random number below n, such as rand.Uint32N. If ok, the call was counted in active, and
// Leave is to be called once it has ended.
func (f *Fault) Decide(h Header, active *Gauge, roll func(n uint32) uint32) (i Injection, ok bool) {
	if ms, share, ok := f.ask(h, delayHeader, f.Delay > 0, f.DelayPercent); ok && share.Holds(roll(million)) {
		if i.Delay = f.Delay; ms >= 0 {
			i.Delay = time.Duration(ms) * time.Millisecond
		}
	}
	if abort, share, ok := f.abort(h); ok && share.Holds(roll(million)) {
		i.Abort = abort
	}
	if kib, share, ok := f.ask(h, throughHeader, f.BytesPerSecond > 0, f.SlowPercent); ok && kib != 0 && share.Holds(roll(million)) {
		if i.BytesPerSecond = f.BytesPerSecond; kib > 0 {
			i.BytesPerSecond = uint64(kib) << 10
		}
	}
	if f.Break.Kind != NoBreak && f.BreakPercent.Holds(roll(million)) {
		i.Break = f.Break
	}
	if i == (Injection{}) {
		return i, false
	}
	if f.MaxActive == 0 {
		active.Begin()
	} else if !active.Enter(f.MaxActive) {
		return Injection{}, false
	}
	return i, true
}

// abort is the answer that the call asks for, or the one that is configured, and its share.
func (f *Fault) abort(h Header) (Abort, Fraction, bool) {
	if status, share, ok := f.ask(h, abortHeader, false, f.AbortPercent); ok && status >= 200 && status < 600 {
		return Abort{Status: int(status)}, share, true
	}
	if code, share, ok := f.ask(h, grpcHeader, false, f.AbortPercent); ok && code >= 0 && code <= lastCode {
		return Abort{GRPC: true, Code: uint32(code)}, share, true
	}
	return f.Abort, f.AbortPercent, f.Abort != Abort{}
}

// ask is what a call asks for by a header, and in what share. value is -1 if it does
// not ask; ok is configured then.
func (f *Fault) ask(h Header, n faultHeader, configured bool, share Fraction) (value int64, of Fraction, ok bool) {
	if !f.ByHeader {
		return -1, share, configured
	}
	v, asked := first(h, n.value)
	if !asked {
		return -1, share, configured
	}
	value, err := strconv.ParseInt(v, 10, 32)
	if err != nil || value < 0 {
		return -1, share, configured
	}
	if v, ok := first(h, n.percent); ok {
		if n, err := strconv.ParseUint(v, 10, 32); err == nil {
			share.Numerator = min(share.Numerator, uint32(n))
		}
	}
	return value, share, true
}
