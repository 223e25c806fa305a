package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resolver"
)

// A Service is the live side of a resolver.Service. It is safe for concurrent use.
type Service struct {
	engine *Engine
	name   string
	plan   atomic.Pointer[plan]
	known  chan struct{} // closed by the first report

	watching sync.Mutex // held while Watch is being called
	stop     func()

	mu        sync.Mutex
	err       error   // the newest report, if it was an error
	retired   []*live // clusters of no plan that calls are still in
	observers []*func()
}

func newService(e *Engine, name string) *Service {
	return &Service{engine: e, name: name, known: make(chan struct{})}
}

// Name is what the service is called by.
func (s *Service) Name() string { return s.name }

// Value is the configuration in use; nil if there is none.
func (s *Service) Value() *resolver.Service {
	if p := s.plan.Load(); p != nil {
		return p.service
	}
	return nil
}

// Err is the resolver's newest complaint; nil after a good report.
func (s *Service) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Await returns nil once the service's configuration is known, or why it is not.
func (s *Service) Await(ctx context.Context) error {
	if _, err := s.current(ctx); err != nil {
		return err
	}
	return nil
}

// current returns the plan to use, waiting for the first report.
func (s *Service) current(ctx context.Context) (*plan, *Error) {
	if p := s.plan.Load(); p != nil {
		return p, nil
	}
	select {
	case <-s.known:
	case <-ctx.Done():
		kind := Canceled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			kind = Deadline
		}
		return nil, &Error{Kind: kind, Service: s.name, Err: errors.Join(errNotKnown, ctx.Err())}
	}
	if p := s.plan.Load(); p != nil {
		return p, nil
	}
	return nil, &Error{Kind: NoService, Service: s.name, Err: s.Err()}
}

var errNotKnown = errors.New("no configuration yet")

// apply takes a report of the resolver: a new value, or why there is none.
func (s *Service) apply(v *resolver.Service, err error) {
	old := s.plan.Load()
	var next *plan
	if v != nil {
		if next, err = newPlan(v, old); err == nil {
			for _, c := range next.clusters {
				c.hosts.Update(c.Balance, c.Endpoints)
			}
		}
	}
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	var unknown *resolver.UnknownError
	switch {
	case err == nil:
		s.replace(old, next)
	case errors.As(err, &unknown):
		s.replace(old, nil)
	default: // what was known stays in use
		s.engine.config.Logger.Warn("service not updated", "service", s.name, "err", err)
	}
	select {
	case <-s.known:
	default:
		close(s.known)
	}
	s.notify()
}

// replace makes next the plan. Clusters it does not name live until their last call ends.
func (s *Service) replace(old, next *plan) {
	s.plan.Store(next)
	if old == nil {
		return
	}
	for name, c := range old.clusters {
		if next != nil && next.clusters[name] != nil {
			continue
		}
		s.mu.Lock()
		s.retired = append(s.retired, c.live)
		s.mu.Unlock()
		if c.retire() {
			s.release(c.live)
		}
	}
}

// release closes a retired cluster that no call is in.
func (s *Service) release(l *live) {
	s.mu.Lock()
	s.retired = slices.DeleteFunc(s.retired, func(x *live) bool { return x == l })
	s.mu.Unlock()
	l.hosts.Close()
	s.notify()
}

// Hosts lists the hosts that calls may be sent to, for transports that connect
// ahead: those of all clusters, and of removed ones that calls are still in.
func (s *Service) Hosts() []Target {
	var out []Target
	if p := s.plan.Load(); p != nil {
		for _, c := range p.clusters {
			for _, h := range c.hosts.Hosts() {
				out = append(out, Target{h, &c.Cluster})
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.retired {
		for _, h := range l.hosts.Hosts() {
			out = append(out, Target{h, nil})
		}
	}
	return out
}

// A Target is a host and the cluster it serves; Cluster is nil if that was removed.
type Target struct {
	*balancer.Host
	Cluster *resolver.Cluster
}

// OnChange calls f after each change of what Hosts returns, until stop. f must
// not block and may be called concurrently.
func (s *Service) OnChange(f func()) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observers = append(s.observers, &f)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.observers = slices.DeleteFunc(s.observers, func(x *func()) bool { return x == &f })
	}
}

func (s *Service) notify() {
	s.mu.Lock()
	observers := slices.Clone(s.observers)
	s.mu.Unlock()
	for _, f := range observers {
		(*f)()
	}
}

func (s *Service) close() {
	s.watching.Lock()
	defer s.watching.Unlock()
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}
