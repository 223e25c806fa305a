package resilience

import (
	"testing"
	"time"
)

func FuzzConditions(f *testing.F) {
	f.Add("5xx, gateway-error,,reset;503")
	f.Add("retriable-status-codes,503")
	f.Fuzz(func(t *testing.T, list string) {
		c, _ := ParseConditions(list)
		if again, unknown := ParseConditions(c.String()); again != c || unknown != nil {
			t.Errorf("%q is %v, then %v, %q", list, c, again, unknown)
		}
		s, _ := ParseSwitches(list)
		if again, unknown := ParseSwitches(s.String()); again != s || unknown != nil {
			t.Errorf("%q is %v, then %v, %q", list, s, again, unknown)
		}
		if len((Retry{On: c}).Check()) != 0 || len(s.Check()) != 0 {
			t.Errorf("%q: what was read does not pass its check", list)
		}
	})
}

// Whatever a server answers, a pause is never negative and never longer than is allowed, and what is not repeated has none.
func FuzzAnswers(f *testing.F) {
	f.Add("120", "7", "3", "1787227200", uint32(1))
	f.Add("-1", "Thu, 20 Aug 2026 12:00:07 GMT", "18446744073709551615", "0", uint32(4_000_000_000))
	f.Fuzz(func(t *testing.T, push, after, reset, until string, attempt uint32) {
		r := Retry{Attempts: attempt, On: On5xx | OnUnavailable, Answers: &Answers{
			Resets: []ResetHeader{{Name: HeaderName{Lower: "a", Canonical: "A"}}, {Name: HeaderName{Lower: "b", Canonical: "B"}, Unix: true}}, MaxReset: time.Minute}}
		for _, o := range []Outcome{
			{Status: 503, Header: web{"Retry-After": {after}, "A": {reset}, "B": {until}}},
			{GRPC: true, Code: 14, Header: metadata{"grpc-retry-pushback-ms": {push}, "retry-after": {after}}},
		} {
			d := r.Decide(min(attempt, 70), min(attempt, 70), o)
			most := time.Minute
			if o.GRPC {
				most = 1 << 31 * time.Millisecond
			}
			if d.Pause < 0 || d.Pause > most || !d.Again && d.Pause != 0 || d.Jittered(0.999) < 0 || d.Jittered(0.999) > most+most/2 {
				t.Errorf("%+v: %+v", o, d)
			}
		}
		if d, ok := ParseRetryAfter(after, start); d < 0 || !ok && d != 0 {
			t.Errorf("%q: %v, %v", after, d, ok)
		}
	})
}

func FuzzFaultHeaders(f *testing.F) {
	f.Add("5", "100", "503", "14", "3")
	f.Add("-1", "4294967296", "99", "17", "9223372036854775807")
	f.Fuzz(func(t *testing.T, delay, percent, abort, grpc, through string) {
		fault := Fault{ByHeader: true, DelayPercent: Percent(100), AbortPercent: Percent(100), SlowPercent: Percent(100)}
		var active Gauge
		i, ok := fault.Decide(web{
			"X-Envoy-Fault-Delay-Request": {delay}, "X-Envoy-Fault-Delay-Request-Percentage": {percent}, "X-Envoy-Fault-Abort-Request": {abort},
			"X-Envoy-Fault-Abort-Grpc-Request": {grpc}, "X-Envoy-Fault-Throughput-Response": {through},
		}, &active, zero)
		if i.Delay < 0 || ok != (active.Count() == 1) || ok != (i != Injection{}) {
			t.Errorf("%+v, %v", i, ok)
		}
		if found := (&Fault{Abort: i.Abort, Delay: i.Delay}).Check(); len(found) > 0 {
			t.Errorf("a caller makes a fault that could not be configured: %s", lines(found))
		}
	})
}
