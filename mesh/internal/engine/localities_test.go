package engine

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// placed is a service whose hosts run in the region that their first letter names.
func placed(p resilience.Policy, addrs ...string) *resolver.Service {
	s := to("payments", p, addrs...)
	for i, e := range s.Clusters["c"].Endpoints {
		s.Clusters["c"].Endpoints[i].Locality = balancer.Locality{Region: e.Addr[:1]}
	}
	return s
}

func TestRetriesInOtherLocalities(t *testing.T) {
	for _, tc := range []struct {
		name        string
		hosts       []string
		unconnected map[string]bool
		want        []string // where calls go, each host by its locality's letter
	}{
		{"two localities", []string{"a1", "a2", "a3", "b1"}, nil, []string{"abaa", "baaa"}},
		{"three localities", []string{"a1", "a2", "b1", "c1"}, nil, []string{"abca", "acba", "baca", "bcaa", "caba", "cbaa"}},
		{"one locality", []string{"a1", "a2", "a3"}, nil, []string{"aaa"}},
		{"another that is not connected", []string{"a1", "a2", "b1"}, map[string]bool{"b1": true}, []string{"aab"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := retries(uint32(len(tc.hosts) - 1))
			p.Retry.OtherLocalities = true
			e, _ := newEngine(t, nil, placed(p, tc.hosts...))
			s := e.Service("payments")
			for range 50 {
				f := &fake{unconnected: tc.unconnected, send: func(context.Context, *Attempt) resilience.Outcome { return failed(resilience.Refused) }}
				f.do(t.Context(), s)
				if got := letters(f.hosts); !slices.Contains(tc.want, got) || repeats(f.hosts) {
					t.Fatalf("went to %v", f.hosts)
				}
			}
			idleEverywhere(t, s)
		})
	}
}

// Without being asked for, no locality is avoided.
func TestRetriesInAnyLocality(t *testing.T) {
	e, _ := newEngine(t, nil, placed(retries(1), "a1", "a2", "a3", "b1"))
	near := false
	for range 50 {
		f := &fake{send: func(context.Context, *Attempt) resilience.Outcome { return failed(resilience.Refused) }}
		f.do(t.Context(), e.Service("payments"))
		near = near || letters(f.hosts) == "aa"
	}
	if !near {
		t.Error("no retry stayed in its locality")
	}
}

// A host of another locality whose breaker is open is worse than one of the same whose breaker is closed.
func TestRetriesInOtherLocalitiesAskBreakers(t *testing.T) {
	p := retries(1)
	p.Retry.OtherLocalities = true
	svc := placed(p, "a1", "a2", "b1")
	c := svc.Clusters["c"]
	c.HostBreaker = &resilience.Trip{Failures: 1, Open: time.Hour}
	svc.Clusters["c"] = c
	e, _ := newEngine(t, nil, svc)
	s := e.Service("payments")
	for opened := false; !opened; {
		(&fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
			if opened = a.Host.Addr() == "b1"; opened {
				return resilience.Outcome{Status: 503}
			}
			return good
		}}).do(t.Context(), s)
	}
	f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
		if a.Number == 1 {
			return failed(resilience.ConnectFailure)
		}
		return good
	}}
	f.do(t.Context(), s)
	if letters(f.hosts) != "aa" || repeats(f.hosts) {
		t.Errorf("went to %v", f.hosts)
	}
	idleEverywhere(t, s)
}

// An attempt beside others leaves their localities, as a retry does.
func TestHedgesInOtherLocalities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := retries(1)
		p.Retry.OtherLocalities = true
		p.Hedge = &resilience.Hedge{Delay: slow}
		e, _ := newEngine(t, nil, placed(p, "a1", "a2", "b1", "b2"))
		s := e.Service("payments")
		for range 50 {
			r := &racer{send: func(ctx context.Context, a *Attempt) resilience.Outcome {
				if a.Number == 1 {
					return after(ctx, time.Hour, good)
				}
				return good
			}}
			r.Idempotent, r.Request.Path = true, "/"
			if _, err := s.Do(t.Context(), &r.Call, r); err != nil || len(r.hosts) != 2 || r.hosts[1][0] == r.hosts[2][0] {
				t.Fatalf("%v by way of %v", err, r.hosts)
			}
		}
		idleEverywhere(t, s)
	})
}

// letters are the localities of hosts.
func letters(hosts []string) (out string) {
	for _, h := range hosts {
		out += h[:1]
	}
	return out
}

func repeats(hosts []string) bool {
	return len(slices.Compact(slices.Sorted(slices.Values(hosts)))) < len(hosts)
}
