package mesh_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Certificates and roots change under calls, and none fails; connections that are there live on, new ones show the new certificate.
func TestRotationFailsNoCall(t *testing.T) {
	ca := identitytest.New(t, "td")
	servers, callers := ca.Source(ledgerID), ca.Source(aliceID)
	f := newFleet(strictly(only(aliceID)))
	var web, rpc servedBy
	server := f.member(t, servers)
	web.web(t, server, nil)
	rpc.rpc(t, server)
	tls := resolver.Cluster{TLS: &identity.ClientTLS{Mutual: true, SubjectAltNames: identity.ExactNames(ledgerID)}}
	f.route("web", tls, web.addr)
	f.route("rpc", tls, rpc.addr)
	m := f.member(t, callers)
	cc, err := grpc.NewClient("mesh:///rpc", m.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	var calls atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			for ctx.Err() == nil {
				if code, _, err := get(context.Background(), m.RoundTripper(), "http://web/"); code != http.StatusOK {
					t.Errorf("HTTP: %d %v", code, err)
				}
				calls.Add(1)
			}
		})
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := healthpb.NewHealthClient(cc).Check(context.Background(), &healthpb.HealthCheckRequest{}); err != nil {
					t.Errorf("gRPC: %v", err)
				}
				calls.Add(1)
			}
		})
	}
	for i := range 50 {
		if i%10 == 5 { // another root, in good order: first it is known, then it signs
			ca.Rotate()
			servers.SetBundles(ca.Bundle())
			callers.SetBundles(ca.Bundle())
		}
		servers.SetSVID(ca.Issue(ledgerID))
		callers.SetSVID(ca.Issue(aliceID))
		if i%5 == 0 {
			m.RoundTripper().(interface{ CloseIdleConnections() }).CloseIdleConnections() // so that there are new ones
		}
		before := calls.Load()
		eventually(t, "calls after a rotation", func() bool { return calls.Load() > before+4 })
	}
	stop()
	running.Wait()
}

// A server that took the address of another gets no call that is not for it.
func TestAddressOfAnother(t *testing.T) {
	ca := identitytest.New(t, "td")
	f := newFleet(strictly(identity.Guard{}))
	var right, wrong, rightRPC, wrongRPC servedBy
	righteous, usurper := f.member(t, ca.Source(ledgerID)), f.member(t, ca.Source("spiffe://td/ns/b/sa/usurper"))
	right.web(t, righteous, nil)
	rightRPC.rpc(t, righteous)
	wrong.web(t, usurper, nil)
	wrongRPC.rpc(t, usurper)
	c := resolver.Cluster{TLS: &identity.ClientTLS{Mutual: true, SubjectAltNames: identity.ExactNames(ledgerID)}}
	retried := func(name string, addrs ...string) {
		f.route(name, c, addrs...)
		f.set(func() {
			s := *f.services[name]
			host := s.VirtualHosts[0]
			r := host.Routes[0]
			r.Policy.Retry = resilience.Retry{Attempts: 2, On: resilience.OnConnectFailure}
			host.Routes = []resolver.Route{r}
			s.VirtualHosts = []resolver.VirtualHost{host}
			f.services[name] = &s
		})
	}
	retried("web", wrong.addr, right.addr)
	retried("rpc", wrongRPC.addr, rightRPC.addr)
	retried("gone", wrong.addr)
	m := f.member(t, ca.Source(aliceID))
	ctx := patiently(t)
	for range 20 {
		if code, _, err := get(ctx, m.RoundTripper(), "http://web/"); code != http.StatusOK {
			t.Errorf("HTTP: %d %v", code, err)
		}
	}
	cc, err := grpc.NewClient("mesh:///rpc", m.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	for range 20 {
		if _, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
			t.Errorf("gRPC: %v", err)
		}
	}
	_, _, err = get(ctx, m.RoundTripper(), "http://gone/")
	if e, ok := errors.AsType[*mesh.Error](err); !ok || e.Kind != mesh.Unreachable {
		t.Errorf("%v", err)
	}
	if w, r := wrong.calls.Load(), wrongRPC.calls.Load(); w != 0 || r != 0 {
		t.Errorf("%d and %d calls were misdelivered", w, r)
	}
	if w, r := right.calls.Load(), rightRPC.calls.Load(); w != 20 || r != 20 {
		t.Errorf("%d and %d calls were delivered", w, r)
	}
}

// A process without an identity speaks plaintext where it may choose, and says what it lacks where it may not.
func TestClientWithoutIdentity(t *testing.T) {
	ca := identitytest.New(t, "td")
	f := newFleet(resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}})
	var web, rpc servedBy
	server := f.member(t, ca.Source(ledgerID))
	web.web(t, server, nil)
	rpc.rpc(t, server)
	m := f.member(t, nil)
	ctx := patiently(t)
	auto := resolver.Cluster{TLS: &identity.ClientTLS{Mutual: true}, AutoTLS: true}
	f.route("web", auto, web.addr)
	f.route("rpc", auto, rpc.addr)
	if code, _, err := get(ctx, m.RoundTripper(), "http://web/"); code != http.StatusOK {
		t.Errorf("HTTP: %d %v", code, err)
	}
	if err := ask(ctx, t, m); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	must := resolver.Cluster{TLS: &identity.ClientTLS{Mutual: true}}
	f.route("web", must, web.addr)
	f.route("rpc", must, rpc.addr)
	_, _, err := get(ctx, m.RoundTripper(), "http://web/")
	if e, ok := errors.AsType[*mesh.Error](err); !ok || e.Kind != mesh.Unreachable {
		t.Errorf("HTTP: %v", err)
	}
	if err := ask(ctx, t, m); status.Code(err) != codes.Unavailable {
		t.Errorf("gRPC: %v", err)
	}
	if _, err = m.Dial(ctx, "tcp", "web"); err == nil {
		t.Error("TCP: connected")
	}
}

// Where the cluster leaves it to its hosts, each is spoken to as it can, in both protocols, and anew when it can do otherwise.
func TestAutoTLS(t *testing.T) {
	ca := identitytest.New(t, "td")
	f := newFleet(resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}})
	var web, rpc servedBy
	server := f.member(t, ca.Source(ledgerID))
	web.web(t, server, nil)
	rpc.rpc(t, server)
	m := f.member(t, ca.Source(aliceID))
	cc, err := grpc.NewClient("mesh:///rpc", m.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx := patiently(t)
	for _, able := range []bool{false, true, false, true} {
		for name, addr := range map[string]string{"web": web.addr, "rpc": rpc.addr} {
			f.routeTo(name, resolver.Cluster{TLS: &identity.ClientTLS{Mutual: true}, AutoTLS: true, Endpoints: []balancer.Endpoint{{Addr: addr, MutualTLS: able}}})
		}
		want := ""
		if able {
			want = aliceID
		}
		eventually(t, "calls as the host can", func() bool {
			web.peers.Clear()
			rpc.peers.Clear()
			if code, _, err := get(ctx, m.RoundTripper(), "http://web/"); code != http.StatusOK {
				t.Fatalf("HTTP: %d %v", code, err)
			}
			if _, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
				t.Fatalf("gRPC: %v", err)
			}
			_, w := web.peers.Load(want)
			_, r := rpc.peers.Load(want)
			return w && r
		})
	}
}

// Connections to a server that is not believed any more are closed, and no call gets there.
func TestServerIsRevoked(t *testing.T) {
	ca := identitytest.New(t, "td")
	f := newFleet(strictly(identity.Guard{}))
	var web, rpc servedBy
	server := f.member(t, ca.Source(ledgerID))
	web.web(t, server, nil)
	rpc.rpc(t, server)
	m := f.member(t, ca.Source(aliceID))
	route := func(r *identity.Revoked) {
		c := resolver.Cluster{TLS: &identity.ClientTLS{Mutual: true, Revoked: r}}
		f.route("web", c, web.addr)
		f.route("rpc", c, rpc.addr)
	}
	route(nil)
	ctx := patiently(t)
	cc, err := grpc.NewClient("mesh:///rpc", m.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	check := func(wait bool) error {
		_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(wait))
		return err
	}
	if code, _, err := get(ctx, m.RoundTripper(), "http://web/"); code != http.StatusOK {
		t.Fatal(code, err)
	}
	if err := check(true); err != nil {
		t.Fatal(err)
	}
	route(&identity.Revoked{IDs: []spiffeid.ID{ca.ID("/ns/b/sa/someone")}})
	if code, _, err := get(ctx, m.RoundTripper(), "http://web/"); code != http.StatusOK {
		t.Fatal(code, err)
	}
	if err := check(true); err != nil {
		t.Fatal(err)
	}
	route(&identity.Revoked{IDs: []spiffeid.ID{ca.ID("/ns/b/sa/ledger")}})
	if code, _, err := get(ctx, m.RoundTripper(), "http://web/"); err == nil {
		t.Errorf("HTTP: %d", code)
	}
	eventually(t, "gRPC learns of it", func() bool { return check(false) != nil })
	before := web.calls.Load() + rpc.calls.Load()
	if code, _, err := get(ctx, m.RoundTripper(), "http://web/"); err == nil {
		t.Errorf("HTTP: %d", code)
	}
	if check(false) == nil {
		t.Error("gRPC: answered")
	}
	if n := web.calls.Load() + rpc.calls.Load() - before; n != 0 {
		t.Errorf("%d calls got to a revoked server", n)
	}
}
