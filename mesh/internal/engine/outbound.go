package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Do sends the call: match a route, choose a cluster, try hosts until one
// answers or the policy gives up. It blocks until the transport's Send returned
// for the last time; a held attempt goes on after that. The error is an
// [*Error] if the mesh could not get an answer, and the outcome then says the same.
//
// The order of the steps is the law of the mesh.
func (s *Service) Do(ctx context.Context, call *Call, t Transport) (out resilience.Outcome, err error) {
	call.service, call.transport, call.ctx, call.caused = s, t, ctx, Caused(ctx)
	// A panic of the transport or the observer must not leave the call counted in.
	returned := false
	defer func() {
		if !returned {
			call.abandon()
		}
	}()
	var at moment
	// Observe first: whatever refuses a call, it is counted.
	if obs := s.engine.config.Observer; obs != nil {
		call.start = at.now()
		call.ctx = obs.CallStarted(ctx, call)
	}
	// The plan is loaded once and for all: nothing of a call sees two configurations.
	if refused := call.enter(&at); refused != nil {
		out, err = call.fail(refused)
	} else {
		// The deadline covers all that follows, pauses between attempts included, and nothing before: a fault's
		// delay is not the server's (Envoy).
		call.withDeadline(&at)
		// Thresholds, breakers of hosts and outlier detection stand within the retries: outside, a call of three
		// attempts would count as one in flight, and its hosts' failures not at all.
		out, err = call.tries(&at)
	}
	returned = true
	return out, err
}

// enter matches the call to a route, takes the steps before a cluster is asked, chooses the cluster and counts the call in there.
func (c *Call) enter(at *moment) *Error {
	for {
		p, err := c.service.current(c.ctx)
		if err != nil {
			if c.service.dropped.Load() {
				// Nobody wanted the service for a while. Now somebody does.
				c.service = c.service.engine.Service(c.service.name)
				continue
			}
			return err
		}
		c.route = p.match(&c.Request)
		if c.route == nil {
			return &Error{Kind: NoRoute, Service: c.service.name, Err: p.noRoute(&c.Request)}
		}
		if c.route.refuse != nil {
			return &Error{Kind: NoRoute, Service: c.service.name, Err: c.route.refuse}
		}
		if err := c.begins(at); err != nil {
			return err
		}
		to := c.route.choose()
		if to.cluster == nil {
			return &Error{Kind: NoRoute, Service: c.service.name, Cluster: to.name, Err: to.unknown(c.route)}
		}
		if err := c.admit(to.cluster, at); err != nil {
			return err
		}
		if to.cluster.enter(c.service, at) {
			c.cluster = to.cluster
			return nil
		}
		// The cluster was removed between the two steps: a newer plan is there.
		c.release()
	}
}

// begins takes the steps that come once a call, whichever cluster it gets to in the end.
func (c *Call) begins(at *moment) *Error {
	if c.entered {
		return nil
	}
	c.entered = true
	// Fault before rate: an injected failure must not spend a token.
	if c.route.fault != nil {
		if err := c.inject(at); err != nil {
			return err
		}
	}
	// Rate before the cluster: what is refused here must weigh on no budget, and a retry is no new call.
	return c.ask(at)
}

// admit asks whether the cluster is to be called at all.
func (c *Call) admit(to *cluster, at *moment) *Error {
	// Admission before the breaker: what it refuses must not take one of the few calls by which the breaker probes. It is
	// asked once, or a call that waits for hosts would roll until it loses.
	if to.Admission != nil && !c.admitted {
		if !to.admissions.Admit(*to.Admission, at.now(), rand.Float64()) {
			return c.refusedBy(to, fmt.Errorf("too many of its calls fail: %.0f of 100 are refused (admission control)", 100*to.refusing(at.now())))
		}
		c.admitted = true
	}
	// The breaker outside the retries: within, it would count one call three times.
	if to.Breaker != nil {
		pass, ok := to.breaker.Allow(*to.Breaker)
		if !ok {
			return c.refusedBy(to, fmt.Errorf("its circuit breaker is %s", to.breaker.State()))
		}
		c.pass = pass
	}
	return nil
}

func (c *Call) refusedBy(to *cluster, why error) *Error {
	return &Error{Kind: Overloaded, Service: c.service.name, Cluster: to.Name, Err: why}
}

func (c *Call) withDeadline(at *moment) {
	c.base = c.ctx
	if c.Unbounded {
		return
	}
	if timeout := c.route.Policy.Timeout; timeout > 0 {
		if d, ok := c.ctx.Deadline(); !ok || d.Sub(at.now()) > timeout {
			c.ctx, c.cancel = context.WithDeadline(c.ctx, at.now().Add(timeout))
			return
		}
	}
	if c.route.Policy.Retry.TryTimeout > 0 || c.route.Policy.Hedge != nil {
		// The attempts' contexts end with the call's.
		c.ctx, c.cancel = context.WithCancel(c.ctx)
	}
}

// tries sends the call to one host after the other.
func (c *Call) tries(at *moment) (resilience.Outcome, error) {
	for {
		if c.ctx.Err() != nil {
			return c.interrupted()
		}
		// Every attempt counts against the threshold, and what it refuses is not repeated: that
		// would make more of what is too much.
		if !c.cluster.begin(c.route.priority()) {
			return c.fail(c.overloaded())
		}
		c.begun = true
		host, pass, err := c.pick(c.transport)
		if err != nil {
			c.unbegin()
			c.retried()
			if !c.WaitForHost {
				out := resilience.Outcome{Err: err, Cause: resilience.Unsent}
				return c.conclude(nil, out, c.failure(nil, out))
			}
			if err := c.awaitHost(); err != nil {
				return c.fail(err)
			}
			at.pass()
			continue
		}
		a, out := c.attempt(host, pass, at.now())
		at.pass()
		c.retried()
		if c.caused != nil && out.Final() {
			c.caused.spend() // who is told not to repeat it tells its own callers so
		}
		if pause, again := c.again(out); again && a.end(out, at.now()) {
			if out.Cause != resilience.HostLeft { // who was never asked has not refused
				c.avoid(a.Host)
			}
			c.sleep(pause)
			at.pass()
			continue
		}
		c.retried()
		var failed *Error
		if out.Err != nil {
			failed = c.failure(a, out)
		}
		return c.conclude(a, out, failed)
	}
}

// attempt sends the call to the host, and to others beside it if the answer is slow and the route hedges.
func (c *Call) attempt(host *balancer.Host, pass resilience.Pass, now time.Time) (*Attempt, resilience.Outcome) {
	if c.route.Policy.Hedge != nil {
		if h, wait, ok := c.hedge(now); ok {
			return c.race(host, pass, h, wait, now)
		}
	}
	a := c.begin(c.ctx, host, pass, now)
	return a, c.send(a, c.transport)
}

// maxMoves bounds how often one call follows hosts that leave under it.
const maxMoves = 64

// again decides whether an attempt is followed by another, and after what pause. If it is, and is
// a retry, that is counted in at the cluster.
func (c *Call) again(out resilience.Outcome) (pause time.Duration, again bool) {
	if out.Cause == resilience.HostLeft && c.attempts < maxMoves {
		// Not a retry: nobody has refused anything, the call is just moved.
		if !c.transport.Replayable() || c.ctx.Err() != nil {
			return 0, false
		}
		c.moves++
		return 0, true
	}
	retry := &c.route.Policy.Retry
	if retry.Attempts == 0 || errors.Is(out.Err, ErrFull) || !retry.Covers((*asked)(&c.Request)) {
		return 0, false
	}
	out.Idempotent = c.repeatable(out)
	// What was sent beside others counts, too: there are never more attempts than the policy has.
	made := c.retries + c.hedges
	d := retry.Decide(made+1, c.step+1, out)
	if !d.Again {
		if made >= retry.Attempts && retry.Decide(1, 1, out).Again {
			c.end = Exhausted
		}
		return 0, false
	}
	if !c.transport.Replayable() || c.ctx.Err() != nil {
		return 0, false
	}
	pause = d.Jittered(rand.Float64())
	if deadline, ok := c.ctx.Deadline(); ok && pause > 0 && time.Until(deadline) <= pause {
		return 0, false
	}
	// What no server has seen makes no server's load: it needs no budget to go to the
	// next host, so that many calls at once survive a dead one.
	if out.Unprocessed() && out.Cause != resilience.Refused || out.Cause == resilience.Stale {
		c.repeat(d)
		return pause, true
	}
	// Who called us repeats already. If each hop repeated what the last one does, three hops of three
	// tries would make 27.
	if c.repeats() {
		return 0, false
	}
	// The budget comes last: what is not sent for another reason must not be paid.
	if !c.cluster.retry(c.route.priority()) {
		c.end = Unfunded
		return 0, false
	}
	c.retrying = true
	c.repeat(d)
	return pause, true
}

// repeat counts a retry that was decided on.
func (c *Call) repeat(d resilience.Decision) {
	c.retries++
	if c.step++; d.Anew {
		c.step = 0
	}
}

// asked is a request as retry policies read it.
type asked resolver.Request

// Values implements resilience.Header.
func (r *asked) Values(n resilience.HeaderName) []string {
	switch n.Lower {
	case ":method":
		return []string{r.Method}
	case ":path":
		if r.Query != "" {
			return []string{r.Path + "?" + r.Query}
		}
		return []string{r.Path}
	case ":authority":
		return []string{r.Authority}
	case ":scheme":
		return []string{r.Scheme}
	}
	if r.Header == nil {
		return nil
	}
	return r.Header.Values(n)
}

// repeatable reports whether a call that ended so may be processed twice. HTTP's methods say so of themselves; of gRPC's only
// who writes the route can know, and says so by the condition: reset for connections that broke (others have codes).
func (c *Call) repeatable(out resilience.Outcome) bool {
	return c.Idempotent || c.Protocol == GRPC && out.Cause == resilience.Reset && c.route.Policy.Retry.On&resilience.OnReset != 0
}

// retried counts out the retry that has been answered, or is not made after all.
func (c *Call) retried() {
	if c.retrying {
		c.retrying = false
		c.cluster.retried(c.route.priority())
	}
}

// unbegin counts out an attempt that is not made after all.
func (c *Call) unbegin() {
	if c.begun {
		c.begun = false
		c.cluster.end(c.route.priority())
	}
}

// sleep waits for a pause, or until the call's time is up.
func (c *Call) sleep(d time.Duration) {
	if d > 0 {
		_ = pause(c.ctx, d) // that the time is up is seen by who comes next
	}
}
