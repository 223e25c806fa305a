package engine

import "github.com/weftmesh/weft/resilience"

// inherit gives the routes what outlives a plan: buckets, gauges and answers, as far as their policies need them. A
// route has those of the route of its name in the old plan: of several of one name, that of the same place among them.
func (p *plan) inherit(old *plan) {
	was := old.places(p)
	nth := map[string]int{}
	for i := range p.routes {
		r := &p.routes[i]
		if !r.remembers() {
			continue
		}
		before := was[place{r.Name, nth[r.Name]}]
		nth[r.Name]++
		if before == nil {
			before = &route{}
		}
		r.inherit(before)
	}
}

// A place is which of the routes of one name that remember something.
type place struct {
	name string
	nth  int
}

// places are the routes of p that remember something; none if next has none that could ask for them.
func (p *plan) places(next *plan) map[place]*route {
	if p == nil || !next.remembers() {
		return nil
	}
	out, nth := map[place]*route{}, map[string]int{}
	for i := range p.routes {
		if r := &p.routes[i]; r.remembers() {
			out[place{r.Name, nth[r.Name]}] = r
			nth[r.Name]++
		}
	}
	return out
}

func (p *plan) remembers() bool {
	for i := range p.routes {
		if p.routes[i].remembers() {
			return true
		}
	}
	return false
}

// remembers reports whether the route's policies have something that outlives a plan.
func (r *route) remembers() bool {
	p := &r.Policy
	return p.Rate != nil || p.Global != nil || p.Fault != nil || p.Fallback != nil || p.Bandwidth != (resilience.Bandwidths{})
}

func (r *route) inherit(from *route) {
	p := &r.Policy
	if p.Rate != nil || p.Global != nil {
		r.rate.facts = factsOf(p.Rate, p.Global)
	}
	if p.Rate != nil {
		r.rate.limiter = or(from.rate.limiter)
	}
	if f := p.Fault; f != nil {
		r.fault, r.breaks = parts(f)
		r.active = or(from.active)
	}
	if f := p.Fallback; f != nil && f.MaxAge > 0 {
		r.kept = from.kept
		if was := from.Route; r.kept == nil || was.Policy.Fallback.MaxAnswers != f.MaxAnswers {
			r.kept = resilience.NewLastGood(f)
		}
	}
	if p.Bandwidth != (resilience.Bandwidths{}) {
		r.paces = or(from.paces)
	}
}

// or is v, or a new one if v is nil.
func or[T any](v *T) *T {
	if v == nil {
		return new(T)
	}
	return v
}
