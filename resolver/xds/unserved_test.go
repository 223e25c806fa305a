package xds

import (
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func TestWhatIsNotActedOnIsSaid(t *testing.T) {
	once := resilience.Retry{Attempts: 1, On: resilience.OnConnectFailure}
	hosts := []resolver.VirtualHost{{Routes: []resolver.Route{
		{Name: "plain"},
		{Name: "by time", Policy: resilience.Policy{Retry: once, Hedge: &resilience.Hedge{Delay: time.Second}}},
		{Name: "by percentile", Policy: resilience.Policy{Retry: once, Hedge: &resilience.Hedge{Delay: time.Second, Percentile: 95}}},
	}}}
	want := []string{
		`route "by time": hedging is not supported yet: its calls are sent once at a time`,
		`route "by percentile": hedging is not supported yet: its calls are sent once at a time`,
	}
	if got := unservedRoutes(hosts); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for i, want := range []time.Duration{0, time.Second, 0} {
		p := hosts[0].Routes[i].Policy
		if p.Hedge != nil || p.Retry.TryTimeout != want {
			t.Errorf("%s: %+v", hosts[0].Routes[i].Name, p)
		}
	}

	limits := resilience.DefaultThresholds()
	c := resolver.Cluster{Name: "c", Thresholds: &[resilience.Priorities]resilience.Thresholds{limits, limits}}
	if got := unservedCluster(&c); got != nil {
		t.Errorf("defaults: %q", got)
	}
	c.Thresholds[0].MaxConnections, c.Thresholds[0].MaxPending = 1, 2
	want = []string{
		`cluster "c": max_connections is not supported yet, has no effect`,
		`cluster "c": max_pending_requests is not supported yet, has no effect`,
	}
	if got := unservedCluster(&c); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
