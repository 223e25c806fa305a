package mesh_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/resolver"
)

// Whoever has no identity that is believed gets to no handler of a strict port, whatever he speaks; a permissive one takes
// plaintext too, one that is disabled nothing else: TLS is what its application makes of it.
func TestModes(t *testing.T) {
	ca, strangers := identitytest.New(t, "td"), identitytest.New(t, "td")
	const callerID, serverID = "spiffe://td/ns/a/sa/caller", "spiffe://td/ns/b/sa/server"
	expired := ca.Source(callerID)
	expired.SetSVID(ca.Issue(callerID, identitytest.Expired()))
	stranger := strangers.Source(callerID)
	stranger.SetBundles(ca.Bundle()) // he believes the server; the server must not believe him
	callers := map[string]identity.Source{"member": ca.Source(callerID), "plaintext": nil, "stranger": stranger, "expired": expired}
	for _, mode := range []identity.Mode{identity.Unset, identity.Strict, identity.Permissive, identity.Disable} {
		for _, protocol := range []string{"http1", "h2", "grpc", "tcp"} {
			f := newFleet(resolver.Inbound{TLS: identity.ServerTLS{Mode: mode}})
			s := new(servedBy)
			server := f.member(t, ca.Source(serverID))
			switch protocol {
			case "http1", "h2":
				s.web(t, server, nil)
			case "grpc":
				s.rpc(t, server)
			case "tcp":
				s.raw(t, server)
			}
			for name, who := range callers {
				t.Run(fmt.Sprintf("%v/%s/%s", mode, protocol, name), func(t *testing.T) {
					secure := who != nil
					want := mode != identity.Disable && name == "member" || !secure && (mode == identity.Permissive || mode == identity.Disable)
					c := resolver.Cluster{HTTP2: protocol == "h2"}
					if secure {
						c.TLS = &identity.ClientTLS{Mutual: true, SubjectAltNames: identity.ExactNames(serverID)}
					}
					f.route("server", c, s.addr)
					before := s.calls.Load()
					s.peers.Clear()
					m := f.member(t, who)
					ctx, cancel := context.WithTimeout(t.Context(), soon)
					defer cancel()
					var err error
					switch protocol {
					case "http1", "h2":
						var status int
						if status, _, err = get(ctx, m.RoundTripper(), "http://server/"); err == nil && status != http.StatusOK {
							err = fmt.Errorf("status %d", status)
						}
					case "grpc":
						var cc *grpc.ClientConn
						if cc, err = grpc.NewClient("mesh:///server", m.DialOptions()...); err != nil {
							t.Fatal(err)
						}
						defer cc.Close()
						_, err = healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
					case "tcp":
						conn, derr := m.Dial(ctx, "tcp", "server")
						if err = derr; err == nil {
							conn.SetDeadline(time.Now().Add(soon))
							conn.Write([]byte("x"))
							_, err = io.ReadFull(conn, make([]byte, 1))
							conn.Close()
						}
					}
					if (err == nil) != want {
						t.Errorf("%v, want success: %v", err, want)
					}
					tls := secure && mode == identity.Disable && protocol == "tcp" // which that server takes for what it is asked
					if got := s.calls.Load() - before; (got == 1) != want && !tls {
						t.Errorf("%d calls got to the handler, want any: %v", got, want)
					}
					id := ""
					if secure {
						id = callerID
					}
					if _, ok := s.peers.Load(id); want && !ok {
						t.Errorf("the handler did not learn who called: %q", id)
					}
				})
			}
		}
	}
}
