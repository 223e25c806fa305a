package grpcadapter

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/weftmesh/weft/resilience"
	meshresolver "github.com/weftmesh/weft/resolver"
)

// roundRobin dials addresses with plain gRPC.
func roundRobin(tb testing.TB, addrs []string, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	r := manual.NewBuilderWithScheme("plain")
	var s resolver.State
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	r.InitialState(s)
	return dial(tb, "plain:///s", append([]grpc.DialOption{
		grpc.WithResolvers(r), plain(), grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
	}, opts...)...)
}

// headers is a route that looks at headers which no call has, before the one that all take.
func headers(s *meshresolver.Service) *meshresolver.Service {
	all := s.VirtualHosts[0].Routes[0]
	one := all
	one.Match.Headers = []meshresolver.HeaderMatch{{Name: "x-tester", Is: meshresolver.StringMatch{Value: "yes"}}}
	s.VirtualHosts[0].Routes = []meshresolver.Route{one, all}
	return s
}

// The baseline has the mesh's windows too: without the estimator's pings plain
// gRPC allocates less.
func TestUnaryAllocations(t *testing.T) {
	if racing {
		t.Skip("the race detector allocates")
	}
	a := (&backend{name: "a"}).serve(t, grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow))
	md := metadata.AppendToOutgoingContext(t.Context(), "a", "1", "b", "2", "c", "3", "d", "4")
	base := roundRobin(t, []string{a.addr}, grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connWindow))
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		policy resilience.Policy
		match  bool // by header
		most   float64
	}{
		{"no metadata", t.Context(), resilience.Policy{}, false, 4},
		{"no metadata, retries", t.Context(), retrying, false, 4},
		{"four metadata", md, resilience.Policy{}, false, 8},
		{"four metadata, matched", md, resilience.Policy{}, true, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := oneRoute(tt.policy, a.addr)
			if tt.match {
				s = headers(s)
			}
			r := &moving{}
			r.report(s, nil)
			ours := mesh(t, r)
			await(t, ours, connectivity.Ready)
			await(t, base, connectivity.Ready)
			// The least of several runs: what else goes on only adds.
			want, got := 1e9, 1e9
			for range 3 {
				want = min(want, allocations(tt.ctx, t, base))
				got = min(got, allocations(tt.ctx, t, ours))
			}
			t.Logf("plain gRPC %.1f, mesh %.1f: +%.1f", want, got, got-want)
			if got-want > tt.most+0.5 {
				t.Errorf("%.1f allocations a call, plain gRPC %.1f: want at most +%v", got, want, tt.most)
			}
		})
	}
}

// allocations is how many a unary call makes, at both ends.
func allocations(ctx context.Context, t *testing.T, cc *grpc.ClientConn) float64 {
	t.Helper()
	c := pb.NewTestServiceClient(cc)
	q := &pb.SimpleRequest{}
	return testing.AllocsPerRun(1000, func() {
		if _, err := c.UnaryCall(ctx, q); err != nil {
			t.Fatal(err)
		}
	})
}

// Beyond what any interceptor costs: the call, and the copy gRPC makes of the authority.
func TestServerAllocations(t *testing.T) {
	if racing {
		t.Skip("the race detector allocates")
	}
	with := (&backend{}).serve(t, ServerOptions(newEngine(t, meshresolver.Static{}, nil))...)
	without := (&backend{}).serve(t, grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow),
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			return handler(ctx, req)
		}))
	ours, base := dial(t, with.addr, plain()), dial(t, without.addr, plain())
	want, got := 1e9, 1e9
	for range 3 {
		want = min(want, allocations(t.Context(), t, base))
		got = min(got, allocations(t.Context(), t, ours))
	}
	t.Logf("plain gRPC %.1f, mesh %.1f: +%.1f", want, got, got-want)
	if got-want > 2.5 {
		t.Errorf("%.1f allocations a call, plain gRPC %.1f: want at most +2", got, want)
	}
}

// BenchmarkCall compares the mesh with plain gRPC. The servers run in this
// process too, so what counts is the difference; allocations are the steady part.
func BenchmarkCall(b *testing.B) {
	for _, n := range []int{1, 10} {
		var plainAddrs, meshAddrs []string
		for range n {
			plainAddrs = append(plainAddrs, (&backend{}).serve(b).addr)
			meshAddrs = append(meshAddrs, (&backend{}).serve(b, ServerOptions(newEngine(b, meshresolver.Static{}, nil))...).addr)
		}
		r, again := &moving{}, &moving{}
		r.endpoints(resilience.Policy{}, plainAddrs...)
		again.endpoints(retrying, meshAddrs...)
		for _, side := range []struct {
			name string
			cc   *grpc.ClientConn
		}{
			{"plain", roundRobin(b, plainAddrs)},
			{"plain-static-windows", roundRobin(b, meshAddrs, grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connWindow))},
			{"mesh-client", mesh(b, r)},
			{"mesh-both-ends", mesh(b, again)},
		} {
			await(b, side.cc, connectivity.Ready)
			c := pb.NewTestServiceClient(side.cc)
			for _, kind := range []string{"unary", "duplex"} {
				b.Run(fmt.Sprintf("%s/backends=%d/%s", kind, n, side.name), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if err := kinds[kind](b.Context(), c); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
		runtime.GC()
	}
}
