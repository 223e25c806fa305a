package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// An Attempt is one try of a Call at one host.
type Attempt struct {
	Number  int // from 1
	Retries int // how many attempts before this one were sent to a host, or were to be
	Host    *balancer.Host
	Cluster *resolver.Cluster
	// Header is what the transport must add to the request, such as trace context. Names are in lower case.
	Header []Field

	call  *Call
	ctx   context.Context
	start time.Time
	held  bool
	ended atomic.Bool

	broken *resilience.Break // what is done to its connection on purpose; nil if nothing is
	flow   *Flow             // nil if nothing paces its bodies
	pass   resilience.Pass   // of the host's breaker

	clock  atomic.Uint32      // of the attempt's own time: running, stopped or expired
	cancel context.CancelFunc // nil if its context is the call's

	server atomic.Pointer[string] // the SPIFFE ID that it has proved; nil if it has not
}

// The states of an attempt's clock.
const (
	running uint32 = iota
	stopped        // an answer came first
	expired
)

// A Field is a header's name and value.
type Field struct{ Name, Value string }

// Call is the call the attempt belongs to.
func (a *Attempt) Call() *Call { return a.call }

// Context is the attempt's context as the observer made it.
func (a *Attempt) Context() context.Context { return a.ctx }

// Start is when the attempt began.
func (a *Attempt) Start() time.Time { return a.start }

// InUse is what the attempt's cluster has in flight in the call's priority, and how much there may be. The
// transport counts Connections and Pending, the engine the rest. A call that finds no room there ends
// with an Outcome whose Err is (errors.Is) [ErrFull] and whose Cause is Unsent.
func (a *Attempt) InUse() (*resilience.InUse, resilience.Thresholds) {
	p := a.call.route.priority()
	return &a.call.cluster.inUse[p], a.call.cluster.thresholds[p]
}

// Answered says that an answer has come. It fails if the attempt's own time was up before: the context
// has ended, which may be all that the server answers to, and Send is to return an error.
func (a *Attempt) Answered() bool { return a.clock.CompareAndSwap(running, stopped) }

// Hold is Answered for an answer that goes on: it leaves it to the transport to Finish the attempt.
func (a *Attempt) Hold() bool {
	a.held = a.Answered()
	return a.held
}

// expire ends an attempt that was not answered in its time.
func (a *Attempt) expire() {
	if a.clock.CompareAndSwap(running, expired) {
		a.cancel()
	}
}

// Finish ends a held attempt, and with it the call. Only the first Finish
// counts; it may be called from any goroutine.
func (a *Attempt) Finish(o resilience.Outcome) {
	if now := time.Now(); a.end(o, now) {
		a.call.finish(o, nil, now)
	}
}

// end ends the attempt alone and reports whether it was still running.
func (a *Attempt) end(o resilience.Outcome, now time.Time) bool {
	if a.ended.Swap(true) {
		return false
	}
	c := a.call
	c.cluster.end(c.route.priority())
	result := resultOf(o)
	took := now.Sub(a.start)
	a.Host.Finish(result, took)
	if c.cluster.HostBreaker != nil {
		a.pass.Done(saying(o, result))
	}
	if a.broken != nil {
		c.route.active.Leave()
	}
	if !a.held && c.route.timed() && o.OK() {
		c.cluster.latencies.Observe(now, took)
	}
	if obs := c.service.engine.config.Observer; obs != nil {
		obs.AttemptFinished(c, a, o)
	}
	return true
}

// saying is o as a breaker is told of it: what says nothing of the host says nothing to its breaker.
func saying(o resilience.Outcome, r balancer.Result) resilience.Outcome {
	if r == balancer.Neutral {
		o.Cause = resilience.Canceled
	}
	return o
}

// begin makes an attempt at the host, for which the cluster has counted one in.
func (c *Call) begin(ctx context.Context, host *balancer.Host, pass resilience.Pass, now time.Time) *Attempt {
	c.attempts++
	a := &c.first
	if c.attempts > 1 {
		a = new(Attempt)
	}
	a.Number, a.Retries, a.Host, a.Cluster, a.call, a.ctx = int(c.attempts), int(c.retries+c.hedges), host, &c.cluster.Cluster, c, ctx
	a.start, a.pass = now, pass
	c.last, c.begun = a, false // from here on its end counts it out
	host.Begin()
	if c.route.breaks != nil || c.route.paces != nil || c.injected != nil {
		a.pace()
	}
	if c.caused != nil {
		a.handOn()
	}
	if obs := c.service.engine.config.Observer; obs != nil {
		a.ctx = obs.AttemptStarted(a.ctx, c, a)
	}
	return a
}

// pace gives the attempt what paces and breaks it.
func (a *Attempt) pace() {
	r := a.call.route
	if r.breaks != nil {
		// Rolled for each attempt: it is a connection that breaks, and a retry has another.
		if i, ok := r.breaks.Decide(nil, r.active, rand.Uint32N); ok {
			broken := i.Break
			a.broken = &broken
		}
	}
	if r.paces != nil || a.broken != nil || a.call.injected != nil {
		a.flow = newFlow(r.Policy.Bandwidth, r.paces, a.injection())
	}
}

// send sends the attempt by t.
func (c *Call) send(a *Attempt, t Transport) (out resilience.Outcome) {
	if out, ok := a.faulted(); ok {
		return out
	}
	if try := c.route.Policy.Retry.TryTimeout; try > 0 && !c.Unbounded {
		out = c.bounded(a, t, try)
	} else {
		out = t.Send(a.ctx, a)
	}
	if a.held && c.route.timed() && out.OK() { // the answer has come, whenever it is read
		now := time.Now()
		c.cluster.latencies.Observe(now, now.Sub(a.start))
	}
	return out
}

// bounded sends an attempt that has a time of its own. It lasts until Send returns or the
// transport holds the attempt.
func (c *Call) bounded(a *Attempt, t Transport, try time.Duration) resilience.Outcome {
	if a.cancel == nil {
		a.ctx, a.cancel = context.WithCancel(a.ctx)
	}
	timer := time.AfterFunc(try, a.expire)
	defer timer.Stop()
	out := t.Send(a.ctx, a)
	if out.Err == nil || c.ctx.Err() != nil || a.clock.Load() != expired {
		return out
	}
	out = resilience.Outcome{Err: fmt.Errorf("no answer within the attempt's %v: %w", try, out.Err), Cause: resilience.TryTimeout}
	if c.Protocol == GRPC {
		out.GRPC, out.Code = true, 4 // DEADLINE_EXCEEDED, by which a policy can ask for a retry
	}
	return out
}
