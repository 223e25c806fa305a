package engine

import (
	"context"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// with is a service of a cluster that f has changed.
func with(p resilience.Policy, f func(*resolver.Cluster), addrs ...string) *resolver.Service {
	s := to("payments", p, addrs...)
	c := s.Clusters["c"]
	f(&c)
	s.Clusters["c"] = c
	return s
}

func answering503(context.Context, *Attempt) resilience.Outcome { return bad }

// The cluster's breaker counts calls, not attempts, opens, probes, and closes.
func TestClusterBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trip := resilience.Trip{Failures: 3, Open: time.Minute}
		e, _ := newEngine(t, nil, with(resilience.Policy{Retry: resilience.Retry{Attempts: 2, On: resilience.On5xx, Base: 1}},
			func(c *resolver.Cluster) { c.Breaker = &trip }, "a", "b"))
		s := e.Service("payments")
		state := func() string { return s.Clusters()[0].Breaker }
		for i := range 3 {
			if state() != "closed" {
				t.Fatalf("%s after %d calls", state(), i)
			}
			f := &fake{send: answering503}
			f.do(t.Context(), s)
		}
		f := &fake{}
		out, err := f.do(t.Context(), s)
		if state() != "open" || err == nil || err.Kind != Overloaded || !strings.Contains(err.Error(), "breaker is open") || len(f.hosts) != 0 || !out.Unprocessed() {
			t.Errorf("%s: %+v, %v", state(), out, err)
		}
		time.Sleep(time.Minute + time.Millisecond)
		// A probe whose caller goes says nothing: the next one probes.
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { (&fake{send: silent}).do(ctx, s) })
		synctest.Wait()
		if _, err := (&fake{}).do(t.Context(), s); err == nil || err.Kind != Overloaded || !strings.Contains(err.Error(), "half-open") {
			t.Errorf("%v beside the probe", err)
		}
		cancel()
		wg.Wait()
		if state() != "half-open" {
			t.Errorf("%s after a probe that says nothing", state())
		}
		if _, err := (&fake{}).do(t.Context(), s); err != nil || state() != "closed" {
			t.Errorf("%s after a good probe: %v", state(), err)
		}
		idleEverywhere(t, s)
	})
}

// However a call that probes ends, its pass is given back: the breaker lets another probe.
func TestPassesAreGivenBack(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *Service, m *moving){
		"panic": func(_ *testing.T, s *Service, _ *moving) {
			defer func() { _ = recover() }()
			(&fake{send: func(context.Context, *Attempt) resilience.Outcome { panic("oh") }}).do(context.Background(), s)
		},
		"exit": func(_ *testing.T, s *Service, _ *moving) {
			var wg sync.WaitGroup
			wg.Go(func() {
				(&fake{send: func(context.Context, *Attempt) resilience.Outcome { runtime.Goexit(); return good }}).do(context.Background(), s)
			})
			wg.Wait()
		},
		"canceled before": func(t *testing.T, s *Service, _ *moving) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			(&fake{}).do(ctx, s)
		},
		"no room": func(t *testing.T, s *Service, _ *moving) {
			n := s.plan.Load().clusters["c"].thresholds[0].MaxRequests
			for range n {
				s.plan.Load().clusters["c"].begin(0)
			}
			if _, err := (&fake{}).do(t.Context(), s); err == nil || err.Kind != Overloaded {
				t.Error(err)
			}
			for range n {
				s.plan.Load().clusters["c"].end(0)
			}
		},
		"host left": func(t *testing.T, s *Service, _ *moving) {
			(&fake{unreplayable: true, send: func(context.Context, *Attempt) resilience.Outcome { return failed(resilience.HostLeft) }}).do(t.Context(), s)
		},
		"held, and finished twice": func(t *testing.T, s *Service, _ *moving) {
			f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome { a.Hold(); return good }}
			f.do(t.Context(), s)
			f.last.Finish(failed(resilience.Canceled))
			f.last.Finish(failed(resilience.Canceled))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				trip := resilience.Trip{Failures: 1, Open: time.Minute}
				e, m := newEngine(t, nil, with(resilience.Policy{}, func(c *resolver.Cluster) { c.Breaker, c.HostBreaker = &trip, &trip }, "a"))
				s := e.Service("payments")
				for range 3 {
					(&fake{send: answering503}).do(t.Context(), s)
					time.Sleep(time.Minute + time.Millisecond)
					end(t, s, m)
					time.Sleep(time.Minute + time.Millisecond) // a probe that failed has opened it again
					if _, err := (&fake{}).do(t.Context(), s); err != nil {
						t.Errorf("after %s: %v", name, err)
					}
					if got := s.Clusters()[0]; got.Breaker != "closed" || got.Hosts[0].Breaker != "closed" {
						t.Errorf("after %s: %+v", name, got)
					}
				}
				idleEverywhere(t, s)
			})
		})
	}
}

// Hosts whose breaker is open are passed over, probed, and taken again.
func TestHostBreakers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trip := resilience.Trip{Failures: 3, Open: time.Minute}
		guarded := func(addrs ...string) *resolver.Service {
			return with(resilience.Policy{}, func(c *resolver.Cluster) { c.HostBreaker = &trip }, addrs...)
		}
		e, m := newEngine(t, nil, guarded("a", "b", "c"))
		s := e.Service("payments")
		broken := "b"
		at := func() (host string) {
			f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
				if host = a.Host.Addr(); host == broken {
					return bad
				}
				return good
			}}
			if _, err := f.do(t.Context(), s); err != nil {
				t.Error(err)
			}
			return host
		}
		count := func(n int) map[string]int {
			seen := map[string]int{}
			for range n {
				seen[at()]++
			}
			return seen
		}
		if seen := count(90); seen["b"] != 3 {
			t.Errorf("%v", seen)
		}
		m.push(guarded("a", "b", "c", "d")) // who stays keeps his breaker
		if seen := count(90); seen["b"] != 0 || seen["d"] == 0 {
			t.Errorf("%v", seen)
		}
		time.Sleep(time.Minute + time.Millisecond)
		if seen := count(90); seen["b"] != 1 {
			t.Errorf("%v: probes", seen)
		}
		time.Sleep(time.Minute + time.Millisecond)
		broken = ""
		if seen := count(90); seen["b"] < 20 {
			t.Errorf("%v: b is well again", seen)
		}
		m.push(guarded("a"))
		if n := len(s.plan.Load().clusters["c"].guards.Load().breakers); n != 1 {
			t.Errorf("%d breakers of one host", n)
		}
		// Where all are open, calls go: to refuse them is for the cluster's breaker.
		broken = "a"
		if seen := count(9); seen["a"] != 9 {
			t.Errorf("%v", seen)
		}
		m.push(to("payments", resilience.Policy{}, "a"))
		if s.plan.Load().clusters["c"].guards.Load() != nil {
			t.Error("breakers that nobody wants any more")
		}
		idleEverywhere(t, s)
	})
}

func TestAdmissionControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := newEngine(t, nil, with(resilience.Policy{}, func(c *resolver.Cluster) {
			c.Admission = &resilience.Admission{Window: time.Minute, MaxPercent: 90}
		}, "a"))
		s := e.Service("payments")
		// What says nothing of the server does not count.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			(&fake{}).do(ctx, s)
			(&fake{send: func(context.Context, *Attempt) resilience.Outcome { return failed(resilience.Canceled) }}).do(t.Context(), s)
		}
		refused := 0
		for range 1000 {
			f := &fake{send: answering503}
			if _, err := f.do(t.Context(), s); err != nil {
				if err.Kind != Overloaded || !strings.Contains(err.Error(), "admission") || len(f.hosts) != 0 {
					t.Fatal(err)
				}
				refused++
			}
		}
		if got := s.Clusters()[0].Refusing; refused < 800 || refused > 950 || got < 0.89 || got > 0.91 {
			t.Errorf("%d of 1000 refused, share %v", refused, got)
		}
		time.Sleep(2 * time.Minute)
		for range 100 {
			if _, err := (&fake{}).do(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.Clusters()[0].Refusing; got != 0 {
			t.Errorf("share %v of good calls", got)
		}
		idleEverywhere(t, s)
	})
}

// all is a service that has every policy of outbound calls.
func all(addrs ...string) *resolver.Service {
	return with(resilience.Policy{
		Timeout:  time.Minute,
		Retry:    resilience.Retry{Attempts: 2, On: resilience.On5xx | resilience.OnReset, Base: time.Microsecond},
		Rate:     &resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 1 << 30, TokensPerFill: 1 << 30, FillInterval: time.Second}},
		Fault:    &resilience.Fault{Delay: time.Second, Abort: resilience.Abort{Status: 503}},
		Fallback: &resilience.Fallback{Answer: &resilience.Answer{Status: 200}, MaxAge: time.Minute},
		Hedge:    &resilience.Hedge{Percentile: 95},
	}, func(c *resolver.Cluster) {
		budget := resilience.DefaultBudget()
		c.Budget, c.Outlier = &budget, &balancer.Outlier{}
		c.Thresholds = &[resilience.Priorities]resilience.Thresholds{resilience.DefaultThresholds(), resilience.DefaultThresholds()}
		c.Breaker, c.HostBreaker = &resilience.Trip{Percent: 50}, &resilience.Trip{Percent: 50}
		c.Admission = &resilience.Admission{}
	}, addrs...)
}

// A million calls that their callers give up leave nothing counted in, and no goroutine.
func TestCancelledCallsOfAllPoliciesLeaveNothing(t *testing.T) {
	n := 1_000_000
	if testing.Short() || raced {
		n = 20_000
	}
	e, _ := newEngine(t, nil, all("a", "b", "c"))
	s := e.Service("payments")
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range n / 8 {
				ctx, cancel := context.WithCancel(t.Context())
				r := &racer{}
				r.Idempotent = true
				r.send = func(ctx context.Context, a *Attempt) resilience.Outcome {
					switch rand.IntN(4) {
					case 0:
						cancel()
						<-ctx.Done()
						return resilience.Outcome{Err: ctx.Err(), Cause: resilience.Canceled}
					case 1:
						cancel()
						return good
					case 2:
						a.Hold()
						cancel()
						return good
					default:
						cancel()
						return bad
					}
				}
				r.Request.Path = "/"
				if _, err := s.Do(ctx, &r.Call, r); err == nil && r.last != nil && r.last.held {
					r.last.Finish(failed(resilience.Canceled))
				}
				cancel()
			}
		})
	}
	wg.Wait()
	idleEverywhere(t, s)
	if now := runtime.NumGoroutine(); now > before+8 {
		t.Errorf("%d goroutines, %d before", now, before)
	}
}
