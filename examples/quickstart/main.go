// Command quickstart is the smallest mesh there is: a control server, one
// service that speaks HTTP, one that speaks gRPC, and a caller of both. They
// are in one process here only to be read on one page; each would run as well alone.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/mesh"
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	slog.SetLogLoggerLevel(slog.LevelError)

	// The control server. Usually: meshctl serve --config DIR
	server, err := controlserver.New(controlserver.Config{})
	check(err)
	go func() { check(server.Run(ctx)) }()

	// An HTTP service: say who you are, listen, serve.
	greeter := join(ctx, server, mesh.WithService("greeter", nil))
	defer greeter.Close()
	ln, err := greeter.Listen("tcp", "127.0.0.1:0")
	check(err)
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello, %s", r.FormValue("name")) })
	go http.Serve(ln, greeter.Handler(hello))

	// A gRPC service.
	checker := join(ctx, server, mesh.WithService("checker", nil))
	defer checker.Close()
	gln, err := checker.Listen("tcp", "127.0.0.1:0")
	check(err)
	srv := grpc.NewServer(checker.ServerOptions()...)
	healthpb.RegisterHealthServer(srv, health.NewServer())
	go srv.Serve(gln)

	// Registered means: the control server has taken the address in.
	check(server.Registered(ctx, ln.Addr().String()))
	check(server.Registered(ctx, gln.Addr().String()))

	// A caller: the host of a URL and of a gRPC target is the name of a service.
	caller := join(ctx, server)
	defer caller.Close()

	client := &http.Client{Transport: caller.RoundTripper()}
	resp, err := client.Get("http://greeter/?name=weft")
	check(err)
	body, err := io.ReadAll(resp.Body)
	check(err)
	resp.Body.Close()
	fmt.Printf("HTTP: %s\n", body)

	conn, err := grpc.NewClient("mesh:///checker", caller.DialOptions()...)
	check(err)
	defer conn.Close()
	reply, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	check(err)
	fmt.Printf("gRPC: %s\n", reply.GetStatus())
}

// join makes a member of the mesh.
func join(ctx context.Context, server *controlserver.Server, opts ...mesh.Option) *mesh.Mesh {
	m, err := mesh.New(ctx, append(opts, mesh.WithControlServer(server.Addr()))...)
	check(err)
	return m
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
