package resilience

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Answers says which answers, beyond those that have a condition of their own, may
// be followed by a retry, where an answer says when, and to which requests at all. The zero Answers adds nothing.
type Answers struct {
	// Statuses count with OnRetriableStatusCodes (Envoy retriable_status_codes).
	Statuses []int
	// Headers count with OnRetriableHeaders; one that matches is enough (Envoy retriable_headers).
	Headers []HeaderMatch
	// Resets are where a server that limits rates says when its window ends; the
	// first that is there and within MaxReset counts (Envoy rate_limited_retry_back_off).
	Resets []ResetHeader
	// MaxReset bounds what a server may ask for by Resets and by Retry-After; 0 means 300 s.
	MaxReset time.Duration
	// Requests, if there are any, are what a request's own headers must match one of for it to be repeated, for whatever reason
	// (Envoy retriable_request_headers). Method, path, authority and scheme are headers there, as in HTTP/2.
	Requests []HeaderMatch
}

// A HeaderMatch is a condition on the first value of an answer's header, or a request's. Regular
// expressions and ranges, which routes have, are not among its kinds.
type HeaderMatch struct {
	Name   HeaderName
	Kind   MatchKind
	Value  string
	Invert bool // an absent header then matches, too
}

// A MatchKind is how a header's value is compared.
type MatchKind uint8

// The kinds. The zero kind wants the header to be there.
const (
	MatchPresent MatchKind = iota
	MatchExact
	MatchPrefix
	MatchSuffix
	MatchContains
)

// A ResetHeader is a header that says when a limit is lifted: in seconds from now, or
// as seconds since 1970 (Envoy reset_headers).
type ResetHeader struct {
	Name HeaderName
	Unix bool
}

// Match reports whether h has what m wants.
func (m *HeaderMatch) Match(h Header) bool {
	value, ok := first(h, m.Name)
	if ok {
		switch m.Kind {
		case MatchExact:
			ok = value == m.Value
		case MatchPrefix:
			ok = strings.HasPrefix(value, m.Value)
		case MatchSuffix:
			ok = strings.HasSuffix(value, m.Value)
		case MatchContains:
			ok = strings.Contains(value, m.Value)
		}
	}
	return ok != m.Invert
}

// pause is what the answer itself says of the next try, if it says anything. A gRPC
// push-back counts as it stands, and one that is no time forbids the retry (gRFC A6).
// Who asks by Retry-After for more patience than MaxReset gets no retry: to come earlier
// would be to ignore it. A window's end that lies beyond MaxReset says nothing (Envoy).
func (a *Answers) pause(o Outcome) (d Decision, asked bool) {
	if o.GRPC {
		if v, ok := first(o.Header, pushback); ok {
			wait, ok := ParsePushback(v)
			return Decision{Again: ok, Pause: wait, Anew: ok, spread: exactly}, true
		}
	}
	most := 300 * time.Second
	if a != nil {
		if a.MaxReset > 0 {
			most = a.MaxReset
		}
		for i := range a.Resets {
			r := &a.Resets[i]
			if v, ok := first(o.Header, r.Name); ok {
				if wait, ok := r.wait(v); ok && wait <= most {
					return Decision{Again: true, Pause: wait, spread: above}, true
				}
			}
		}
	}
	if v, ok := first(o.Header, retryAfter); ok && !o.GRPC {
		if wait, ok := ParseRetryAfter(v, time.Now()); ok {
			if wait > most {
				return Decision{}, true
			}
			return Decision{Again: true, Pause: wait, spread: above}, true
		}
	}
	return Decision{}, false
}

// wait is how long it is until the end that v says.
func (r *ResetHeader) wait(v string) (time.Duration, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 63)
	if err != nil {
		return 0, false
	}
	if !r.Unix {
		return seconds(n), true
	}
	now := time.Now().Unix()
	if int64(n) < now {
		return 0, false // a window that has ended says nothing (Envoy)
	}
	return seconds(n - uint64(now)), true
}

// ParsePushback reads grpc-retry-pushback-ms: a number of milliseconds. Anything
// else, a negative number too, is a server that asks for no retry (gRFC A6), and not ok.
func ParsePushback(v string) (wait time.Duration, ok bool) {
	ms, err := strconv.ParseInt(v, 10, 32)
	if err != nil || ms < 0 {
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}

// ParseRetryAfter reads Retry-After (RFC 9110, 10.2.3): a number of seconds, or a date,
// which is compared with now. A date that has passed is 0.
func ParseRetryAfter(v string, now time.Time) (wait time.Duration, ok bool) {
	v = strings.TrimSpace(v)
	if n, err := strconv.ParseUint(v, 10, 63); err == nil {
		return seconds(n), true
	}
	for _, layout := range [...]string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC850, time.ANSIC} {
		if at, err := time.Parse(layout, v); err == nil {
			return max(at.Sub(now), 0), true
		}
	}
	return 0, false
}

// seconds is n seconds, or the longest duration if that is shorter.
func seconds(n uint64) time.Duration {
	if n > math.MaxInt64/uint64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Second
}
