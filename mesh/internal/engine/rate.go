package engine

import (
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A rate limits the calls of a route. Its limiter outlives the plan.
type rate struct {
	limiter *resilience.RateLimiter
	facts   []fact
}

// A fact is what a key of the rate's descriptors asks of a call: its "method", its "path" (without the
// query), or by "header:NAME" the first value of a header. No call has a fact of another key.
type fact struct {
	key    string
	header resolver.HeaderName // of "header:NAME"
}

const headerFact = "header:"

// limitRates gives the routes that limit rates their limiters. A route keeps that of the route
// of its name in the old plan: of several of one name, that of the same place among them.
func (p *plan) limitRates(old *plan) {
	type place struct {
		name string
		nth  int
	}
	known := map[place]*resilience.RateLimiter{}
	if old != nil {
		nth := map[string]int{}
		for i := range old.routes {
			if r := &old.routes[i]; r.rate.limiter != nil {
				known[place{r.Name, nth[r.Name]}] = r.rate.limiter
				nth[r.Name]++
			}
		}
	}
	nth := map[string]int{}
	for i := range p.routes {
		r := &p.routes[i]
		if r.Policy.Rate == nil {
			continue
		}
		l := known[place{r.Name, nth[r.Name]}]
		if l == nil {
			l = new(resilience.RateLimiter)
		}
		nth[r.Name]++
		r.rate = rate{l, factsOf(r.Policy.Rate, r.Policy.Global)}
	}
}

// factsOf is what the rates, either of which may be nil, ask of a call.
func factsOf(r *resilience.Rate, g *resilience.GlobalRate) (facts []fact) {
	ask := func(entries []resilience.Entry) {
		for _, e := range entries {
			if slices.ContainsFunc(facts, func(f fact) bool { return f.key == e.Key }) {
				continue
			}
			f := fact{key: e.Key}
			if name, ok := strings.CutPrefix(e.Key, headerFact); ok {
				f.header = resolver.HeaderName{Lower: strings.ToLower(name), Canonical: textproto.CanonicalMIMEHeaderKey(name)}
			}
			facts = append(facts, f)
		}
	}
	if r != nil {
		for _, d := range r.Descriptors {
			ask(d.Entries)
		}
	}
	if g != nil {
		for _, d := range g.Descriptors {
			ask(d)
		}
	}
	return facts
}

// allow takes the tokens that a call of the route needs.
func (r *route) allow(q *resolver.Request) bool {
	if r.rate.limiter == nil {
		return true
	}
	var few [8]resilience.Entry
	entries := few[:0]
	for i := range r.rate.facts {
		f := &r.rate.facts[i]
		if value, ok := f.of(q); ok {
			entries = append(entries, resilience.Entry{Key: f.key, Value: value})
		}
	}
	_, ok := r.rate.limiter.Allow(r.Policy.Rate, entries, time.Now())
	return ok
}

func (f *fact) of(q *resolver.Request) (value string, ok bool) {
	switch {
	case f.key == "method":
		return q.Method, true
	case f.key == "path":
		return q.Path, true
	case f.header.Lower != "" && q.Header != nil:
		if values := q.Header.Values(f.header); len(values) > 0 {
			return values[0], true
		}
	}
	return "", false
}
