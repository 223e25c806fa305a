package engine

import (
	"context"
	"errors"
	"fmt"
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
		// Thresholds and outlier detection stand within the retries: outside, a call of three
		// attempts would count as one in flight, and its host's failures not at all.
		out, err = call.tries()
	}
	returned = true
	return out, err
}

// enter matches the call to a route, asks the route's rate, chooses the cluster and counts the call in there.
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
		// Rate before the cluster, and once a call: what is refused here must weigh on no
		// budget, and a retry is no new call.
		if !c.admitted && !c.route.allow(&c.Request) {
			return &Error{Kind: RateLimited, Service: c.service.name, Err: fmt.Errorf("route %q: %w", c.route.Name, errRate)}
		}
		c.admitted = true
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
	if c.Unbounded {
		return
	}
	if timeout := c.route.Policy.Timeout; timeout > 0 {
		if d, ok := c.ctx.Deadline(); !ok || time.Until(d) > timeout {
			c.ctx, c.cancel = context.WithTimeout(c.ctx, timeout)
			return
		}
	}
	if c.route.Policy.Retry.TryTimeout > 0 {
		// The attempts' contexts end with the call's.
		c.ctx, c.cancel = context.WithCancel(c.ctx)
	}
}

// tries sends the call to one host after the other.
func (c *Call) tries() (resilience.Outcome, error) {
	for {
		if c.ctx.Err() != nil {
			return c.interrupted()
		}
		host, err := c.pick()
		if err != nil && c.WaitForHost {
			c.retried()
			if err := c.awaitHost(); err != nil {
				return c.fail(err)
			}
			continue
		}
		if err != nil {
			out := resilience.Outcome{Err: err, Cause: resilience.Unsent}
			err := c.failure(nil, out)
			c.retried()
			c.finish(out, err)
			return out, err
		}
		// Every attempt counts against the threshold, and what it refuses is not repeated: that
		// would make more of what is too much.
		if !c.cluster.begin(c.route.priority()) {
			return c.fail(c.overloaded())
		}
		a, out := c.attempt(host)
		c.retried()
		if pause, again := c.again(out); again && a.end(out) {
			if out.Cause != resilience.HostLeft { // who was never asked has not refused
				c.tried[int(c.retries)%len(c.tried)] = a.Host
			}
			c.sleep(pause)
			continue
		}
		c.retried()
		var failed error
		if out.Err != nil {
			failed = c.failure(a, out)
		}
		if !a.held {
			a.end(out)
			c.finish(out, failed)
		}
		return out, failed
	}
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
	if retry.Attempts == 0 || errors.Is(out.Err, ErrFull) {
		return 0, false
	}
	out.Idempotent = c.Idempotent
	d := retry.Decide(c.retries+1, out)
	if !d.Again {
		if c.retries >= retry.Attempts && retry.Decide(1, out).Again {
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
	if out.Unprocessed() && out.Cause != resilience.Refused {
		c.retries++
		return pause, true
	}
	// The budget comes last: what is not sent for another reason must not be paid.
	if !c.cluster.retry(c.route.priority()) {
		c.end = Unfunded
		return 0, false
	}
	c.retrying = true
	c.retries++
	return pause, true
}

// retried counts out the retry that has been answered, or is not made after all.
func (c *Call) retried() {
	if c.retrying {
		c.retrying = false
		c.cluster.retried(c.route.priority())
	}
}

// pick chooses the host of the next attempt.
func (c *Call) pick() (*balancer.Host, error) {
	host, err := c.cluster.hosts.Pick(balancer.Want{Avoid: (*preference)(c)})
	if err == nil && c.attempts > 0 && (*preference)(c).Avoid(host) {
		// All connected hosts were tried: one that still connects is better than one
		// that has not answered.
		host, err = c.cluster.hosts.Pick(balancer.Want{Avoid: (*untried)(c)})
	}
	return host, err
}

// attempt sends the call to the host once.
func (c *Call) attempt(host *balancer.Host) (*Attempt, resilience.Outcome) {
	c.attempts++
	a := &c.first
	if c.attempts > 1 {
		a = new(Attempt)
	}
	a.Number, a.Retries, a.Host, a.Cluster, a.call, a.ctx = int(c.attempts), int(c.retries), host, &c.cluster.Cluster, c, c.ctx
	a.start = time.Now()
	c.last = a
	host.Begin()
	if obs := c.service.engine.config.Observer; obs != nil {
		a.ctx = obs.AttemptStarted(c.ctx, c, a)
	}
	if try := c.route.Policy.Retry.TryTimeout; try > 0 && !c.Unbounded {
		return a, c.bounded(a, try)
	}
	return a, c.transport.Send(a.ctx, a)
}

// bounded sends an attempt that has a time of its own. It lasts until Send returns or the
// transport holds the attempt.
func (c *Call) bounded(a *Attempt, try time.Duration) resilience.Outcome {
	a.ctx, a.cancel = context.WithCancel(a.ctx)
	timer := time.AfterFunc(try, a.expire)
	defer timer.Stop()
	out := c.transport.Send(a.ctx, a)
	if out.Err == nil || c.ctx.Err() != nil || a.clock.Load() != expired {
		return out
	}
	out = resilience.Outcome{Err: fmt.Errorf("no answer within the attempt's %v: %w", try, out.Err), Cause: resilience.TryTimeout}
	if c.Protocol == GRPC {
		out.GRPC, out.Code = true, 4 // DEADLINE_EXCEEDED, by which a policy can ask for a retry
	}
	return out
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
		case <-c.hostReturns():
		case <-c.ctx.Done():
			err := c.service.late(c.ctx)
			err.Cluster, err.Attempts = c.cluster.Name, c.asked()
			return err
		}
	}
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

// hostReturns is ready when an ejected host of the cluster comes back, of which nobody else
// is told; nil if none is ejected.
func (c *Call) hostReturns() <-chan time.Time {
	if wait, ok := c.cluster.hosts.Return(); ok {
		return time.After(wait)
	}
	return nil
}

// overloaded is the error of a call that the cluster's threshold refuses.
func (c *Call) overloaded() *Error {
	p := c.route.priority()
	e := &Error{Kind: Overloaded, Service: c.service.name, Cluster: c.cluster.Name, Attempts: c.asked(),
		Err: fmt.Errorf("%d requests are in flight, the most there may be (max_requests)", c.cluster.thresholds[p].MaxRequests)}
	if c.last != nil {
		e.Host = c.last.Host.Addr()
	}
	return e
}

// interrupted ends a call whose time was up between attempts, or before the first.
func (c *Call) interrupted() (resilience.Outcome, error) {
	err := c.service.late(c.ctx)
	err.Cluster, err.Attempts, err.Err = c.cluster.Name, c.asked(), c.ctx.Err()
	if c.last != nil {
		err.Host = c.last.Host.Addr()
	}
	return c.fail(err)
}

// fail ends a call that has no attempt running.
func (c *Call) fail(err *Error) (resilience.Outcome, error) {
	c.retried()
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
	c.retried()
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
