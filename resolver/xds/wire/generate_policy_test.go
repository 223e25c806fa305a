package wire

import (
	"math"
	"net/textproto"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// some is a duration of more than 0.
func (g gen) some() time.Duration { return 1 + time.Duration(g.Int64N(1e12)) }

func (g gen) policy() resilience.Policy {
	p := resilience.Policy{Timeout: g.duration(), Priority: resilience.Priority(g.IntN(2))}
	if g.chance(2) {
		p.Retry = g.retry()
	}
	if g.chance(3) {
		p.Hedge = g.hedge(&p.Retry)
	}
	if g.chance(3) {
		p.Rate = g.rate()
	}
	return p
}

func (g gen) retry() resilience.Retry {
	r := resilience.Retry{Attempts: 1 + g.Uint32N(9), On: resilience.Conditions(1 + g.Uint32N(1<<16-1)), Unguarded: g.chance(3)}
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
	return resilience.TokenBucket{MaxTokens: 1 + g.Uint32N(1000), TokensPerFill: g.Uint32N(3), FillInterval: leastFill + g.some()}
}

func (g gen) rate() *resilience.Rate {
	r := &resilience.Rate{AlwaysBucket: g.chance(2), Headers: g.chance(2), MaxKeys: g.IntN(3)}
	r.Descriptors = list(g, 3, func(int) resilience.DescriptorRate {
		keys := []string{"method", "path", "header:x-" + g.word()}
		g.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		d := resilience.DescriptorRate{TokenBucket: g.bucket()}
		for _, k := range keys[:1+g.IntN(3)] {
			e := resilience.Entry{Key: k}
			if g.chance(2) {
				e.Value = g.word()
			}
			d.Entries = append(d.Entries, e)
		}
		return d
	})
	if r.Descriptors == nil || g.chance(2) {
		r.TokenBucket = g.bucket()
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
		Consecutive5xx: below(9), ConsecutiveGateway: below(9), ConsecutiveLocalOrigin: below(9), SplitLocalOrigin: g.chance(2),
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
	}
	if enforcing := 1 + g.Uint32N(100); g.chance(2) {
		o.FailurePercentage = &balancer.FailurePercentage{Enforcing: &enforcing, Threshold: below(101), MinimumHosts: below(9), RequestCount: below(9)}
	}
	return o
}
