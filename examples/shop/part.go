package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/mesh"
)

// A part is one process of the shop.
type part struct {
	role, version, instance, control, config string
}

// play runs the part until its standard input is closed, as it is when the
// director is gone for whatever reason: no process is left behind.
func (p *part) play() int {
	signal.Ignore(os.Interrupt) // Ctrl-C reaches the whole group; the director says when
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	if err := p.serve(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "shop: %s: %v\n", p.instance, err)
		return 1
	}
	return 0
}

func (p *part) serve(ctx context.Context) error {
	if p.role == "control" {
		s, err := controlserver.New(controlserver.Config{
			Dir: p.config, Listen: p.control, Web: "127.0.0.1:0", Logger: quiet("control"),
		})
		if err != nil {
			return err
		}
		fmt.Println(s.Addr(), s.WebAddr())
		return s.Run(ctx)
	}
	m, err := mesh.New(ctx,
		mesh.WithControlServer(p.control),
		mesh.WithService(p.role+".shop", map[string]string{"app": p.role, "version": p.version}),
		mesh.WithLogger(quiet(p.instance)))
	if err != nil {
		return err
	}
	defer m.Close()
	ln, err := m.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	switch p.role {
	case "storefront":
		return p.http(ctx, ln, m, newStorefront(m))
	case "orders":
		o, err := newOrders(m)
		if err != nil {
			return err
		}
		defer o.close()
		return p.http(ctx, ln, m, o)
	case "inventory":
		return p.http(ctx, ln, m, inventory{})
	case "payments":
		return p.grpc(ctx, ln, m, payments{part: p}.register)
	case "shipping":
		return p.grpc(ctx, ln, m, shipping{part: p}.register)
	}
	return fmt.Errorf("no such role %q", p.role)
}

// http serves until ctx is done, then lets running requests end.
func (p *part) http(ctx context.Context, ln net.Listener, m *mesh.Mesh, h http.Handler) error {
	srv := &http.Server{Handler: m.Handler(p.signed(h)), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		done <- srv.Shutdown(bounded)
	}()
	if err := srv.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return <-done
}

// grpc is http for gRPC.
func (p *part) grpc(ctx context.Context, ln net.Listener, m *mesh.Mesh, register func(*grpc.Server)) error {
	srv := grpc.NewServer(m.ServerOptions()...)
	register(srv)
	go func() {
		<-ctx.Done()
		srv.GracefulStop()
	}()
	return srv.Serve(ln)
}

// signed makes every answer say who gave it.
func (p *part) signed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Version", p.version)
		w.Header().Set("X-Instance", p.instance)
		next.ServeHTTP(w, r)
	})
}
