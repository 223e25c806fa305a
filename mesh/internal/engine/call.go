package engine

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Protocol is what a call is spoken in.
type Protocol uint8

// The protocols.
const (
	HTTP Protocol = iota
	GRPC
	TCP
)

func (p Protocol) String() string { return [...]string{"http", "grpc", "tcp"}[p] }

// A Call is one logical call, of however many attempts. An adapter makes one
// for each call, as part of its own state, sets the exported fields and
// does not use it again.
type Call struct {
	Protocol Protocol
	Request  resolver.Request
	// Unbounded says that the route's timeout does not apply, as of a connection that was upgraded.
	Unbounded bool
	// WaitForHost says that a cluster without hosts is no failure but a reason to wait (gRPC wait-for-ready).
	WaitForHost bool
	// Idempotent says that the call does no harm when it is processed twice.
	Idempotent bool

	service   *Service
	transport Transport
	route     *route
	cluster   *cluster
	ctx       context.Context
	cancel    context.CancelFunc // nil without a timeout of the route or its tries
	start     time.Time          // zero without an observer
	attempts  uint32
	moves     uint32 // attempts that ended before their host was asked
	retries   uint32 // attempts that the retry policy counts, but for the first
	admitted  bool   // the route's rate had room
	retrying  bool   // a retry is counted in at the cluster
	end       End
	first     Attempt
	last      *Attempt          // nil before the first
	tried     [3]*balancer.Host // the last hosts that did not answer
	finished  atomic.Bool
}

// A Transport carries the attempts of one call. Its methods are called by one
// goroutine at a time.
type Transport interface {
	// Send carries one attempt to its host and reports how it ended. If the call
	// goes on after Send (a body, a stream), Send calls a.Hold, and the transport calls a.Finish
	// once it has ended. If Send is called again, the answer of the attempt before is to be discarded:
	// its Finish has no effect any more. If Finish came first there is no further attempt.
	// A panic in Send ends the attempt and the call, and goes on.
	Send(ctx context.Context, a *Attempt) resilience.Outcome
	// Replayable reports whether all that was sent can be sent again.
	Replayable() bool
	// Connected reports whether the host can be sent to without waiting for a
	// connection. Hosts that are not are passed over while there are others.
	Connected(*balancer.Host) bool
}

// An Answerer is a Transport that can answer its call in a server's place: by a fault or a fallback.
type Answerer interface {
	Transport
	// Answer makes a the answer of the call, as it stands: that it is a fallback is said in its
	// Header already. Other attempts' answers are to be discarded. There is no Send after it. Where a gRPC Code
	// is not OK, Body is the status message.
	Answer(a *resilience.Answer)
	// Key tells the call's answer from those of all other calls, whoever makes them included. It is not ok if
	// an answer to the call may not be given to another.
	Key() (key string, ok bool)
}

// A Hedger is a Transport whose attempts may run side by side.
type Hedger interface {
	Transport
	// Beside returns a Transport for one attempt that runs beside others of the call: they may write nothing
	// in common. It is nil if the call can't be sent twice.
	Beside() Aside
	// Take makes the answer of an Aside that of the call, in place of an answer of its own, which is discarded. All
	// Sends have returned by then.
	Take(Aside)
}

// An Aside is a Transport for one attempt.
type Aside interface {
	Transport
	// Discard drops the answer of its attempt, which is not held, if it got one.
	Discard()
}

// Service is the name that was called.
func (c *Call) Service() string { return c.service.name }

// Route is the route the call took; nil before it was matched and when none did.
func (c *Call) Route() *resolver.Route {
	if c.route == nil {
		return nil
	}
	return c.route.Route
}

// Cluster is the cluster that was chosen, or nil.
func (c *Call) Cluster() *resolver.Cluster {
	if c.cluster == nil {
		return nil
	}
	return &c.cluster.Cluster
}

// Context is the call's context as the observer and the route's timeout made it.
func (c *Call) Context() context.Context { return c.ctx }

// Host is the host that was tried last, or nil.
func (c *Call) Host() *balancer.Host {
	if c.last == nil {
		return nil
	}
	return c.last.Host
}

// asked is how many hosts were asked, well or badly.
func (c *Call) asked() int { return int(c.attempts - c.moves) }

// Attempts is how many attempts were begun.
func (c *Call) Attempts() int { return int(c.attempts) }

// End is why the call was not tried again.
func (c *Call) End() End { return c.end }

// Start is when the call began; it is kept only for an observer.
func (c *Call) Start() time.Time { return c.start }

// An End is why a call was not tried again, though its last attempt was one to be repeated.
type End uint8

// The ends.
const (
	Settled   End = iota // there was no reason to
	Exhausted            // all retries of the policy were used (Envoy URX)
	Unfunded             // the cluster's budget or threshold of retries had no room
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

	injected resilience.Injection // what Flow is to do to its bodies on purpose: BytesPerSecond, Break

	flow *Flow // nil if nothing paces its bodies

	clock  atomic.Uint32      // of the attempt's own time: running, stopped or expired
	cancel context.CancelFunc // nil without a time of its own
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
	if a.end(o) {
		a.call.finish(o, nil)
	}
}

// end ends the attempt alone and reports whether it was still running.
func (a *Attempt) end(o resilience.Outcome) bool {
	if a.ended.Swap(true) {
		return false
	}
	a.call.cluster.end(a.call.route.priority())
	a.Host.Finish(resultOf(o), time.Since(a.start))
	if obs := a.call.service.engine.config.Observer; obs != nil {
		obs.AttemptFinished(a.call, a, o)
	}
	return true
}
