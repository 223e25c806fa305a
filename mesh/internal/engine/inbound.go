package engine

import (
	"context"
	"errors"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// An Inbound is the live side of a resolver.Inbound: an address this process serves.
type Inbound struct {
	engine *Engine
	port   int
	value  atomic.Pointer[resolver.Inbound]

	serving sync.Mutex // held while Serve or its stop is being called
	closed  bool
	stop    func()
}

// Listen registers addr ("ip:port") with the resolver and keeps what it demands current.
func (e *Engine) Listen(addr *net.TCPAddr) (*Inbound, error) {
	in := &Inbound{engine: e, port: addr.Port}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, errClosed
	}
	next := maps.Clone(*e.inbounds.Load())
	next[in.port] = in
	e.inbounds.Store(&next)
	if e.listened == nil {
		e.listened = map[int]bool{}
	}
	e.listened[in.port] = true
	in.serving.Lock()
	e.mu.Unlock()
	defer in.serving.Unlock()
	// Outside the engine's lock: a resolver may report from within Serve.
	in.stop = e.config.Resolver.Serve(addr.String(), in.apply)
	return in, nil
}

func (in *Inbound) apply(v *resolver.Inbound, err error) {
	if err != nil {
		if _, unknown := errors.AsType[*resolver.UnknownError](err); !unknown { // a control plane that has nothing to say of this address is no fault
			in.engine.config.Logger.Warn("inbound configuration not updated", "port", in.port, "err", err)
		}
		return
	}
	if v != nil {
		in.value.Store(v)
	}
}

// Value is the configuration in use; nil before the first.
func (in *Inbound) Value() *resolver.Inbound { return in.value.Load() }

// Close ends the registration. Calls that come all the same are still served.
func (in *Inbound) Close() {
	e := in.engine
	e.mu.Lock()
	if (*e.inbounds.Load())[in.port] == in {
		next := maps.Clone(*e.inbounds.Load())
		delete(next, in.port)
		e.inbounds.Store(&next)
	}
	e.mu.Unlock()
	in.serving.Lock()
	defer in.serving.Unlock()
	if !in.closed {
		in.closed = true
		in.stop()
	}
}

// An InboundCall is one call that this process serves. An adapter makes one for
// each and sets the exported fields.
type InboundCall struct {
	Protocol Protocol
	Request  resolver.Request
	Local    net.Addr // where it came in; nil if not known
	Remote   net.Addr

	ctx   context.Context
	start time.Time
}

// Context is the call's context as the observer made it.
func (c *InboundCall) Context() context.Context { return c.ctx }

// Start is when the call came; it is kept only for an observer.
func (c *InboundCall) Start() time.Time { return c.start }

// Caused returns the inbound call that a context belongs to, so that the calls it causes can be told
// from others; nil if there is none.
func Caused(ctx context.Context) *InboundCall {
	c, _ := ctx.Value(inboundKey{}).(*InboundCall)
	return c
}

type inboundKey struct{}

// Header is what the answer is to carry besides the handler's own, however it ends. It is known once
// the handler is called. Names are in lower case.
func (c *InboundCall) Header() []Field { return nil }

// Spent reports whether calls that this one has caused failed though they were repeated, or could not be
// repeated for lack of budget. A failure is answered with a request not to repeat it then, lest
// each hop multiply the load of the last.
func (c *InboundCall) Spent() bool { return false }

// spend notes that a call which this one has caused failed though it was repeated, or could not be repeated.
// It may be called from any goroutine.
func (c *InboundCall) spend() {}

// repeated reports whether the caller said that this call is a retry of its own.
func (c *InboundCall) repeated() bool { return false }

// criticality is the value of x-weft-criticality that the calls this one causes inherit; empty if there is none.
func (c *InboundCall) criticality() string { return "" }

// A Refusal says how to answer a call that is not handled.
type Refusal struct {
	Kind   Kind
	Status int    // HTTP
	Code   uint32 // gRPC
	Text   string
	// Header is for the answer, besides the call's own. Names are in lower case.
	Header []Field
	// Cut says that there is to be no answer: the connection is to break.
	Cut bool
}

// Serve takes an inbound call to its handler and reports how it ended, or refuses it. A panic of
// the handler goes on after the observer was told.
func (e *Engine) Serve(ctx context.Context, c *InboundCall, handle func(context.Context) resilience.Outcome) (resilience.Outcome, *Refusal) {
	e.notice(c)
	obs := e.config.Observer
	if obs == nil {
		c.ctx = ctx
		return handle(ctx), nil
	}
	c.start = time.Now()
	c.ctx = obs.ServeStarted(ctx, c)
	out := resilience.Outcome{Err: errPanicked, Cause: resilience.Reset}
	defer func() { obs.ServeFinished(c, out) }()
	out = handle(c.ctx)
	return out, nil
}

// Inbound is what this process's registration of the call's local port demands; nil if it has none.
func (e *Engine) Inbound(c *InboundCall) *resolver.Inbound {
	if a, ok := c.Local.(*net.TCPAddr); ok {
		if in := (*e.inbounds.Load())[a.Port]; in != nil {
			return in.Value()
		}
	}
	return nil
}

// notice says, once, that calls come in where the mesh does not listen.
func (e *Engine) notice(c *InboundCall) {
	a, ok := c.Local.(*net.TCPAddr)
	if !ok || e.noticed.Load() || (*e.inbounds.Load())[a.Port] != nil {
		return
	}
	e.mu.Lock()
	listened := e.listened[a.Port] // and closed: the last calls
	e.mu.Unlock()
	if !listened && !e.noticed.Swap(true) {
		e.config.Logger.Warn("serving on a listener that is not the mesh's: this process is not registered there, and callers are not authenticated; use Mesh.Listen", "addr", a)
	}
}
