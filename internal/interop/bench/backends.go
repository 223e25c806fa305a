package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/resolver"
)

// addresses are where the process of backends listens.
type addresses struct {
	Control string
	// Plain are gRPC servers as gRPC makes them, Static with the mesh's flow-control
	// windows and an interceptor that does nothing, Mesh with the mesh's options.
	Plain, Static, Mesh []string
	Web                 string // HTTP/1.1 and h2c
}

// How many backends there are, and the flow-control windows of the mesh's options
// (mesh/internal/grpcadapter), which its peers get too where nothing else is to differ.
const (
	manyBackends = 10
	streamWindow = 1 << 20
	connWindow   = 4 << 20
)

// serveBackends runs the backends and a control server that knows of them, until
// its input ends. It answers each question with how much the process allocated so far.
func serveBackends(in io.Reader, out io.Writer) error {
	m, err := mesh.New(context.Background(), mesh.WithResolver(resolver.Static{}), mesh.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // the process ends
	var where addresses
	for _, kind := range []struct {
		addrs *[]string
		opts  []grpc.ServerOption
	}{
		{&where.Plain, nil},
		{&where.Static, []grpc.ServerOption{
			grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow), grpc.ChainUnaryInterceptor(idle),
		}},
		{&where.Mesh, m.ServerOptions()},
	} {
		for range manyBackends {
			ln, err := serveGRPC(kind.opts)
			if err != nil {
				return err
			}
			*kind.addrs = append(*kind.addrs, ln)
		}
	}
	if where.Web, err = serveHTTP(); err != nil {
		return err
	}
	var stop func()
	if where.Control, stop, err = serveControl(where); err != nil {
		return err
	}
	defer stop()
	answers := json.NewEncoder(out)
	if err := answers.Encode(where); err != nil {
		return err
	}
	for questions := json.NewDecoder(in); ; {
		var q struct{}
		if err := questions.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		if err := answers.Encode(now.Mallocs); err != nil {
			return err
		}
	}
}

// An echo answers with what it was sent.
type echo struct {
	pb.UnimplementedTestServiceServer
}

func (echo) UnaryCall(_ context.Context, q *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	return &pb.SimpleResponse{Payload: q.GetPayload()}, nil
}

func idle(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	return next(ctx, req)
}

func serveGRPC(opts []grpc.ServerOption) (addr string, err error) {
	ln, err := listen()
	if err != nil {
		return "", err
	}
	s := grpc.NewServer(opts...)
	pb.RegisterTestServiceServer(s, echo{})
	go s.Serve(ln) //nolint:errcheck // until the process ends
	return ln.Addr().String(), nil
}

func listen() (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
}

func serveHTTP() (addr string, err error) {
	ln, err := listen()
	if err != nil {
		return "", err
	}
	s := &http.Server{Protocols: new(http.Protocols), ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			w.Write(body) // the client went away, if anything
		}
	})}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(ln) //nolint:errcheck // until the process ends
	return ln.Addr().String(), nil
}

// serveControl runs a control server over YAML that names the backends.
func serveControl(where addresses) (addr string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "weft-bench")
	if err != nil {
		return "", nil, err
	}
	yaml := entry(serviceAsIs, "GRPC", 9000, where.Plain) +
		entry(serviceSimple, "GRPC", 9000, where.Mesh) +
		entry(serviceTested, "GRPC", 9000, where.Mesh) + headerRoutes(serviceTested, 1, true) +
		entry(serviceHundred, "GRPC", 9000, where.Mesh) + headerRoutes(serviceHundred, 100, false) +
		entry(serviceWeb, "HTTP", 80, []string{where.Web}) +
		entry(serviceH2C, "HTTP2", 80, []string{where.Web})
	if err := os.WriteFile(filepath.Join(dir, "bench.yaml"), []byte(yaml), 0o600); err != nil {
		return "", nil, err
	}
	return runControl(dir)
}

// runControl runs a control server over a directory, which it removes in the end.
func runControl(dir string) (addr string, stop func(), err error) {
	s, err := controlserver.New(controlserver.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s.Addr(), sync.OnceFunc(func() {
		for _, f := range s.Status().Findings {
			fmt.Fprintln(os.Stderr, "bench: finding:", f.Text)
		}
		cancel()
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.RemoveAll(dir) //nolint:errcheck // it is a temporary one
	}), nil
}
