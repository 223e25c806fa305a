package grpcadapter

import (
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A host that was spoken to in the wrong tongue is spoken to in the right one as soon as that is known: no back-off is sat out.
func TestAnotherDemandConnectsAtOnce(t *testing.T) {
	secure, good := tlsServer(t)
	open := (&backend{name: "open"}).serve(t)
	for name, tt := range map[string]struct {
		addr         string
		wrong, right *identity.ClientTLS
	}{
		"TLS met plaintext": {open.addr, &good, nil},
		"plaintext met TLS": {secure.addr, nil, &good},
	} {
		t.Run(name, func(t *testing.T) {
			demand := func(r *moving, tls *identity.ClientTLS) {
				s := oneRoute(resilience.Policy{}, tt.addr)
				s.Clusters["c"] = resolver.Cluster{Name: "c", Endpoints: []balancer.Endpoint{{Addr: tt.addr}}, TLS: tls}
				r.report(s, nil)
			}
			r := &moving{}
			demand(r, tt.wrong)
			long := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: time.Hour, Multiplier: 1, MaxDelay: time.Hour}}
			c := pb.NewTestServiceClient(mesh(t, r, grpc.WithConnectParams(long)))
			is := func(what string, want bool) {
				t.Helper()
				ctx := soon(t) // gRPC hears of a demand a moment later
				for (kinds["unary"](ctx, c) == nil) != want {
					if ctx.Err() != nil {
						t.Fatalf("%s: answered: %v", what, !want)
					}
					runtime.Gosched()
				}
			}
			is("as it is not", false)
			for range 2 {
				demand(r, tt.right)
				is("as it is", true)
				demand(r, tt.wrong)
				is("as it is not any more", false)
			}
		})
	}
}
