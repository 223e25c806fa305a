package engine

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// limited is a service whose cluster has these thresholds and this budget.
func limited(p resilience.Policy, t resilience.Thresholds, b *resilience.Budget, addrs ...string) *resolver.Service {
	s := to("payments", p, addrs...)
	c := s.Clusters["c"]
	c.Thresholds = &[resilience.Priorities]resilience.Thresholds{resilience.DefaultPriority: t, resilience.HighPriority: {MaxRequests: 1}}
	c.Budget = b
	s.Clusters["c"] = c
	return s
}

func TestRequestsBeyondTheThresholdAreRefused(t *testing.T) {
	svc := limited(retries(5), resilience.Thresholds{MaxRequests: 2, MaxRetries: 9}, nil, "a", "b", "c")
	high := svc.VirtualHosts[0].Routes[0]
	high.Name, high.Match, high.Policy.Priority = "high", exactly("/high"), resilience.HighPriority
	svc.VirtualHosts[0].Routes = append([]resolver.Route{high}, svc.VirtualHosts[0].Routes...)
	rec := &recorder{}
	e, _ := newEngine(t, rec, svc)
	s := e.Service("payments")
	var held []*Attempt
	hold := func(_ context.Context, a *Attempt) resilience.Outcome {
		a.Hold()
		held = append(held, a)
		return resilience.Outcome{Status: 200}
	}
	for range 2 {
		if _, err := (&fake{send: hold}).do(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	f := &fake{send: hold}
	out, err := f.do(t.Context(), s)
	if err == nil || err.Kind != Overloaded || err.Cluster != "c" || len(f.hosts) != 0 || !out.Unprocessed() {
		t.Errorf("%+v, %v by way of %v", out, err, f.hosts)
	}
	f = &fake{}
	f.Request.Path = "/high"
	if _, err := s.Do(t.Context(), &f.Call, f); err != nil {
		t.Errorf("other priority: %v", err)
	}
	held[0].Finish(resilience.Outcome{Status: 200})
	if _, err := (&fake{}).do(t.Context(), s); err != nil {
		t.Error(err)
	}
	held[1].Finish(resilience.Outcome{Status: 500})
	idleEverywhere(t, s)
}

// A retry that there is no room for is not made: the call ends as its last attempt did.
func TestRetriesBeyondTheBudgetAreNotMade(t *testing.T) {
	for _, tc := range []struct {
		name     string
		retries  uint32
		budget   *resilience.Budget
		attempts int
		end      End
	}{
		{"threshold", 0, nil, 1, Unfunded},
		{"one at a time", 1, nil, 3, Exhausted},
		{"budget", 9, &resilience.Budget{}, 1, Unfunded},
		{"budget in flight", 0, &resilience.Budget{MinConcurrent: 1}, 3, Exhausted},
		{"budget of an interval", 0, &resilience.Budget{Percent: 100, Interval: time.Minute}, 2, Unfunded},
	} {
		for _, out := range []resilience.Outcome{{GRPC: true, Code: 14}, failed(resilience.Refused)} {
			e, _ := newEngine(t, nil, limited(retries(2), resilience.Thresholds{MaxRequests: 9, MaxRetries: tc.retries}, tc.budget, "a", "b"))
			s := e.Service("payments")
			f := &fake{send: func(context.Context, *Attempt) resilience.Outcome { return out }}
			got, err := f.do(t.Context(), s)
			if got != out || len(f.hosts) != tc.attempts || f.End() != tc.end {
				t.Errorf("%s: %+v, end %d after %v", tc.name, got, f.End(), f.hosts)
			}
			if (err != nil) != (out.Err != nil) || err != nil && err.Kind != Unreachable {
				t.Errorf("%s: %v", tc.name, err)
			}
			idleEverywhere(t, s)
		}
	}
}

// A dead host must not fail calls for want of a budget: nobody has worked for them yet.
func TestWhatReachedNoServerNeedsNoBudget(t *testing.T) {
	for _, budget := range []*resilience.Budget{nil, {}} {
		e, _ := newEngine(t, nil, limited(retries(2), resilience.Thresholds{MaxRequests: 9}, budget, "a", "b"))
		s := e.Service("payments")
		f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
			if a.Number == 1 {
				return failed(resilience.ConnectFailure)
			}
			return resilience.Outcome{Status: 200}
		}}
		if out, err := f.do(t.Context(), s); err != nil || out.Status != 200 || len(f.hosts) != 2 {
			t.Errorf("%+v, %v after %v", out, err, f.hosts)
		}
		idleEverywhere(t, s)
	}
}

// A retry is in flight from when it is decided until it is answered, and not as long as its answer is read.
func TestRetriesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := retries(1)
		p.Retry.Base = time.Second
		e, _ := newEngine(t, nil, limited(p, resilience.Thresholds{MaxRequests: 9, MaxRetries: 1}, nil, "a", "b"))
		s := e.Service("payments")
		var held *Attempt
		once := func() *fake {
			return &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
				if a.Number == 1 {
					return resilience.Outcome{GRPC: true, Code: 14}
				}
				a.Hold()
				held = a
				return resilience.Outcome{Status: 200}
			}}
		}
		first, second := once(), once()
		var wg sync.WaitGroup
		wg.Go(func() { first.do(t.Context(), s) })
		synctest.Wait() // it pauses
		if out, err := second.do(t.Context(), s); err != nil || out.Code != 14 || second.End() != Unfunded {
			t.Errorf("%+v, %v, end %d", out, err, second.End())
		}
		wg.Wait()
		third := once()
		before := held
		if out, err := third.do(t.Context(), s); err != nil || out.Status != 200 {
			t.Errorf("%+v, %v: the answered retry still counts", out, err)
		}
		before.Finish(resilience.Outcome{Status: 200})
		held.Finish(resilience.Outcome{Status: 200})
		idleEverywhere(t, s)
	})
}

func TestRouteRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := resilience.TokenBucket{MaxTokens: 2, FillInterval: time.Minute}
		p := retries(3)
		p.Rate = &resilience.Rate{TokenBucket: bucket, Descriptors: []resilience.DescriptorRate{
			{Entries: []resilience.Entry{{Key: "header:X-Caller"}, {Key: "path", Value: "/"}}, TokenBucket: resilience.TokenBucket{MaxTokens: 1, FillInterval: time.Minute}},
		}}
		e, m := newEngine(t, nil, to("payments", p, "a", "b"))
		s := e.Service("payments")
		refused := func(caller ...string) bool {
			f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
				if a.Number < 3 {
					return failed(resilience.Refused) // a retry takes no token
				}
				return resilience.Outcome{Status: 200}
			}}
			if len(caller) > 0 {
				f.Request.Header = routed(caller)
			}
			_, err := f.do(t.Context(), s)
			if err != nil && (err.Kind != RateLimited || err.Cluster != "" || len(f.hosts) != 0 || f.Route().Name != "r") {
				t.Errorf("%v by way of %v", err, f.hosts)
			}
			return err != nil
		}
		if refused() || refused("me") || refused("you") || !refused("me") || refused() || !refused() {
			t.Error("not two calls of anybody and one of each caller")
		}
		again := *p.Rate
		p.Rate = &again
		m.push(to("payments", p, "b", "c"))
		if !refused() {
			t.Error("an update of something else filled the bucket")
		}
		time.Sleep(2 * time.Minute)
		if refused() || refused("me") {
			t.Error("no tokens came back")
		}
		m.push(to("payments", retries(3), "b"))
		if refused("me") {
			t.Error("the rate was removed")
		}
		idleEverywhere(t, s)
	})
}

func TestFailingHostIsEjectedAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := to("payments", resilience.Policy{}, "a", "b")
		c := svc.Clusters["c"]
		three, all := uint32(3), uint32(100)
		c.Outlier = &balancer.Outlier{Consecutive5xx: &three, BaseEjection: 30 * time.Second, MaxEjectionPercent: &all}
		svc.Clusters["c"] = c
		e, _ := newEngine(t, nil, svc)
		s := e.Service("payments")
		broken := map[string]bool{"a": true}
		count := func(n int) map[string]int {
			hosts := map[string]int{}
			for range n {
				f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
					if broken[a.Host.Addr()] {
						return resilience.Outcome{Status: 500}
					}
					return resilience.Outcome{Status: 200}
				}}
				f.do(t.Context(), s)
				hosts[f.hosts[0]]++
			}
			return hosts
		}
		if got := count(6); got["a"] != 3 || got["b"] != 3 {
			t.Fatalf("at first %v", got)
		}
		if got := count(6); got["a"] != 0 {
			t.Errorf("ejected, but %v", got)
		}
		broken["b"] = true
		count(3)
		if _, err := (&fake{}).do(t.Context(), s); err == nil || err.Kind != NoHost {
			t.Errorf("both are ejected, but %v", err)
		}
		clear(broken)
		start := time.Now()
		f := &fake{}
		f.WaitForHost = true
		if _, err := f.do(t.Context(), s); err != nil || time.Since(start) != 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if got := count(6); got["a"] != 3 || got["b"] != 3 {
			t.Errorf("in the end %v", got)
		}
		idleEverywhere(t, s)
	})
}

func TestWhatAnOutcomeSaysOfItsHost(t *testing.T) {
	for _, tc := range []struct {
		out  resilience.Outcome
		want balancer.Result
	}{
		{resilience.Outcome{}, balancer.Answered},
		{resilience.Outcome{Status: 404}, balancer.Answered},
		{resilience.Outcome{Status: 429}, balancer.Answered},
		{resilience.Outcome{Status: 500}, balancer.Failed},
		{resilience.Outcome{Status: 503}, balancer.GatewayFailed},
		{resilience.Outcome{GRPC: true, Code: 0}, balancer.Answered},
		{resilience.Outcome{GRPC: true, Code: 1}, balancer.Answered},
		{resilience.Outcome{GRPC: true, Code: 2}, balancer.Failed},
		{resilience.Outcome{GRPC: true, Code: 4}, balancer.GatewayFailed},
		{resilience.Outcome{GRPC: true, Code: 5}, balancer.Answered},
		{resilience.Outcome{GRPC: true, Code: 8}, balancer.Answered},
		{resilience.Outcome{GRPC: true, Code: 13}, balancer.Failed},
		{resilience.Outcome{GRPC: true, Code: 14}, balancer.GatewayFailed},
		{resilience.Outcome{GRPC: true, Code: 15}, balancer.Failed},
		{failed(resilience.ConnectFailure), balancer.LocalFailed},
		{failed(resilience.Reset), balancer.LocalFailed},
		{failed(resilience.TryTimeout), balancer.LocalFailed},
		{resilience.Outcome{Err: errBroken, Cause: resilience.TryTimeout, GRPC: true, Code: 4}, balancer.LocalFailed},
		{resilience.Outcome{Err: errBroken, Cause: resilience.Reset, Status: 200}, balancer.LocalFailed},
		{failed(resilience.Canceled), balancer.Neutral},
		{failed(resilience.HostLeft), balancer.Neutral},
		{failed(resilience.Unsent), balancer.Neutral},
	} {
		if got := resultOf(tc.out); got != tc.want {
			t.Errorf("%+v is %v, want %v", tc.out, got, tc.want)
		}
	}
}

// Whatever becomes of calls, nothing stays counted in.
func TestNothingStaysCountedIn(t *testing.T) {
	for _, budget := range []*resilience.Budget{nil, {Percent: 50, MinConcurrent: 2}} {
		p := retries(3)
		p.Retry.On |= resilience.OnReset
		p.Retry.Base, p.Retry.TryTimeout = time.Microsecond, time.Millisecond
		version := func() *resolver.Service {
			return limited(p, resilience.Thresholds{MaxRequests: 6, MaxRetries: 2}, budget, "a", "b", "c")
		}
		e, m := newEngine(t, nil, version())
		s := e.Service("payments")
		var finishes sync.WaitGroup // of held attempts
		send := func(ctx context.Context, a *Attempt) resilience.Outcome {
			switch rand.N(7) {
			case 0:
				return failed(resilience.Refused)
			case 1:
				return failed(resilience.HostLeft)
			case 2:
				return resilience.Outcome{GRPC: true, Code: 14}
			case 3:
				<-ctx.Done()
				return resilience.Outcome{Err: ctx.Err(), Cause: resilience.Canceled}
			case 4:
				if a.Hold() {
					finishes.Go(func() { a.Finish(resilience.Outcome{Status: 200}) })
				}
				return resilience.Outcome{Status: 200}
			case 5:
				panic(errBroken)
			}
			return resilience.Outcome{Status: 200}
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 40 {
					func() {
						defer func() {
							if p := recover(); p != nil && p != errBroken { // the very panic
								panic(p)
							}
						}()
						ctx, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
						defer cancel()
						f := &fake{send: send}
						f.Idempotent = true
						f.do(ctx, s)
					}()
				}
			})
		}
		for range 20 {
			m.push(version())
		}
		wg.Wait()
		finishes.Wait()
		idleEverywhere(t, s)
	}
}

// A host that a call was only moved away from was not asked: an error must not say it was.
func TestMovesAreNoAttemptsInErrors(t *testing.T) {
	e, _ := newEngine(t, nil, limited(resilience.Policy{}, resilience.DefaultThresholds(), nil, "a", "b"))
	s := e.Service("payments")
	f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
		if a.Number <= 3 {
			return failed(resilience.HostLeft)
		}
		return failed(resilience.ConnectFailure)
	}}
	if _, err := f.do(t.Context(), s); err == nil || err.Attempts != 1 || len(f.hosts) != 4 {
		t.Errorf("%v after %v", err, f.hosts)
	}
	idleEverywhere(t, s)
}
