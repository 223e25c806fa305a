package mesh_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/resolver"
)

// A tunnel hands connections on, and knows how many there are.
type tunnel struct {
	addr string
	open atomic.Int64
}

func newTunnel(t *testing.T, to string) *tunnel {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tunnel{addr: ln.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			from, err := ln.Accept()
			if err != nil {
				return
			}
			p.open.Add(1)
			running.Go(func() {
				defer p.open.Add(-1)
				defer from.Close()
				onward, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				running.Go(func() {
					defer onward.Close()
					io.Copy(onward, from)
				})
				io.Copy(from, onward)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		running.Wait()
	})
	return p
}

// When a server is not believed any more, all that a client has with it ends by that alone: no other call is needed to notice. By the identity or by the
// serial number, of connections that are in use, and of such as are not.
func TestConnectionsToRevokedServerEnd(t *testing.T) {
	ca := identitytest.New(t, "td")
	for name, revoked := range map[string]func(*identity.Revoked, *identitytest.CA, identity.Source){
		"identity": func(r *identity.Revoked, ca *identitytest.CA, _ identity.Source) {
			r.IDs = []spiffeid.ID{ca.ID("/ns/b/sa/ledger")}
		},
		"serial": func(r *identity.Revoked, _ *identitytest.CA, s identity.Source) {
			svid, err := s.GetX509SVID()
			if err != nil {
				t.Fatal(err)
			}
			r.Serials = []string{identity.Serial(svid.Certificates[0].SerialNumber)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			source := ca.Source(ledgerID)
			f := newFleet(strictly(identity.Guard{}))
			server := f.member(t, source)
			var web, old, rpc, raw servedBy
			hang := func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/idle" {
					return
				}
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}
			web.web(t, server, hang)
			old.web(t, server, hang)
			rpc.rpc(t, server)
			raw.raw(t, server)
			tunnels := map[string]*tunnel{}
			for name, s := range map[string]*servedBy{"web": &web, "old": &old, "rpc": &rpc, "raw": &raw} {
				tunnels[name] = newTunnel(t, s.addr)
			}
			m := f.member(t, ca.Source(aliceID))
			route := func(r *identity.Revoked) {
				c := resolver.Cluster{TLS: &identity.ClientTLS{Mutual: true, Revoked: r}}
				for name, p := range tunnels {
					f.route(name, c, p.addr)
				}
			}
			route(nil)
			ctx := patiently(t)
			cc, err := grpc.NewClient("mesh:///rpc", m.DialOptions()...)
			if err != nil {
				t.Fatal(err)
			}
			defer cc.Close()
			ends := map[string]func() error{}

			resp, err := m.RoundTripper().RoundTrip(mustRequest(ctx, t, "http://web/", ""))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			ends["HTTP/2"] = func() error { _, err := io.Copy(io.Discard, resp.Body); return err }
			upgrade, err := m.RoundTripper().RoundTrip(mustRequest(ctx, t, "http://old/", "websocket"))
			if err != nil {
				t.Fatal(err)
			}
			defer upgrade.Body.Close()
			ends["HTTP/1.1"] = func() error { _, err := io.Copy(io.Discard, upgrade.Body); return err }
			if code, _, err := get(ctx, m.RoundTripper(), "http://old/idle"); code != http.StatusOK {
				t.Fatal(code, err)
			}
			watch, err := healthpb.NewHealthClient(cc).Watch(ctx, &healthpb.HealthCheckRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := watch.Recv(); err != nil {
				t.Fatal(err)
			}
			ends["gRPC"] = func() error { _, err := watch.Recv(); return err }
			conn, err := m.Dial(ctx, "tcp", "raw")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			one := []byte("x")
			if _, err := conn.Write(one); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, one); err != nil {
				t.Fatal(err)
			}
			ends["TCP"] = func() error { _, err := io.ReadFull(conn, one); return err }

			// Others that are revoked end nothing.
			route(&identity.Revoked{IDs: []spiffeid.ID{ca.ID("/ns/b/sa/someone")}, Serials: []string{"0a"}})
			if _, err := conn.Write(one); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, one); err != nil {
				t.Fatalf("a connection ended that may go on: %v", err)
			}
			var r identity.Revoked
			revoked(&r, ca, source)
			route(&r)
			for protocol, end := range ends {
				done := make(chan error, 1)
				go func() { done <- end() }()
				select {
				case err := <-done:
					switch {
					case err == nil:
						t.Errorf("%s: what was cut off looks whole", protocol)
					case ctx.Err() != nil:
						t.Errorf("%s: goes on for as long as it may", protocol)
					}
					if protocol == "TCP" && err != nil && !strings.Contains(err.Error(), "is revoked") {
						t.Errorf("%s: %v", protocol, err)
					}
				case <-time.After(soon):
					t.Errorf("%s: goes on", protocol)
				}
			}
			if _, err := m.Dial(ctx, "tcp", "raw"); err == nil || !strings.Contains(err.Error(), "is revoked") {
				t.Errorf("TCP: %v", err)
			}
			for name, p := range tunnels {
				if name != "rpc" { // gRPC tries again, and is refused
					eventually(t, name+": all connections are closed, idle ones too", func() bool { return p.open.Load() == 0 })
				}
			}
		})
	}
}

func mustRequest(ctx context.Context, t *testing.T, url, upgrade string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if upgrade != "" {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", upgrade)
	}
	return req
}
