package engine

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

const everything = resilience.NoFaults<<1 - 1

// What is turned off costs nothing: the plan is as if it was not configured.
func TestWhatIsTurnedOffIsNotInThePlan(t *testing.T) {
	svc := all("a")
	p := &svc.VirtualHosts[0].Routes[0].Policy
	p.Global = &resilience.GlobalRate{Domain: "d"}
	p.Bandwidth.Request.BytesPerSecond = 1
	p.Retry.TryTimeout = time.Second
	p.Off = everything
	c := svc.Clusters["c"]
	c.Off = everything
	svc.Clusters["c"] = c
	e, _ := newEngine(t, nil, svc)
	s := e.Service("payments")
	plan := s.plan.Load()
	r := &plan.routes[0]
	if got := r.Policy; got.Retry.Attempts != 0 || got.Retry.TryTimeout != time.Second || got.Timeout != time.Minute || got.Hedge != nil || got.Rate != nil ||
		got.Global != nil || got.Fault != nil || got.Fallback != nil || got.Bandwidth != (resilience.Bandwidths{}) {
		t.Errorf("%+v", got)
	}
	if r.rate.limiter != nil || r.fault != nil || r.breaks != nil || r.active != nil || r.kept != nil || r.paces != nil {
		t.Errorf("%+v", r)
	}
	if got := plan.clusters["c"]; got.Budget != nil || got.Breaker != nil || got.HostBreaker != nil || got.Outlier != nil || got.Admission != nil ||
		got.thresholds[0].MaxRequests != 1<<32-1 || got.guards.Load() != nil {
		t.Errorf("%+v", got.Cluster)
	}
	if svc.VirtualHosts[0].Routes[0].Policy.Hedge == nil || svc.Clusters["c"].Breaker == nil {
		t.Error("the configuration was changed")
	}
	f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
		if a.Call().Route().Policy.Hedge != nil || a.Cluster.Breaker != nil {
			t.Error("the adapter sees what is turned off")
		}
		return good
	}}
	if out, err := f.do(t.Context(), s); err != nil || out != good {
		t.Error(out, err)
	}
}

func TestSwitchesAreSaid(t *testing.T) {
	var log bytes.Buffer
	off := func(route, cluster resilience.Switches) *resolver.Service {
		s := all("a")
		s.VirtualHosts[0].Routes[0].Policy.Off = route
		c := s.Clusters["c"]
		c.Off = cluster
		s.Clusters["c"] = c
		return s
	}
	m := &moving{first: map[string]report{"payments": {service: all("a")}}}
	e := New(Config{Resolver: m, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	defer e.Close()
	s := e.Service("payments")
	for _, tc := range []struct {
		route, cluster resilience.Switches
		log            []string
		switched       int
	}{
		{0, 0, nil, 0},
		{resilience.NoRetries | resilience.NoHedges, 0, []string{`off=retries,hedges`}, 1},
		{resilience.NoRetries | resilience.NoHedges, 0, nil, 1},
		{resilience.NoRetries, resilience.NoBreakers, []string{`off=retries`, `cluster=c off=breakers`}, 2},
		{0, resilience.NoBreakers, []string{`policies are on again`}, 1},
		{0, 0, []string{`policies are on again`}, 0},
	} {
		log.Reset()
		m.push(off(tc.route, tc.cluster))
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if log.Len() == 0 {
			lines = nil
		}
		if len(lines) != len(tc.log) || len(s.Switched()) != tc.switched {
			t.Errorf("%v, %v: %q, %v", tc.route, tc.cluster, lines, s.Switched())
			continue
		}
		for i, want := range tc.log {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%q, want %q", lines[i], want)
			}
		}
	}
}

// A call that takes its route's global rate, and what becomes of those that get none.
func TestGlobalRateOfCalls(t *testing.T) {
	lim := &answering{take: func(context.Context, uint32) (uint32, time.Duration, error) { return 3, time.Hour, nil }}
	svc := to("payments", resilience.Policy{Global: &resilience.GlobalRate{
		Domain: "d", Descriptors: [][]resilience.Entry{{{Key: "path"}}}, Lease: resilience.Lease{Batch: 3, Ahead: 1}, Timeout: time.Minute,
	}}, "a")
	m := &moving{first: map[string]report{"payments": {service: svc}}}
	e := New(Config{Resolver: m, Logger: slog.New(slog.DiscardHandler), Limiter: lim})
	defer e.Close()
	if out, err := (&fake{}).do(t.Context(), e.Service("payments")); err != nil || out != good || lim.questions() != "d,path=/:3" {
		t.Error(out, err, lim.questions())
	}
	none := &answering{take: func(context.Context, uint32) (uint32, time.Duration, error) { return 0, time.Hour, nil }}
	e2 := New(Config{Resolver: &moving{first: m.first}, Logger: slog.New(slog.DiscardHandler), Limiter: none})
	defer e2.Close()
	f := &fake{}
	if _, err := f.do(t.Context(), e2.Service("payments")); err == nil || err.Kind != RateLimited || len(f.hosts) != 0 {
		t.Error(err, f.hosts)
	}
}
