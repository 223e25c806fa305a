package interop

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/identity/workload"
	"github.com/weftmesh/weft/mesh"
)

// An agent serves the SPIFFE Workload API to one process, on a unix socket, as SPIRE's does: by a stream that brings every new certificate.
type agent struct {
	api.UnimplementedSpiffeWorkloadAPIServer

	socket string
	ca     *ca.CA
	id     spiffeid.ID

	mu      sync.Mutex
	answer  *api.X509SVIDResponse
	changed chan struct{} // closed and replaced with answer
}

// startAgent starts the agent of a service account of the namespace shop, whose certificates the control server's authority signs.
func startAgent(t *testing.T, c *control, account string) *agent {
	t.Helper()
	id, err := spiffeid.FromSegments(c.server.CA().TrustDomain(), "ns", "shop", "sa", account)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "weft") //nolint:usetesting // the path of a socket must be short, and that of t.TempDir is not
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a := &agent{socket: filepath.Join(dir, "agent.sock"), ca: c.server.CA(), id: id, changed: make(chan struct{})}
	a.rotate(t)
	ln, err := net.Listen("unix", a.socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	api.RegisterSpiffeWorkloadAPIServer(srv, a)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a
}

// rotate has a new key and certificate for the process.
func (a *agent) rotate(t *testing.T) *x509.Certificate {
	t.Helper()
	svid, err := a.ca.Source(a.id).GetX509SVID() // a new source has a new one
	if err != nil {
		t.Fatal(err)
	}
	chain, key, err := svid.MarshalRaw()
	if err != nil {
		t.Fatal(err)
	}
	var roots []byte
	for _, c := range a.ca.Bundle().X509Authorities() {
		roots = append(roots, c.Raw...)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = &api.X509SVIDResponse{Svids: []*api.X509SVID{{SpiffeId: a.id.String(), X509Svid: chain, X509SvidKey: key, Bundle: roots}}}
	close(a.changed)
	a.changed = make(chan struct{})
	return svid.Certificates[0]
}

// FetchX509SVID implements the Workload API.
func (a *agent) FetchX509SVID(_ *api.X509SVIDRequest, stream grpc.ServerStreamingServer[api.X509SVIDResponse]) error {
	if md, _ := metadata.FromIncomingContext(stream.Context()); len(md.Get("workload.spiffe.io")) != 1 {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		a.mu.Lock()
		answer, changed := a.answer, a.changed
		a.mu.Unlock()
		if err := stream.Send(answer); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// source is the identity that a process has of the agent.
func (a *agent) source(t *testing.T) *workload.Source {
	t.Helper()
	s, err := workload.New(workload.Config{Address: "unix://" + a.socket, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// has waits until the source shows the certificate.
func has(t *testing.T, s x509svid.Source, want *x509.Certificate) {
	t.Helper()
	if !eventually(func() bool { svid, err := s.GetX509SVID(); return err == nil && svid.Certificates[0].Equal(want) }) {
		t.Fatal("the new certificate does not come")
	}
}

// Members whose identity is an agent's rotate while they are called, and no call fails.
func TestMembersOfAWorkloadAPIRotateUnderTraffic(t *testing.T) {
	t.Parallel()
	c := startSecure(t, map[string]string{"grpc.yaml": read(t, "secure-grpc.yaml"), "secure.yaml": webService})
	agents := map[string]*agent{}
	sources := map[string]*workload.Source{}
	for _, account := range []string{"orders", "ledger", "payments"} {
		agents[account] = startAgent(t, c, account)
		sources[account] = agents[account].source(t)
	}
	member := func(account string) (*mesh.Mesh, net.Listener) {
		m := newMesh(t, mesh.WithControlServer(c.server.Addr()), mesh.WithIdentity(sources[account]),
			mesh.WithService(account+".shop", map[string]string{"app": account}))
		ln, err := m.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return m, ln
	}
	m, ln := member("ledger")
	c.registered(t, startGRPC(t, "ledger", ln, m.ServerOptions()...))
	m, ln = member("payments")
	c.registered(t, startHTTP(t, "payments", ln, m.Handler))

	m = newMesh(t, mesh.WithControlServer(c.server.Addr()), mesh.WithIdentity(sources["orders"]))
	doors := []door{
		grpcDoor(dialWeft(t, m, "ledger.shop:9000")),
		httpDoor(&http.Client{Transport: m.RoundTripper()}, "http://payments.shop"),
	}
	for i, d := range doors {
		d.settles(t, request{path: "/shop.Ledger/Read"}, []string{"ledger", "payments"}[i])
	}
	var calls, failed atomic.Int64
	var first atomic.Pointer[error]
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	defer callers.Wait()
	defer stop()
	for _, d := range doors {
		for range 4 {
			callers.Go(func() {
				for ctx.Err() == nil {
					if _, err := d(ctx, request{path: "/shop.Ledger/Read"}); err != nil && ctx.Err() == nil {
						failed.Add(1)
						first.CompareAndSwap(nil, &err)
					}
					calls.Add(1)
				}
			})
		}
	}
	for range 20 {
		for account, a := range agents {
			has(t, sources[account], a.rotate(t))
		}
		// New connections are made by the new certificates, beside those that go on.
		other := newMesh(t, mesh.WithControlServer(c.server.Addr()), mesh.WithIdentity(sources["orders"]))
		grpcDoor(dialWeft(t, other, "ledger.shop:9000")).one(t, request{path: "/shop.Ledger/Read"})
		httpDoor(&http.Client{Transport: other.RoundTripper()}, "http://payments.shop").one(t, request{path: "/shop.Ledger/Read"})
	}
	stop()
	callers.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d calls failed, the first with %v", n, calls.Load(), errors.Join(*first.Load()))
	}
	t.Logf("%d calls during 60 rotations", calls.Load())
}

// webService is a service of HTTP beside those of gRPC.
const webService = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payments, namespace: shop}
spec:
  hosts: [payments.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: payments}}
`
