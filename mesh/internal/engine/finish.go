package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
)

// conclude ends a call that is not tried again: as its fallback says, as it stands, or not yet if a, its last attempt, is
// held. a is nil if no host was asked last.
func (c *Call) conclude(a *Attempt, out resilience.Outcome, failed *Error) (resilience.Outcome, error) {
	now := time.Now()
	if answer := c.fallback(out, failed, now); answer != nil && (a == nil || a.end(out, now)) {
		c.transport.(Answerer).Answer(answer)
		c.answer = answer
		c.marks |= FellBack
		c.finish(out, failed.orNil(), now)
		return outcomeOf(answer), nil
	}
	if a == nil || !a.held {
		if a != nil {
			a.end(out, now)
		}
		c.finish(out, failed.orNil(), now)
	}
	return out, failed.orNil()
}

// fail ends a call that has no attempt running.
func (c *Call) fail(err *Error) (resilience.Outcome, error) {
	c.retried()
	if err.Kind == Injected {
		if out, ok := c.abort(); ok {
			c.finish(out, nil, time.Now())
			return out, nil
		}
	}
	out := resilience.Outcome{Err: err, Cause: resilience.Unsent}
	switch err.Kind {
	case Deadline:
		out.Cause = resilience.Timeout
	case Canceled:
		out.Cause = resilience.Canceled
	}
	return c.conclude(nil, out, err)
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

// abandon ends a call that a panic has left.
func (c *Call) abandon() {
	out := resilience.Outcome{Err: errPanicked, Cause: resilience.Reset}
	c.retried()
	c.unbegin()
	now := time.Now()
	if c.last != nil {
		c.last.end(out, now)
	}
	c.finish(out, nil, now)
}

// finish ends the call, whose servers had the outcome o. Only the first finish counts.
func (c *Call) finish(o resilience.Outcome, err error, now time.Time) {
	if c.finished.Swap(true) {
		return
	}
	if c.cluster != nil {
		c.leave(o, now)
	}
	if c.active != nil {
		c.active.Leave()
	}
	if c.cancel != nil {
		c.cancel()
	}
	if c.caused != nil && c.answer == nil && (c.end != Settled || overloads(err)) {
		c.caused.spend()
	}
	if obs := c.service.engine.config.Observer; obs != nil {
		if c.answer != nil {
			o = outcomeOf(c.answer)
		}
		obs.CallFinished(c, o, err)
	}
}

// leave tells the cluster's admission and breaker how the call ended, and counts it out. An end that says nothing of the servers is
// one that none of them had a part in.
func (c *Call) leave(o resilience.Outcome, now time.Time) {
	if c.cluster.Admission != nil || c.cluster.Breaker != nil {
		result := balancer.Neutral
		if c.asked() > 0 {
			result = resultOf(o)
		}
		if c.admitted && c.cluster.Admission != nil && result != balancer.Neutral {
			c.cluster.admissions.Done(*c.cluster.Admission, now, o.OK())
		}
		c.pass.Done(saying(o, result))
	}
	c.cluster.leave(c.service)
}

// release gives the cluster's breaker back what a call that goes elsewhere had of it.
func (c *Call) release() {
	c.pass.Done(resilience.Outcome{Cause: resilience.Canceled})
	c.pass = resilience.Pass{}
}

// withdraw takes the call out of its cluster, before it enters one again.
func (c *Call) withdraw() {
	c.release()
	c.cluster.leave(c.service)
	c.cluster = nil
}

func overloads(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == Overloaded
}

// orNil is e as an error, which is nil if e is.
func (e *Error) orNil() error {
	if e == nil {
		return nil
	}
	return e
}
