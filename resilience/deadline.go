package resilience

import (
	"math"
	"strconv"
	"time"
)

// ParseGRPCTimeout reads grpc-timeout: one to eight digits and a unit of H, M, S, m,
// u or n. What is longer than a Duration is the longest one.
func ParseGRPCTimeout(v string) (d time.Duration, ok bool) {
	if len(v) < 2 || len(v) > 9 {
		return 0, false
	}
	unit := unitOf(v[len(v)-1])
	if unit == 0 {
		return 0, false
	}
	var n int64
	for _, c := range []byte(v[:len(v)-1]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	if n == 0 {
		return 0, true
	}
	return times(unit, n), true
}

// AppendGRPCTimeout appends d as grpc-timeout says it, in the finest unit that fits and
// rounded down: a deadline is never extended on its way. What is not positive is 0.
func AppendGRPCTimeout(b []byte, d time.Duration) []byte {
	d = max(d, 0)
	symbol := byte('H')
	for _, finer := range []byte("numSM") {
		if d/unitOf(finer) < 100_000_000 {
			symbol = finer
			break
		}
	}
	return append(strconv.AppendInt(b, int64(d/unitOf(symbol)), 10), symbol)
}

func unitOf(symbol byte) time.Duration {
	switch symbol {
	case 'n':
		return time.Nanosecond
	case 'u':
		return time.Microsecond
	case 'm':
		return time.Millisecond
	case 'S':
		return time.Second
	case 'M':
		return time.Minute
	case 'H':
		return time.Hour
	}
	return 0
}

// ParseTimeoutMillis reads x-envoy-expected-rq-timeout-ms: a number of milliseconds.
// 0 says that there is no timeout (Envoy), and is not ok.
func ParseTimeoutMillis(v string) (d time.Duration, ok bool) {
	ms, err := strconv.ParseUint(v, 10, 64)
	if err != nil || ms == 0 {
		return 0, false
	}
	if ms > math.MaxInt64/uint64(time.Millisecond) {
		return math.MaxInt64, true
	}
	return time.Duration(ms) * time.Millisecond, true
}

// AppendTimeoutMillis appends d as x-envoy-expected-rq-timeout-ms says it, rounded
// down, but never to the 0 that would mean no timeout.
func AppendTimeoutMillis(b []byte, d time.Duration) []byte {
	return strconv.AppendInt(b, max(d.Milliseconds(), 1), 10)
}

// A Lateness says when a server refuses work that nobody waits for any more. The share of
// refusals is bounded, lest a clock that is wrong stop everything (Finagle
// DeadlineFilter). The zero Lateness is in force with its defaults.
type Lateness struct {
	// Tolerance is how long after its deadline a call is still served; 0 means not at all.
	Tolerance time.Duration
	// MaxPercent of the calls within Interval may be refused, at most; 0 means 20 and 10 s.
	MaxPercent float64
	Interval   time.Duration
}

// LateCalls are the calls of a server, and how many of them were refused for being late.
// It takes no lock.
type LateCalls struct{ recent rolling }

// NewLateCalls returns LateCalls that have seen none.
func NewLateCalls(now time.Time) *LateCalls { return &LateCalls{rolling{start: now}} }

// Refuse counts a call and reports whether it is to be refused.
func (l *LateCalls) Refuse(p Lateness, now, deadline time.Time) bool {
	if p.MaxPercent <= 0 {
		p.MaxPercent = 20
	}
	if p.Interval <= 0 {
		p.Interval = 10 * time.Second
	}
	w := l.recent.window(p.Interval)
	w.add(now, 1, 0)
	if !now.After(deadline.Add(p.Tolerance)) {
		return false
	}
	calls, refused := w.sums(now)
	if float64(refused)+1 > float64(calls)*p.MaxPercent/100 {
		return false
	}
	w.add(now, 0, 1)
	return true
}
