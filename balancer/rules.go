package balancer

import (
	"math/rand/v2"
	"time"
)

// rules are an [Outlier] with its defaults in place. They can be compared.
type rules struct {
	interval, base, most, jitter time.Duration // most is not less than base
	maxEjection, minHealth       uint32        // percent
	limits                       [kinds]limit
	split, stay                  bool
	success, failure             rate
	localSuccess, localFailure   rate // with split
}

// A kind is a kind of failures in a row.
type kind uint8

const (
	anyError kind = iota
	gatewayError
	localError
	kinds
)

// A limit is how many failures in a row eject; 0 never does.
type limit struct{ row, enforcing uint32 }

// A rate is a rule about an interval's calls; it is off if enforcing is 0.
type rate struct {
	enforcing, hosts, requests uint32
	bound                      uint32 // SuccessRate.StdevFactor or FailurePercentage.Threshold
}

const (
	// shortest is the least interval: all hosts are looked at in each.
	shortest = 100 * time.Millisecond
	// longest is so long that the sum of a few does not overflow: 36 years.
	longest time.Duration = 1 << 60
)

func newRules(o *Outlier) rules {
	r := rules{
		interval:    max(span(o.Interval, 10*time.Second), shortest),
		base:        span(o.BaseEjection, 30*time.Second),
		most:        span(o.MaxEjection, 300*time.Second),
		jitter:      span(o.EjectionJitter, 0),
		maxEjection: percent(o.MaxEjectionPercent, 10),
		minHealth:   min(o.MinHealthPercent, 100),
		split:       o.SplitLocalOrigin,
		stay:        o.StayOut,
	}
	r.most = max(r.most, r.base)
	r.limits[anyError] = newLimit(o.Consecutive5xx, o.Enforcing5xx, 100)
	r.limits[gatewayError] = newLimit(o.ConsecutiveGateway, o.EnforcingGateway, 0)
	if o.SplitLocalOrigin {
		r.limits[localError] = newLimit(o.ConsecutiveLocalOrigin, o.EnforcingLocalOrigin, 100)
	}
	if s := o.SuccessRate; s != nil {
		of := func(enforcing *uint32) rate {
			return newRate(percent(enforcing, 100), or(s.MinimumHosts, 5), or(s.RequestCount, 100), or(s.StdevFactor, 1900))
		}
		if r.success = of(s.Enforcing); r.split {
			r.localSuccess = of(s.EnforcingLocalOrigin)
		}
	}
	if f := o.FailurePercentage; f != nil {
		of := func(enforcing *uint32) rate {
			return newRate(percent(enforcing, 0), or(f.MinimumHosts, 5), or(f.RequestCount, 50), percent(f.Threshold, 85))
		}
		if r.failure = of(f.Enforcing); r.split {
			r.localFailure = of(f.EnforcingLocalOrigin)
		}
	}
	return r
}

func newLimit(row, enforcing *uint32, usually uint32) limit {
	l := limit{or(row, 5), percent(enforcing, usually)}
	if l.row == 0 || l.enforcing == 0 {
		return limit{}
	}
	return l
}

func newRate(enforcing, hosts, requests, bound uint32) rate {
	if enforcing == 0 {
		return rate{}
	}
	return rate{enforcing, max(1, hosts), max(1, requests), bound}
}

// counts reports whether the calls of an interval are to be counted.
func (r *rules) counts() bool {
	return r.success.enforcing > 0 || r.failure.enforcing > 0 || r.localSuccess.enforcing > 0 || r.localFailure.enforcing > 0
}

// room is how many of n hosts may be ejected at a time: one at least, where any may (gRFC A50).
func (r *rules) room(n int) int {
	if r.maxEjection == 0 {
		return 0
	}
	return max(1, int(uint64(n)*uint64(r.maxEjection)/100))
}

// next is how often a host counts as ejected that is so once more: it stops where
// being ejected again makes no difference, but for one (Envoy).
func (r *rules) next(times int64) int64 { return min(times+1, r.steps()+1) }

// sentence is how long a host stays out that is ejected for the times-th time, without jitter.
func (r *rules) sentence(times int64) time.Duration {
	if times >= r.steps() {
		return r.most
	}
	return r.base * time.Duration(times)
}

// steps is the number of ejections from which on a host stays out the longest.
func (r *rules) steps() int64 { return int64((r.most-1)/r.base) + 1 }

// enforced draws whether an ejection is carried out.
func enforced(percent uint32) bool { return percent >= 100 || rand.Uint32N(100) < percent }

func or(v *uint32, usually uint32) uint32 {
	if v == nil {
		return usually
	}
	return *v
}

func percent(v *uint32, usually uint32) uint32 { return min(or(v, usually), 100) }

func span(d, usually time.Duration) time.Duration {
	if d <= 0 {
		return usually
	}
	return min(d, longest)
}
