package engine

import (
	"context"
	"math/rand/v2"
	"slices"
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
func (s *Service) Do(ctx context.Context, call *Call, t Transport) (out resilience.Outcome, err error) {
	call.service, call.transport, call.ctx = s, t, ctx
	// A panic of the transport or the observer must not leave the call counted in.
	returned := false
	defer func() {
		if !returned {
			call.abandon()
		}
	}()
	// Observe first: whatever refuses a call, it is counted.
	if obs := s.engine.config.Observer; obs != nil {
		call.start = time.Now()
		call.ctx = obs.CallStarted(ctx, call)
	}
	// The plan is loaded once and for all: nothing of a call sees two configurations.
	if refused := call.enter(); refused != nil {
		out, err = call.fail(refused)
	} else {
		// The deadline covers all that follows, pauses between attempts included.
		call.withDeadline()
		out, err = call.tries()
	}
	returned = true
	return out, err
}

// enter matches the call to a route, chooses its cluster and counts the call in there.
func (c *Call) enter() *Error {
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
		to := c.route.choose()
		if to.cluster == nil {
			return &Error{Kind: NoRoute, Service: c.service.name, Cluster: to.name, Err: to.unknown(c.route)}
		}
		if to.cluster.enter(c.service) {
			c.cluster = to.cluster
			return nil
		}
		// The cluster was removed between the two steps: a newer plan is there.
	}
}

func (c *Call) withDeadline() {
	timeout := c.route.Policy.Timeout
	if timeout <= 0 || c.Unbounded {
		return
	}
	if d, ok := c.ctx.Deadline(); ok && time.Until(d) <= timeout {
		return
	}
	c.ctx, c.cancel = context.WithTimeout(c.ctx, timeout)
}

// tries sends the call to one host after the other.
func (c *Call) tries() (resilience.Outcome, error) {
	retries := uint32(1) // number of the try as the retry policy counts
	for {
		if c.ctx.Err() != nil {
			return c.interrupted()
		}
		a, out := c.attempt()
		if a == nil && c.WaitForHost {
			if err := c.awaitHost(); err != nil {
				return c.fail(err)
			}
			continue
		}
		if a == nil {
			err := c.failure(nil, out)
			c.finish(out, err)
			return out, err
		}
		var pause time.Duration
		var again bool
		if out.Cause == resilience.HostLeft && c.attempts < maxMoves {
			// Not a retry: nobody has refused anything, the call is just moved.
			again = c.transport.Replayable()
		} else if pause, again = c.route.Policy.Retry.Next(retries, out); again {
			again = c.transport.Replayable()
			retries++
		}
		if again && c.ctx.Err() == nil && c.affords(&pause) && a.end(out) {
			if out.Cause != resilience.HostLeft { // who was never asked has not refused
				c.tried[int(retries)%len(c.tried)] = a.Host
			}
			c.sleep(pause)
			continue
		}
		var err error
		if out.Err != nil {
			err = c.failure(a, out)
		}
		if !a.held {
			a.end(out)
			c.finish(out, err)
		}
		return out, err
	}
}

// maxMoves bounds how often one call follows hosts that leave under it.
const maxMoves = 64

// attempt picks a host and sends the call there once. The attempt is nil if there was no host.
func (c *Call) attempt() (*Attempt, resilience.Outcome) {
	host, err := c.cluster.hosts.Pick(balancer.Want{Avoid: (*preference)(c)})
	if err == nil && c.attempts > 0 && (*preference)(c).Avoid(host) {
		// All connected hosts were tried: one that still connects is better than one
		// that has not answered.
		host, err = c.cluster.hosts.Pick(balancer.Want{Avoid: (*untried)(c)})
	}
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
	return a, c.transport.Send(a.ctx, a)
}

// preference is a Call that passes over hosts that did not answer it or are not connected.
type preference Call

func (p *preference) Avoid(h *balancer.Host) bool {
	return (*untried)(p).Avoid(h) || !p.transport.Connected(h)
}

// untried is a Call that passes over hosts that did not answer it.
type untried Call

func (u *untried) Avoid(h *balancer.Host) bool { return slices.Contains(u.tried[:], h) }

// awaitHost waits until the call's cluster has a host that may serve, or it takes a route
// to one that has.
func (c *Call) awaitHost() *Error {
	changed := make(chan struct{}, 1)
	stop := c.service.OnChange(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer stop()
	for {
		// The cluster may be one that was removed, which gets no hosts any more.
		c.cluster.leave(c.service)
		c.cluster = nil
		if err := c.enter(); err != nil {
			return err
		}
		if _, err := c.cluster.hosts.Pick(balancer.Want{}); err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			err := c.service.late(c.ctx)
			err.Cluster, err.Attempts = c.cluster.Name, int(c.attempts)
			return err
		}
	}
}

// affords jitters a pause by a fifth (gRFC A6) and reports whether the deadline leaves time for it.
func (c *Call) affords(pause *time.Duration) bool {
	if *pause <= 0 {
		return true
	}
	if jittered := time.Duration(float64(*pause) * (0.8 + 0.4*rand.Float64())); jittered > 0 {
		*pause = jittered
	}
	deadline, ok := c.ctx.Deadline()
	return !ok || time.Until(deadline) > *pause
}

// sleep waits for a pause, or until the call's time is up.
func (c *Call) sleep(pause time.Duration) {
	if pause <= 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.ctx.Done():
	}
}

// interrupted ends a call whose time was up between attempts, or before the first.
func (c *Call) interrupted() (resilience.Outcome, error) {
	err := c.service.late(c.ctx)
	err.Cluster, err.Attempts, err.Err = c.cluster.Name, int(c.attempts), c.ctx.Err()
	if c.last != nil {
		err.Host = c.last.Host.Addr()
	}
	return c.fail(err)
}

// fail ends a call that has no attempt running.
func (c *Call) fail(err *Error) (resilience.Outcome, error) {
	out := resilience.Outcome{Err: err, Cause: resilience.Unsent}
	switch err.Kind {
	case Deadline:
		out.Cause = resilience.Timeout
	case Canceled:
		out.Cause = resilience.Canceled
	}
	c.finish(out, err)
	return out, err
}

// abandon ends a call that a panic has left.
func (c *Call) abandon() {
	out := resilience.Outcome{Err: errPanicked, Cause: resilience.Reset}
	if c.last != nil {
		c.last.end(out)
	}
	c.finish(out, nil)
}

// finish ends the call. Only the first finish counts.
func (c *Call) finish(o resilience.Outcome, err error) {
	if c.finished.Swap(true) {
		return
	}
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
