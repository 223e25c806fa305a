package engine

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A rate limits the calls of a route. Its limiter outlives the plan.
type rate struct {
	limiter *resilience.RateLimiter // nil without a rate of this process
	facts   []fact                  // what that, and the one of all processes, ask of a call
}

// A fact is what a key of the rate's descriptors asks of a call: its "method", its "path" (without the
// query), or by "header:NAME" the first value of a header. No call has a fact of another key.
type fact struct {
	key    string
	header resolver.HeaderName // of "header:NAME"
}

const headerFact = "header:"

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

// entries appends what the route's rates ask of a call and the call has.
func (r *rate) entries(to []resilience.Entry, q *resolver.Request) []resilience.Entry {
	for i := range r.facts {
		f := &r.facts[i]
		if value, ok := f.of(q); ok {
			to = append(to, resilience.Entry{Key: f.key, Value: value})
		}
	}
	return to
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

// ask takes the tokens that the call needs: of this process's rate first, which costs nothing to ask, and which spares the one of all
// processes what it refuses.
func (c *Call) ask(at *moment) *Error {
	r := &c.route.rate
	if r.limiter == nil && c.route.Policy.Global == nil {
		return nil
	}
	var few [8]resilience.Entry
	entries := r.entries(few[:0], &c.Request)
	if r.limiter != nil {
		if _, ok := r.limiter.Allow(c.route.Policy.Rate, entries, at.now()); !ok {
			return c.limited(errRate)
		}
	}
	if g := c.route.Policy.Global; g != nil {
		ok := c.service.engine.globals.allow(c.ctx, g, entries, at.now())
		at.pass()
		if c.ctx.Err() != nil {
			return c.service.late(c.ctx)
		}
		if !ok {
			return c.limited(errGlobalRate)
		}
	}
	return nil
}

func (c *Call) limited(why error) *Error {
	return &Error{Kind: RateLimited, Service: c.service.name, Err: fmt.Errorf("route %q: %w", c.route.Name, why)}
}
