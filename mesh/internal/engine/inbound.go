package engine

import (
	"errors"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// An Inbound is the live side of a resolver.Inbound: an address this process serves.
type Inbound struct {
	engine  *Engine
	port    int
	current atomic.Pointer[serving] // never nil

	// What is live outlives every serving.
	rates     resilience.RateLimiter
	active    resilience.Gauge // calls in flight, where they are bounded
	queue     queue
	shedder   *resilience.Shedder
	gradient  *resilience.Gradient // nil before the first serving that asks it; read by make alone
	late      *resilience.LateCalls
	faulted   resilience.Gauge
	throttles throttles
	refused   [len(kindNames)]atomic.Uint64 // calls, by Kind

	// What came in by the door.
	connections connections
	strays      underway // calls on connections that are not known
	cutting     sync.Mutex
	plaintext   plaintext
	turned      [len(unwelcomeNames)]atomic.Uint64 // connections, by why
	review      review

	known   chan struct{} // closed by the first report
	serving sync.Mutex    // held while Serve or its stop is being called
	closed  bool
	stop    func()
}

// Listen registers addr ("ip:port") with the resolver and keeps what it demands current.
func (e *Engine) Listen(addr *net.TCPAddr) (*Inbound, error) {
	now := time.Now()
	in := &Inbound{engine: e, port: addr.Port, shedder: resilience.NewShedder(now), late: resilience.NewLateCalls(now), known: make(chan struct{})}
	in.review.over = make(chan struct{})
	in.current.Store(in.make(nil))
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
		if _, unknown := errors.AsType[*resolver.UnknownError](err); unknown { // a control plane that has nothing to say of this address is no fault
			in.know()
		} else {
			in.engine.config.Logger.Warn("inbound configuration not updated", "port", in.port, "err", err)
		}
		return
	}
	if v == nil {
		return
	}
	next := in.make(v)
	was := in.current.Swap(next)
	if next.door.Closed != nil && was.door.Closed == nil {
		in.engine.config.Logger.Error("no connection is let in", "err", next.door.Closed)
	}
	in.know()
	if next.judges || was.judges {
		in.reviewSoon()
	}
	switch off := v.Serving.Off; {
	case off == was.policy.Off:
	case off != 0:
		in.engine.config.Logger.Warn("policies are turned off", "port", in.port, "off", off.String())
	default:
		in.engine.config.Logger.Info("all policies are on again", "port", in.port)
	}
	in.admit() // there may be room for more
}

// know says that the resolver has spoken.
func (in *Inbound) know() {
	select {
	case <-in.known:
	default:
		close(in.known)
	}
}

// Value is the configuration in use; nil before the first.
func (in *Inbound) Value() *resolver.Inbound { return in.current.Load().value }

// An InboundState is how the calls of an Inbound fare.
type InboundState struct {
	Limit      uint32 // of calls in flight; 0 is none
	InFlight   int64  // counted only where there is a limit
	Queued     int
	Overloaded bool  // calls queue faster than they are served
	Faulted    int64 // calls in flight that something is done to on purpose
	Refused    map[Kind]uint64
	// Mode is what is demanded of connections; Closed says why none is let in.
	Mode      identity.Mode
	Closed    error
	Turned    map[Unwelcome]uint64 // connections that were not let in
	Plaintext []PlaintextPeer      // who still speaks plaintext, where TLS could be spoken
}

// State is how the calls fare now.
func (in *Inbound) State() InboundState {
	s := in.current.Load()
	out := InboundState{
		Limit:    s.limit(),
		InFlight: in.active.Count(), Queued: int(in.queue.length.Load()), Faulted: in.faulted.Count(),
		Overloaded: s.sheds && in.shedder.Overloaded(),
		Mode:       s.door.Mode, Closed: s.door.Closed, Plaintext: in.plaintext.list(&in.connections),
	}
	for why := range in.turned {
		if n := in.turned[why].Load(); n > 0 {
			if out.Turned == nil {
				out.Turned = map[Unwelcome]uint64{}
			}
			out.Turned[Unwelcome(why)] = n
		}
	}
	for kind := range in.refused {
		if n := in.refused[kind].Load(); n > 0 {
			if out.Refused == nil {
				out.Refused = map[Kind]uint64{}
			}
			out.Refused[Kind(kind)] = n
		}
	}
	return out
}

// Close ends the registration. Calls that come all the same, on connections that there are, are still served as was demanded last.
func (in *Inbound) Close() {
	in.connections.close(in.forget)
	in.serving.Lock()
	defer in.serving.Unlock()
	if !in.closed {
		in.closed = true
		in.stop()
		in.review.close()
	}
}

// forget makes the Inbound be found no more.
func (in *Inbound) forget() {
	e := in.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if (*e.inbounds.Load())[in.port] == in {
		next := maps.Clone(*e.inbounds.Load())
		delete(next, in.port)
		e.inbounds.Store(&next)
	}
}

// Inbound is what this process's registration of the call's local port demands; nil if it has none.
func (e *Engine) Inbound(c *InboundCall) *resolver.Inbound {
	if in := e.inbound(c); in != nil {
		return in.Value()
	}
	return nil
}

// inbound is the registration of the call's local port; nil if there is none.
func (e *Engine) inbound(c *InboundCall) *Inbound {
	if a, ok := c.Local.(*net.TCPAddr); ok {
		return (*e.inbounds.Load())[a.Port]
	}
	return nil
}

// notice says, once, that calls come in where the mesh does not listen.
func (e *Engine) notice(c *InboundCall) {
	a, ok := c.Local.(*net.TCPAddr)
	if !ok || e.noticed.Load() {
		return
	}
	e.mu.Lock()
	listened := e.listened[a.Port] // and closed: the last calls
	e.mu.Unlock()
	if !listened && !e.noticed.Swap(true) {
		e.config.Logger.Warn("serving on a listener that is not the mesh's: this process is not registered there, and callers are not authenticated; use Mesh.Listen", "addr", a)
	}
}
