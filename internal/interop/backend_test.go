package interop

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/mesh"
)

// A backend answers every request, of any gRPC method or any URL, with its name.
// The header x-do tells it to do otherwise: "hang" until the caller gives up, or
// be "unavailable".
type backend struct {
	name  string
	addr  string
	calls atomic.Int64
	stop  func() // leaves in good order
}

// grpcBackend serves gRPC outside of any mesh.
func grpcBackend(t *testing.T, name string) *backend {
	t.Helper()
	return startGRPC(t, name, listen(t))
}

// httpBackend serves HTTP outside of any mesh.
func httpBackend(t *testing.T, name string) *backend {
	t.Helper()
	return startHTTP(t, name, listen(t), func(h http.Handler) http.Handler { return h })
}

// grpcMember serves gRPC as a member of the mesh, registered with c as an instance of a service.
func grpcMember(t *testing.T, c *control, name, service string, labels map[string]string) *backend {
	t.Helper()
	m, ln := c.join(t, service, labels)
	b := startGRPC(t, name, ln, m.ServerOptions()...)
	c.registered(t, b)
	return b
}

// httpMember is grpcMember for HTTP.
func httpMember(t *testing.T, c *control, name, service string, labels map[string]string) *backend {
	t.Helper()
	m, ln := c.join(t, service, labels)
	b := startHTTP(t, name, ln, m.Handler)
	c.registered(t, b)
	return b
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// join makes a member of the mesh that listens. Of a secure one, "payments.shop" is the service account payments of the namespace shop.
func (c *control) join(t *testing.T, service string, labels map[string]string) (*mesh.Mesh, net.Listener) {
	t.Helper()
	options := []mesh.Option{mesh.WithControlServer(c.server.Addr()), mesh.WithService(service, labels)}
	if c.server.CA() != nil {
		name, namespace, _ := strings.Cut(service, ".")
		options = append(options, mesh.WithIdentity(c.identity(t, namespace, name)))
	}
	m := newMesh(t, options...)
	ln, err := m.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return m, ln
}

// newMesh makes a member of the mesh that is closed when the test ends.
func newMesh(t *testing.T, opts ...mesh.Option) *mesh.Mesh {
	t.Helper()
	m, err := mesh.New(t.Context(), append(opts, mesh.WithLogger(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func startGRPC(t *testing.T, name string, ln net.Listener, opts ...grpc.ServerOption) *backend {
	t.Helper()
	b := &backend{name: name, addr: ln.Addr().String()}
	srv := grpc.NewServer(append(opts, grpc.UnknownServiceHandler(b.serveGRPC))...)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	b.stop = sync.OnceFunc(func() {
		srv.GracefulStop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		srv.Stop() // does not wait for who hangs
		b.stop()
	})
	return b
}

func (b *backend) serveGRPC(_ any, s grpc.ServerStream) error {
	if err := s.RecvMsg(new(emptypb.Empty)); err != nil {
		return err
	}
	b.calls.Add(1)
	md, _ := metadata.FromIncomingContext(s.Context())
	for _, do := range md.Get("x-do") {
		switch do {
		case "hang":
			<-s.Context().Done()
			return s.Context().Err()
		case "unavailable":
			return status.Error(codes.Unavailable, "as told")
		}
	}
	return s.SendMsg(wrapperspb.String(b.name))
}

func startHTTP(t *testing.T, name string, ln net.Listener, wrap func(http.Handler) http.Handler) *backend {
	t.Helper()
	b := &backend{name: name, addr: ln.Addr().String()}
	srv := &http.Server{Handler: wrap(b), Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(ln) // ends by Shutdown
	}()
	b.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-done
	})
	t.Cleanup(b.stop)
	return b
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.calls.Add(1)
	switch r.Header.Get("X-Do") {
	case "hang":
		<-r.Context().Done()
	case "unavailable":
		http.Error(w, "as told", http.StatusServiceUnavailable)
	default:
		io.WriteString(w, b.name) // the caller went away, if anything
	}
}
