package engine

import (
	"context"
	"strconv"
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

// crossroads is a service of 100 routes that look at a header. The last leads to the hosts.
func crossroads() *resolver.Service {
	s := to("payments", resilience.Policy{}, "a", "b", "c")
	last := s.VirtualHosts[0].Routes[0]
	var routes []resolver.Route
	for i := range 100 {
		r := last
		r.Match.Headers = []resolver.HeaderMatch{{Name: "x-route", Is: resolver.StringMatch{Value: strconv.Itoa(i)}}}
		routes = append(routes, r)
	}
	s.VirtualHosts[0].Routes = routes
	return s
}

// routed is the header that the last route of crossroads wants.
type routed []string

func (r routed) Values(resolver.HeaderName) []string { return r }

func TestDoDoesNotAllocate(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	for name, s := range map[string]*resolver.Service{"split": split(), "100 header routes": crossroads()} {
		e, _ := newEngine(t, nil, s)
		ctx := t.Context()
		header := resolver.Header(routed{"99"})
		calls := make([]quiet, 1001)
		next := 0
		allocs := testing.AllocsPerRun(1000, func() {
			q := &calls[next]
			next++
			q.Request.Path, q.Request.Header = "/", header
			if _, err := e.Service("payments").Do(ctx, &q.Call, q); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations a call", name, allocs)
		}
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
		{"100-header-routes", crossroads()},
	} {
		b.Run(tc.name, func(b *testing.B) {
			e, _ := newEngine(b, nil, tc.s)
			ctx := b.Context()
			header := resolver.Header(routed{"99"})
			b.ReportAllocs()
			for b.Loop() {
				q := new(quiet)
				q.Request.Path, q.Request.Header = "/", header
				if _, err := e.Service("payments").Do(ctx, &q.Call, q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
