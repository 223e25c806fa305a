package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func TestCallsWaitForTheFirstReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, m := newEngine(t, nil)
		s := e.Service("payments")
		time.AfterFunc(time.Second, func() { m.push(to("payments", resilience.Policy{}, "a")) })
		start := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := (&fake{}).do(t.Context(), s); err != nil || time.Since(start) != time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			})
		}
		wg.Go(func() {
			if err := s.Await(t.Context()); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		idleEverywhere(t, s)
	})
}

func TestCallsDoNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := newEngine(t, nil)
		s := e.Service("payments")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		out, err := (&fake{}).do(ctx, s)
		if err == nil || err.Kind != Deadline || !errors.Is(err, errNotKnown) || !errors.Is(err, context.DeadlineExceeded) || out.Cause != resilience.Timeout {
			t.Errorf("%+v, %v", out, err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if out, err := (&fake{}).do(ctx, s); err == nil || err.Kind != Canceled || out.Cause != resilience.Canceled {
			t.Errorf("%+v, %v", out, err)
		}
		idleEverywhere(t, s)
	})
}

func TestReports(t *testing.T) {
	unknown := &resolver.UnknownError{Name: "payments", Detail: "no service payments; nearest: payment"}
	transient := errors.New("no control plane")
	bad := to("payments", resilience.Policy{}, "b")
	bad.VirtualHosts[0].Routes[0].Match.Path = resolver.PathMatch{Kind: resolver.PathRegex, Value: "("}
	good := func(addr string) *resolver.Service { return to("payments", resilience.Policy{}, addr) }
	type step struct {
		report report
		host   string // where calls go; empty if they fail
		err    error  // what Err says
	}
	for _, tc := range []struct {
		name  string
		steps []step
	}{
		{"known at once", []step{{report{service: good("a")}, "a", nil}}},
		{"unknown", []step{{report{err: unknown}, "", unknown}}},
		{"unknown, wrapped", []step{{report{err: fmt.Errorf("x: %w", unknown)}, "", unknown}}},
		{"unknown, then known", []step{{report{err: unknown}, "", unknown}, {report{service: good("a")}, "a", nil}}},
		{"transient", []step{{report{err: transient}, "", transient}, {report{service: good("a")}, "a", nil}}},
		{"transient takes nothing away", []step{{report{service: good("a")}, "a", nil}, {report{err: transient}, "a", transient}, {report{service: good("b")}, "b", nil}}},
		{"a bad value takes nothing away", []step{{report{service: good("a")}, "a", nil}, {report{service: bad}, "a", nil}, {report{service: good("b")}, "b", nil}}},
		{"unknown takes away", []step{{report{service: good("a")}, "a", nil}, {report{err: unknown}, "", unknown}, {report{service: good("b")}, "b", nil}}},
		{"nothing", []step{{report{}, "", errNothing}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, m := newEngine(t, nil)
			s := e.Service("payments")
			for i, step := range tc.steps {
				m.watching("payments").report(step.report)
				f := &fake{}
				_, err := f.do(t.Context(), s)
				if step.host != "" && (err != nil || f.hosts[0] != step.host || s.Value() == nil) {
					t.Errorf("step %d: %v by way of %v, want %s", i, err, f.hosts, step.host)
				}
				if step.host == "" && (err == nil || err.Kind != NoService || !errors.Is(err, step.err) || s.Value() != nil) {
					t.Errorf("step %d: %v, want %v", i, err, step.err)
				}
				if step.report.service != bad && !errors.Is(s.Err(), step.err) || step.report.service == bad && s.Err() == nil {
					t.Errorf("step %d: Err is %v, want %v", i, s.Err(), step.err)
				}
				idleEverywhere(t, s)
			}
		})
	}
}

// A cluster that no route leads to any more lives until its last call ends; its hosts leave then.
func TestRemovedClusterLivesUntilItsLastCallEnds(t *testing.T) {
	e, m := newEngine(t, nil, to("payments", resilience.Policy{}, "a"))
	s := e.Service("payments")
	changes := 0
	defer s.OnChange(func() { changes++ })()
	var held []*Attempt
	for range 2 {
		f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
			a.Hold()
			held = append(held, a)
			return resilience.Outcome{Status: 200}
		}}
		f.do(t.Context(), s)
	}
	next := to("payments", resilience.Policy{}, "b")
	next.Clusters = map[string]resolver.Cluster{"d": clusterOf("d", "b")}
	next.VirtualHosts[0].Routes[0].To[0].Cluster = "d"
	m.push(next)

	old := held[0].Host
	hosts := map[string]*resolver.Cluster{}
	for _, h := range s.Hosts() {
		hosts[h.Addr()] = h.Cluster
	}
	if len(hosts) != 2 || hosts["a"] != nil || hosts["b"] == nil || hosts["b"].Name != "d" || old.Left() {
		t.Errorf("hosts %v, left %v", hosts, old.Left())
	}
	f := &fake{}
	if f.do(t.Context(), s); f.hosts[0] != "b" {
		t.Errorf("a new call went to %v", f.hosts)
	}
	held[0].Finish(resilience.Outcome{})
	if old.Left() || len(s.Hosts()) != 2 {
		t.Error("the cluster ended before its last call")
	}
	before := changes
	held[1].Finish(resilience.Outcome{})
	if !old.Left() || len(s.Hosts()) != 1 || changes != before+1 {
		t.Errorf("after the last call: left %v, hosts %v, told %d times", old.Left(), s.Hosts(), changes-before)
	}
	idleEverywhere(t, s)
}

func TestRemovedClusterWithoutCallsEndsAtOnce(t *testing.T) {
	e, m := newEngine(t, nil, to("payments", resilience.Policy{}, "a"))
	s := e.Service("payments")
	host := s.Hosts()[0]
	m.fail("payments", &resolver.UnknownError{})
	if !host.Left() || len(s.Hosts()) != 0 {
		t.Errorf("left %v, hosts %v", host.Left(), s.Hosts())
	}
}

// Calls that come while the cluster they chose goes away take the newer plan.
func TestClusterRemovedUnderTheChoice(t *testing.T) {
	s := &Service{}
	l := &live{}
	if !l.retire() {
		t.Fatal("not empty")
	}
	if newCluster(clusterOf("c"), l).enter(s, new(moment)) {
		t.Error("entered a retired cluster")
	}
	if n := l.calls.Load(); n != retired {
		t.Errorf("%d calls", n-retired)
	}
}

func TestHostsKeepTheirStateThroughUpdates(t *testing.T) {
	e, m := newEngine(t, nil, to("payments", resilience.Policy{}, "a", "b"))
	s := e.Service("payments")
	before := s.Hosts()
	m.push(to("payments", resilience.Policy{Timeout: time.Second}, "b", "c"))
	after := s.Hosts()
	if before[1].Host != after[0].Host || !before[0].Left() || before[1].Left() {
		t.Errorf("hosts %v after %v", after, before)
	}
}

func TestRoutesThatStayAreNotCompiledAgain(t *testing.T) {
	first := to("payments", resilience.Policy{}, "a")
	e, m := newEngine(t, nil, first)
	s := e.Service("payments")
	table := s.plan.Load().table
	second := *first
	second.Clusters = map[string]resolver.Cluster{"c": clusterOf("c", "b")}
	m.push(&second)
	f := &fake{}
	if f.do(t.Context(), s); s.plan.Load().table != table || f.hosts[0] != "b" {
		t.Errorf("same table %v, sent to %v", s.plan.Load().table == table, f.hosts)
	}
	m.push(to("payments", resilience.Policy{}, "b"))
	if s.plan.Load().table == table {
		t.Error("other routes, but the same table")
	}
}

func TestOnChange(t *testing.T) {
	e, m := newEngine(t, nil)
	s := e.Service("payments")
	first, second := 0, 0
	stop := s.OnChange(func() { first++ })
	defer s.OnChange(func() { second++ })()
	m.push(to("payments", resilience.Policy{}, "a"))
	stop()
	m.push(to("payments", resilience.Policy{}, "b"))
	if first != 1 || second != 2 {
		t.Errorf("told %d and %d times", first, second)
	}
}

func TestServiceIsWatchedOnce(t *testing.T) {
	e, m := newEngine(t, nil)
	got := make([]*Service, 8)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i] = e.Service("payments") })
	}
	wg.Wait()
	for _, s := range got {
		if s != got[0] {
			t.Error("two services of one name")
		}
	}
	e.Close()
	if n, stops := m.count(); n != 0 || stops != 1 {
		t.Errorf("%d watches left, %d stopped", n, stops)
	}
}

// Whoever chooses the names that are called must not choose how much is kept.
func TestNamesOfNoServiceAreForgotten(t *testing.T) {
	e, m := newEngine(t, nil, to("payments", resilience.Policy{}, "a"))
	m.unknown = true
	known := e.Service("payments")
	observed := e.Service("observed")
	defer observed.OnChange(func() {})()
	first := e.Service("x-0")
	for i := range maxIdle + 200 {
		if _, err := (&fake{}).do(t.Context(), e.Service(fmt.Sprint("x-", i))); err == nil || err.Kind != NoService {
			t.Fatal(err)
		}
	}
	n, stops := m.count()
	if kept := len(e.Services()); kept > maxIdle+2 || n != kept || stops != maxIdle+200+2-kept {
		t.Errorf("%d services kept, %d watches, %d stopped", kept, n, stops)
	}
	if e.Service("payments") != known || e.Service("observed") != observed {
		t.Error("a service in use was forgotten")
	}
	if last := fmt.Sprint("x-", maxIdle+200-1); e.Services()[last] == nil || e.Services()["x-0"] != nil {
		t.Error("not the oldest were forgotten")
	}
	// Who holds a service that was forgotten calls its successor.
	m.mu.Lock()
	m.first["x-0"] = report{service: to("x-0", resilience.Policy{}, "b")}
	m.mu.Unlock()
	f := &fake{}
	if _, err := f.do(t.Context(), first); err != nil || f.hosts[0] != "b" {
		t.Errorf("%v by way of %v", err, f.hosts)
	}
	if err := first.Await(t.Context()); err != nil {
		t.Error(err)
	}
	idleEverywhere(t, e.Service("x-0"))
}

// Calls of services that are being forgotten are told the truth: there is no such service.
func TestForgettingUnderCalls(t *testing.T) {
	e, m := newEngine(t, nil)
	m.unknown = true
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range maxIdle / 3 {
				for _, name := range []string{fmt.Sprint("x-", i, "-", j), fmt.Sprint("y-", j%8)} {
					_, err := (&fake{}).do(t.Context(), e.Service(name))
					var unknown *resolver.UnknownError
					if !errors.As(err, &unknown) || unknown.Name != name {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if n, _ := m.count(); n > maxIdle+4 || n != len(e.Services()) {
		t.Errorf("%d watches, %d services", n, len(e.Services()))
	}
}

// A service is not forgotten while a call waits for its first report.
func TestAwaitedNamesAreNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, m := newEngine(t, nil)
		awaited := e.Service("awaited")
		done := make(chan error)
		go func() { done <- awaited.Await(t.Context()) }()
		synctest.Wait()
		m.mu.Lock()
		m.unknown = true
		m.mu.Unlock()
		for i := range maxIdle + 100 {
			e.Service(fmt.Sprint("x-", i))
		}
		m.push(to("awaited", resilience.Policy{}, "a"))
		if err := <-done; err != nil || e.Service("awaited") != awaited {
			t.Errorf("%v, forgotten %v", err, e.Service("awaited") != awaited)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, m := newEngine(t, nil, to("payments", resilience.Policy{}, "a"))
		known, pending := e.Service("payments"), e.Service("pending")
		done := make(chan error)
		go func() { done <- pending.Await(t.Context()) }()
		synctest.Wait()
		e.Close()
		e.Close()
		if err := <-done; !errors.Is(err, errClosed) {
			t.Errorf("who waited was told %v", err)
		}
		if _, err := (&fake{}).do(t.Context(), known); err != nil {
			t.Errorf("a known service after Close: %v", err)
		}
		if _, err := (&fake{}).do(t.Context(), e.Service("another")); err == nil || err.Kind != NoService || !errors.Is(err, errClosed) {
			t.Errorf("another service after Close: %v", err)
		}
		if n, stops := m.count(); n != 0 || stops != 2 {
			t.Errorf("%d watches left, %d stopped", n, stops)
		}
	})
}

// Watch, reports, Close and the forgetting of names, all at once, for the race detector.
func TestWatchAgainstClose(t *testing.T) {
	for range 50 {
		m := &moving{first: map[string]report{"a": {service: to("a", resilience.Policy{}, "h")}}, unknown: true}
		e := New(Config{Resolver: m, Logger: slog.New(slog.DiscardHandler)})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := range 20 {
					s := e.Service([]string{"a", fmt.Sprint("x-", i, "-", j)}[j%2])
					(&fake{}).do(t.Context(), s)
					runtime.Gosched()
				}
			})
		}
		wg.Go(e.Close)
		wg.Wait()
		if n, _ := m.count(); n != 0 {
			t.Fatalf("%d watches after Close", n)
		}
	}
}

// Nothing of a call is of another version than the rest.
func TestCallsSeeOneConfiguration(t *testing.T) {
	version := func(i int) *resolver.Service {
		name := fmt.Sprint("v", i)
		c := clusterOf(name, name+":1", name+":2")
		c.Thresholds = &[resilience.Priorities]resilience.Thresholds{{MaxRequests: 100, MaxRetries: 100}}
		return &resolver.Service{
			Name: "payments",
			VirtualHosts: []resolver.VirtualHost{{Domains: []string{"*"}, Routes: []resolver.Route{
				{Name: name, To: []resolver.Target{{Cluster: name}}, Policy: resilience.Policy{Retry: resilience.Retry{Attempts: 1, On: resilience.OnRefusedStream}}},
			}}},
			Clusters: map[string]resolver.Cluster{name: c},
		}
	}
	e, m := newEngine(t, nil, version(0))
	s := e.Service("payments")
	done := make(chan struct{})
	var calls atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				calls.Add(1)
				f := &fake{}
				f.send = func(_ context.Context, a *Attempt) resilience.Outcome {
					name := f.Route().Name
					if f.Cluster().Name != name || a.Cluster.Name != name || a.Host.Addr()[:len(name)+1] != name+":" || a.Host.Left() {
						t.Errorf("route %s, cluster %s, host %s, left %v", name, f.Cluster().Name, a.Host.Addr(), a.Host.Left())
					}
					if a.Number == 1 {
						runtime.Gosched()
						return failed(resilience.Refused)
					}
					return resilience.Outcome{Status: 200}
				}
				if _, err := f.do(t.Context(), s); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 500 {
		m.push(version(i))
		for at := calls.Load(); calls.Load() < at+8; {
			runtime.Gosched()
		}
	}
	close(done)
	wg.Wait()
	idleEverywhere(t, s)
	if n := len(s.Hosts()); n != 2 {
		t.Errorf("%d hosts are left of 500 versions", n)
	}
}

// All endpoints are replaced every 3 ms while eight callers call. Connections take
// longer than many hosts live, so calls wait for hosts that leave: none is lost.
func TestEndpointsReplacedEvery3ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		generation := func(i int) *resolver.Service {
			return to("payments", resilience.Policy{}, fmt.Sprintf("%d:a", i), fmt.Sprintf("%d:b", i), fmt.Sprintf("%d:c", i))
		}
		e, m := newEngine(t, nil, generation(0))
		s := e.Service("payments")
		done := make(chan struct{})
		var calls, moves atomic.Int64
		var wg sync.WaitGroup
		for caller := range 8 {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					default:
					}
					c := &connecting{takes: time.Duration((caller+n)%7) * time.Millisecond}
					c.Request.Path = "/"
					if out, err := s.Do(t.Context(), &c.Call, c); err != nil || !out.OK() {
						t.Errorf("call %d of caller %d: %+v, %v", n, caller, out, err)
					}
					calls.Add(1)
					moves.Add(int64(c.Attempts() - 1))
				}
			})
		}
		for i := range 1000 {
			time.Sleep(3 * time.Millisecond)
			m.push(generation(i + 1))
		}
		close(done)
		wg.Wait()
		idleEverywhere(t, s)
		if calls.Load() < 1000 || moves.Load() < 1000 {
			t.Errorf("only %d calls, moved %d times: nothing was shown", calls.Load(), moves.Load())
		}
	})
}

// connecting is a Transport that makes a connection for each attempt, and gives up on a host that has left.
type connecting struct {
	Call
	takes time.Duration // the first attempt's; each further one takes a millisecond less
}

func (c *connecting) Send(ctx context.Context, a *Attempt) resilience.Outcome {
	timer := time.NewTimer(max(0, c.takes-time.Duration(a.Number-1)*time.Millisecond) + 100*time.Microsecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return resilience.Outcome{Status: 200}
	case <-a.Host.Gone():
		return resilience.Outcome{Err: errors.New("host left"), Cause: resilience.HostLeft}
	case <-ctx.Done():
		return resilience.Outcome{Err: ctx.Err(), Cause: resilience.Canceled}
	}
}

func (c *connecting) Replayable() bool                { return true }
func (c *connecting) Connected(h *balancer.Host) bool { return true }
