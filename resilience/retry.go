package resilience

import (
	"math"
	"time"
)

// A Retry says when a call may be tried again. The zero Retry never repeats.
type Retry struct {
	// Attempts is how many retries may follow the first try (Envoy num_retries).
	Attempts uint32
	// On are the conditions, any of which allows a retry (Envoy retry_on).
	On Conditions
	// Base and Max bound the pause before the second and later retries
	// (Envoy retry_back_off); 0 means 25 ms, and ten times Base.
	Base, Max time.Duration
}

// Conditions is a set of reasons to retry (Envoy x-envoy-retry-on, x-envoy-retry-grpc-on).
type Conditions uint32

// The conditions. The names are Envoy's.
const (
	OnConnectFailure Conditions = 1 << iota
	OnRefusedStream
	OnUnavailable // gRPC status UNAVAILABLE
	OnCancelled   // gRPC status CANCELLED answered by the server
)

// Next reports whether the attempt-th try (from 1) that ended in o may be
// followed by another, and after what pause. A try that reached no server goes
// to the next host at once; the pauses of the others grow by two up to Max
// (gRFC A6). Jitter is the caller's.
func (r Retry) Next(attempt uint32, o Outcome) (pause time.Duration, again bool) {
	if attempt > r.Attempts || !r.allows(o) {
		return 0, false
	}
	if o.Unprocessed() {
		return 0, true
	}
	base, limit := r.Base, r.Max
	if base <= 0 {
		base = 25 * time.Millisecond
	}
	if limit <= 0 {
		limit = times(base, 10)
	}
	pause = base
	for range attempt - 1 {
		if pause >= limit {
			break
		}
		pause = times(pause, 2)
	}
	return min(pause, limit), true
}

// allows reports whether one of the conditions holds. A gRPC call that reached no
// server is UNAVAILABLE to its caller, and so it is here.
func (r Retry) allows(o Outcome) bool {
	switch o.Cause {
	case Canceled, Timeout:
		return false
	case HostLeft, Unsent, ConnectFailure:
		if r.On&OnConnectFailure != 0 {
			return true
		}
	case Refused:
		if r.On&(OnRefusedStream|OnConnectFailure) != 0 {
			return true
		}
	}
	if o.GRPC {
		switch o.Code {
		case 1:
			return r.On&OnCancelled != 0
		case 14:
			return r.On&OnUnavailable != 0
		}
	}
	return false
}

// times is d·n, or the longest duration if that is shorter.
func times(d time.Duration, n int64) time.Duration {
	if int64(d) > math.MaxInt64/n {
		return math.MaxInt64
	}
	return time.Duration(int64(d) * n)
}
