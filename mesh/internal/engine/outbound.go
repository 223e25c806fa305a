package engine

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
)

// Do sends the call: match a route, choose a cluster, try hosts until one
// answers or the policy gives up. It blocks until the transport's Send returned
// for the last time; a held attempt goes on after that. The error is an
// [*Error] if the mesh could not get an answer, and the outcome then says the same.
//
// The order of the steps is the law of the mesh.
func (s *Service) Do(ctx context.Context, call *Call, t Transport) (resilience.Outcome, error) {
	call.service, call.ctx = s, ctx
	// Observe first: whatever refuses a call, it is counted.
	if obs := s.engine.config.Observer; obs != nil {
		call.start = time.Now()
		call.ctx = obs.CallStarted(ctx, call)
	}
	// The plan is loaded once and for all: nothing of a call sees two configurations.
	if err := call.enter(); err != nil {
		return call.fail(err)
	}
	// The deadline covers all that follows, pauses between attempts included.
	call.withDeadline()
	return call.tries(t)
}

// enter matches the call to a route, chooses its cluster and counts the call in there.
func (c *Call) enter() *Error {
	for {
		p, err := c.service.current(c.ctx)
		if err != nil {
			return err
		}
		c.route, c.cluster = p.match(&c.Request), nil
		if c.route == nil {
			return &Error{Kind: NoRoute, Service: c.service.name, Err: p.noRoute(&c.Request)}
		}
		if c.route.refuse != nil {
			return &Error{Kind: NoRoute, Service: c.service.name, Err: c.route.refuse}
		}
		cl := c.route.choose()
		if cl.enter(c.service) {
			c.cluster = cl
			return nil
		}
		// The cluster was removed between the two steps: a newer plan is there.
	}
}

func (c *Call) withDeadline() {
	timeout := c.route.Policy.Timeout
	if timeout <= 0 {
		return
	}
	if d, ok := c.ctx.Deadline(); ok && time.Until(d) <= timeout {
		return
	}
	c.ctx, c.cancel = context.WithTimeout(c.ctx, timeout)
}

// tries sends the call to one host after the other.
func (c *Call) tries(t Transport) (resilience.Outcome, error) {
	retries := uint32(1) // number of the try as the retry policy counts
	for {
		a, out := c.attempt(t)
		pause, again := time.Duration(0), false
		switch {
		case a == nil:
		case out.Cause == resilience.HostLeft && c.attempts < maxMoves:
			// Not a retry: nobody has refused anything, the call is just moved.
			again = t.Replayable()
		default:
			pause, again = c.route.Policy.Retry.Next(retries, out)
			again = again && t.Replayable()
			retries++
		}
		if again && c.ctx.Err() == nil && c.sleep(pause) {
			a.end(out)
			c.tried[int(c.attempts)%len(c.tried)] = a.Host
			continue
		}
		var err error
		if out.Err != nil {
			err = c.failure(a, out)
		}
		if a == nil || !a.held {
			if a != nil {
				a.end(out)
			}
			c.finish(out, err)
		}
		return out, err
	}
}

// maxMoves bounds how often one call follows hosts that leave under it.
const maxMoves = 64

// attempt picks a host and sends the call there once. The attempt is nil if there was no host.
func (c *Call) attempt(t Transport) (*Attempt, resilience.Outcome) {
	p := preference{call: c, transport: t}
	host, err := c.cluster.hosts.Pick(balancer.Want{Avoid: &p})
	if err != nil {
		return nil, resilience.Outcome{Err: err, Cause: resilience.Unsent}
	}
	c.attempts++
	a := &c.first
	if c.attempts > 1 {
		a = new(Attempt)
	}
	a.Number, a.Host, a.Cluster, a.call, a.ctx = int(c.attempts), host, &c.cluster.Cluster, c, c.ctx
	a.start = time.Now()
	c.last = a
	host.Begin()
	if obs := c.service.engine.config.Observer; obs != nil {
		a.ctx = obs.AttemptStarted(c.ctx, c, a)
	}
	return a, t.Send(a.ctx, a)
}

// preference passes over hosts that did not answer or are not connected.
type preference struct {
	call      *Call
	transport Transport
}

func (p *preference) Avoid(h *balancer.Host) bool {
	for _, t := range p.call.tried {
		if t == h {
			return true
		}
	}
	return !p.transport.Connected(h)
}

// sleep waits for a pause, jittered by a fifth (gRFC A6); false means the call has no time for it.
func (c *Call) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	d = time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
	if deadline, ok := c.ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// fail ends a call that was never tried.
func (c *Call) fail(err *Error) (resilience.Outcome, error) {
	out := resilience.Outcome{Err: err, Cause: resilience.Unsent}
	c.finish(out, err)
	return out, err
}

// finish ends the call.
func (c *Call) finish(o resilience.Outcome, err error) {
	if c.cluster != nil {
		c.cluster.leave(c.service)
	}
	if c.cancel != nil {
		c.cancel()
	}
	if obs := c.service.engine.config.Observer; obs != nil {
		obs.CallFinished(c, o, err)
	}
}
