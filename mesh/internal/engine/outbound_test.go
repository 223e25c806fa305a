package engine

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func TestDo(t *testing.T) {
	e, _ := newEngine(t, nil, to("payments", resilience.Policy{}, "a"))
	s := e.Service("payments")
	f := &fake{send: func(ctx context.Context, a *Attempt) resilience.Outcome {
		if a.Number != 1 || a.Host.Addr() != "a" || a.Cluster.Name != "c" || a.Host.InFlight() != 1 {
			t.Errorf("attempt %+v", a)
		}
		return resilience.Outcome{Status: 204}
	}}
	out, err := f.do(t.Context(), s)
	if err != nil || out.Status != 204 {
		t.Fatal(out, err)
	}
	if f.Route().Name != "r" || f.Cluster().Name != "c" || f.Host().Addr() != "a" || f.Attempts() != 1 || f.Service() != "payments" {
		t.Errorf("call %+v", &f.Call)
	}
	idleEverywhere(t, s)
}

func TestRetryGoesToAnotherHost(t *testing.T) {
	for _, tc := range []struct {
		name string
		out  resilience.Outcome
	}{
		{"no connection", failed(resilience.ConnectFailure)},
		{"refused", failed(resilience.Refused)},
		{"UNAVAILABLE", resilience.Outcome{GRPC: true, Code: 14}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, _ := newEngine(t, nil, to("payments", retries(2), "a", "b", "c"))
				s := e.Service("payments")
				for range 20 {
					f := &fake{}
					f.send = func(_ context.Context, a *Attempt) resilience.Outcome {
						if a.Number < 3 {
							return tc.out
						}
						return resilience.Outcome{Status: 200}
					}
					out, err := f.do(t.Context(), s)
					slices.Sort(f.hosts)
					if err != nil || !out.OK() || strings.Join(f.hosts, "") != "abc" {
						t.Fatalf("%+v, %v by way of %v", out, err, f.hosts)
					}
				}
				idleEverywhere(t, s)
			})
		})
	}
}

func TestRetryEnds(t *testing.T) {
	processed := failed(resilience.Reset)
	for _, tc := range []struct {
		name     string
		policy   resilience.Policy
		out      resilience.Outcome
		fixed    bool // not replayable
		attempts int
		kind     Kind // 0 if the server's own answer is handed on
	}{
		{"no retries", resilience.Policy{}, failed(resilience.ConnectFailure), false, 1, Unreachable},
		{"all used", retries(3), failed(resilience.ConnectFailure), false, 4, Unreachable},
		{"what was sent can't be sent again", retries(3), failed(resilience.Refused), true, 1, Unreachable},
		{"may have been processed", retries(3), processed, false, 1, Reset},
		{"the last answer is handed on", retries(2), resilience.Outcome{GRPC: true, Code: 14}, false, 3, 0},
		{"another answer", retries(2), resilience.Outcome{GRPC: true, Code: 13}, false, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, _ := newEngine(t, nil, to("payments", tc.policy, "a", "b"))
				s := e.Service("payments")
				f := &fake{unreplayable: tc.fixed, send: func(context.Context, *Attempt) resilience.Outcome { return tc.out }}
				out, err := f.do(t.Context(), s)
				if out != tc.out || len(f.hosts) != tc.attempts || f.Attempts() != tc.attempts {
					t.Errorf("%+v after %v", out, f.hosts)
				}
				switch {
				case tc.kind == 0 && err != nil:
					t.Error(err)
				case tc.kind != 0 && (err == nil || err.Kind != tc.kind || err.Attempts != tc.attempts || err.Host != f.hosts[len(f.hosts)-1] ||
					err.Cluster != "c" || err.Service != "payments" || !errors.Is(err, errBroken)):
					t.Errorf("error %+v", err)
				}
				idleEverywhere(t, s)
			})
		})
	}
}

func TestPausesBetweenRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := retries(3)
		p.Retry.Base, p.Retry.Max = 100*time.Millisecond, 200*time.Millisecond
		e, _ := newEngine(t, nil, to("payments", p, "a"))
		var at []time.Duration
		start := time.Now()
		f := &fake{send: func(context.Context, *Attempt) resilience.Outcome {
			at = append(at, time.Since(start))
			return resilience.Outcome{GRPC: true, Code: 14}
		}}
		f.do(t.Context(), e.Service("payments"))
		if len(at) != 4 {
			t.Fatalf("attempts at %v", at)
		}
		for i, want := range []time.Duration{p.Retry.Base, p.Retry.Max, p.Retry.Max} {
			if d := at[i+1] - at[i]; d > want {
				t.Errorf("pause %d is %v, want %v at most", i+1, d, want)
			}
		}
	})
}

// A pause that the deadline leaves no time for is not begun: the answer that is there is handed on.
func TestPauseBeyondTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := retries(3)
		p.Timeout, p.Retry.Base = time.Second, 1e6*time.Minute
		e, _ := newEngine(t, nil, to("payments", p, "a"))
		start := time.Now()
		f := &fake{send: func(context.Context, *Attempt) resilience.Outcome { return resilience.Outcome{GRPC: true, Code: 14} }}
		out, err := f.do(t.Context(), e.Service("payments"))
		if err != nil || out.Code != 14 || len(f.hosts) != 1 || time.Since(start) != 0 {
			t.Errorf("%+v, %v after %v by way of %v", out, err, time.Since(start), f.hosts)
		}
	})
}

func TestCancelledInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := retries(3)
		p.Retry.Base = 1e6 * time.Minute // of which the pause is any part
		e, _ := newEngine(t, nil, to("payments", p, "a"))
		s := e.Service("payments")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		f := &fake{send: func(context.Context, *Attempt) resilience.Outcome { return resilience.Outcome{GRPC: true, Code: 14} }}
		out, err := f.do(ctx, s)
		if err == nil || err.Kind != Canceled || err.Attempts != 1 || err.Host != "a" || out.Cause != resilience.Canceled || !errors.Is(err, context.Canceled) {
			t.Errorf("%+v, %+v", out, err)
		}
		idleEverywhere(t, s)
	})
}

func TestDeadline(t *testing.T) {
	for _, tc := range []struct {
		name          string
		callers, ours time.Duration
		unbounded     bool
		want          time.Duration // 0 means none
	}{
		{"none", 0, 0, false, 0},
		{"the caller's", time.Second, 0, false, time.Second},
		{"the route's", 0, time.Second, false, time.Second},
		{"the caller's is less", time.Second, 2 * time.Second, false, time.Second},
		{"the route's is less", 2 * time.Second, time.Second, false, time.Second},
		{"the route's does not apply", 0, time.Second, true, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, _ := newEngine(t, nil, to("payments", resilience.Policy{Timeout: tc.ours}, "a"))
				s := e.Service("payments")
				ctx := t.Context()
				if tc.callers > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.callers)
					defer cancel()
				}
				start := time.Now()
				f := &fake{send: func(ctx context.Context, _ *Attempt) resilience.Outcome {
					if d, ok := ctx.Deadline(); ok != (tc.want > 0) || ok && d.Sub(start) != tc.want {
						t.Errorf("deadline %v, %v", d.Sub(start), ok)
					}
					if tc.want == 0 {
						return resilience.Outcome{Status: 200}
					}
					<-ctx.Done()
					return resilience.Outcome{Err: ctx.Err(), Cause: resilience.Timeout}
				}}
				f.Unbounded = tc.unbounded
				_, err := f.do(ctx, s)
				if tc.want > 0 && (err == nil || err.Kind != Deadline || time.Since(start) != tc.want) {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				idleEverywhere(t, s)
			})
		})
	}
}

func TestCancelledBeforeTheFirstAttempt(t *testing.T) {
	e, _ := newEngine(t, nil, to("payments", resilience.Policy{}, "a"))
	s := e.Service("payments")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := &fake{}
	out, err := f.do(ctx, s)
	if err == nil || err.Kind != Canceled || err.Attempts != 0 || len(f.hosts) != 0 || out.Cause != resilience.Canceled {
		t.Errorf("%+v, %+v", out, err)
	}
	idleEverywhere(t, s)
}

func TestCancelledCallIsNotRepeated(t *testing.T) {
	e, _ := newEngine(t, nil, to("payments", retries(3), "a", "b"))
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{send: func(context.Context, *Attempt) resilience.Outcome {
		cancel()
		return failed(resilience.ConnectFailure)
	}}
	if _, err := f.do(ctx, e.Service("payments")); err == nil || err.Kind != Canceled || len(f.hosts) != 1 {
		t.Errorf("%v by way of %v", err, f.hosts)
	}
}

func TestUnconnectedHostsArePassedOver(t *testing.T) {
	e, _ := newEngine(t, nil, to("payments", resilience.Policy{}, "a", "b", "c"))
	for range 30 {
		f := &fake{unconnected: map[string]bool{"a": true, "c": true}}
		if f.do(t.Context(), e.Service("payments")); f.hosts[0] != "b" {
			t.Fatalf("picked %v", f.hosts)
		}
	}
}

// A call whose host leaves before it was sent moves on, without retries being
// configured or used, but not for ever.
func TestDepartedHost(t *testing.T) {
	left := failed(resilience.HostLeft)
	for _, tc := range []struct {
		name    string
		retries uint32
		left    int // how many hosts leave
		then    resilience.Outcome
		fixed   bool
		sent    int
		kind    Kind
	}{
		{"moves on", 0, 1, resilience.Outcome{Status: 200}, false, 2, 0},
		{"moves on ten times", 0, 10, resilience.Outcome{Status: 200}, false, 11, 0},
		{"all retries are left", 2, 10, failed(resilience.Refused), false, 13, Unreachable},
		{"not for ever", 0, 1000, left, false, maxMoves, Unreachable},
		{"not when something was read of it", 0, 1, left, true, 1, Unreachable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, _ := newEngine(t, nil, to("payments", retries(tc.retries), "a", "b"))
			s := e.Service("payments")
			f := &fake{unreplayable: tc.fixed}
			f.send = func(_ context.Context, a *Attempt) resilience.Outcome {
				if a.Number <= tc.left {
					return left
				}
				return tc.then
			}
			_, err := f.do(t.Context(), s)
			if len(f.hosts) != tc.sent || (err != nil) != (tc.kind != 0) || err != nil && err.Kind != tc.kind {
				t.Errorf("%v after %d attempts", err, len(f.hosts))
			}
			idleEverywhere(t, s)
		})
	}
}

func TestNoHost(t *testing.T) {
	e, _ := newEngine(t, nil, to("payments", retries(3)))
	s := e.Service("payments")
	out, err := (&fake{}).do(t.Context(), s)
	if err == nil || err.Kind != NoHost || err.Cluster != "c" || !errors.Is(err, balancer.ErrNoHost) || !out.Unprocessed() {
		t.Errorf("%+v, %+v", out, err)
	}
	idleEverywhere(t, s)
}

func TestNoRoute(t *testing.T) {
	svc := to("payments", resilience.Policy{}, "a")
	svc.VirtualHosts[0].Routes = []resolver.Route{
		{Name: "odd", Match: exactly("/odd"), Unsupported: "redirects are not supported", To: []resolver.Target{{Cluster: "c"}}},
		{Name: "empty", Match: exactly("/empty")},
		{Name: "zero", Match: exactly("/zero"), To: []resolver.Target{{Cluster: "c"}, {Cluster: "c"}}},
		{Name: "lost", Match: exactly("/lost"), To: []resolver.Target{{Cluster: "gone"}}},
	}
	e, _ := newEngine(t, nil, svc, &resolver.Service{Name: "bare"})
	for _, tc := range []struct{ service, path, want string }{
		{"payments", "/none", "mesh: payments: no route: none of 4 routes matches GET /none"},
		{"payments", "/odd", `mesh: payments: no route: route "odd": redirects are not supported`},
		{"payments", "/empty", `mesh: payments: no route: route "empty" leads to no cluster`},
		{"payments", "/zero", `mesh: payments: no route: route "zero" leads to no cluster`},
		{"payments", "/lost", `mesh: payments: no route: cluster gone: route "lost": cluster "gone" is not known`},
		{"bare", "/", "mesh: bare: no route: the service has no routes"},
	} {
		s := e.Service(tc.service)
		f := &fake{}
		f.Request = resolver.Request{Method: "GET", Path: tc.path}
		out, err := s.Do(t.Context(), &f.Call, f)
		var e *Error
		if !errors.As(err, &e) || e.Kind != NoRoute || err.Error() != tc.want || !out.Unprocessed() || len(f.hosts) > 0 {
			t.Errorf("%s: %v, want %s", tc.path, err, tc.want)
		}
		idleEverywhere(t, s)
	}
}

func exactly(path string) resolver.Match {
	return resolver.Match{Path: resolver.PathMatch{Kind: resolver.PathExact, Value: path}}
}

func TestClustersAreChosenByWeight(t *testing.T) {
	// "never" and "gone" are not known: a cluster that is not costs its own share of the calls, and no more.
	for _, weights := range []map[string]uint32{
		{"c": 70, "d": 20, "never": 0, "gone": 10},
		{"c": 1, "d": 1},
		{"c": 0, "d": 7},
		{"c": 1<<32 - 1, "d": 1<<32 - 1},
	} {
		svc := to("payments", resilience.Policy{}, "a")
		svc.Clusters["d"] = clusterOf("d", "b")
		var total float64
		svc.VirtualHosts[0].Routes[0].To = nil
		for name, w := range weights {
			svc.VirtualHosts[0].Routes[0].To = append(svc.VirtualHosts[0].Routes[0].To, resolver.Target{Cluster: name, Weight: w})
			total += float64(w)
		}
		e, _ := newEngine(t, nil, svc)
		got := map[string]int{}
		const calls = 10000
		for range calls {
			f := &fake{}
			if _, err := f.do(t.Context(), e.Service("payments")); err != nil {
				got[err.Cluster]++
			} else {
				got[f.Cluster().Name]++
			}
		}
		for name, w := range weights { // within six standard deviations
			share := float64(w) / total
			if n, slack := float64(got[name]), 6*math.Sqrt(calls*share*(1-share)); math.Abs(n-calls*share) > slack {
				t.Errorf("%v: %s got %v of %d", weights, name, n, calls)
			}
		}
	}
}

// Who was never asked has not refused: a host that a call is only moved from does
// not take the place of one that did.
func TestMovesDoNotForgetWhoRefused(t *testing.T) {
	for range 20 {
		e, _ := newEngine(t, nil, to("payments", retries(4), "a", "b", "c"))
		f := &fake{}
		f.send = func(_ context.Context, a *Attempt) resilience.Outcome {
			if a.Number == 1 || a.Number == 4 {
				return failed(resilience.Refused)
			}
			if a.Number < 8 {
				return failed(resilience.HostLeft)
			}
			return resilience.Outcome{Status: 200}
		}
		if _, err := f.do(t.Context(), e.Service("payments")); err != nil {
			t.Fatal(err)
		}
		if first, second := f.hosts[0], f.hosts[3]; slices.Contains(f.hosts[1:], first) || slices.Contains(f.hosts[4:], second) {
			t.Fatalf("%s, then %s refused; went to %v", first, second, f.hosts)
		}
	}
}

func TestHeldAttempt(t *testing.T) {
	e, _ := newEngine(t, nil, to("payments", resilience.Policy{Timeout: time.Hour}, "a"))
	s := e.Service("payments")
	var held *Attempt
	f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
		a.Hold()
		held = a
		return resilience.Outcome{Status: 200}
	}}
	if _, err := f.do(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	c := s.plan.Load().clusters["c"]
	if held.Host.InFlight() != 1 || c.calls.Load() != 1 || f.Context().Err() != nil {
		t.Error("the call ended with Send")
	}
	held.Finish(resilience.Outcome{Status: 200})
	held.Finish(resilience.Outcome{Status: 200})
	if f.Context().Err() == nil {
		t.Error("the call's context goes on after the call")
	}
	idleEverywhere(t, s)
}

// The answer of an attempt that is repeated is discarded: its Finish counts for nothing.
func TestFinishOfARepeatedAttempt(t *testing.T) {
	obs := &recorder{}
	e, _ := newEngine(t, obs, to("payments", retries(1), "a", "b"))
	s := e.Service("payments")
	var first, second *Attempt
	f := &fake{}
	f.send = func(_ context.Context, a *Attempt) resilience.Outcome {
		a.Hold()
		if a.Number == 1 {
			first = a
			return failed(resilience.Refused)
		}
		second = a
		first.Finish(resilience.Outcome{Status: 500})
		return resilience.Outcome{Status: 200}
	}
	if _, err := f.do(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if n := second.Host.InFlight(); n != 1 {
		t.Errorf("%d attempts in flight", n)
	}
	second.Finish(resilience.Outcome{Status: 200})
	idleEverywhere(t, s)
	if got := obs.String(); got != "call attempt1 attempt1:broken attempt2 attempt2:ok call:ok" {
		t.Error(got)
	}
}

// What the transport has finished already is not repeated, whatever Send says then.
func TestFinishedBeforeSendReturns(t *testing.T) {
	for _, held := range []bool{false, true} {
		obs := &recorder{}
		e, _ := newEngine(t, obs, to("payments", retries(3), "a", "b"))
		s := e.Service("payments")
		f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
			if held {
				a.Hold()
			}
			a.Finish(resilience.Outcome{Status: 200})
			return failed(resilience.Refused)
		}}
		f.do(t.Context(), s)
		if got := obs.String(); got != "call attempt1 attempt1:ok call:ok" {
			t.Error(got)
		}
		idleEverywhere(t, s)
	}
}

// A panic in the transport ends the attempt and the call, and goes on to the caller.
func TestPanicInSend(t *testing.T) {
	for _, held := range []bool{false, true} {
		obs := &recorder{}
		e, _ := newEngine(t, obs, to("payments", resilience.Policy{Timeout: time.Hour}, "a"))
		s := e.Service("payments")
		f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
			if held {
				a.Hold()
			}
			panic("oh")
		}}
		func() {
			defer func() {
				if r := recover(); r != "oh" {
					t.Errorf("recovered %v", r)
				}
			}()
			f.do(t.Context(), s)
		}()
		idleEverywhere(t, s)
		if f.Context().Err() == nil {
			t.Error("the call's context goes on after the call")
		}
		if got := obs.String(); got != "call attempt1 attempt1:panicked call:panicked" {
			t.Error(got)
		}
	}
}
