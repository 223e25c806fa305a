package resilience

import (
	"testing"
	"time"
)

// What the policies of issue 3 cost a call that nothing stops, one by one and all together.
func BenchmarkDecisions(b *testing.B) {
	budget := Budget{Percent: 20, Interval: 10 * time.Second}
	trip := Trip{Failures: 5, Percent: 50}
	bucket := TokenBucket{MaxTokens: 1 << 30, FillInterval: time.Second}
	rate := &Rate{TokenBucket: bucket}
	byCaller := &Rate{Descriptors: []DescriptorRate{{[]Entry{{"caller", ""}}, bucket}}}
	caller := []Entry{{"caller", "spiffe://td/ns/a/sa/b"}}
	retry := Retry{Attempts: 3, On: On5xx}
	hedge := Hedge{Percentile: 95}
	fault := &Fault{Delay: ms, DelayPercent: Fraction{0, million}}
	lease := &Lease{}
	now := time.Now()

	spending, latencies, gradient, admissions := NewSpending(now), NewLatencies(now), NewGradient(Adaptive{Fixed: ms}, now), NewAdmissions(now)
	shedder, late := NewShedder(now), NewLateCalls(now)
	var use InUse
	var cluster, host Breaker
	var local, callers RateLimiter
	var leased Leased
	var throttle Throttle
	var active Gauge
	leased.Renew(lease, now, 1<<31, time.Hour)

	parts := []struct {
		name string
		do   func(now time.Time)
	}{
		{"retry", func(time.Time) { retry.Decide(1, 1, good) }},
		{"budget", func(now time.Time) { spending.Begin(&budget, now); spending.End() }},
		{"thresholds", func(time.Time) { use.Requests.Enter(1024); use.Requests.Leave() }},
		{"hedge", func(now time.Time) { latencies.Observe(now, ms); hedge.Next(1, latencies, now, 0) }},
		{"two breakers", func(time.Time) {
			x, _ := cluster.Allow(trip)
			y, _ := host.Allow(trip)
			y.Done(good)
			x.Done(good)
		}},
		{"rate", func(now time.Time) { local.Allow(rate, nil, now) }},
		{"rate by caller", func(now time.Time) { callers.Allow(byCaller, caller, now) }},
		{"lease", func(now time.Time) { leased.Take(lease, now) }},
		{"adaptive concurrency", func(now time.Time) { gradient.Enter(); gradient.Leave(now, ms) }},
		{"admission", func(now time.Time) { admissions.Admit(Admission{}, now, 0.5); admissions.Done(Admission{}, now, true) }},
		{"shedding", func(now time.Time) { shedder.Admit(Shedding{}, Critical, now, 0) }},
		{"deadline", func(now time.Time) { late.Refuse(Lateness{}, now, now.Add(time.Second)) }},
		{"bandwidth", func(now time.Time) { throttle.Take(Bandwidth{BytesPerSecond: 1 << 40}, now, 1000) }},
		{"fault", func(time.Time) { fault.Decide(nil, &active, zero) }},
	}
	for _, p := range parts {
		b.Run(p.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.do(now)
			}
		})
	}
	all := func(which ...string) func(b *testing.B) {
		return func(b *testing.B) {
			b.Helper()
			b.ReportAllocs()
			for b.Loop() {
				now := time.Now()
				for _, p := range parts {
					for _, name := range which {
						if p.name == name {
							p.do(now)
						}
					}
				}
			}
		}
	}
	b.Run("client side together", all("retry", "budget", "thresholds", "hedge", "two breakers", "rate", "admission", "fault"))
	b.Run("server side together", all("rate by caller", "lease", "adaptive concurrency", "shedding", "deadline", "fault"))
}
