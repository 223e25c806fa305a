package engine

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// An InboundCall is one call that this process serves. An adapter makes one for each, as part of its own
// state, sets the exported fields but for Refused, and does not use it again.
type InboundCall struct {
	Protocol Protocol
	// Stream says that the call lasts as long as the peers like, which tells nothing of how busy the server is.
	Stream  bool
	Request resolver.Request
	Local   net.Addr // where it came in; nil if not known
	Remote  net.Addr
	// Incoming is the request as the adapter has it. Without one its headers are not changed, and its body is not looked at.
	Incoming Incoming
	// Peer is who calls, as far as that was proved, and Caller his SPIFFE ID; nil and empty if nothing was. They are known once
	// [Engine.Meet] was called.
	Peer   *identity.Peer
	Caller string

	// Refused is how the call was answered in the handler's place; nil if it was handled. It is set before the observer is told.
	Refused *Refusal

	ctx     context.Context
	met     bool
	in      *Inbound                     // where it came in; nil if that is not the mesh's
	conn    *Connection                  // on which; nil if it is not known
	by      *serving                     // that let it in; nil if nobody was asked
	slot    *atomic.Pointer[InboundCall] // where it is found
	cancel  context.CancelCauseFunc      // of ctx; nil if it is no stream
	left    bool                         // it is over, though it was cut; under Inbound.cutting
	trial   *trial                       // nil if there was none
	cut     uint32                       // below; by atomic operations
	why     *Refusal                     // set before cut says so
	start   time.Time
	header  []Field
	flow    *Flow
	delayed bool
	known   uint32 // bits below; by atomic operations
}

// Whether an InboundCall was ended while it was handled.
const (
	uncut uint32 = iota
	cutting
	wasCut
	over // it can't be any more
)

// What is known of an InboundCall.
const (
	looked uint32 = 1 << iota // the headers were read
	isRetry
	isSpent
)

// criticalityShift is where its Criticality stands above that, as a number from Sheddable on.
const criticalityShift = 3

// Context is the context of the call's handler, and all that it asks of a call is asked of the one it came
// with, which the observer may have extended.
func (c *InboundCall) Context() context.Context { return (*inboundContext)(c) }

// An Incoming is a request on its way to its handler. What is done to it the handler sees, and so do all steps that follow.
// Its methods but for End are called before the handler is, by the goroutine of Serve.
type Incoming interface {
	// Set puts the header in the place of all that those take for it who do not tell "_" from "-".
	Set(name resolver.HeaderName, value string)
	Append(name resolver.HeaderName, value string)
	Remove(name resolver.HeaderName)
	// RemoveSteering removes all headers by which callers tell the mesh how to treat a call (identity.Steering).
	RemoveSteering()
	// Body returns the beginning of the body, of limit bytes at most, which the handler gets all the same.
	Body(limit int) ([]byte, error)
	// End ends a call whose handler runs. It is called at most once, by another goroutine than the handler's but not
	// after Serve has returned, and must not block.
	End(*Refusal)
}

// inboundContext is an InboundCall that is its own context, so that it costs nothing to be found in it.
type inboundContext InboundCall

type inboundKey struct{}

func (c *inboundContext) Deadline() (deadline time.Time, ok bool) { return c.ctx.Deadline() }
func (c *inboundContext) Done() <-chan struct{}                   { return c.ctx.Done() }
func (c *inboundContext) Err() error                              { return c.ctx.Err() }

func (c *inboundContext) Value(key any) any {
	if _, ok := key.(inboundKey); ok {
		return (*InboundCall)(c)
	}
	return c.ctx.Value(key)
}

// Caused returns the inbound call that a context belongs to, so that the calls it causes can be told
// from others; nil if there is none.
func Caused(ctx context.Context) *InboundCall {
	c, _ := ctx.Value(inboundKey{}).(*InboundCall)
	return c
}

// Decision is what rules said of the call; nil if none were asked.
func (c *InboundCall) Decision() *identity.Decision {
	if c.trial == nil {
		return nil
	}
	return &c.trial.decision
}

// Judged reports whether rules were asked about the call, which saw its path and host in their one form.
func (c *InboundCall) Judged() bool { return c.by != nil && c.by.reads }

// Came reports whether the connection that the call came on is known: without a Peer that is Secure it is plaintext.
func (c *InboundCall) Came() bool { return c.conn != nil }

// Leaving reports whether the connection is to end as soon as its calls have.
func (c *InboundCall) Leaving() bool { return c.conn.Leaving() }

// Start is when the call came; it is kept only for an observer.
func (c *InboundCall) Start() time.Time { return c.start }

// Delayed reports whether a fault has held the call back.
func (c *InboundCall) Delayed() bool { return c.delayed }

// Header is what the answer is to carry besides the handler's own, however it ends. It is known once
// the handler is called, or the call refused. Names are in lower case.
func (c *InboundCall) Header() []Field { return c.header }

// Flow paces the bodies of the call; nil if nothing does. It is known once the handler is called.
func (c *InboundCall) Flow() *Flow { return c.flow }

// Retried reports whether the caller says that it has made the call before. Calls that it causes are not
// repeated then, lest each hop multiply what the last repeats.
func (c *InboundCall) Retried() bool { return c.look()&isRetry != 0 }

// Criticality is how much the caller says that the call matters; Critical if it says nothing.
func (c *InboundCall) Criticality() resilience.Criticality {
	return resilience.Criticality(c.look()>>criticalityShift) + resilience.Sheddable
}

// Spent reports whether calls that this one has caused failed though they were repeated, or could not be
// repeated for lack of budget. A failure is answered with a request not to repeat it then, lest
// each hop multiply the load of the last.
func (c *InboundCall) Spent() bool { return atomic.LoadUint32(&c.known)&isSpent != 0 }

// spend says that a call which this one has caused failed, and was repeated as far as it may be.
func (c *InboundCall) spend() { atomic.OrUint32(&c.known, isSpent) }

// look reads the headers, once unless two do so at a time.
func (c *InboundCall) look() uint32 {
	known := atomic.LoadUint32(&c.known)
	if known&looked == 0 {
		said := c.said()
		known = atomic.OrUint32(&c.known, said) | said
	}
	return known
}

// The headers by which callers speak of their calls.
var (
	criticalityHeader = resolver.HeaderName{Lower: "x-weft-criticality", Canonical: "X-Weft-Criticality"}
	attemptCount      = resolver.HeaderName{Lower: "x-envoy-attempt-count", Canonical: "X-Envoy-Attempt-Count"}           // from 1
	previousAttempts  = resolver.HeaderName{Lower: "grpc-previous-rpc-attempts", Canonical: "Grpc-Previous-Rpc-Attempts"} // (gRFC A6)
)

func (c *InboundCall) said() uint32 {
	criticality, known := resilience.Critical, looked
	if h := c.Request.Header; h != nil {
		if v := h.Values(criticalityHeader); len(v) > 0 {
			criticality, _ = resilience.ParseCriticality(v[0])
		}
		if counts(h.Values(attemptCount), 1) || c.Protocol == GRPC && counts(h.Values(previousAttempts), 0) {
			known |= isRetry
		}
	}
	return known | uint32(criticality-resilience.Sheddable)<<criticalityShift
}

// counts reports whether a header is a number beyond n.
func counts(values []string, n uint64) bool {
	if len(values) == 0 {
		return false
	}
	v, err := strconv.ParseUint(values[0], 10, 32)
	return err == nil && v > n
}

// fact is what a rate's descriptors ask of the call. Besides those of all calls there are its "remote_address", without
// the port, and its "caller", which is that address where nobody vouches for another.
func (c *InboundCall) fact(f *fact) (value string, ok bool) {
	switch {
	case f.key == "caller" && c.Caller != "":
		return c.Caller, true
	case f.key == "caller", f.key == "remote_address":
		return hostOf(c.Remote)
	}
	return f.of(&c.Request)
}

func hostOf(a net.Addr) (host string, ok bool) {
	switch a := a.(type) {
	case nil:
		return "", false
	case *net.TCPAddr:
		return a.IP.String(), true
	}
	whole := a.String()
	if host, _, err := net.SplitHostPort(whole); err == nil {
		return host, true
	}
	return whole, whole != ""
}
