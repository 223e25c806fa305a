package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A call that waits for hosts follows the configuration to where they are.
func TestWaitForHost(t *testing.T) {
	elsewhere := to("payments", resilience.Policy{}, "b")
	elsewhere.VirtualHosts[0].Routes[0].To[0].Cluster = "d"
	elsewhere.Clusters = map[string]resolver.Cluster{"d": clusterOf("d", "b")}
	for _, tc := range []struct {
		name    string
		then    report
		host    string
		kind    Kind
		cluster string
	}{
		{"hosts come", report{service: to("payments", resilience.Policy{}, "a")}, "a", 0, "c"},
		{"another cluster has some", report{service: elsewhere}, "b", 0, "d"},
		{"the service goes", report{err: &resolver.UnknownError{Name: "payments"}}, "", NoService, ""},
		{"none come", report{err: errors.New("no control plane")}, "", Deadline, "c"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, m := newEngine(t, nil, to("payments", resilience.Policy{}))
				s := e.Service("payments")
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				time.AfterFunc(time.Second, func() { m.watching("payments").report(tc.then) })
				f := &fake{}
				f.WaitForHost = true
				_, err := f.do(ctx, s)
				switch {
				case tc.kind == 0 && (err != nil || f.hosts[0] != tc.host || f.Cluster().Name != tc.cluster):
					t.Errorf("%v by way of %v", err, f.hosts)
				case tc.kind != 0 && (err == nil || err.Kind != tc.kind || err.Cluster != tc.cluster):
					t.Errorf("error %+v", err)
				}
				if len(s.observers) != 0 {
					t.Error("still told of changes")
				}
				idleEverywhere(t, s)
			})
		})
	}
}

// When all connected hosts were tried, one that still connects is better than one that has not answered.
func TestRetryPrefersTheUntriedToTheConnected(t *testing.T) {
	e, _ := newEngine(t, nil, to("payments", retries(1), "a", "b"))
	for range 20 {
		f := &fake{unconnected: map[string]bool{"b": true}}
		f.send = func(_ context.Context, a *Attempt) resilience.Outcome {
			if a.Number == 1 {
				return failed(resilience.Refused)
			}
			return resilience.Outcome{Status: 200}
		}
		f.do(t.Context(), e.Service("payments"))
		if len(f.hosts) != 2 || f.hosts[0] != "a" || f.hosts[1] != "b" {
			t.Fatalf("went to %v", f.hosts)
		}
	}
}
