package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// moving is a Resolver whose services a test reports.
type moving struct {
	mu       sync.Mutex
	watches  map[string]*watch
	inbounds map[string]func(*resolver.Inbound, error)
	first    map[string]report // reported from within Watch
	unknown  bool              // Watch reports that there is no such service, where first says nothing
	stops    int
}

type watch struct {
	mu      sync.Mutex // held while the sink runs
	sink    func(*resolver.Service, error)
	stopped bool
}

type report struct {
	service *resolver.Service
	err     error
}

func (m *moving) Watch(name string, sink func(*resolver.Service, error)) (stop func()) {
	w := &watch{sink: sink}
	m.mu.Lock()
	if m.watches == nil {
		m.watches = map[string]*watch{}
	}
	m.watches[name] = w
	r, now := m.first[name]
	if m.unknown && !now {
		r, now = report{err: &resolver.UnknownError{Name: name}}, true
	}
	m.mu.Unlock()
	if now {
		w.report(r)
	}
	return func() {
		m.mu.Lock()
		m.stops++
		if m.watches[name] == w {
			delete(m.watches, name)
		}
		m.mu.Unlock()
		w.mu.Lock()
		w.stopped = true
		w.mu.Unlock()
	}
}

func (w *watch) report(r report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.sink(r.service, r.err)
	}
}

func (m *moving) Serve(addr string, sink func(*resolver.Inbound, error)) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inbounds == nil {
		m.inbounds = map[string]func(*resolver.Inbound, error){}
	}
	m.inbounds[addr] = sink
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.stops++
		delete(m.inbounds, addr)
	}
}

// push reports s to who watches its name.
func (m *moving) push(s *resolver.Service) { m.watching(s.Name).report(report{service: s}) }

func (m *moving) fail(name string, err error) { m.watching(name).report(report{err: err}) }

func (m *moving) watching(name string) *watch {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.watches[name]; w != nil {
		return w
	}
	panic("nobody watches " + name)
}

func (m *moving) count() (watches, stops int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.watches), m.stops
}

// newEngine is an Engine with the services, closed at the end of the test.
func newEngine(tb testing.TB, obs Observer, services ...*resolver.Service) (*Engine, *moving) {
	tb.Helper()
	m := &moving{first: map[string]report{}}
	for _, s := range services {
		m.first[s.Name] = report{service: s}
	}
	e := New(Config{Resolver: m, Observer: obs, Logger: slog.New(slog.DiscardHandler)})
	tb.Cleanup(e.Close)
	return e, m
}

// to is a service of one route to one cluster of these addresses.
func to(name string, p resilience.Policy, addrs ...string) *resolver.Service {
	return &resolver.Service{
		Name: name,
		VirtualHosts: []resolver.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []resolver.Route{
			{Name: "r", To: []resolver.Target{{Cluster: "c"}}, Policy: p},
		}}},
		Clusters: map[string]resolver.Cluster{"c": clusterOf("c", addrs...)},
	}
}

func clusterOf(name string, addrs ...string) resolver.Cluster {
	c := resolver.Cluster{Name: name}
	for _, a := range addrs {
		c.Endpoints = append(c.Endpoints, balancer.Endpoint{Addr: a})
	}
	return c
}

// retries allows n of them after calls that were not processed or answered UNAVAILABLE.
func retries(n uint32) resilience.Policy {
	return resilience.Policy{Retry: resilience.Retry{
		Attempts: n, On: resilience.OnConnectFailure | resilience.OnRefusedStream | resilience.OnUnavailable,
	}}
}

// fake is a Transport and the call it carries.
type fake struct {
	Call
	send         func(ctx context.Context, a *Attempt) resilience.Outcome // nil answers well
	unreplayable bool
	unconnected  map[string]bool
	hosts        []string // where attempts went
}

func (f *fake) Send(ctx context.Context, a *Attempt) resilience.Outcome {
	f.hosts = append(f.hosts, a.Host.Addr())
	if f.send == nil {
		return resilience.Outcome{Status: 200}
	}
	return f.send(ctx, a)
}

func (f *fake) Replayable() bool                { return !f.unreplayable }
func (f *fake) Connected(h *balancer.Host) bool { return !f.unconnected[h.Addr()] }

func (f *fake) do(ctx context.Context, s *Service) (resilience.Outcome, *Error) {
	f.Request.Path = "/"
	out, err := s.Do(ctx, &f.Call, f)
	if err == nil {
		return out, nil
	}
	var e *Error
	if !errors.As(err, &e) {
		panic(fmt.Sprintf("Do returned a %T", err))
	}
	return out, e
}

var errBroken = errors.New("broken")

func failed(c resilience.Cause) resilience.Outcome {
	return resilience.Outcome{Err: errBroken, Cause: c}
}

// idleEverywhere wants no attempt and no call to be counted in.
func idleEverywhere(t *testing.T, s *Service) {
	t.Helper()
	for _, h := range s.Hosts() {
		if n := h.InFlight(); n != 0 {
			t.Errorf("%s: %d attempts in flight after all have ended", h.Addr(), n)
		}
	}
	if p := s.plan.Load(); p != nil {
		for i := range p.routes {
			if g := p.routes[i].active; g != nil && g.Count() != 0 {
				t.Errorf("route %s: %d faults after all calls have ended", p.routes[i].Name, g.Count())
			}
		}
		for name, c := range p.clusters {
			if n := c.calls.Load(); n != 0 {
				t.Errorf("cluster %s: %d calls after all have ended", name, n)
			}
			for i := range c.inUse {
				if u := &c.inUse[i]; u.Requests.Count() != 0 || u.Retries.Count() != 0 {
					t.Errorf("cluster %s: %d requests and %d retries after all have ended", name, u.Requests.Count(), u.Retries.Count())
				}
			}
			if calls, retries := c.spending.InFlight(); calls != 0 || retries != 0 {
				t.Errorf("cluster %s: a budget of %d calls and %d retries after all have ended", name, calls, retries)
			}
		}
	}
	if n := s.waiting.Load(); n != 0 {
		t.Errorf("%d calls wait", n)
	}
}
