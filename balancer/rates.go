package balancer

import (
	"cmp"
	"math"
	"slices"
)

// A tally is what one host answered in an interval.
type tally struct {
	host      *Host
	good, bad uint64
}

func (t tally) rate() float64 { return float64(t.good) / float64(t.good+t.bad) }

// below returns the hosts whose success rate is too far under the mean of all, the
// worst first (Envoy success_rate_stdev_factor).
func (r rate) below(tallies []tally) []*Host {
	tallies = r.enough(tallies)
	if len(tallies) == 0 {
		return nil
	}
	var mean, variance float64
	for _, t := range tallies {
		mean += t.rate() / float64(len(tallies))
	}
	for _, t := range tallies {
		variance += (t.rate() - mean) * (t.rate() - mean) / float64(len(tallies))
	}
	// Less than a call in many million is rounding: hosts that are alike are no outliers.
	const rounding = 1e-9
	bound := mean - math.Sqrt(variance)*float64(r.bound)/1000 - rounding
	return worst(tallies, func(t tally) bool { return t.rate() < bound })
}

// above returns the hosts that fail so large a share of their calls or more, the worst
// first (Envoy failure_percentage_threshold).
func (r rate) above(tallies []tally) []*Host {
	return worst(r.enough(tallies), func(t tally) bool { return 100*t.bad >= uint64(r.bound)*(t.good+t.bad) })
}

// enough returns the tallies that say something; none if they are too few.
func (r rate) enough(tallies []tally) (some []tally) {
	if r.enforcing == 0 {
		return nil
	}
	for _, t := range tallies {
		if t.good+t.bad >= uint64(r.requests) {
			some = append(some, t)
		}
	}
	if len(some) < int(r.hosts) {
		return nil
	}
	return some
}

func worst(tallies []tally, is func(tally) bool) (hosts []*Host) {
	tallies = slices.DeleteFunc(tallies, func(t tally) bool { return !is(t) })
	slices.SortStableFunc(tallies, func(a, b tally) int { return cmp.Compare(a.rate(), b.rate()) })
	for _, t := range tallies {
		hosts = append(hosts, t.host)
	}
	return hosts
}
