package grpcadapter

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// retrying is a policy that tries again wherever that is allowed.
var retrying = resilience.Policy{Retry: resilience.Retry{
	Attempts: 2,
	On:       resilience.OnConnectFailure | resilience.OnRefusedStream | resilience.OnUnavailable | resilience.OnCancelled,
	Base:     time.Microsecond,
}}

// A backend is a server that answers with its name.
type backend struct {
	pb.UnimplementedTestServiceServer
	name   string
	addr   string
	server *grpc.Server

	// What to do instead of answering; nil answers.
	unary  func(context.Context, *pb.SimpleRequest) (*pb.SimpleResponse, error)
	in     func(grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error
	out    func(*pb.StreamingOutputCallRequest, grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error
	duplex func(grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error
}

func (b *backend) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if b.unary != nil {
		return b.unary(ctx, r)
	}
	return &pb.SimpleResponse{ServerId: b.name, Payload: r.Payload}, nil
}

func (b *backend) StreamingInputCall(s grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
	if b.in != nil {
		return b.in(s)
	}
	total := 0
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(total)})
		}
		if err != nil {
			return err
		}
		total += len(m.Payload.GetBody())
	}
}

func (b *backend) StreamingOutputCall(r *pb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	if b.out != nil {
		return b.out(r, s)
	}
	for range r.ResponseParameters {
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: r.Payload}); err != nil {
			return err
		}
	}
	return nil
}

func (b *backend) FullDuplexCall(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	if b.duplex != nil {
		return b.duplex(s)
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: m.Payload}); err != nil {
			return err
		}
	}
}

// serve starts the backend, on its old address if it had one, until the test ends.
func (b *backend) serve(tb testing.TB, opts ...grpc.ServerOption) *backend {
	tb.Helper()
	addr := b.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	return b.on(tb, l, opts...)
}

func (b *backend) on(tb testing.TB, l net.Listener, opts ...grpc.ServerOption) *backend {
	tb.Helper()
	b.addr = l.Addr().String()
	b.server = grpc.NewServer(opts...)
	pb.RegisterTestServiceServer(b.server, b)
	done := make(chan struct{})
	server := b.server
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	tb.Cleanup(func() {
		server.Stop()
		<-done
	})
	return b
}

// A host reports how it is to serve, whatever its address.
type host struct {
	resolver.Resolver
	serving resilience.Serving
}

func (h host) Serve(addr string, sink func(*resolver.Inbound, error)) (stop func()) {
	sink(&resolver.Inbound{Addr: addr, Serving: h.serving}, nil)
	return func() {}
}

// member starts the backend on an address that the mesh knows, served by s.
func (b *backend) member(tb testing.TB, s resilience.Serving, o engine.Observer) *backend {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	e := newEngine(tb, host{resolver.Static{}, s}, o)
	if _, err := e.Listen(l.Addr().(*net.TCPAddr)); err != nil {
		tb.Fatal(err)
	}
	return b.on(tb, l, ServerOptions(e)...)
}

// all are that many tokens, and none to come back for long.
func all(n uint32) *resilience.Rate {
	return &resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: n, FillInterval: time.Hour}, Headers: true}
}

func unavailable(context.Context, *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	return nil, status.Error(codes.Unavailable, "not today")
}

// dead is an address where nobody listens.
func dead(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// A moving resolver reports what it is told to, of one service.
type moving struct {
	mu    sync.Mutex
	value *resolver.Service
	err   error
	sinks map[*func(*resolver.Service, error)]bool
}

func (m *moving) Watch(_ string, sink func(*resolver.Service, error)) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sinks == nil {
		m.sinks = map[*func(*resolver.Service, error)]bool{}
	}
	m.sinks[&sink] = true
	if m.value != nil || m.err != nil {
		sink(m.value, m.err)
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.sinks, &sink)
	}
}

func (m *moving) Serve(string, func(*resolver.Inbound, error)) (stop func()) { return func() {} }

func (m *moving) report(v *resolver.Service, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.value, m.err = v, err
	for sink := range m.sinks {
		(*sink)(v, err)
	}
}

// endpoints reports a service of one route to one cluster.
func (m *moving) endpoints(p resilience.Policy, addrs ...string) {
	m.report(oneRoute(p, addrs...), nil)
}

func oneRoute(p resilience.Policy, addrs ...string) *resolver.Service {
	c := resolver.Cluster{Name: "c"}
	for _, a := range addrs {
		c.Endpoints = append(c.Endpoints, balancer.Endpoint{Addr: a})
	}
	return &resolver.Service{
		Name:     "s",
		Clusters: map[string]resolver.Cluster{"c": c},
		VirtualHosts: []resolver.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []resolver.Route{
			{Name: "r", To: []resolver.Target{{Cluster: "c"}}, Policy: p},
		}}},
	}
}

// newEngine returns an engine fed by r, closed with the test.
func newEngine(tb testing.TB, r resolver.Resolver, o engine.Observer) *engine.Engine {
	tb.Helper()
	e := engine.New(engine.Config{Resolver: r, Observer: o, Logger: slog.New(slog.DiscardHandler)})
	tb.Cleanup(e.Close)
	return e
}

// mesh dials the service of a resolver.
func mesh(tb testing.TB, r resolver.Resolver, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	return dial(tb, "mesh:///s", append(DialOptions(newEngine(tb, r, nil)), opts...)...)
}

func dial(tb testing.TB, target string, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	cc, err := grpc.NewClient(target, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cc.Close() })
	return cc
}

func plain() grpc.DialOption { return grpc.WithTransportCredentials(insecure.NewCredentials()) }

// await connects cc and waits until it is in a state.
func await(tb testing.TB, cc *grpc.ClientConn, want connectivity.State) {
	tb.Helper()
	cc.Connect()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	for s := cc.GetState(); s != want; s = cc.GetState() {
		if !cc.WaitForStateChange(ctx, s) {
			tb.Fatalf("channel is %v, want %v", s, want)
		}
	}
}

// soon is a context for what must not take long.
func soon(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

// receive takes n from a channel.
func receive(tb testing.TB, c <-chan struct{}, n int) {
	tb.Helper()
	for i := range n {
		select {
		case <-c:
		case <-soon(tb).Done():
			tb.Fatalf("%d came, want %d", i, n)
		}
	}
}

func body(n int) *pb.Payload { return &pb.Payload{Body: make([]byte, n)} }

// kinds are the four kinds of call, each with a check of the answer.
var kinds = map[string]func(ctx context.Context, c pb.TestServiceClient, opts ...grpc.CallOption) error{
	"unary": func(ctx context.Context, c pb.TestServiceClient, opts ...grpc.CallOption) error {
		r, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: body(3)}, opts...)
		if err == nil && len(r.Payload.GetBody()) != 3 {
			return status.Error(codes.Internal, "wrong answer")
		}
		return err
	},
	"client stream": func(ctx context.Context, c pb.TestServiceClient, opts ...grpc.CallOption) error {
		s, err := c.StreamingInputCall(ctx, opts...)
		if err != nil {
			return err
		}
		for range 3 {
			if err := s.Send(&pb.StreamingInputCallRequest{Payload: body(2)}); err != nil {
				break
			}
		}
		r, err := s.CloseAndRecv()
		if err == nil && r.AggregatedPayloadSize != 6 {
			return status.Errorf(codes.Internal, "wrong answer %d", r.AggregatedPayloadSize)
		}
		return err
	},
	"server stream": func(ctx context.Context, c pb.TestServiceClient, opts ...grpc.CallOption) error {
		s, err := c.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{Payload: body(2), ResponseParameters: make([]*pb.ResponseParameters, 3)}, opts...)
		if err != nil {
			return err
		}
		return drain(s, 3)
	},
	"duplex": func(ctx context.Context, c pb.TestServiceClient, opts ...grpc.CallOption) error {
		s, err := c.FullDuplexCall(ctx, opts...)
		if err != nil {
			return err
		}
		for range 3 {
			if err := s.Send(&pb.StreamingOutputCallRequest{Payload: body(2)}); err != nil {
				break
			}
		}
		if err := s.CloseSend(); err != nil {
			return err
		}
		return drain(s, 3)
	},
}

func drain(s interface {
	Recv() (*pb.StreamingOutputCallResponse, error)
}, want int) error {
	for n := 0; ; n++ {
		_, err := s.Recv()
		if errors.Is(err, io.EOF) && n == want {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return status.Errorf(codes.Internal, "%d messages, want %d", n, want)
		}
		if err != nil {
			return err
		}
	}
}

func first(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}
