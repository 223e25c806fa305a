package engine

import (
	"context"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// everyPolicy is a Serving of all there is, none of which stops a call.
func everyPolicy() resilience.Serving {
	const many = 1 << 30
	return resilience.Serving{
		Rate: &resilience.Rate{Descriptors: []resilience.DescriptorRate{{
			Entries:     []resilience.Entry{{Key: "caller"}},
			TokenBucket: resilience.TokenBucket{MaxTokens: many, TokensPerFill: many, FillInterval: time.Second},
		}}},
		Global:      &resilience.GlobalRate{Descriptors: [][]resilience.Entry{{{Key: "caller"}}}, Lease: resilience.Lease{Batch: many}},
		MaxRequests: 1024, Adaptive: &resilience.Adaptive{}, Shedding: &resilience.Shedding{},
		Late:  &resilience.Lateness{},
		Fault: &resilience.Fault{Delay: time.Second, ByHeader: true},
	}
}

// BenchmarkServe is what the mesh adds to a call it serves, but for the protocol: the one
// allocation is the caller's, of the call itself.
func BenchmarkServe(b *testing.B) {
	for _, tc := range []struct {
		name   string
		policy resilience.Serving
		limit  time.Duration // of the calls
	}{
		{"no policy", resilience.Serving{}, 0},
		{"deadline", resilience.Serving{}, time.Hour},
		{"bound", resilience.Serving{MaxRequests: 1024}, 0},
		{"shedding", resilience.Serving{Shedding: &resilience.Shedding{}}, 0},
		{"all", everyPolicy(), time.Hour},
	} {
		b.Run(tc.name, func(b *testing.B) {
			s := newServer(b, tc.policy, func(c *Config) { c.Limiter = &answering{} })
			local := tcp(8080)
			ctx := b.Context()
			if tc.limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tc.limit)
				defer cancel()
			}
			b.ReportAllocs()
			for b.Loop() {
				c := &InboundCall{Local: local, Caller: "spiffe://td/ns/a/sa/b"}
				c.Request.Path, c.Request.Header = "/pay", header(nil)
				if _, r := s.Serve(ctx, c, answer200); r != nil {
					b.Fatal(r)
				}
			}
		})
	}
}

// BenchmarkServeRefuses is what a call costs that there is no room for.
func BenchmarkServeRefuses(b *testing.B) {
	s := newServer(b, resilience.Serving{MaxRequests: 1})
	refuses := func(context.Context) resilience.Outcome {
		b.ReportAllocs()
		for b.Loop() {
			if _, r := s.Serve(b.Context(), inboundCall("/pay", nil), answer200); r == nil {
				b.Fatal("let in")
			}
		}
		return resilience.Outcome{}
	}
	s.Serve(b.Context(), inboundCall("/pay", nil), refuses)
}

func TestServeDoesNotAllocate(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	for name, v := range map[string]resilience.Serving{"no policy": {}, "every policy": everyPolicy()} {
		s := newServer(t, v, func(c *Config) { c.Limiter = &answering{} })
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		calls := make([]InboundCall, 1002)
		next := 0
		serve := func() {
			c := &calls[next]
			next++
			c.Local, c.Caller, c.Request.Path = at8080, "spiffe://td/ns/a/sa/b", "/pay"
			if _, r := s.Serve(ctx, c, answer200); r != nil {
				t.Fatal(r)
			}
		}
		serve() // which asks for the first tokens
		if allocs := testing.AllocsPerRun(1000, serve); allocs != 0 {
			t.Errorf("%s: %v allocations a call", name, allocs)
		}
	}
}

var at8080 = tcp(8080)
