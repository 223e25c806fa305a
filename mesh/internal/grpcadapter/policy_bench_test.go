package grpcadapter

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/resilience"
)

// BenchmarkPolicies says what a route's policies add to a unary call for which none of them has to do anything.
func BenchmarkPolicies(b *testing.B) {
	server := (&backend{name: "b"}).serve(b)
	plenty := resilience.Bandwidth{BytesPerSecond: 1 << 40}
	for _, tt := range []struct {
		name   string
		policy resilience.Policy
	}{
		{"none", resilience.Policy{}},
		{"timeout", resilience.Policy{Timeout: time.Minute}},
		{"idle", resilience.Policy{Idle: time.Minute}},
		{"bandwidth", resilience.Policy{Bandwidth: resilience.Bandwidths{Request: plenty, Response: plenty}}},
		{"fallback", resilience.Policy{Fallback: &resilience.Fallback{Answer: &resilience.Answer{GRPC: true}}}},
		{"last-good", resilience.Policy{Fallback: &resilience.Fallback{MaxAge: time.Minute}}},
		{"hedge", resilience.Policy{Hedge: &resilience.Hedge{Delay: time.Minute}}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			r := &moving{}
			r.endpoints(tt.policy, server.addr)
			cc := mesh(b, r)
			await(b, cc, connectivity.Ready)
			c := pb.NewTestServiceClient(cc)
			b.ReportAllocs()
			for b.Loop() {
				if err := kinds["unary"](b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefusal sets a call that a server refuses beside one that it handles, which is as cheap as a call can be.
func BenchmarkRefusal(b *testing.B) {
	for _, tt := range []struct {
		name    string
		serving resilience.Serving
		want    codes.Code
	}{
		{"handled", resilience.Serving{Rate: all(1 << 31)}, codes.OK},
		{"rate", resilience.Serving{Rate: all(1)}, codes.ResourceExhausted},
		{"abort", resilience.Serving{Fault: &resilience.Fault{Abort: resilience.Abort{GRPC: true, Code: 14}, AbortPercent: resilience.Percent(100)}}, codes.Unavailable},
	} {
		b.Run(tt.name, func(b *testing.B) {
			server := (&backend{name: "b"}).member(b, tt.serving, nil)
			cc := dial(b, server.addr, plain())
			await(b, cc, connectivity.Ready)
			c := pb.NewTestServiceClient(cc)
			q := &pb.SimpleRequest{Payload: body(1000)}
			_, _ = c.UnaryCall(b.Context(), q)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.UnaryCall(b.Context(), q); status.Code(err) != tt.want {
					b.Fatal(err)
				}
			}
		})
	}
}
