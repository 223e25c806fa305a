package resilience

import (
	"math"
	"slices"
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
	// TryTimeout bounds each attempt; 0 means no bound but the call's own (Envoy per_try_timeout).
	TryTimeout time.Duration
	// Unguarded lets a call be repeated though a server may have begun to process it
	// and nothing says that it is idempotent. Without it such a call is not repeated
	// after a reset or a timeout of the attempt.
	Unguarded bool
	// OtherLocalities makes a retry, and an attempt beside others, go to hosts of other localities than those of the
	// hosts that were tried, while there are any (Istio retryRemoteLocalities, which by Envoy's previous_priorities means priorities).
	OtherLocalities bool
	// Answers are further answers that matter; nil means none. It is not modified.
	Answers *Answers
}

// A Decision is what follows an attempt.
type Decision struct {
	// Again says that the call may be tried again, after Pause.
	Again bool
	// Pause is how long to wait: at most, if it is the policy's own; at least, if the server asked for it.
	Pause time.Duration
	// Anew says that the pauses begin anew after this one (gRFC A6).
	Anew bool

	spread spread
}

// spread is how a pause is jittered.
type spread uint8

const (
	below   spread = iota // anything up to the pause (Envoy retry_back_off)
	exactly               // as the server said (gRFC A6)
	above                 // up to half as much again (Envoy rate_limited_retry_back_off)
)

// Next reports whether the attempt-th try (from 1) that ended in o may be
// followed by another, and after what pause. A try that reached no server goes
// to the next host at once; the pauses of the others grow by two up to Max
// (gRFC A6) unless the server asked for one of its own. Jitter is the caller's.
func (r Retry) Next(attempt uint32, o Outcome) (pause time.Duration, again bool) {
	d := r.Decide(attempt, attempt, o)
	return d.Pause, d.Again
}

// Decide is Next for callers that leave the jitter to the Decision. step is which pause it is (from 1) since they
// began, or began anew.
func (r Retry) Decide(attempt, step uint32, o Outcome) Decision {
	if attempt > r.Attempts || !r.allows(&o) {
		return Decision{}
	}
	if o.Unprocessed() || o.Cause == Stale {
		return Decision{Again: true}
	}
	if o.Header != nil {
		if d, asked := r.Answers.pause(o); asked {
			if d.spread == above {
				d.Pause = max(d.Pause, r.backoff(step))
			}
			return d
		}
	}
	return Decision{Again: true, Pause: r.backoff(step)}
}

// Covers reports whether a request with these headers may be repeated.
func (r Retry) Covers(request Header) bool {
	if r.Answers == nil || len(r.Answers.Requests) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Answers.Requests, func(m HeaderMatch) bool { return m.Match(request) })
}

// Jittered is the pause to make, for a random number in [0, 1).
func (d Decision) Jittered(random float64) time.Duration {
	switch d.spread {
	case below:
		return time.Duration(float64(d.Pause) * random)
	case above:
		more := time.Duration(float64(d.Pause/2) * random)
		return d.Pause + min(more, math.MaxInt64-d.Pause)
	default:
		return d.Pause
	}
}

// backoff is the longest step-th pause.
func (r Retry) backoff(step uint32) time.Duration {
	base, limit := r.Base, r.Max
	if base <= 0 {
		base = 25 * time.Millisecond
	}
	if limit <= 0 {
		limit = times(base, 10)
	}
	pause := base
	for range max(step, 1) - 1 {
		if pause >= limit {
			break
		}
		pause = times(pause, 2)
	}
	return min(pause, limit)
}

// allows reports whether one of the conditions holds. A gRPC call that reached no
// server is UNAVAILABLE to its caller, and so it is here.
func (r Retry) allows(o *Outcome) bool {
	switch o.Cause {
	case Canceled, Timeout:
		return false
	case HostLeft, Unsent, ConnectFailure:
		if r.On&(OnConnectFailure|OnResetBeforeRequest|unanswered) != 0 {
			return true
		}
	case Refused:
		if r.On&(OnRefusedStream|OnConnectFailure|unanswered) != 0 {
			return true
		}
	case Stale:
		if r.On&(OnConnectFailure|OnResetBeforeRequest|unanswered) != 0 && (o.Idempotent || r.Unguarded) {
			return true
		}
	case Reset, TryTimeout:
		if r.On&unanswered != 0 && (o.Idempotent || r.Unguarded) {
			return true
		}
	}
	return (o.GRPC || o.Err == nil) && r.allowsAnswer(o)
}

// unanswered are the conditions that hold when there is no answer, which to
// the caller of a proxy looks like a 503 (Envoy 5xx, gateway-error, reset).
const unanswered = On5xx | OnGatewayError | OnReset

// allowsAnswer reports whether a server's answer may be followed by a retry. Retries make
// a server's overload worse: it says so by x-envoy-overloaded, or, in gRPC, by a
// push-back that is no time. A limit that was reached is not asked again unless
// the policy says so (Envoy).
func (r Retry) allowsAnswer(o *Outcome) bool {
	if o.Header != nil {
		if _, overloaded := first(o.Header, envoyOverloaded); overloaded {
			return false
		}
		if _, limited := first(o.Header, envoyRateLimited); limited {
			return r.On&OnEnvoyRateLimited != 0
		}
	}
	if o.GRPC {
		return r.allowsCode(o.Code) || r.matches(o)
	}
	return r.allowsStatus(o.Status) || r.matches(o)
}

func (r Retry) allowsCode(code uint32) bool {
	switch code {
	case codeCancelled:
		return r.On&OnCancelled != 0
	case codeDeadlineExceeded:
		return r.On&OnDeadlineExceeded != 0
	case codeResourceExhausted:
		return r.On&OnResourceExhausted != 0
	case codeInternal:
		return r.On&OnInternal != 0
	case codeUnavailable:
		return r.On&OnUnavailable != 0
	}
	return false
}

func (r Retry) allowsStatus(s int) bool {
	switch {
	case s >= 502 && s <= 504 && r.On&OnGatewayError != 0,
		s >= 500 && s <= 599 && r.On&On5xx != 0,
		s == 409 && r.On&OnRetriable4xx != 0:
		return true
	}
	return r.On&OnRetriableStatusCodes != 0 && r.Answers != nil && slices.Contains(r.Answers.Statuses, s)
}

// matches reports whether the answer has one of the retriable headers.
func (r Retry) matches(o *Outcome) bool {
	if r.On&OnRetriableHeaders == 0 || r.Answers == nil || o.Header == nil {
		return false
	}
	for i := range r.Answers.Headers {
		if r.Answers.Headers[i].Match(o.Header) {
			return true
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
