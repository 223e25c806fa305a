package interop

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/mesh"
)

// A plane is a go-control-plane server with one snapshot, for the node "weft".
type plane struct {
	*ledger
	addr    string
	cache   cache.SnapshotCache
	version int
	stop    func()
}

// startPlane serves on a listener.
func startPlane(t *testing.T, ln net.Listener) *plane {
	t.Helper()
	// Not the ADS mode of the cache: that answers state-of-the-world clients only once they
	// have named every resource there is, which one that names what it calls never does.
	p := &plane{ledger: newLedger(), addr: ln.Addr().String(), cache: cache.NewSnapshotCache(false, cache.IDHash{}, nil)}
	ctx, cancel := context.WithCancel(context.Background())
	srv := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(srv, server.NewServer(ctx, p.cache, server.CallbackFuncs{
		StreamRequestFunc: func(id int64, r *discoveryv3.DiscoveryRequest) error {
			p.request(id, r.GetResponseNonce(), r.GetTypeUrl(), r.GetErrorDetail().GetMessage())
			return nil
		},
		StreamResponseFunc: func(_ context.Context, id int64, _ *discoveryv3.DiscoveryRequest, r *discoveryv3.DiscoveryResponse) {
			p.response(id, r.GetNonce(), r.GetVersionInfo())
		},
		StreamDeltaRequestFunc: func(id int64, r *discoveryv3.DeltaDiscoveryRequest) error {
			p.request(id, r.GetResponseNonce(), r.GetTypeUrl(), r.GetErrorDetail().GetMessage())
			return nil
		},
		StreamDeltaResponseFunc: func(id int64, _ *discoveryv3.DeltaDiscoveryRequest, r *discoveryv3.DeltaDiscoveryResponse) {
			p.response(id, r.GetNonce(), r.GetSystemVersionInfo())
		},
	}))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	p.stop = func() {
		cancel()
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return p
}

// set makes the services all there is.
func (p *plane) set(t *testing.T, services ...published) {
	t.Helper()
	p.version++
	s, err := cache.NewSnapshot(strconv.Itoa(p.version), resources(t, services...))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cache.SetSnapshot(t.Context(), "weft", s); err != nil {
		t.Fatal(err)
	}
}

// taken waits until the client has acknowledged the newest version of a type.
func (p *plane) taken(t *testing.T, typeURL string) {
	t.Helper()
	if !eventually(func() bool { return p.accepted(typeURL) == strconv.Itoa(p.version) }) {
		t.Fatalf("%s: acknowledged version %s, want %d", typeURL, p.accepted(typeURL), p.version)
	}
}

func TestWeftFollowsGoControlPlane(t *testing.T) {
	for protocol, features := range map[string][]string{"delta": nil, "state of the world": {"ads_sotw"}} {
		t.Run(protocol, func(t *testing.T) {
			p := startPlane(t, listen(t))
			t.Cleanup(func() { p.stop() })

			pay1, pay2, pay3 := grpcBackend(t, "v1.1"), grpcBackend(t, "v2.1"), grpcBackend(t, "v3.1")
			ord1, ord2, ord3 := httpBackend(t, "v1.1"), httpBackend(t, "v2.1"), httpBackend(t, "v3.1")
			service := func(name string, v1, v2 *backend, share1, share2 uint32) published {
				return published{
					name: name,
					routes: []*routev3.Route{
						routeTo(true, map[string]uint32{name + "-v2": 1}),
						routeTo(false, map[string]uint32{name + "-v1": share1, name + "-v2": share2}),
					},
					clusters: map[string][]string{name + "-v1": {v1.addr}, name + "-v2": {v2.addr}},
				}
			}
			payments := func(share1, share2 uint32) published { return service("payments:9000", pay1, pay2, share1, share2) }
			orders := func(share1, share2 uint32) published { return service("orders", ord1, ord2, share1, share2) }
			p.set(t, payments(80, 20), orders(20, 80))

			m := newMesh(t, mesh.WithBootstrap(bootstrap(p.addr, "weft", features...)))
			byGRPC := grpcDoor(dialWeft(t, m, "payments:9000"))
			byHTTP := httpDoor(&http.Client{Transport: m.RoundTripper()}, "http://orders")
			tester := request{header: map[string]string{"x-tester": "yes"}}

			byGRPC.split(t, 1000, request{}, map[string]int{"v1": 80, "v2": 20})
			byHTTP.split(t, 1000, request{}, map[string]int{"v1": 20, "v2": 80})
			byGRPC.split(t, 50, tester, map[string]int{"v2": 100})
			byHTTP.split(t, 50, tester, map[string]int{"v2": 100})

			// Routes change.
			p.set(t, payments(0, 1), orders(1, 0))
			byGRPC.settles(t, request{}, "v2")
			byHTTP.settles(t, request{}, "v1")

			// Endpoints change.
			p.set(t, service("payments:9000", pay1, pay3, 0, 1), service("orders", ord3, ord2, 1, 0))
			byGRPC.settles(t, request{}, "v3")
			byHTTP.settles(t, request{}, "v3")
			if r := p.refusals(); len(r) > 0 {
				t.Fatalf("refused: %v", r)
			}

			// One bad resource: the others are used, and of it the last good version.
			bad := orders(0, 1)
			bad.routes = append([]*routev3.Route{brokenRoute("orders-v2")}, bad.routes...)
			p.set(t, payments(1, 0), bad)
			byGRPC.settles(t, request{}, "v1")
			var reasons []string
			if !eventually(func() bool { reasons = append(reasons, p.refusals()[resource.RouteType]...); return len(reasons) > 0 }) {
				t.Fatal("the bad routes were not refused")
			}
			for _, word := range []string{"routes-of-orders", "virtual_hosts[0].routes[0].match.safe_regex", "(unclosed"} {
				if !strings.Contains(reasons[0], word) {
					t.Errorf("the refusal does not say %q: %s", word, reasons[0])
				}
			}
			byHTTP.split(t, 20, request{}, map[string]int{"v1": 100}) // the clusters are good, the routes are the last ones

			// All is removed: the last good version stays in use.
			p.set(t)
			p.taken(t, resource.ListenerType)
			p.taken(t, resource.ClusterType)
			byGRPC.split(t, 20, request{}, map[string]int{"v1": 100})
			byHTTP.split(t, 20, request{}, map[string]int{"v1": 100})

			// And is back.
			p.set(t, payments(0, 1), orders(0, 1))
			byGRPC.settles(t, request{}, "v2")
			byHTTP.settles(t, request{}, "v2")

			// The server is gone, and back with something new.
			p.stop()
			byGRPC.split(t, 20, request{}, map[string]int{"v2": 100})
			byHTTP.split(t, 20, request{}, map[string]int{"v2": 100})
			ln, err := net.Listen("tcp", p.addr)
			if err != nil {
				t.Fatal(err)
			}
			p.refusals()
			p = startPlane(t, ln)
			p.set(t, payments(1, 0), orders(1, 0))
			byGRPC.settles(t, request{}, "v1")
			byHTTP.settles(t, request{}, "v1")
			if r := p.refusals(); len(r) > 0 {
				t.Fatalf("refused: %v", r)
			}
		})
	}
}
