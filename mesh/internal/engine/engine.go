// Package engine applies the mesh to calls. It knows no protocol.
//
// The pillars decide, the engine acts: [Service.Do] holds the only control flow
// of an outbound call and [Engine.Serve] that of an inbound one. Adapters above
// turn requests into a [Call] and carry attempts to hosts.
package engine

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/jwt"
	"github.com/weftmesh/weft/resolver"
)

// Config is what an Engine is made of. The zero value but for Resolver is usable.
type Config struct {
	Resolver resolver.Resolver
	// Observer is told of every call; nil costs nothing.
	Observer Observer
	// Limiter keeps the limits of all processes together; without one it can never be asked.
	Limiter Limiter
	// Source is who this process is; without one it has no identity, and knows none.
	Source identity.Source
	// Tokens verifies those of calls; without it calls that need one are refused.
	Tokens *jwt.Authenticator
	// Asker asks services outside whether calls may be made; without one such calls are refused.
	Asker identity.Asker
	// Logger must not be nil.
	Logger *slog.Logger
}

// An Engine holds the live services of one mesh. It is safe for concurrent use.
type Engine struct {
	config   Config
	services atomic.Pointer[map[string]*Service] // copied on write
	inbounds atomic.Pointer[map[int]*Inbound]    // by port, copied on write
	globals  *globals
	races    sync.Pool // of *race
	denials  denials
	secured  secured

	noticed atomic.Bool // it was said that calls come in where the mesh does not listen

	mu       sync.Mutex
	closed   bool
	listened map[int]bool // ports of all inbounds there ever were
	made     uint64       // services so far
}

// New returns an Engine fed by its resolver.
func New(c Config) *Engine {
	e := &Engine{config: c, globals: newGlobals(c.Limiter)}
	e.denials.log = c.Logger
	e.services.Store(&map[string]*Service{})
	e.inbounds.Store(&map[int]*Inbound{})
	return e
}

// Service returns the live service of that name and watches it from the first
// use on. The look-up of a known one takes no lock. Names that turn out to be of no
// service are forgotten again, the oldest first, when there are many of them.
//
// Service must not be called from within a report of the resolver.
func (e *Engine) Service(name string) *Service {
	if s := (*e.services.Load())[name]; s != nil {
		return s
	}
	s, forgotten := e.watch(name)
	for _, f := range forgotten {
		f.forget()
	}
	return s
}

// maxIdle bounds the services that are watched though they are not there and
// nobody waits for them: whoever chooses names must not choose our memory.
const maxIdle = 1024

func (e *Engine) watch(name string) (s *Service, forgotten []*Service) {
	e.mu.Lock()
	services := *e.services.Load()
	if s := services[name]; s != nil {
		e.mu.Unlock()
		return s, nil
	}
	e.made++
	s = newService(e, name, e.made)
	if e.closed {
		e.mu.Unlock()
		s.complain(errClosed)
		return s, nil
	}
	next := maps.Clone(services)
	for _, f := range oldestIdle(services) {
		delete(next, f.name)
		forgotten = append(forgotten, f)
	}
	next[name] = s
	e.services.Store(&next)
	s.watching.Lock()
	e.mu.Unlock()
	defer s.watching.Unlock()
	// Outside the engine's lock: a resolver may report from within Watch.
	s.stop = e.config.Resolver.Watch(name, s.apply)
	return s, forgotten
}

// oldestIdle returns the idle services beyond maxIdle, with room for one more.
func oldestIdle(services map[string]*Service) []*Service {
	if len(services) < maxIdle {
		return nil
	}
	var idle []*Service
	for _, s := range services {
		if s.idle() {
			idle = append(idle, s)
		}
	}
	if len(idle) < maxIdle {
		return nil
	}
	slices.SortFunc(idle, func(a, b *Service) int { return cmp.Compare(a.born, b.born) })
	return idle[:len(idle)-maxIdle+1]
}

// Services lists the services in use. The map is not to be modified.
func (e *Engine) Services() map[string]*Service { return *e.services.Load() }

// Inbounds lists what this process serves, by port. The map is not to be modified.
func (e *Engine) Inbounds() map[int]*Inbound { return *e.inbounds.Load() }

// Close stops all watches, and waits for questions to the limiter. Calls that run may end; calls of services not yet known
// fail, those that wait for them too. It must not be called from within a report of the resolver.
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
		s.close(errClosed)
	}
	e.globals.close()
}
