package interop

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"

	"github.com/weftmesh/weft/mesh"
)

// bootstrap is gRPC's standard one, of a client in the namespace "shop".
// grpc-js wants it to speak of a locality.
func bootstrap(addr, id string, features ...string) string {
	quoted := ""
	for _, f := range features {
		quoted += fmt.Sprintf(", %q", f)
	}
	return fmt.Sprintf(`{
		"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"%s]}],
		"node": {"id": %q, "locality": {}, "metadata": {"NAMESPACE": "shop"}}
	}`, addr, quoted, id)
}

// dialGRPCGo connects with gRPC's own xDS client for Go.
func dialGRPCGo(t *testing.T, c *control, id, target string) *grpc.ClientConn {
	t.Helper()
	builder, err := xds.NewXDSResolverWithConfigForTesting([]byte(bootstrap(c.server.Addr(), id)))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(target, grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestGRPCGoFollowsOurControlServer(t *testing.T) {
	c, backends := startShop(t, "canary.yaml")
	call := grpcDoor(dialGRPCGo(t, c, "grpc-go", "xds:///payments:9000"))
	tester := request{header: map[string]string{"x-tester": "yes"}}

	call.split(t, 1000, request{}, map[string]int{"v1": 80, "v2": 20})
	call.split(t, 50, tester, map[string]int{"v2": 100})
	call.split(t, 50, request{header: map[string]string{"x-tester": "no"}, path: "/shop.Payments/Other"}, map[string]int{"v1": 80, "v2": 20})

	t.Run("an instance comes", func(t *testing.T) {
		fresh := payments(t, c, "v2.2")
		if !eventually(func() bool { call.one(t, tester); return fresh.calls.Load() > 0 }) {
			t.Fatal("it is not called")
		}
	}) // and leaves with the end of the subtest
	t.Run("an instance leaves", func(t *testing.T) {
		backends["v1.1"].stop()
		call.settles(t, tester, "v2")
		if counts := call.many(t, 100, request{}); counts["v1.1"] > 0 {
			t.Errorf("it is still called: %v", counts)
		}
	})
	t.Run("the split changes", func(t *testing.T) {
		c.put(t, "payments.yaml", strings.NewReplacer("weight: 80", "weight: 0", "weight: 20", "weight: 100").Replace(read(t, "canary.yaml")))
		call.settles(t, request{}, "v2")
	})
	c.content(t, "grpc-go")
}

func TestGRPCGoTakesWhateverIstioCanSay(t *testing.T) {
	c, _ := startShop(t, "tricky.yaml")
	doors := map[string]door{
		"grpc-go": grpcDoor(dialGRPCGo(t, c, "grpc-go", "xds:///payments:9000")),
		"weft":    grpcDoor(dialWeft(t, newMesh(t, mesh.WithBootstrap(bootstrap(c.server.Addr(), "weft"))), "payments:9000")),
	}
	for name, call := range doors {
		for _, tc := range trickyCases {
			if got := call.one(t, tc.request); got != tc.want {
				t.Errorf("%s: %+v is answered by %s, want %s", name, tc.request, got, tc.want)
			}
		}
		c.content(t, name)
	}
}

// gRPC's client does not read the reason our server gives (resource_errors), nor that
// there is no such listener; it gives up after 15 s of its own. A call does then fail for that.
func TestGRPCGoGivesUpOnAnUnknownService(t *testing.T) {
	t.Parallel()
	c, _ := startShop(t, "canary.yaml")
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	_, err := grpcDoor(dialGRPCGo(t, c, "grpc-go", "xds:///paymnts:9000"))(ctx, request{})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "paymnts:9000") {
		t.Fatalf("got %v, want Unavailable that names the service", err)
	}
}

func TestWeftIsToldOfAnUnknownService(t *testing.T) {
	c, _ := startShop(t, "canary.yaml")
	for _, features := range [][]string{nil, {"ads_sotw"}} {
		m := newMesh(t, mesh.WithBootstrap(bootstrap(c.server.Addr(), "weft", features...)))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := grpcDoor(dialWeft(t, m, "paymnts:9000"))(ctx, request{})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `no service "paymnts:9000"; nearest: payments.shop.svc.cluster.local`) {
			t.Errorf("%q: got %v, want Unavailable with the nearest name", features, err)
		}
	}
}

// dialWeft connects with our library.
func dialWeft(t *testing.T, m *mesh.Mesh, service string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("mesh:///"+service, m.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
