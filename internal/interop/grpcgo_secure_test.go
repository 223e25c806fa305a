package interop

import (
	"fmt"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"

	"github.com/weftmesh/weft/mesh"
)

// secureBootstrap is gRPC's standard one, of a process that shows the control server a certificate and has the same for its peers.
func secureBootstrap(t *testing.T, c *control, id, account, app string) []byte {
	t.Helper()
	k := keyringOf(t, c.identity(t, "shop", account))
	files := fmt.Sprintf(`{"certificate_file": %q, "private_key_file": %q, "ca_certificate_file": %q, "refresh_interval": "600s"}`, k.chain, k.key, k.roots)
	return fmt.Appendf(nil, `{
		"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "tls", "config": %s}], "server_features": ["xds_v3"]}],
		"certificate_providers": {"default": {"plugin_name": "file_watcher", "config": %s}},
		"server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%%s",
		"node": {"id": %q, "metadata": {"NAMESPACE": "shop", "LABELS": {"app": %q}}}
	}`, c.server.Addr(), files, files, id, app)
}

// dialSecureGRPCGo connects with gRPC's own xDS client and credentials, as a service account of the namespace shop. Without a
// certificate it must have, it would speak plaintext.
func dialSecureGRPCGo(t *testing.T, c *control, account, target string) *grpc.ClientConn {
	t.Helper()
	builder, err := xds.NewXDSResolverWithConfigForTesting(secureBootstrap(t, c, "grpc-go-"+account+"-"+target, account, account))
	if err != nil {
		t.Fatal(err)
	}
	creds, err := xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+target, grpc.WithResolvers(builder), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// grpcGoServer is gRPC's own xDS server, of a service account of the namespace shop.
func grpcGoServer(t *testing.T, c *control, account string) *backend {
	t.Helper()
	creds, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	b := &backend{name: account, addr: ln.Addr().String()}
	srv, err := xds.NewGRPCServer(grpc.Creds(creds), grpc.UnknownServiceHandler(b.serveGRPC),
		xds.BootstrapContentsForTesting(secureBootstrap(t, c, "grpc-go-server-"+account, account, account)))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	b.stop = sync.OnceFunc(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(b.stop)
	c.registered(t, b)
	return b
}

// accepted checks that no client refuses anything.
func (c *control) accepted(t *testing.T) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	if err := c.server.Settled(ctx); err != nil {
		t.Fatal(err)
	}
	for _, client := range c.server.Status().Clients {
		for _, r := range client.Resources {
			if r.Refused != "" {
				t.Errorf("%s refuses %s: %s", client.ID, r.Type, r.Refused)
			}
		}
	}
}

// A securedGRPC is a mesh of gRPC's own and our processes: orders and till call ledger, a server of ours, and book, one of grpc-go's.
type securedGRPC struct {
	control *control
	servers map[string]*backend
	callers map[string]map[string]door // by kind, then by account and service
}

func startSecuredGRPC(t *testing.T, files map[string]string) *securedGRPC {
	t.Helper()
	files["grpc.yaml"] = read(t, "secure-grpc.yaml")
	c := startSecure(t, files)
	s := &securedGRPC{control: c, callers: map[string]map[string]door{"grpc-go": {}, "weft": {}}, servers: map[string]*backend{
		"ledger": grpcMember(t, c, "ledger", "ledger.shop", map[string]string{"app": "ledger"}),
		"book":   grpcGoServer(t, c, "book"),
	}}
	for _, account := range []string{"orders", "till"} {
		m := newMesh(t, mesh.WithControlServer(c.server.Addr()), mesh.WithIdentity(c.identity(t, "shop", account)))
		for service := range s.servers {
			target := service + ".shop:9000"
			s.callers["grpc-go"][account+service] = grpcDoor(dialSecureGRPCGo(t, c, account, target))
			s.callers["weft"][account+service] = grpcDoor(dialWeft(t, m, target))
		}
	}
	return s
}

// gets checks the answer to a call of each kind of client to each kind of server, and that the handler was not called if that is no.
func (s *securedGRPC) gets(t *testing.T, account string, r request, want map[string]codes.Code) {
	t.Helper()
	for kind, doors := range s.callers {
		for service, server := range s.servers {
			calls := server.calls.Load()
			ctx, cancel := within(t)
			_, err := doors[account+service](ctx, r)
			cancel()
			if got := status.Code(err); got != want[service] {
				t.Errorf("%s of %s to %s%s: %v, want %v", kind, account, service, r.path, err, want[service])
			}
			if reached := server.calls.Load() > calls; reached != (want[service] == codes.OK) {
				t.Errorf("%s of %s to %s%s: that it came to the handler is %t", kind, account, service, r.path, reached)
			}
		}
	}
}

// alike is one answer of either server.
func alike(c codes.Code) map[string]codes.Code {
	return map[string]codes.Code{"ledger": c, "book": c}
}

// settle waits until orders are answered by both servers.
func (s *securedGRPC) settle(t *testing.T) {
	t.Helper()
	for _, doors := range s.callers {
		for service := range s.servers {
			doors["orders"+service].settles(t, request{path: "/shop.Ledger/Read"}, service)
		}
	}
}

// gRPC's own client and server, with credentials by xDS, and ours prove to each other who they are, and who may call is the same.
func TestGRPCGoAndWeftOverMTLS(t *testing.T) {
	t.Parallel()
	s := startSecuredGRPC(t, map[string]string{})
	s.settle(t)
	evil := map[string]string{"x-evil": "yes"}
	check := func() {
		t.Helper()
		s.gets(t, "orders", request{path: "/shop.Ledger/Read"}, alike(codes.OK))
		s.gets(t, "till", request{path: "/shop.Ledger/Read"}, alike(codes.PermissionDenied))
		s.gets(t, "till", request{path: "/shop.Open/Read"}, alike(codes.OK))
		s.gets(t, "orders", request{path: "/shop.Admin/Drop"}, alike(codes.PermissionDenied))
		s.gets(t, "orders", request{path: "/shop.Ledger/Read", header: evil}, alike(codes.PermissionDenied))
		s.control.accepted(t)
	}
	check()
	stranger := map[string]door{}
	for service, server := range s.servers {
		conn, err := grpc.NewClient("passthrough:///"+server.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		stranger[service] = grpcDoor(conn)
	}
	refused := func() {
		t.Helper()
		for service, d := range stranger {
			ctx, cancel := within(t)
			defer cancel()
			if _, err := d(ctx, request{path: "/shop.Open/Read"}); status.Code(err) != codes.Unavailable {
				t.Errorf("a stranger at %s gets %v, want Unavailable", service, err)
			}
		}
	}
	refused()

	// gRPC's own servers have no such thing as permissive: who has an identity takes mTLS alone.
	s.control.put(t, "mode.yaml", peerAuthentication("PERMISSIVE"))
	stranger["ledger"].settles(t, request{path: "/shop.Open/Read"}, "ledger")
	s.settle(t)
	check()
	s.control.put(t, "mode.yaml", peerAuthentication("STRICT"))
	s.settle(t)
	check()
}

// What gRPC's own servers can't do of what is said of who may call is told them so that they refuse nothing of it, and let in nobody
// whom our library would not.
func TestGRPCGoServerTakesWhateverIsSaidOfCallers(t *testing.T) {
	t.Parallel()
	s := startSecuredGRPC(t, map[string]string{"lost.yaml": fmt.Sprintf(read(t, "lost-grpc.yaml"), newIssuer(t).jwks(t))})
	s.settle(t)
	s.gets(t, "orders", request{path: "/shop.Ledger/Read"}, alike(codes.OK))
	s.gets(t, "till", request{path: "/shop.Ledger/Read"}, alike(codes.PermissionDenied))
	s.gets(t, "till", request{path: "/shop.Open/Read"}, alike(codes.OK))
	s.gets(t, "till", request{path: "/shop.Token/Read"}, alike(codes.PermissionDenied))
	s.gets(t, "orders", request{path: "/shop.Asked/Read"}, alike(codes.PermissionDenied))
	s.control.accepted(t)
	s.control.loses(t, "grpc, least request", "RequestAuthentication/shop/tokens: spec", "AuthorizationPolicy/shop/tokens: spec.rules[1]",
		"AuthorizationPolicy/shop/asked: spec.rules[0]", "AuthorizationPolicy/shop/noted: spec.rules[0]", "AuthorizationPolicy/shop/tried: spec.rules[0]")
}
