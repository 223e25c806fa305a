package trafficpolicy

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// These turn blocks into what decides about calls.

func (l *RateLimit) value() *resilience.Rate {
	r := &resilience.Rate{MaxKeys: int(l.MaxKeys), AlwaysBucket: l.Common != "others", Headers: l.Headers}
	if l.Requests > 0 {
		r.TokenBucket = bucket(l.Requests, l.Per, l.Burst)
	}
	for _, limit := range l.Limits {
		r.Descriptors = append(r.Descriptors, resilience.DescriptorRate{
			Entries: entries(limit.Match, limit.By), TokenBucket: bucket(limit.Requests, limit.Per, limit.Burst),
		})
	}
	return r
}

func bucket(requests uint32, per Duration, burst uint32) resilience.TokenBucket {
	return resilience.TokenBucket{MaxTokens: cmp.Or(burst, requests), TokensPerFill: requests, FillInterval: time.Duration(per)}
}

// entries are a limit's facts, those with a value first, by name.
func entries(match map[Fact]string, by []Fact) []resilience.Entry {
	var all []resilience.Entry
	for _, f := range slices.Sorted(maps.Keys(match)) {
		all = append(all, resilience.Entry{Key: string(f), Value: match[f]})
	}
	for _, f := range by {
		all = append(all, resilience.Entry{Key: string(f)})
	}
	return all
}

// value is what processes know of the limits; block names the policy and its block.
func (g *GlobalRateLimit) value(block string) *resilience.GlobalRate {
	r := &resilience.GlobalRate{Domain: Domain, Timeout: time.Duration(g.Timeout), Lease: resilience.Lease{Closed: g.FailClosed}}
	for _, limit := range g.shared(block) {
		r.Descriptors = append(r.Descriptors, limit.Entries)
	}
	if l := g.Lease; l != nil {
		r.Lease.Batch, r.Lease.Ahead = l.Batch, l.Ahead
		r.Lease.Holds, r.Lease.Again = time.Duration(l.Holds), time.Duration(l.Again)
	}
	return r
}

// shared is what the rate limit service knows of them.
func (g *GlobalRateLimit) shared(block string) []SharedLimit {
	var all []SharedLimit
	for i, limit := range g.Limits {
		name := block + "/" + limit.name(i)
		all = append(all, SharedLimit{
			Name: name, Domain: Domain, Requests: limit.Requests, Per: time.Duration(limit.Per),
			Entries: append([]resilience.Entry{{Key: LimitKey, Value: name}}, entries(limit.Match, limit.By)...),
		})
	}
	return all
}

func (l GlobalLimit) name(i int) string { return cmp.Or(l.Name, strconv.Itoa(i)) }

func (h *Hedge) value() *resilience.Hedge {
	chance, _ := h.Chance.fraction()
	return &resilience.Hedge{Delay: time.Duration(h.Delay), Percentile: float64(h.Percentile), Max: h.Max, Chance: chance}
}

func (b *Breaker) value() *resilience.Trip {
	return &resilience.Trip{
		Failures: b.Failures, Percent: float64(b.Percent), Volume: b.Volume,
		Window: time.Duration(b.Window), Open: time.Duration(b.Open), Probes: b.Probes,
	}
}

func (a *Admission) value() *resilience.Admission {
	return &resilience.Admission{
		Window: time.Duration(a.Window), Threshold: float64(a.Threshold), Aggression: a.Aggression,
		MinRate: a.MinRate, MaxPercent: float64(a.MaxPercent),
	}
}

func (f *Fallback) value() *resilience.Fallback {
	out := &resilience.Fallback{MaxAge: time.Duration(f.MaxAge), MaxAnswers: int(f.MaxAnswers), MaxBytes: int(f.MaxBytes)}
	a := f.Answer
	if a == nil {
		return out
	}
	out.Answer = &resilience.Answer{Status: int(a.HTTPStatus), Body: []byte(a.Body)}
	if a.GRPCStatus != "" {
		out.Answer = &resilience.Answer{GRPC: true, Code: a.GRPCStatus.code(), Body: a.Message}
	}
	for _, h := range slices.Sorted(maps.Keys(a.Headers)) {
		out.Answer.Header = append(out.Answer.Header, resilience.Entry{Key: strings.ToLower(h), Value: a.Headers[h]})
	}
	return out
}

func (f *Fault) value() *resilience.Fault {
	out := &resilience.Fault{ByHeader: f.ByHeader, MaxActive: f.MaxActive}
	if d := f.Delay; d != nil {
		out.Delay, out.DelayPercent = time.Duration(d.Duration), share(d.Percent)
	}
	if a := f.Abort; a != nil {
		out.Abort, out.AbortPercent = resilience.Abort{Status: int(a.HTTPStatus)}, share(a.Percent)
		if a.GRPCStatus != "" {
			out.Abort.GRPC, out.Abort.Code = true, a.GRPCStatus.code()
		}
	}
	if r := f.ResponseRate; r != nil {
		out.BytesPerSecond, out.SlowPercent = uint64(r.BytesPerSecond), share(r.Percent)
	}
	if b := f.Connection; b != nil {
		out.Break = resilience.Break{Kind: b.Break.kind(), After: int64(b.After), Pause: time.Duration(b.Pause)}
		out.BreakPercent = share(b.Percent)
	}
	return out
}

func share(p *Percent) resilience.Fraction {
	if p == nil {
		return resilience.Fraction{}
	}
	f, _ := p.fraction()
	return f
}

func (b *Bandwidth) value() resilience.Bandwidths {
	one := func(t *Throughput) resilience.Bandwidth {
		if t == nil {
			return resilience.Bandwidth{}
		}
		return resilience.Bandwidth{BytesPerSecond: uint64(t.BytesPerSecond), Fill: time.Duration(t.Fill)}
	}
	return resilience.Bandwidths{Request: one(b.Request), Response: one(b.Response)}
}

func (a *Adaptive) value() *resilience.Adaptive {
	return &resilience.Adaptive{
		Percentile: float64(a.Percentile), Min: a.Min, Max: a.Max, Update: time.Duration(a.Update),
		Remeasure: time.Duration(a.Remeasure), Jitter: float64(a.Jitter), Samples: a.Samples,
		Fixed: time.Duration(a.Fixed), Buffer: float64(a.Buffer),
	}
}

func (s *Shedding) value() *resilience.Shedding {
	return &resilience.Shedding{Target: time.Duration(s.Target), Interval: time.Duration(s.Interval)}
}

func (l *Lateness) value() *resilience.Lateness {
	return &resilience.Lateness{
		Tolerance: time.Duration(l.Tolerance), MaxPercent: float64(l.MaxPercent), Interval: time.Duration(l.Interval),
	}
}

// off are the kinds that the policy disables.
func (s *Spec) off() resilience.Switches {
	var all resilience.Switches
	for _, kind := range s.Disable {
		one, _ := resilience.ParseSwitches(string(kind))
		all |= one
	}
	return all
}
