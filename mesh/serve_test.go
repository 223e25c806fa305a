package mesh_test

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
)

// serveHTTP serves h as a member of the kit's mesh and returns where, once everybody knows.
func serveHTTP(t *testing.T, kit *meshtest.Kit, m *mesh.Mesh, h http.Handler) string {
	t.Helper()
	srv := &http.Server{Handler: m.Handler(h)}
	return serve(t, kit, m, srv.Serve, func() { srv.Close() })
}

func serveGRPC(t *testing.T, kit *meshtest.Kit, m *mesh.Mesh, register func(*grpc.Server)) string {
	t.Helper()
	srv := grpc.NewServer(m.ServerOptions()...)
	register(srv)
	return serve(t, kit, m, srv.Serve, srv.Stop)
}

func serve(t *testing.T, kit *meshtest.Kit, m *mesh.Mesh, serve func(net.Listener) error, stop func()) string {
	t.Helper()
	ln, err := m.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(ln)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := kit.Registered(ctx, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	return ln.Addr().String()
}
