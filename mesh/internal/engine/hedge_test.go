package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

const slow = 100 * time.Millisecond

func hedged(h resilience.Hedge, addrs ...string) *resolver.Service {
	return limited(resilience.Policy{Hedge: &h}, resilience.Thresholds{MaxRequests: 9, MaxRetries: 9}, nil, addrs...)
}

// after answers when so much time has passed, unless it is cancelled.
func after(ctx context.Context, d time.Duration, out resilience.Outcome) resilience.Outcome {
	select {
	case <-time.After(d):
		return out
	case <-ctx.Done():
		return resilience.Outcome{Err: ctx.Err(), Cause: resilience.Canceled}
	}
}

var good, bad = resilience.Outcome{Status: 200}, resilience.Outcome{Status: 503}

func TestHedge(t *testing.T) {
	type answer struct {
		after time.Duration
		out   resilience.Outcome
	}
	twice := resilience.Retry{Attempts: 1, On: resilience.On5xx, Base: time.Nanosecond}
	thrice := twice
	thrice.Attempts = 2
	for _, tc := range []struct {
		name    string
		hedge   resilience.Hedge
		retry   resilience.Retry
		answers []answer // by attempt
		want    resilience.Outcome
		took    time.Duration
		log     string
		hosts   int // told apart
		told    string
	}{
		{name: "answered in time", answers: []answer{{slow / 2, good}}, want: good, took: slow / 2, hosts: 1,
			told: "call attempt1 attempt1:ok call:ok"},
		{name: "the second is faster", answers: []answer{{time.Hour, good}, {slow, good}}, want: good, took: 2 * slow, log: "take 2", hosts: 2,
			told: "call attempt1 attempt2 attempt1:" + errLost.Error() + " attempt2:ok call:ok"},
		{name: "the first is faster after all", answers: []answer{{2 * slow, good}, {time.Hour, good}}, want: good, took: 2 * slow, log: "discard 2", hosts: 2,
			told: "call attempt1 attempt2 attempt2:" + errLost.Error() + " attempt1:ok call:ok"},
		{name: "a failure is no answer where it is repeated", retry: twice, answers: []answer{{3 * slow, good}, {slow / 2, bad}}, want: good, took: 3 * slow, log: "discard 2", hosts: 2},
		{name: "a failure is the answer where it is not", answers: []answer{{3 * slow, good}, {slow / 2, bad}}, want: bad, took: slow + slow/2, log: "take 2", hosts: 2},
		{name: "no answer is none", answers: []answer{{3 * slow, good}, {slow / 2, failed(resilience.Reset)}}, want: good, took: 3 * slow, log: "discard 2", hosts: 2},
		{name: "the first fails while the second runs", answers: []answer{{2 * slow, failed(resilience.Reset)}, {2 * slow, good}}, want: good, took: 3 * slow, log: "take 2", hosts: 2},
		{name: "the first fails before there is a second", retry: twice, answers: []answer{{slow / 2, bad}, {slow / 2, good}}, want: good, took: slow, hosts: 2},
		{name: "all fail and the retry goes on", retry: thrice, answers: []answer{{2 * slow, bad}, {2 * slow, bad}, {slow / 2, good}}, want: good, took: 3*slow + slow/2, log: "take 2", hosts: 3},
		{name: "all fail", answers: []answer{{3 * slow, failed(resilience.Reset)}, {slow, failed(resilience.ConnectFailure)}}, want: failed(resilience.Reset), took: 3 * slow, log: "discard 2", hosts: 2},
		{name: "all fail and the hedge was the retry", retry: twice, answers: []answer{{2 * slow, bad}, {2 * slow, bad}}, want: bad, took: 3 * slow, log: "take 2", hosts: 2},
		{name: "the retry was the hedge", retry: twice, answers: []answer{{slow / 2, bad}, {3 * slow, good}}, want: good, took: 3*slow + slow/2, hosts: 2},
		{name: "two beside", hedge: resilience.Hedge{Delay: slow, Max: 2}, answers: []answer{{time.Hour, good}, {time.Hour, good}, {slow, good}},
			want: good, took: 3 * slow, log: "take 3 discard 2", hosts: 3},
		{name: "at once", hedge: resilience.Hedge{Delay: slow, Chance: resilience.Percent(100)}, answers: []answer{{time.Hour, good}, {slow, good}}, want: good, took: slow, log: "take 2", hosts: 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tc.hedge == (resilience.Hedge{}) {
					tc.hedge = resilience.Hedge{Delay: slow}
				}
				svc := hedged(tc.hedge, "a", "b", "c", "d")
				svc.VirtualHosts[0].Routes[0].Policy.Retry = tc.retry
				obs := &recorder{}
				e, _ := newEngine(t, obs, svc)
				s := e.Service("payments")
				start := time.Now()
				r := &racer{send: func(ctx context.Context, a *Attempt) resilience.Outcome {
					x := tc.answers[a.Number-1]
					return after(ctx, x.after, x.out)
				}}
				r.Idempotent = true
				out, err := s.Do(t.Context(), &r.Call, r)
				if out != tc.want || (err != nil) != (tc.want.Err != nil) || time.Since(start).Round(time.Millisecond) != tc.took {
					t.Errorf("%+v, %v after %v", out, err, time.Since(start))
				}
				if got := strings.Join(r.log, " "); got != tc.log {
					t.Errorf("the transport was told %q, want %q", got, tc.log)
				}
				apart := map[string]bool{}
				for _, h := range r.hosts {
					apart[h] = true
				}
				if len(apart) != tc.hosts || len(r.hosts) != len(tc.answers) {
					t.Errorf("hosts %v", r.hosts)
				}
				if got := obs.String(); tc.told != "" && got != tc.told {
					t.Errorf("the observer was told %q, want %q", got, tc.told)
				}
				idleEverywhere(t, s)
			})
		})
	}
}

// A host that others overtake is never left the time to fail, and is found out all the same. One that merely was asked
// second has done nothing wrong.
func TestOvertakenHostIsEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := hedged(resilience.Hedge{Delay: slow}, "a", "b", "c", "d")
		c := svc.Clusters["c"]
		three := uint32(3)
		c.Outlier = &balancer.Outlier{Consecutive5xx: &three, BaseEjection: time.Hour}
		svc.Clusters["c"] = c
		e, _ := newEngine(t, nil, svc)
		s := e.Service("payments")
		call := func(send func(ctx context.Context, a *Attempt) resilience.Outcome) *racer {
			r := &racer{send: send}
			r.Idempotent = true
			s.Do(t.Context(), &r.Call, r)
			return r
		}
		for range 20 { // the first answers just before the second
			call(func(ctx context.Context, a *Attempt) resilience.Outcome { return after(ctx, slow*3/2, good) })
		}
		live := &s.plan.Load().clusters["c"].hosts
		if n := live.Ejected(); n != 0 {
			t.Fatalf("%d hosts ejected that were asked second", n)
		}
		asked := 0
		for range 40 {
			r := call(func(ctx context.Context, a *Attempt) resilience.Outcome {
				if a.Host.Addr() == "a" {
					return after(ctx, time.Hour, good)
				}
				return after(ctx, slow/2, good)
			})
			for _, h := range r.hosts {
				if h == "a" {
					asked++
				}
			}
		}
		if asked != 3 || live.Ejected() != 1 {
			t.Errorf("the slow host was asked %d times, and %d are ejected", asked, live.Ejected())
		}
		idleEverywhere(t, s)
	})
}

// The context of the answer that counts lives as long as the answer is read; those of the others end.
func TestHedgeLeavesTheAnswerItsContext(t *testing.T) {
	for winner := 1; winner <= 2; winner++ {
		synctest.Test(t, func(t *testing.T) {
			svc := hedged(resilience.Hedge{Delay: slow}, "a", "b")
			svc.VirtualHosts[0].Routes[0].Policy.Timeout = time.Minute
			e, _ := newEngine(t, nil, svc)
			s := e.Service("payments")
			attempts := make([]*Attempt, 3)
			r := &racer{}
			r.Idempotent = true
			r.send = func(ctx context.Context, a *Attempt) resilience.Outcome {
				attempts[a.Number] = a
				if d, ok := ctx.Deadline(); !ok || time.Until(d) > time.Minute {
					t.Errorf("attempt %d has until %v", a.Number, d)
				}
				if a.Number != winner {
					return after(ctx, time.Hour, good)
				}
				out := after(ctx, 2*slow, good)
				a.Hold()
				return out
			}
			if out, err := s.Do(t.Context(), &r.Call, r); err != nil || out != good {
				t.Fatal(out, err)
			}
			won, lost := attempts[winner], attempts[3-winner]
			if won.Context().Err() != nil || r.Context().Err() != nil || lost.Context().Err() == nil {
				t.Errorf("contexts: %v of who won, %v of the call, %v of who lost", won.Context().Err(), r.Context().Err(), lost.Context().Err())
			}
			if r.Host() != won.Host || !r.Marks().Has(Hedged) {
				t.Errorf("the call is said to be answered by %s", r.Host().Addr())
			}
			if n := won.Host.InFlight() + lost.Host.InFlight(); n != 1 {
				t.Errorf("%d attempts in flight while the answer is read", n)
			}
			lost.Finish(good) // too late to count
			if won.Context().Err() != nil {
				t.Error("who lost has ended the call")
			}
			won.Finish(good)
			if won.Context().Err() == nil {
				t.Error("the context outlives the call")
			}
			idleEverywhere(t, s)
		})
	}
}

type setup struct {
	svc *resolver.Service
	r   *racer
	ctx context.Context
}

func TestWhatIsNotHedged(t *testing.T) {
	for name, change := range map[string]func(*setup){
		"not idempotent":     func(s *setup) { s.r.Idempotent = false },
		"sent once":          func(s *setup) { s.r.single = true },
		"an upgrade":         func(s *setup) { s.r.Unbounded = true },
		"TCP":                func(s *setup) { s.r.Protocol = TCP },
		"no budget":          func(s *setup) { s.cluster(func(c *resolver.Cluster) { c.Budget = &resilience.Budget{} }) },
		"no retries":         func(s *setup) { s.cluster(func(c *resolver.Cluster) { c.Thresholds[0].MaxRetries = 0 }) },
		"no room":            func(s *setup) { s.cluster(func(c *resolver.Cluster) { c.Thresholds[0].MaxRequests = 1 }) },
		"turned off":         func(s *setup) { s.svc.VirtualHosts[0].Routes[0].Policy.Off = resilience.NoHedges },
		"unknown percentile": func(s *setup) { s.svc.VirtualHosts[0].Routes[0].Policy.Hedge = &resilience.Hedge{Percentile: 95} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &setup{hedged(resilience.Hedge{Delay: slow}, "a", "b"), &racer{}, t.Context()}
				s.r.Idempotent = true
				change(s)
				s.r.send = func(ctx context.Context, _ *Attempt) resilience.Outcome { return after(ctx, 2*slow, good) }
				e, _ := newEngine(t, nil, s.svc)
				svc := e.Service("payments")
				out, err := svc.Do(s.ctx, &s.r.Call, s.r)
				if err != nil || out != good || len(s.r.hosts) != 1 || s.r.Marks() != 0 {
					t.Errorf("%+v, %v by way of %v", out, err, s.r.hosts)
				}
				idleEverywhere(t, svc)
			})
		})
	}
}

// A stream, of which the transport is no Hedger, goes its way where the route hedges.
func TestStreamsAreNotHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := newEngine(t, nil, hedged(resilience.Hedge{Delay: slow}, "a", "b"))
		f := &fake{send: func(ctx context.Context, _ *Attempt) resilience.Outcome { return after(ctx, time.Hour, good) }}
		f.Idempotent = true
		if out, err := f.do(t.Context(), e.Service("payments")); err != nil || out != good || len(f.hosts) != 1 {
			t.Error(out, err, f.hosts)
		}
	})
}

func (s *setup) cluster(f func(*resolver.Cluster)) {
	c := s.svc.Clusters["c"]
	f(&c)
	s.svc.Clusters["c"] = c
}

// One call in twenty is sent again when the percentile is the 95th, and not more and more.
func TestHedgeAtAPercentile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := hedged(resilience.Hedge{Percentile: 95}, "a", "b", "c")
		e, _ := newEngine(t, nil, svc)
		s := e.Service("payments")
		n := 0
		call := func() (hedges int) {
			r := &racer{}
			r.Idempotent = true
			r.send = func(ctx context.Context, a *Attempt) resilience.Outcome {
				if a.Number > 1 {
					hedges++
				} else {
					n++
				}
				took := 10 * time.Millisecond
				if a.Number == 1 && n%20 == 0 {
					took = time.Second
				}
				return after(ctx, took, good)
			}
			if out, err := s.Do(t.Context(), &r.Call, r); err != nil || out != good {
				t.Fatal(out, err)
			}
			return hedges
		}
		for range 200 {
			call()
		}
		hedges := 0
		for range 1000 {
			hedges += call()
		}
		if hedges < 40 || hedges > 60 {
			t.Errorf("%d of 1000 calls were sent again", hedges)
		}
		idleEverywhere(t, s)
	})
}

// The caller goes: all attempts end, and nothing is left of them.
func TestHedgeIsCancelled(t *testing.T) {
	for name, bound := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"canceled": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(2*slow, cancel)
			return ctx, cancel
		},
		"deadline exceeded": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 2*slow)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			e, _ := newEngine(t, nil, hedged(resilience.Hedge{Delay: slow}, "a", "b"))
			s := e.Service("payments")
			ctx, cancel := bound(t.Context())
			defer cancel()
			r := &racer{send: func(ctx context.Context, _ *Attempt) resilience.Outcome { return after(ctx, time.Hour, good) }}
			r.Idempotent = true
			_, err := s.Do(ctx, &r.Call, r)
			if e, ok := errors.AsType[*Error](err); !ok || e.Kind.String() != name || r.most != 2 {
				t.Errorf("%s: %v with %d side by side", name, err, r.most)
			}
			idleEverywhere(t, s)
		})
	}
}

// A panic goes to the caller, from whichever goroutine, and leaves nothing behind.
func TestHedgePanics(t *testing.T) {
	type where int
	const (
		own where = iota
		besideIt
		lostIt
		preparing
		observing
		exiting
	)
	for at, want := range map[where]any{own: "oh 1", besideIt: "oh 2", lostIt: "oh 2", preparing: "oh beside", observing: "oh observer", exiting: errPanicked} {
		synctest.Test(t, func(t *testing.T) {
			var obs Observer
			if at == observing {
				obs = &panicking{}
			}
			e, _ := newEngine(t, obs, hedged(resilience.Hedge{Delay: slow}, "a", "b", "c"))
			s := e.Service("payments")
			r := &panicker{at: int(at)}
			r.Idempotent = true
			r.send = func(ctx context.Context, a *Attempt) resilience.Outcome {
				switch {
				case at == own && a.Number == 1:
					time.Sleep(2 * slow)
					panic("oh 1")
				case at == besideIt && a.Number == 2:
					panic("oh 2")
				case at == lostIt && a.Number == 1:
					return after(ctx, 2*slow, good)
				case at == lostIt:
					<-ctx.Done()
					panic("oh 2")
				case at == exiting && a.Number == 2:
					exit()
				}
				return after(ctx, time.Hour, good)
			}
			func() {
				defer func() {
					if got := recover(); got != want {
						t.Errorf("case %d: recovered %v, want %v", at, got, want)
					}
				}()
				out, err := s.Do(t.Context(), &r.Call, r)
				t.Errorf("case %d: %+v, %v", at, out, err)
			}()
			if r.inside != 0 {
				t.Errorf("case %d: %d still run", at, r.inside)
			}
			synctest.Wait()
			idleEverywhere(t, s)
		})
	}
}

// Many calls at once, of attempts that end all at the same moment.
func TestHedgesRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := hedged(resilience.Hedge{Delay: slow, Max: 3}, "a", "b", "c")
		c := svc.Clusters["c"]
		c.Thresholds[0] = resilience.Thresholds{MaxRequests: 150, MaxRetries: 60}
		svc.Clusters["c"] = c
		svc.VirtualHosts[0].Routes[0].Policy.Retry = resilience.Retry{Attempts: 1, On: resilience.On5xx | resilience.OnReset, TryTimeout: 4 * slow, Base: time.Nanosecond}
		e, _ := newEngine(t, &recorder{}, svc)
		s := e.Service("payments")
		outs := []resilience.Outcome{good, bad, failed(resilience.Reset), failed(resilience.ConnectFailure), good}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				r := &racer{send: func(ctx context.Context, a *Attempt) resilience.Outcome {
					out := after(ctx, slow*time.Duration((i+a.Number)%5), outs[(i*a.Number)%len(outs)])
					if out.Err == nil && i%3 == 0 {
						a.Hold()
					}
					return out
				}}
				r.Idempotent = true
				_, err := s.Do(t.Context(), &r.Call, r)
				if a := r.last; a != nil && a.held && err == nil {
					a.Finish(good)
				}
				takes := slices.DeleteFunc(slices.Clone(r.log), func(l string) bool { return !strings.HasPrefix(l, "take") })
				if len(r.hosts) > 8 || slices.ContainsFunc(r.log, func(l string) bool { return strings.Contains(l, "while") }) || len(takes) > 2 {
					t.Errorf("%v: %v", r.hosts, r.log)
				}
			})
		}
		wg.Wait()
		idleEverywhere(t, s)
	})
}
