package engine

import (
	"context"
	"testing"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// quiet is a Transport with its Call in it that answers at once.
type quiet struct{ Call }

func (*quiet) Send(context.Context, *Attempt) resilience.Outcome {
	return resilience.Outcome{Status: 200}
}
func (*quiet) Replayable() bool              { return true }
func (*quiet) Connected(*balancer.Host) bool { return true }

func split() *resolver.Service {
	s := to("payments", retries(2), "a", "b", "c")
	s.Clusters["d"] = clusterOf("d", "e", "f")
	s.VirtualHosts[0].Routes[0].To = []resolver.Target{{Cluster: "c", Weight: 9}, {Cluster: "d", Weight: 1}}
	return s
}

func TestDoDoesNotAllocate(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	e, _ := newEngine(t, nil, split())
	ctx := t.Context()
	calls := make([]quiet, 1001)
	next := 0
	allocs := testing.AllocsPerRun(1000, func() {
		q := &calls[next]
		next++
		q.Request.Path = "/"
		if _, err := e.Service("payments").Do(ctx, &q.Call, q); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a call", allocs)
	}
}

// BenchmarkDo is what the mesh adds to a call, but for the protocol: the one
// allocation is the caller's, of the call itself.
func BenchmarkDo(b *testing.B) {
	for _, tc := range []struct {
		name string
		s    *resolver.Service
	}{
		{"plain", to("payments", resilience.Policy{}, "a", "b", "c")},
		{"split", split()},
		{"timeout", to("payments", resilience.Policy{Timeout: time.Second}, "a", "b", "c")},
	} {
		b.Run(tc.name, func(b *testing.B) {
			e, _ := newEngine(b, nil, tc.s)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				q := new(quiet)
				q.Request.Path = "/"
				if _, err := e.Service("payments").Do(ctx, &q.Call, q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
