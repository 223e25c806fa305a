package wire

import (
	"fmt"
	"math"
	"net/textproto"
	"slices"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// some is a duration of more than 0.
func (g gen) some() time.Duration {
	if g.modest {
		return time.Second + g.duration()
	}
	return 1 + time.Duration(g.Int64N(1e12))
}

func (g gen) policy() resilience.Policy {
	p := resilience.Policy{Timeout: g.duration(), Priority: resilience.Priority(g.IntN(2))}
	if g.chance(2) {
		p.Retry = g.retry()
	}
	if g.chance(3) {
		p.Hedge = g.hedge(&p.Retry)
	}
	if g.chance(3) {
		p.Rate = g.rate(false)
	}
	if g.chance(3) {
		p.Global = g.global()
	}
	if g.chance(3) {
		p.Idle = g.duration()
	}
	if g.chance(3) {
		p.Fault = g.fault()
	}
	if g.chance(3) {
		p.Fallback = g.fallback()
	}
	if g.chance(3) {
		p.Bandwidth = g.bandwidths()
	}
	if g.chance(3) {
		p.Off = g.switches()
	}
	return p
}

func (g gen) switches() resilience.Switches { return resilience.Switches(g.Uint32N(1 << 15)) }

// share is of some calls at least.
func (g gen) share() resilience.Fraction {
	per := []uint32{0, 10_000, 1_000_000}[g.IntN(3)]
	return resilience.Fraction{Numerator: 1 + g.Uint32N(max(per, 100)), Per: per}
}

func (g gen) bytesPerSecond() uint64 {
	return []uint64{1 + g.Uint64N(5000), (1 + g.Uint64N(1000)) << 10, (math.MaxUint64 >> 10) << 10}[g.IntN(3)]
}

// fault does something.
func (g gen) fault() *resilience.Fault {
	f := &resilience.Fault{MaxActive: g.Uint32N(3)}
	if g.chance(2) {
		f.Delay, f.DelayPercent = g.some(), g.share()
	}
	switch g.IntN(3) {
	case 0:
		f.Abort, f.AbortPercent = resilience.Abort{Status: 200 + g.IntN(400)}, g.share()
	case 1:
		f.Abort, f.AbortPercent = resilience.Abort{GRPC: true, Code: g.Uint32N(17)}, g.share()
	}
	if g.chance(2) {
		f.BytesPerSecond, f.SlowPercent = g.bytesPerSecond(), g.share()
	}
	if g.chance(2) || dead(f) {
		f.Break, f.BreakPercent = resilience.Break{Kind: resilience.BreakKind(1 + g.IntN(4)), After: g.Int64N(1 << 40), Pause: g.some()}, g.share()
	}
	if g.chance(3) {
		f.ByHeader = true
		if g.chance(2) {
			f.Delay, f.Abort, f.BytesPerSecond = 0, resilience.Abort{}, 0
		}
		if f.DelayPercent.Numerator == 0 && f.AbortPercent.Numerator == 0 && f.SlowPercent.Numerator == 0 {
			f.AbortPercent = g.share()
		}
	}
	return f
}

func (g gen) fallback() *resilience.Fallback {
	f := &resilience.Fallback{MaxAge: g.some(), MaxAnswers: g.IntN(3), MaxBytes: g.IntN(3)}
	if g.chance(2) {
		return f
	}
	f.Answer = &resilience.Answer{Status: 200 + g.IntN(400)}
	if g.chance(2) {
		f.Answer = &resilience.Answer{GRPC: true, Code: g.Uint32N(17)}
	}
	f.Answer.Header = list(g, 2, func(int) resilience.Entry { return resilience.Entry{Key: "x-" + g.word(), Value: g.word()[1:]} })
	if g.chance(2) {
		f.Answer.Body = []byte{0xff, byte(g.IntN(256))}
	}
	if g.chance(2) {
		f.MaxAge = 0
	}
	return f
}

// bandwidths bound a way at least.
func (g gen) bandwidths() (b resilience.Bandwidths) {
	one := func() resilience.Bandwidth {
		b := resilience.Bandwidth{BytesPerSecond: g.bytesPerSecond()}
		if g.chance(2) {
			b.Fill = leastPiece + time.Duration(g.Int64N(int64(mostPiece-leastPiece)))
		}
		return b
	}
	switch g.IntN(4) {
	case 0:
		b.Request = one()
	case 1:
		b.Response = one()
	case 2:
		b.Request = one()
		b.Response = b.Request
	default:
		b.Request, b.Response = one(), one()
		b.Request.BytesPerSecond, b.Response.BytesPerSecond = min(b.Request.BytesPerSecond, 1<<50), min(b.Response.BytesPerSecond, 1<<50)
	}
	return b
}

// entries are some of which an Envoy may have no notion.
func (g gen) entries(keys ...string) (out []resilience.Entry) {
	g.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, k := range keys[:1+g.IntN(len(keys))] {
		e := resilience.Entry{Key: k}
		if g.chance(2) {
			e.Value = g.word()
		}
		out = append(out, e)
	}
	return out
}

func (g gen) global() *resilience.GlobalRate {
	r := &resilience.GlobalRate{Timeout: g.duration()}
	if g.chance(2) {
		r.Domain = g.word()
	}
	if g.chance(2) {
		r.Lease = resilience.Lease{Batch: 10 + g.Uint32N(100), Ahead: g.Uint32N(10), Holds: g.duration(), Closed: g.chance(2), Again: g.duration()}
	}
	keys := []string{methodFact, pathFact, headerFact + "x-" + g.word()}
	if g.chance(3) {
		keys = append(keys, addressFact, callerFact)
	}
	r.Descriptors = append(list(g, 2, func(int) []resilience.Entry { return g.entries(keys...) }), g.entries(keys...))
	if g.chance(2) {
		r.Descriptors[0] = append(r.Descriptors[0], resilience.Entry{Key: nameKey, Value: g.word()})
	}
	return r
}

func (g gen) trip() *resilience.Trip {
	t := &resilience.Trip{Failures: g.Uint32N(3), Volume: g.Uint32N(3), Window: g.duration(), Open: g.duration(), Probes: g.Uint32N(3)}
	if g.chance(2) || t.Failures == 0 {
		t.Percent = g.percentage()
	}
	return t
}

func (g gen) percentage() float64 { return g.Float64()*99 + 1 }

func (g gen) admission() *resilience.Admission {
	a := &resilience.Admission{}
	if g.chance(2) {
		a.Window, a.Threshold, a.Aggression, a.MaxPercent = time.Second+g.duration()/2, g.percentage(), 1+g.Float64(), g.percentage()
	}
	switch g.IntN(3) {
	case 0:
		a.MinRate = float64(g.IntN(100))
	case 1:
		a.MinRate = g.Float64() * 10
	}
	return a
}

// adaptive says no default explicitly.
func (g gen) adaptive() *resilience.Adaptive {
	a := &resilience.Adaptive{}
	if g.chance(2) {
		a.Percentile, a.Jitter, a.Buffer = g.percentage(), negligible, g.percentage()
		a.Min, a.Samples, a.Update = 1+g.Uint32N(9), 1+g.Uint32N(9), g.some()
		a.Max = a.Min + g.Uint32N(9)
	}
	switch g.IntN(3) {
	case 0:
		a.Remeasure = time.Millisecond + g.some()
	case 1:
		a.Fixed = g.some()
	}
	return a
}

func (g gen) serving() (s resilience.Serving) {
	if g.chance(2) {
		s.Rate = g.rate(true)
	}
	if g.chance(2) {
		s.Global = g.global()
		s.Global.Domain = g.word()
	}
	if g.chance(2) {
		s.Adaptive = g.adaptive()
	}
	if g.chance(2) {
		s.Shedding = &resilience.Shedding{}
		if g.chance(2) {
			s.Shedding.Target = g.some()
			s.Shedding.Interval = s.Shedding.Target + g.some()
		}
	}
	if g.chance(2) {
		s.Late = &resilience.Lateness{Tolerance: g.duration(), Interval: g.duration()}
		if g.chance(2) {
			s.Late.MaxPercent = g.percentage()
		}
	}
	if g.chance(2) {
		s.Fault = g.fault()
	}
	if g.chance(2) {
		s.Bandwidth = g.bandwidths()
	}
	if g.chance(2) {
		s.MaxRequests = g.Uint32N(100)
	}
	s.HealthPaths = list(g, 2, func(int) string { return "/" + g.word() })
	if g.chance(2) {
		s.Off = g.switches()
	}
	return s
}

// filters sets what a client's listener says for all routes.
func (g gen) filters(l *Listener) {
	l.RateLimits, l.Faults, l.Bandwidths = g.chance(2), g.chance(2), g.chance(2)
	if l.RateLimits && g.chance(2) {
		l.Default.Rate = g.rate(false)
	}
	if l.Faults && g.chance(2) {
		l.Default.Fault = g.fault()
	}
	if l.Bandwidths && g.chance(2) {
		l.Default.Bandwidth = g.bandwidths()
	}
	if g.chance(3) {
		l.Default.Admission = g.admission()
	}
	if g.chance(3) {
		l.Global = &GlobalFilter{GlobalRate: *g.global(), Cluster: g.word()}
		l.Global.Domain = g.word()
		if g.chance(2) {
			l.Global.Descriptors = nil
		}
	}
}

func (g gen) retry() resilience.Retry {
	r := resilience.Retry{Attempts: 1 + g.Uint32N(9), On: resilience.Conditions(1 + g.Uint32N(1<<16-1)), Unguarded: g.chance(3), OtherLocalities: g.chance(3)}
	if g.chance(2) {
		r.Base = 1 + time.Duration(g.Int64N(1e9))
		if g.chance(2) {
			r.Max = r.Base + time.Duration(g.Int64N(1e9))
		}
	}
	if g.chance(2) {
		r.TryTimeout = g.some()
	}
	if g.chance(2) {
		return r
	}
	header := func() resilience.HeaderName {
		name := "x-" + g.word()
		return resilience.HeaderName{Lower: name, Canonical: textproto.CanonicalMIMEHeaderKey(name)}
	}
	a := resilience.Answers{
		Statuses: list(g, 2, func(int) int { return 400 + g.IntN(200) }),
		Headers: list(g, 2, func(int) resilience.HeaderMatch {
			h := resilience.HeaderMatch{Name: header(), Kind: resilience.MatchKind(g.IntN(5)), Invert: g.chance(3)}
			if h.Kind != resilience.MatchPresent {
				h.Value = g.word()
			}
			return h
		}),
		Resets: list(g, 2, func(int) resilience.ResetHeader { return resilience.ResetHeader{Name: header(), Unix: g.chance(2)} }),
	}
	if a.Resets != nil && g.chance(2) {
		a.MaxReset = g.some()
	}
	if a.Statuses != nil || a.Headers != nil || a.Resets != nil {
		r.Answers = &a
	}
	return r
}

// hedge often is one that hedge_policy can say.
func (g gen) hedge(r *resilience.Retry) *resilience.Hedge {
	h := &resilience.Hedge{Delay: g.some()}
	switch g.IntN(3) {
	case 0:
		if r.TryTimeout = 0; r.Attempts > 1 {
			h.Max = r.Attempts
		}
	case 1:
		h.Percentile, h.Max = g.Float64()*99+0.5, g.Uint32N(4)
	}
	if g.chance(3) {
		h.Chance = resilience.Fraction{Numerator: 1 + g.Uint32N(200), Per: []uint32{0, 10_000, 1_000_000}[g.IntN(3)]}
		if g.chance(2) {
			h.Delay, h.Max = 0, 0
		}
	}
	return h
}

func (g gen) bucket() resilience.TokenBucket {
	if g.modest {
		return resilience.TokenBucket{MaxTokens: 1 + g.Uint32N(1000), TokensPerFill: g.Uint32N(3), FillInterval: time.Second}
	}
	return resilience.TokenBucket{MaxTokens: 1 + g.Uint32N(1000), TokensPerFill: g.Uint32N(3), FillInterval: leastFill + g.some()}
}

func (g gen) rate(server bool) *resilience.Rate {
	r := &resilience.Rate{AlwaysBucket: g.chance(2), Headers: g.chance(2), MaxKeys: g.IntN(3)}
	r.Descriptors = list(g, 3, func(int) resilience.DescriptorRate {
		keys := []string{methodFact, pathFact, headerFact + "x-" + g.word()}
		if server {
			keys = append(keys, addressFact, callerFact)
		}
		d := resilience.DescriptorRate{TokenBucket: g.bucket(), Entries: g.entries(keys...)}
		return d
	})
	seen := map[string]bool{}
	r.Descriptors = slices.DeleteFunc(r.Descriptors, func(d resilience.DescriptorRate) bool {
		entries := fmt.Sprint(d.Entries)
		defer func() { seen[entries] = true }()
		return seen[entries]
	})
	if r.Descriptors == nil || g.chance(2) {
		r.TokenBucket = g.bucket()
	}
	if server {
		r.Status = []int{0, 400, 428, 503}[g.IntN(4)]
		r.Added = list(g, 2, func(int) resilience.Entry {
			return resilience.Entry{Key: "x-" + g.word(), Value: []string{"", "a", "50%", "a, b"}[g.IntN(4)]}
		})
	}
	return r
}

// traffic sets what bounds and watches the calls to a cluster.
func (g gen) traffic(c *resolver.Cluster) {
	if g.chance(2) {
		limits := func() resilience.Thresholds {
			n := func() uint32 { return []uint32{0, 1, 3, 1024, math.MaxUint32}[g.IntN(5)] }
			return resilience.Thresholds{MaxConnections: n(), MaxPending: n(), MaxRequests: n(), MaxRetries: n()}
		}
		c.Thresholds = &[resilience.Priorities]resilience.Thresholds{limits(), limits()}
	}
	if g.chance(2) {
		c.Budget = &resilience.Budget{Percent: g.Float64() * 100, MinConcurrent: g.Uint32N(5), Interval: g.duration()}
		if g.chance(2) {
			c.Budget.MinRate = g.Float64() * 10
		}
	}
	if g.chance(2) {
		c.Outlier = g.outlier()
	}
	if g.chance(2) {
		c.Breaker = g.trip()
	}
	if g.chance(2) {
		c.HostBreaker = g.trip()
	}
	if g.chance(2) {
		c.Admission = g.admission()
	}
	if g.chance(2) {
		c.Off = g.switches()
	}
}

func (g gen) outlier() *balancer.Outlier {
	below := func(n uint32) *uint32 {
		if g.chance(2) {
			return nil
		}
		v := g.Uint32N(n)
		return &v
	}
	o := &balancer.Outlier{
		EjectionJitter: g.duration(), MaxEjectionPercent: below(101),
		Consecutive5xx: below(9), ConsecutiveGateway: below(9), ConsecutiveLocalOrigin: below(9), SplitLocalOrigin: g.chance(2), StayOut: g.chance(2),
		Enforcing5xx: below(101), EnforcingGateway: below(101), EnforcingLocalOrigin: below(101),
		MinHealthPercent: g.Uint32N(101),
	}
	if g.chance(2) {
		o.Interval, o.BaseEjection = g.some(), g.some()
		if g.chance(2) {
			o.MaxEjection = o.BaseEjection + g.duration()/2
		}
	}
	if g.chance(2) {
		o.SuccessRate = &balancer.SuccessRate{MinimumHosts: below(9), RequestCount: below(9), StdevFactor: below(9)}
		if enforcing := 1 + g.Uint32N(100); g.chance(2) {
			o.SuccessRate.Enforcing = &enforcing
		}
		if o.SplitLocalOrigin {
			o.SuccessRate.EnforcingLocalOrigin = below(101)
		}
	}
	if enforcing := 1 + g.Uint32N(100); g.chance(2) {
		o.FailurePercentage = &balancer.FailurePercentage{Enforcing: &enforcing, Threshold: below(101), MinimumHosts: below(9), RequestCount: below(9)}
		if o.SplitLocalOrigin {
			o.FailurePercentage.EnforcingLocalOrigin = below(101)
		}
	}
	return o
}
