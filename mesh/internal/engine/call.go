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
	base      context.Context    // ctx before it had a timeout
	cancel    context.CancelFunc // of ctx; nil without a timeout of the route or its tries, or a hedge
	start     time.Time          // zero without an observer
	attempts  uint32
	moves     uint32 // attempts that ended before their host was asked
	retries   uint32 // attempts that the retry policy counts, but for the first
	hedges    uint32 // attempts that were made beside others
	step      uint32 // pauses between retries since they began, or began anew
	entered   bool   // the steps before a cluster is asked are taken
	admitted  bool   // the cluster's admission control let it through
	retrying  bool   // a retry is counted in at the cluster
	begun     bool   // an attempt is counted in at the cluster that there is no Attempt of yet
	marks     Marks
	end       End
	caused    *InboundCall          // what the call was made for; nil if that is not known
	answer    *resilience.Answer    // what a fallback gave; nil if none did
	pass      resilience.Pass       // of the cluster's breaker
	active    *resilience.Gauge     // where the call is counted in that something is done to; or nil
	injected  *resilience.Injection // what is done to it; nil if nothing is
	first     Attempt
	last      *Attempt          // nil before the first
	tried     [3]*balancer.Host // the last hosts that did not answer, or were sent to beside others
	avoided   uint8             // how many were put there
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

// A Hedger is a Transport whose attempts may run side by side. What it holds is finished only after Do has returned.
type Hedger interface {
	Transport
	// Beside returns a Transport for one attempt that runs beside others of the call: they may write nothing
	// in common. It is nil if the call can't be sent twice. It is called while Sends run, on another goroutine.
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

// Marks is what was done to the call besides sending it.
func (c *Call) Marks() Marks {
	if c.last != nil && c.last.broke() {
		return c.marks | Aborted
	}
	return c.marks
}

// Start is when the call began; it is kept only for an observer.
func (c *Call) Start() time.Time { return c.start }

// Marks are what was done to a call besides sending it.
type Marks uint8

// The marks.
const (
	Delayed  Marks = 1 << iota // held back on purpose (Envoy DI)
	Aborted                    // failed on purpose (Envoy FI)
	FellBack                   // answered by a fallback
	Hedged                     // sent to hosts side by side
)

// Has reports whether all of x are among m.
func (m Marks) Has(x Marks) bool { return m&x == x }

// An End is why a call was not tried again, though its last attempt was one to be repeated.
type End uint8

// The ends.
const (
	Settled   End = iota // there was no reason to
	Exhausted            // all retries of the policy were used (Envoy URX)
	Unfunded             // the cluster's budget or threshold of retries had no room
)
