package engine

import (
	"testing"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// willing is a quiet Transport that can do all that policies may ask for.
type willing struct{ quiet }

func (*willing) Answer(*resilience.Answer) {}
func (*willing) Key() (string, bool)       { return "", false }
func (*willing) Beside() Aside             { return nil }
func (*willing) Take(Aside)                {}

var (
	_ Answerer = (*willing)(nil)
	_ Hedger   = (*willing)(nil)
)

// BenchmarkPolicies is what policies cost a call that none of them does anything to: each by itself, and all of them together.
func BenchmarkPolicies(b *testing.B) {
	every := all("a", "b", "c")
	full, cluster := every.VirtualHosts[0].Routes[0].Policy, every.Clusters["c"]
	only := func(f func(p *resilience.Policy, c *resolver.Cluster)) *resolver.Service {
		return with(resilience.Policy{}, func(c *resolver.Cluster) { f(nil, c) }, "a", "b", "c")
	}
	route := func(f func(p *resilience.Policy)) *resolver.Service {
		var p resilience.Policy
		f(&p)
		return to("payments", p, "a", "b", "c")
	}
	untimed := all("a", "b", "c")
	untimed.VirtualHosts[0].Routes[0].Policy.Timeout = 0
	untimed.VirtualHosts[0].Routes[0].Policy.Hedge = nil
	for _, tc := range []struct {
		name string
		s    *resolver.Service
	}{
		{"none", route(func(*resilience.Policy) {})},
		{"timeout", route(func(p *resilience.Policy) { p.Timeout = full.Timeout })},
		{"retry", route(func(p *resilience.Policy) { p.Retry = full.Retry })},
		{"rate", route(func(p *resilience.Policy) { p.Rate = full.Rate })},
		{"fault", route(func(p *resilience.Policy) { p.Fault = full.Fault })},
		{"fallback", route(func(p *resilience.Policy) { p.Fallback = full.Fallback })},
		{"hedge", route(func(p *resilience.Policy) { p.Hedge = full.Hedge })},
		{"budget", only(func(_ *resilience.Policy, c *resolver.Cluster) { c.Budget = cluster.Budget })},
		{"outlier", only(func(_ *resilience.Policy, c *resolver.Cluster) { c.Outlier = cluster.Outlier })},
		{"admission", only(func(_ *resilience.Policy, c *resolver.Cluster) { c.Admission = cluster.Admission })},
		{"breaker", only(func(_ *resilience.Policy, c *resolver.Cluster) { c.Breaker = cluster.Breaker })},
		{"host-breaker", only(func(_ *resilience.Policy, c *resolver.Cluster) { c.HostBreaker = cluster.HostBreaker })},
		{"all-but-timeout-and-hedge", untimed},
		{"all", every},
	} {
		b.Run(tc.name, func(b *testing.B) {
			e, _ := newEngine(b, nil, tc.s)
			s := e.Service("payments")
			ctx := b.Context()
			call := func() {
				q := new(willing)
				q.Request.Path, q.Request.Method, q.Idempotent = "/", "GET", true
				if _, err := s.Do(ctx, &q.Call, q); err != nil {
					b.Fatal(err)
				}
			}
			for range 200 {
				call() // so that there is a percentile
			}
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
	}
}
