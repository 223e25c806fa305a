package main

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/examples/stage"
	"github.com/weftmesh/weft/identity/enroll"
	"github.com/weftmesh/weft/mesh"
)

// A part is one process of the shop.
type part struct {
	role, version, instance, control, config, state string
}

// play runs the part until the director is gone.
func (p *part) play() int { return stage.Play("shop: "+p.instance, p.serve, nil) }

func (p *part) serve(ctx context.Context) error {
	if p.role == "control" {
		s, err := controlserver.New(controlserver.Config{
			Dir: p.config, Listen: p.control, Web: "127.0.0.1:0", CA: authority(p.state), Logger: stage.Quiet("control"),
		})
		if err != nil {
			return err
		}
		fmt.Println(s.Addr(), s.WebAddr())
		return s.Run(ctx)
	}
	options := []mesh.Option{
		mesh.WithControlServer(p.control),
		mesh.WithService(p.role+".shop", map[string]string{"app": p.role, "version": p.version}),
		mesh.WithLogger(stage.Quiet(p.instance)),
	}
	if cfg, ok := enroll.FromEnv(); ok { // this is all that a part does to have an identity
		cfg.Logger = stage.Quiet(p.instance)
		source, err := enroll.New(cfg)
		if err != nil {
			return err
		}
		defer source.Close()
		options = append(options, mesh.WithIdentity(source))
	}
	m, err := mesh.New(ctx, options...)
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

// http serves HTTP, every answer signed.
func (p *part) http(ctx context.Context, ln net.Listener, m *mesh.Mesh, h http.Handler) error {
	return stage.ServeHTTP(ctx, ln, m.Handler(p.signed(h)))
}

func (p *part) grpc(ctx context.Context, ln net.Listener, m *mesh.Mesh, register func(*grpc.Server)) error {
	srv := grpc.NewServer(m.ServerOptions()...)
	register(srv)
	return stage.ServeGRPC(ctx, ln, srv)
}

// signed makes every answer say who gave it.
func (p *part) signed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Version", p.version)
		w.Header().Set("X-Instance", p.instance)
		next.ServeHTTP(w, r)
	})
}
