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
	born   uint64 // how many services the engine had made before
	plan   atomic.Pointer[plan]
	known  chan struct{} // closed by the first report, or when there will be none

	waiting atomic.Int64 // calls that wait for the first report
	dropped atomic.Bool  // the engine has forgotten the service and makes a new one when it is called again

	watching sync.Mutex // held while Watch or its stop is being called
	stop     func()

	mu        sync.Mutex
	err       error   // the newest report, if it was an error
	retired   []*live // clusters of no plan that calls are still in
	observers []*func()
}

func newService(e *Engine, name string, born uint64) *Service {
	return &Service{engine: e, name: name, born: born, known: make(chan struct{})}
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
	for {
		_, err := s.current(ctx)
		if err == nil {
			return nil
		}
		if !s.dropped.Load() {
			return err
		}
		s = s.engine.Service(s.name)
	}
}

// current returns the plan to use, waiting for the first report.
func (s *Service) current(ctx context.Context) (*plan, *Error) {
	if p := s.plan.Load(); p != nil {
		return p, nil
	}
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	select {
	case <-s.known:
	case <-ctx.Done():
		err := s.late(ctx)
		err.Err = errors.Join(errNotKnown, err.Err)
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.plan.Load(); p != nil {
		return p, nil
	}
	return nil, &Error{Kind: NoService, Service: s.name, Err: s.err}
}

// apply takes a report of the resolver: a new value, or why there is none. It is
// never called concurrently.
func (s *Service) apply(v *resolver.Service, err error) {
	old := s.plan.Load()
	var next *plan
	switch {
	case v != nil:
		// Hosts before routes: a call that takes a new route finds the hosts there.
		if next, err = newPlan(v, old); err == nil {
			for _, c := range next.clusters {
				c.hosts.Detect(c.Outlier)
				c.guard(c.hosts.Update(c.Balance, c.Endpoints))
			}
		}
	case err == nil:
		err = errNothing
	}
	_, unknown := errors.AsType[*resolver.UnknownError](err)
	switch {
	case err == nil, unknown:
		s.replace(old, next, err)
		if next != nil {
			s.engine.secured.distrust(old, next)
		}
		s.noteSwitches(old, next)
	default: // what was known stays in use
		s.complain(err)
		s.engine.config.Logger.Warn("service not updated", "service", s.name, "err", err)
	}
	s.notify()
}

// replace makes next the plan, or err the reason why there is none. Clusters that
// next does not name live until their last call ends.
func (s *Service) replace(old, next *plan, err error) {
	var gone []*live
	if old != nil {
		for name, c := range old.clusters {
			if next == nil || next.clusters[name] == nil {
				gone = append(gone, c.live)
			}
		}
	}
	s.mu.Lock()
	s.err = err
	s.plan.Store(next)
	s.retired = append(s.retired, gone...)
	s.settle()
	s.mu.Unlock()
	for _, l := range gone {
		if l.retire() {
			s.release(l)
		}
	}
}

// complain keeps err as the newest report, beside the plan in use if there is one.
func (s *Service) complain(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	s.settle()
}

// settle lets those go who wait for the first report. It needs mu.
func (s *Service) settle() {
	select {
	case <-s.known:
	default:
		close(s.known)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.plan.Load(); p != nil {
		for _, c := range p.clusters {
			for _, h := range c.hosts.Hosts() {
				out = append(out, Target{h, &c.Cluster})
			}
		}
	}
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

// OnChange calls f after each change of what Hosts returns, until stop. f must not
// block, must not use the engine, and may be called concurrently and once more while
// stop returns. A service that is observed is never forgotten.
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

// close stops the watch. What is known stays in use; who waits for the first report gets why.
// It waits for a report that is being applied, so it must not be called from one.
func (s *Service) close(why error) {
	s.watching.Lock()
	defer s.watching.Unlock()
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
	if s.plan.Load() == nil {
		s.complain(why)
	}
}

// forget closes a service that nobody wants. Calls that hold it all the same find its successor.
func (s *Service) forget() {
	s.dropped.Store(true)
	s.close(errNotKnown)
	// A report may have come before the watch was stopped.
	s.replace(s.plan.Load(), nil, errNotKnown)
}

// idle reports that the service is not there and nobody waits for it.
func (s *Service) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plan.Load() == nil && s.waiting.Load() == 0 && len(s.observers) == 0
}
