// Package engine applies the mesh to calls. It knows no protocol.
//
// The pillars decide, the engine acts: [Service.Do] holds the only control flow
// of an outbound call and [Engine.Serve] that of an inbound one. Adapters above
// turn requests into a [Call] and carry attempts to hosts.
package engine

import (
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/resolver"
)

// Config is what an Engine is made of. The zero value but for Resolver is usable.
type Config struct {
	Resolver resolver.Resolver
	// Observer is told of every call; nil costs nothing.
	Observer Observer
	// Logger must not be nil.
	Logger *slog.Logger
}

// An Engine holds the live services of one mesh. It is safe for concurrent use.
type Engine struct {
	config   Config
	services atomic.Pointer[map[string]*Service] // copied on write
	inbounds atomic.Pointer[map[int]*Inbound]    // by port, copied on write

	mu     sync.Mutex
	closed bool
}

// New returns an Engine fed by its resolver.
func New(c Config) *Engine {
	e := &Engine{config: c}
	e.services.Store(&map[string]*Service{})
	e.inbounds.Store(&map[int]*Inbound{})
	return e
}

// Service returns the live service of that name and watches it from the first
// use on. The look-up of a known one takes no lock.
func (e *Engine) Service(name string) *Service {
	if s := (*e.services.Load())[name]; s != nil {
		return s
	}
	return e.watch(name)
}

func (e *Engine) watch(name string) *Service {
	e.mu.Lock()
	if s := (*e.services.Load())[name]; s != nil {
		e.mu.Unlock()
		return s
	}
	s := newService(e, name)
	if e.closed {
		e.mu.Unlock()
		s.apply(nil, errClosed)
		return s
	}
	next := maps.Clone(*e.services.Load())
	next[name] = s
	e.services.Store(&next)
	s.watching.Lock()
	e.mu.Unlock()
	// Outside the lock: a resolver may report from within Watch.
	s.stop = e.config.Resolver.Watch(name, s.apply)
	s.watching.Unlock()
	return s
}

// Services lists the services in use.
func (e *Engine) Services() map[string]*Service { return *e.services.Load() }

// Close stops all watches. Calls that run may end; new calls of services not yet known fail.
func (e *Engine) Close() {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	e.closed = true
	services, inbounds := *e.services.Load(), *e.inbounds.Load()
	e.mu.Unlock()
	for _, in := range inbounds {
		in.Close()
	}
	for _, s := range services {
		s.close()
	}
}
