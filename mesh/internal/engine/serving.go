package engine

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A serving is a resolver.Inbound made ready for calls. It is immutable; what is live of it is the Inbound's.
type serving struct {
	*Inbound
	value  *resolver.Inbound // nil before the first
	policy resilience.Serving

	facts    []fact               // what the rates ask of a call
	gradient *resilience.Gradient // nil without an adaptive bound
	bounded  bool                 // there is a bound of what is in flight
	shedding resilience.Shedding
	sheds    bool                 // calls beyond the bound queue
	lateness *resilience.Lateness // nil if late work is done all the same
	idle     bool                 // there is nothing but lateness

	justice
	door Door
}

// make is v made ready, or, if v is nil, what holds before anything is known.
func (in *Inbound) make(v *resolver.Inbound) *serving {
	s := &serving{Inbound: in, value: v}
	var demands resolver.Inbound
	if v != nil {
		s.policy = servingWithout(v.Serving)
		demands = *v
	}
	s.justice, s.door = in.justiceOf(demands.Guard), in.doorOf(demands.TLS)
	s.door.Tells = len(demands.Guard.Connections) > 0
	p := &s.policy
	s.facts = factsOf(p.Rate, p.Global)
	if p.HealthPaths == nil {
		p.HealthPaths = healthPaths
	}
	if !p.Off.Off(resilience.NoDeadlines) {
		s.lateness = or(p.Late)
	}
	if p.Shedding != nil {
		s.sheds, s.shedding = true, *p.Shedding
		if p.MaxRequests == 0 {
			p.Adaptive = or(p.Adaptive) // there must be something to queue for
		}
	}
	if p.Adaptive != nil {
		if in.gradient == nil {
			in.gradient = resilience.NewGradient(*p.Adaptive, time.Now())
		}
		in.gradient.Set(*p.Adaptive, time.Now())
		s.gradient = in.gradient
	}
	s.bounded = p.MaxRequests > 0 || p.Adaptive != nil
	s.idle = p.Rate == nil && p.Global == nil && !s.bounded && p.Fault == nil && p.Bandwidth == (resilience.Bandwidths{})
	return s
}

// healthPaths are where HTTP servers are asked how they are, unless the configuration says otherwise.
var healthPaths = []string{"/healthz", "/livez", "/readyz"}

// servingWithout is s without the policies that are turned off, so that they cost calls nothing.
func servingWithout(s resilience.Serving) resilience.Serving {
	if s.Off.Off(resilience.NoRates) {
		s.Rate = nil
	}
	if s.Off.Off(resilience.NoGlobalRates) {
		s.Global = nil
	}
	if s.Off.Off(resilience.NoConcurrency) {
		s.MaxRequests, s.Adaptive, s.Shedding = 0, nil, nil // where nothing is bounded nothing queues
	}
	if s.Off.Off(resilience.NoShedding) {
		s.Shedding = nil
	}
	if s.Off.Off(resilience.NoFaults) {
		s.Fault = nil
	}
	if s.Off.Off(resilience.NoBandwidths) {
		s.Bandwidth = resilience.Bandwidths{}
	}
	return s
}

// limit is how many calls may be in flight; 0 means any number.
func (s *serving) limit() uint32 {
	limit := s.policy.MaxRequests
	if s.gradient != nil && (limit == 0 || s.gradient.Limit() < limit) {
		limit = s.gradient.Limit()
	}
	return limit
}

// Serve takes an inbound call to its handler and reports how it ended, or refuses it. A panic of
// the handler goes on after the observer was told.
//
// The order of the steps is the law of the mesh, here, in [serving.judge] and in [serving.serve].
func (e *Engine) Serve(ctx context.Context, c *InboundCall, handle func(context.Context) resilience.Outcome) (out resilience.Outcome, refused *Refusal) {
	if !c.met {
		e.Meet(c)
	}
	c.ctx = ctx
	if c.Protocol == HTTP {
		c.look() // now: the handler may change the headers while others ask
	}
	in := c.in
	if in == nil {
		e.notice(c)
	}
	// Observe first: whatever refuses a call, it is counted.
	if obs := e.config.Observer; obs != nil {
		c.start = time.Now()
		c.ctx = obs.ServeStarted(ctx, c)
		out = panicked
		defer func() { obs.ServeFinished(c, out) }()
	}
	if in != nil {
		switch s := in.current.Load(); {
		case s.judges:
			out = s.admit(c, handle)
			return out, c.Refused
		case s.asks(c):
			out = s.serve(c, handle)
			return out, c.Refused
		}
	}
	out = handle(c.Context())
	return out, nil
}

// admit takes a call past who may call. Health checks too: who may ask how a server is, is for rules to say.
func (s *serving) admit(c *InboundCall, handle func(context.Context) resilience.Outcome) resilience.Outcome {
	if c.conn != nil {
		c.conn.begin(c.Stream)
		defer c.conn.end(c.Stream)
	}
	// Deny before rate: strangers must not empty the bucket.
	if r := s.judge(c); r != nil {
		return s.refuse(c, r)
	}
	defer s.end(c)
	if !s.begin(c, s) {
		return s.refuse(c, c.Cut())
	}
	if s.asks(c) {
		return s.serve(c, handle)
	}
	return handle(c.Context())
}

// panicked is how a call ended unless somebody says otherwise.
var panicked = resilience.Outcome{Err: errPanicked, Cause: resilience.Reset}

// asks reports whether anything is asked of the call. Nothing is of health checks: a server that is busy, or that
// fails calls on purpose, is no server to be restarted.
func (s *serving) asks(c *InboundCall) bool {
	if s.idle {
		if s.lateness == nil {
			return false
		}
		if _, ok := c.ctx.Deadline(); !ok {
			return false
		}
	}
	return !strings.HasPrefix(c.Request.Path, "/grpc.health.v1.Health/") && !slices.Contains(s.policy.HealthPaths, c.Request.Path)
}

// serve takes a call past all policies to its handler.
func (s *serving) serve(c *InboundCall, handle func(context.Context) resilience.Outcome) (out resilience.Outcome) {
	now := time.Now()
	// Rates before the bound: who asks for too much must not make others wait.
	if r := s.ration(c, now); r != nil {
		return s.refuse(c, r)
	}
	// The bound next, since a call may wait for its turn.
	room, now, r := s.enter(c, now)
	if r != nil {
		return s.refuse(c, r)
	}
	var stay stay
	defer func() { s.leave(room, stay) }()
	// Lateness after the wait, which may be what made the call late.
	if s.lateness != nil {
		if deadline, ok := c.ctx.Deadline(); ok && s.late.Refuse(*s.lateness, now, deadline) {
			return s.refuse(c, tooLate())
		}
	}
	// A fault stands for the handler: what guards that is to be seen guarding it.
	var done resilience.Injection
	if f := s.policy.Fault; f != nil {
		var ok bool
		if done, ok = f.Decide(c.Request.Header, &s.faulted, rand.Uint32N); ok {
			defer s.faulted.Leave()
			if r := c.suffer(done); r != nil {
				return s.refuse(c, r)
			}
			now = time.Now()
		}
	}
	c.flow = newFlow(s.policy.Bandwidth, &s.throttles, done)
	out = handle(c.Context())
	stay.began, stay.cut = now, out.Cause == resilience.Canceled || c.ctx.Err() != nil
	return out
}

// refuse answers the call in the handler's place.
func (s *serving) refuse(c *InboundCall, r *Refusal) resilience.Outcome {
	c.Refused = r
	s.refused[r.Kind].Add(1)
	return r.outcome(c)
}

// ration takes the call's tokens.
func (s *serving) ration(c *InboundCall, now time.Time) *Refusal {
	p := &s.policy
	if p.Rate == nil && p.Global == nil {
		return nil
	}
	var few [8]resilience.Entry
	entries := few[:0]
	for i := range s.facts {
		f := &s.facts[i]
		if value, ok := c.fact(f); ok {
			entries = append(entries, resilience.Entry{Key: f.key, Value: value})
		}
	}
	if p.Rate != nil {
		level, ok := s.rates.Allow(p.Rate, entries, now)
		c.header = leftOf(level)
		if !ok {
			return rationed(p.Rate)
		}
	}
	// Ours before the common one, whose tokens are others' too.
	if p.Global != nil && !s.engine.globals.allow(c.ctx, p.Global, entries, now) {
		return rated("the rate of all processes together is used up")
	}
	return nil
}

// A room is what a call in flight takes up. Whoever took it leaves it once.
type room struct {
	counted  bool
	gradient *resilience.Gradient // nil if the call's time is not measured
}

// enter takes room for the call, which waits for it if it may. now is when that was.
func (s *serving) enter(c *InboundCall, before time.Time) (r room, now time.Time, refused *Refusal) {
	if !s.sheds {
		r, ok := s.room(c.Stream)
		if !ok {
			return r, before, c.overload("reached concurrency limit") // Envoy's words
		}
		return r, before, nil
	}
	if s.queue.length.Load() == 0 { // else it is others' turn
		if r, ok := s.room(c.Stream); ok {
			s.shedder.Admit(s.shedding, c.Criticality(), before, 0)
			return r, before, nil
		}
	}
	r, refused = s.wait(c)
	return r, time.Now(), refused
}

// room takes room if there is any. A stream is bounded by the fixed bound alone: it would keep the adaptive
// one from being measured.
func (s *serving) room(stream bool) (r room, ok bool) {
	if !s.bounded {
		return room{}, true
	}
	if most := s.policy.MaxRequests; most == 0 {
		s.active.Begin()
	} else if !s.active.Enter(most) {
		return room{}, false
	}
	if s.gradient == nil || stream {
		return room{counted: true}, true
	}
	if !s.gradient.Enter() {
		s.active.Leave()
		return room{}, false
	}
	return room{true, s.gradient}, true
}

// A stay is what a call did in its room. The zero stay was for nothing: the call was not handled, or the handler panicked.
type stay struct {
	began time.Time
	cut   bool // the caller gave up before the end
}

// leave gives room back, to who waits for it.
func (in *Inbound) leave(r room, s stay) {
	if r.counted {
		in.drop(r, s)
		in.admit()
	}
}

// drop gives room back.
func (in *Inbound) drop(r room, s stay) {
	if !r.counted {
		return
	}
	if r.gradient != nil {
		switch now := time.Now(); {
		case s.began.IsZero():
			r.gradient.Abandon()
		case s.cut:
			r.gradient.GiveUp(now, now.Sub(s.began))
		default:
			r.gradient.Leave(now, now.Sub(s.began))
		}
	}
	in.active.Leave()
}

// suffer does to the call what is done on purpose before it is handled. Bodies are the Flow's to break; a certificate that
// can't be verified was shown, or was not, when the connection was made.
func (c *InboundCall) suffer(i resilience.Injection) *Refusal {
	if i.Delay > 0 {
		c.delayed = true
		if pause(c.ctx, i.Delay) != nil {
			return c.interrupted()
		}
	}
	if i.Abort != (resilience.Abort{}) {
		return aborted(i.Abort)
	}
	if i.Break.Kind == resilience.ConnectionRefused {
		return disconnected()
	}
	return nil
}
