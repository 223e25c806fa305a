package engine

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// answerer is a fake that can answer its call itself.
type answerer struct {
	fake
	answers []*resilience.Answer
	key     string
	private bool
	onKey   func()
}

func (a *answerer) Answer(x *resilience.Answer) { a.answers = append(a.answers, x) }

func (a *answerer) Key() (string, bool) {
	if a.onKey != nil {
		a.onKey()
	}
	return a.key, !a.private
}

func (a *answerer) do(ctx context.Context, s *Service) (resilience.Outcome, error) {
	a.Request.Path, a.Request.Method = "/", "GET"
	return s.Do(ctx, &a.Call, a)
}

func faulty(f resilience.Fault) *resolver.Service {
	p := retries(2)
	p.Fault = &f
	return to("payments", p, "a", "b", "c")
}

var always = resilience.Percent(100)

func TestFaultDelaysBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := faulty(resilience.Fault{Delay: time.Minute, DelayPercent: always})
		svc.VirtualHosts[0].Routes[0].Policy.Timeout = time.Second
		e, _ := newEngine(t, nil, svc)
		s := e.Service("payments")
		start := time.Now()
		f := &fake{send: func(ctx context.Context, _ *Attempt) resilience.Outcome { return after(ctx, time.Second/2, good) }}
		out, err := f.do(t.Context(), s)
		if err != nil || out != good || time.Since(start) != time.Minute+time.Second/2 || f.Marks() != Delayed {
			t.Errorf("%+v, %v after %v, marks %b", out, err, time.Since(start), f.Marks())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f = &fake{}
		if _, err := f.do(ctx, s); err == nil || err.Kind != Deadline || len(f.hosts) != 0 || f.Marks() != Delayed {
			t.Errorf("%v by way of %v: who has no time waits", err, f.hosts)
		}
		idleEverywhere(t, s)
	})
}

func TestFaultAborts(t *testing.T) {
	for _, tc := range []struct {
		name     string
		protocol Protocol
		abort    resilience.Abort
		status   int
		code     uint32
	}{
		{"HTTP", HTTP, resilience.Abort{Status: 418}, 418, 0},
		{"HTTP by a code", HTTP, resilience.Abort{GRPC: true, Code: 7}, 403, 0},
		{"HTTP by no code", HTTP, resilience.Abort{GRPC: true, Code: 99}, 500, 0},
		{"gRPC", GRPC, resilience.Abort{GRPC: true, Code: 8}, 0, 8},
		{"gRPC by a status", GRPC, resilience.Abort{Status: 404}, 0, 12},
		{"gRPC by another status", GRPC, resilience.Abort{Status: 418}, 0, 2},
		{"gRPC, well", GRPC, resilience.Abort{GRPC: true}, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			obs := &recorder{}
			svc := faulty(resilience.Fault{Abort: tc.abort, AbortPercent: always})
			// What is injected spends no token, and no fallback hides it.
			svc.VirtualHosts[0].Routes[0].Policy.Rate = &resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 1, FillInterval: time.Hour}}
			svc.VirtualHosts[0].Routes[0].Policy.Fallback = &resilience.Fallback{Answer: &resilience.Answer{Status: 200}}
			e, _ := newEngine(t, obs, svc)
			s := e.Service("payments")
			for range 2 {
				a := &answerer{}
				a.Protocol = tc.protocol
				out, err := a.do(t.Context(), s)
				if err != nil || len(a.answers) != 1 || len(a.hosts) != 0 || a.Marks() != Aborted {
					t.Fatalf("%+v, %v: answers %v, marks %b", out, err, a.answers, a.Marks())
				}
				got := a.answers[0]
				if outcomeOf(got) != out || out.Status != tc.status || out.Code != tc.code || out.GRPC != (tc.protocol == GRPC) {
					t.Errorf("%+v answered, %+v told", got, out)
				}
			}
			f := &fake{}
			out, err := f.do(t.Context(), s)
			if err == nil || err.Kind != Injected || !strings.Contains(err.Error(), "on purpose") || !out.Unprocessed() {
				t.Errorf("%+v, %v of who can't answer", out, err)
			}
			if got := obs.String(); strings.Contains(got, "attempt") {
				t.Error(got)
			}
			idleEverywhere(t, s)
		})
	}
}

func TestFaultByHeader(t *testing.T) {
	e, _ := newEngine(t, nil, faulty(resilience.Fault{ByHeader: true, AbortPercent: always}))
	s := e.Service("payments")
	a := &answerer{}
	a.Request.Header = &said{"x-envoy-fault-abort-request": "503"}
	if out, err := a.do(t.Context(), s); err != nil || out.Status != 503 || len(a.answers) != 1 {
		t.Error(out, err)
	}
	a = &answerer{}
	if out, err := a.do(t.Context(), s); err != nil || out != good || len(a.answers) != 0 {
		t.Error(out, err)
	}
}

// The bound on active faults holds from one plan to the next, and is given back by each call that ends.
func TestActiveFaultsOutliveThePlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := resilience.Fault{Delay: time.Minute, DelayPercent: always, MaxActive: 2}
		e, m := newEngine(t, nil, faulty(fault))
		s := e.Service("payments")
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range 2 {
			wg.Go(func() { (&fake{}).do(ctx, s) })
		}
		synctest.Wait()
		m.push(faulty(fault))
		f := &fake{}
		if _, err := f.do(t.Context(), s); err != nil || f.Marks() != 0 {
			t.Errorf("%v: a third fault at a time", err)
		}
		cancel()
		wg.Wait()
		start := time.Now()
		f = &fake{}
		if _, err := f.do(t.Context(), s); err != nil || f.Marks() != Delayed || time.Since(start) != time.Minute {
			t.Errorf("%v, marks %b: faults that ended still count", err, f.Marks())
		}
		idleEverywhere(t, s)
	})
}

// A connection that is broken on purpose is broken for the attempt: no host sees it, and it is repeated as any.
func TestFaultBreaksConnections(t *testing.T) {
	for _, kind := range []resilience.BreakKind{resilience.ConnectionRefused, resilience.CorruptCertificate} {
		svc := faulty(resilience.Fault{Break: resilience.Break{Kind: kind}, BreakPercent: always, MaxActive: 1})
		e, m := newEngine(t, nil, svc)
		s := e.Service("payments")
		f := &fake{}
		if _, err := f.do(t.Context(), s); err == nil || err.Kind != Unreachable || err.Attempts != 3 || len(f.hosts) != 0 || f.Marks() != Aborted {
			t.Errorf("%v by way of %v, marks %b", err, f.hosts, f.Marks())
		}
		// Where one fault is active already, nothing is done to others.
		s.plan.Load().routes[0].active.Begin()
		f = &fake{}
		if out, err := f.do(t.Context(), s); err != nil || out != good || f.Marks() != 0 {
			t.Error(out, err)
		}
		s.plan.Load().routes[0].active.Leave()
		m.push(to("payments", retries(2), "a"))
		if out, err := (&fake{}).do(t.Context(), s); err != nil || out != good {
			t.Error(out, err)
		}
		idleEverywhere(t, s)
	}
}

// Half of the attempts are broken, so that with two retries seven of eight calls are answered.
func TestFaultsAreRolledForEachAttempt(t *testing.T) {
	e, _ := newEngine(t, nil, faulty(resilience.Fault{Break: resilience.Break{Kind: resilience.ConnectionRefused}, BreakPercent: resilience.Percent(50)}))
	s := e.Service("payments")
	answered := 0
	for range 2000 {
		if _, err := (&fake{}).do(t.Context(), s); err == nil {
			answered++
		}
	}
	if answered < 1650 || answered > 1850 {
		t.Errorf("%d of 2000 calls answered, want about 1750", answered)
	}
	idleEverywhere(t, s)
}

func TestFaultsOfBodiesArePaced(t *testing.T) {
	for name, f := range map[string]resilience.Fault{
		"slow":  {BytesPerSecond: 100, SlowPercent: always},
		"reset": {Break: resilience.Break{Kind: resilience.BodyReset, After: 10}, BreakPercent: always},
		"none":  {},
	} {
		e, _ := newEngine(t, nil, faulty(f))
		s := e.Service("payments")
		flows := 0
		out, err := (&fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
			if a.Flow() != nil {
				flows++
			}
			return good
		}}).do(t.Context(), s)
		if err != nil || out != good || (flows == 1) != (name != "none") {
			t.Errorf("%s: %+v, %v with %d flows", name, out, err, flows)
		}
		idleEverywhere(t, s)
	}
}
