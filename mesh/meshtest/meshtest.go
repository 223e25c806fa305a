// Package meshtest runs a whole mesh inside one process, for tests: a real
// control server, real members, real calls. Nothing in it is a fake but that all
// of it is here.
//
//	kit := meshtest.New(t, `...YAML...`)
//	kit.HTTPBackend("payments", map[string]string{"version": "v1"}, handler)
//	client := &http.Client{Transport: kit.Mesh().RoundTripper()}
//	resp, err := client.Get("http://payments/charge")
package meshtest

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh"
)

// patience bounds every wait of a Kit; what takes longer fails the test.
const patience = 20 * time.Second

// A Kit is a mesh in this process. Its methods may be called concurrently, from
// the test's goroutine or others that end before the test.
type Kit struct {
	t      testing.TB
	server *controlserver.Server
	source *source

	locality balancer.Locality // of backends
	addr     string            // where they listen
	options  []mesh.Option     // of members
	secure   bool              // all members have an identity
}

// TrustDomain is that of the identities of a [Secure] kit.
const TrustDomain = "mesh.test"

// New starts a control server, on a free port of loopback, with the given YAML
// documents as its configuration. It is closed when the test ends. YAML that the
// control server would refuse fails the test.
func New(t testing.TB, yaml ...string) *Kit {
	t.Helper()
	return start(t, false, yaml)
}

// Secure is New for a mesh with identities: the control server is an authority, all speak mutual TLS, and what is not
// configured otherwise takes nothing else. Backends are SERVICE of their namespace: "payments.shop" is
// spiffe://mesh.test/ns/shop/sa/payments. What [Kit.Mesh] makes is "default" of the namespace "default", unless it is given another identity.
func Secure(t testing.TB, yaml ...string) *Kit {
	t.Helper()
	return start(t, true, yaml)
}

func start(t testing.TB, secure bool, yaml []string) *Kit {
	t.Helper()
	k := &Kit{t: t, source: &source{ready: make(chan struct{})}, secure: secure}
	cfg := controlserver.Config{
		Sources: []controlserver.Source{k.source},
		Grace:   time.Second,
		Logger:  slog.New(slog.DiscardHandler),
	}
	if secure {
		cfg.CA = &ca.Config{TrustDomain: spiffeid.RequireTrustDomainFromString(TrustDomain)}
	}
	var err error
	k.server, err = controlserver.New(cfg)
	if err != nil {
		t.Fatal("meshtest:", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error("meshtest:", err)
		}
	})
	<-k.source.ready
	k.Apply(strings.Join(yaml, "\n---\n"))
	return k
}

// Apply makes the YAML the whole configuration, in place of what was before, and
// returns when every mesh of the kit has taken it.
func (k *Kit) Apply(yaml string) {
	k.t.Helper()
	f := catalog.Fragment{Source: "meshtest"}
	if strings.TrimSpace(yaml) != "" {
		f.Objects, f.Findings = catalog.Parse("meshtest.yaml", []byte(yaml))
	}
	k.source.report(f)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := k.server.Settled(ctx); err != nil {
		k.t.Fatal("meshtest: configuration not taken by all:", err)
	}
	for _, finding := range k.server.Status().Findings {
		if finding.Severity == catalog.Error.String() {
			k.t.Fatal("meshtest:", finding.Text)
		}
	}
}

// Addr is the address of the control server, for clients of another kind.
func (k *Kit) Addr() string { return k.server.Addr() }

// Identity is that of a service account, signed by the authority of a [Secure] kit.
func (k *Kit) Identity(namespace, serviceAccount string) identity.Source {
	k.t.Helper()
	if !k.secure {
		k.t.Fatal("meshtest: a kit made by New has no identities: make it by Secure")
	}
	id, err := spiffeid.FromSegments(k.server.CA().TrustDomain(), "ns", namespace, "sa", serviceAccount)
	if err != nil {
		k.t.Fatal("meshtest:", err)
	}
	return k.server.CA().Source(id)
}

// Mesh joins the mesh as another member, closed when the test ends. Without
// options it is a caller without a name in the namespace "default".
func (k *Kit) Mesh(opts ...mesh.Option) *mesh.Mesh {
	k.t.Helper()
	all := []mesh.Option{mesh.WithControlServer(k.server.Addr()), mesh.WithLogger(slog.New(slog.DiscardHandler))}
	if k.secure {
		all = append(all, mesh.WithIdentity(k.Identity("default", "default")))
	}
	m, err := mesh.New(context.Background(), slices.Concat(all, k.options, opts)...)
	if err != nil {
		k.t.Fatal("meshtest:", err)
	}
	k.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			k.t.Error("meshtest:", err)
		}
	})
	return m
}

// In is the same kit, but that the backends it starts run in the locality.
func (k *Kit) In(l balancer.Locality) *Kit {
	there := *k
	there.locality = l
	return &there
}

// At is the same kit, but that a backend it starts listens at the address, in place of a free port of loopback.
func (k *Kit) At(addr string) *Kit {
	there := *k
	there.addr = addr
	return &there
}

// With is the same kit, but that the members it makes, backends included, have these options too.
func (k *Kit) With(opts ...mesh.Option) *Kit {
	there := *k
	there.options = slices.Concat(k.options, opts)
	return &there
}

// HTTPBackend starts an instance of a service ("name", or "name.namespace") that
// serves HTTP/1.1 and HTTP/2 without TLS, and returns when every mesh of the kit
// knows it. stop shuts it down in good order and returns when every mesh knows
// that; without it the test's end does.
func (k *Kit) HTTPBackend(service string, labels map[string]string, h http.Handler) (addr string, stop func()) {
	k.t.Helper()
	m := k.Mesh(k.backend(service, labels)...)
	srv := &http.Server{Handler: m.Handler(h), Protocols: new(http.Protocols), ReadHeaderTimeout: patience}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	return k.serve(m, srv.Serve, func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = srv.Shutdown(ctx) // what is still running after that is cut off
		srv.Close()
	})
}

// backend are the options of an instance of a service.
func (k *Kit) backend(service string, labels map[string]string) []mesh.Option {
	options := []mesh.Option{mesh.WithService(service, labels), mesh.WithLocality(k.locality)}
	if k.secure {
		name, namespace, _ := strings.Cut(service, ".")
		namespace, _, _ = strings.Cut(namespace, ".")
		options = append(options, mesh.WithIdentity(k.Identity(cmp.Or(namespace, "default"), name)))
	}
	return options
}

// GRPCBackend is HTTPBackend for a gRPC server. opts are added to those of the mesh.
func (k *Kit) GRPCBackend(service string, labels map[string]string, register func(*grpc.Server), opts ...grpc.ServerOption) (addr string, stop func()) {
	k.t.Helper()
	m := k.Mesh(k.backend(service, labels)...)
	srv := grpc.NewServer(append(m.ServerOptions(), opts...)...)
	register(srv)
	return k.serve(m, srv.Serve, srv.Stop)
}

// Registered waits until a process that listens at the address ("ip:port") is
// registered and every mesh of the kit knows it. HTTPBackend and GRPCBackend have
// waited; it is for servers of your own.
func (k *Kit) Registered(ctx context.Context, addr string) error {
	return k.server.Registered(ctx, addr)
}

func (k *Kit) serve(m *mesh.Mesh, serve func(net.Listener) error, end func()) (addr string, stop func()) {
	k.t.Helper()
	ln, err := m.Listen("tcp", cmp.Or(k.addr, "127.0.0.1:0"))
	if err != nil {
		k.t.Fatal("meshtest:", err)
	}
	addr = ln.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = serve(ln) // ends by end
	}()
	stop = sync.OnceFunc(func() {
		end()
		<-done
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := k.server.Departed(ctx, addr); err != nil {
			k.t.Error("meshtest:", err)
		}
	})
	k.t.Cleanup(stop)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := k.Registered(ctx, addr); err != nil {
		k.t.Fatal("meshtest:", err)
	}
	return addr, stop
}

// source reports what Apply is given.
type source struct {
	ready  chan struct{} // closed when report is there
	report func(catalog.Fragment)
}

func (s *source) Run(ctx context.Context, report func(catalog.Fragment)) error {
	s.report = report
	close(s.ready)
	<-ctx.Done()
	return nil
}
