package grpcadapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// signed makes a backend say who it is in header and trailer, of refusals too.
func signed(b *backend) *backend {
	in := func(sh func(metadata.MD) error, st func(metadata.MD)) {
		_ = sh(metadata.Pairs("who", b.name))
		st(metadata.Pairs("end", b.name))
	}
	unary, duplex := b.unary, b.duplex
	if unary == nil {
		unary = func(_ context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
			return &pb.SimpleResponse{Payload: r.Payload}, nil
		}
	}
	b.unary = func(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		in(func(md metadata.MD) error { return grpc.SetHeader(ctx, md) }, func(md metadata.MD) { _ = grpc.SetTrailer(ctx, md) })
		return unary(ctx, r)
	}
	b.duplex = func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
		if duplex != nil { // headers would end the retries
			s.SetTrailer(metadata.Pairs("end", b.name))
			return duplex(s)
		}
		in(s.SetHeader, s.SetTrailer)
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
	return b
}

// Whatever the number of attempts, the caller's options see one call: the last attempt's.
func TestCallOptionsSeeOneCall(t *testing.T) {
	a, b := signed(refusing("a")).serve(t), signed(&backend{name: "b"}).serve(t)
	for _, tt := range []struct {
		name  string
		addrs []string
		who   string
		addr  string
		code  codes.Code
	}{
		{"one of two refuses", []string{a.addr, b.addr}, "b", b.addr, codes.OK},
		{"nobody refuses", []string{b.addr}, "b", b.addr, codes.OK},
		{"all refuse", []string{a.addr}, "a", a.addr, codes.Unavailable},
	} {
		for _, kind := range []string{"unary", "duplex"} {
			t.Run(tt.name+", "+kind, func(t *testing.T) {
				r := &moving{}
				r.endpoints(retrying, tt.addrs...)
				c := pb.NewTestServiceClient(mesh(t, r))
				for range 10 {
					var header, trailer metadata.MD
					var p peer.Peer
					var ends []error
					err := kinds[kind](soon(t), c, grpc.Header(&header), grpc.OnFinish(func(err error) { ends = append(ends, err) }),
						grpc.Trailer(&trailer), grpc.Peer(&p), grpc.StaticMethod())
					if status.Code(err) != tt.code {
						t.Fatal(err)
					}
					if len(ends) != 1 || status.Code(ends[0]) != tt.code {
						t.Errorf("finished with %v, want once with %v", ends, tt.code)
					}
					if who := header.Get("who"); !slices.Equal(who, []string{tt.who}) && tt.code == codes.OK {
						t.Errorf("header of %v, want %s", who, tt.who)
					}
					if who := trailer.Get("end"); !slices.Equal(who, []string{tt.who}) {
						t.Errorf("trailer of %v, want %s", who, tt.who)
					}
					if p.Addr == nil || p.Addr.String() != tt.addr {
						t.Errorf("peer %v, want %s", p.Addr, tt.addr)
					}
				}
			})
		}
	}
}

// The header of a host that refused must not pass for one of a host that was never reached.
func TestReportsOfAnAttemptBeforeAreTakenBack(t *testing.T) {
	a := signed(refusing("a"))
	a.serve(t)
	r := &moving{}
	refuse := a.unary
	a.unary = func(ctx context.Context, q *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		r.endpoints(retrying, dead(t)) // there is nobody else now
		return refuse(ctx, q)
	}
	r.endpoints(retrying, a.addr)
	var header, trailer metadata.MD
	var p peer.Peer
	_, err := pb.NewTestServiceClient(mesh(t, r)).UnaryCall(soon(t), &pb.SimpleRequest{}, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&p))
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != engine.Unreachable {
		t.Errorf("%v, want unreachable", err)
	}
	if header != nil || trailer != nil || p.Addr != nil {
		t.Errorf("header %v, trailer %v, peer %v: want none", header, trailer, p.Addr)
	}
}

func TestOnFinishComesOnceForEveryEnd(t *testing.T) {
	a := (&backend{name: "a"}).serve(t)
	for name, tt := range map[string]struct {
		set  func(*moving)
		code codes.Code
	}{
		"answered":    {func(r *moving) { r.endpoints(retrying, a.addr) }, codes.OK},
		"direct":      {func(r *moving) { r.endpoints(resilience.Policy{}, a.addr) }, codes.OK},
		"unreachable": {func(r *moving) { r.endpoints(retrying, dead(t)) }, codes.Unavailable},
		"no host":     {func(r *moving) { r.endpoints(resilience.Policy{}) }, codes.Unavailable},
	} {
		for kind, call := range kinds {
			t.Run(name+", "+kind, func(t *testing.T) {
				r := &moving{}
				tt.set(r)
				ends := make(chan error, 2)
				err := call(soon(t), pb.NewTestServiceClient(mesh(t, r)), grpc.OnFinish(func(err error) { ends <- err }))
				if status.Code(err) != tt.code {
					t.Error(err)
				}
				if end := <-ends; !errors.Is(end, err) {
					t.Errorf("finished with %v, returned %v", end, err)
				}
				if len(ends) != 0 {
					t.Errorf("finished again with %v", <-ends)
				}
			})
		}
	}
}

// What gRPC itself objects to is told as without the mesh, and asked once.
func TestOptionsThatForbid(t *testing.T) {
	a := (&backend{name: "a"}).serve(t)
	r := &moving{}
	r.endpoints(retrying, a.addr)
	ours := pb.NewTestServiceClient(mesh(t, r))
	theirs := pb.NewTestServiceClient(dial(t, a.addr, plain()))
	for name, opt := range map[string]grpc.CallOption{
		"answer too large":   grpc.MaxCallRecvMsgSize(2),
		"request too large":  grpc.MaxCallSendMsgSize(2),
		"unknown compressor": grpc.UseCompressor("none of that name"),
		"unknown codec":      grpc.CallContentSubtype("none of that name"),
	} {
		for kind, call := range kinds {
			want, got := call(soon(t), theirs, opt), call(soon(t), ours, opt)
			var e *engine.Error
			if status.Code(got) != status.Code(want) || errors.As(got, &e) || (want == nil) != (got == nil) {
				t.Errorf("%s, %s: %v, without the mesh %v", name, kind, got, want)
			}
		}
	}
}

// Without any connected host a call fails, or waits if it is told to: for the
// host's connection, for a host, for a cluster that has one.
func TestWaitForReadyWaits(t *testing.T) {
	elsewhere := func(p resilience.Policy, addr string) *resolver.Service {
		s := oneRoute(p, addr)
		c := s.Clusters["c"]
		c.Name = "d"
		s.Clusters = map[string]resolver.Cluster{"d": c}
		s.VirtualHosts[0].Routes[0].To[0].Cluster = "d"
		return s
	}
	for name, tt := range map[string]struct {
		before []string
		after  func(p resilience.Policy, addr string) *resolver.Service
	}{
		"nobody listens": {[]string{dead(t), dead(t)}, func(p resilience.Policy, addr string) *resolver.Service { return oneRoute(p, dead(t), addr) }},
		"no host":        {nil, func(p resilience.Policy, addr string) *resolver.Service { return oneRoute(p, addr) }},
		"no host, moved": {nil, elsewhere},
	} {
		for _, p := range []resilience.Policy{{}, retrying} {
			for kind, call := range kinds {
				t.Run(fmt.Sprintf("%s, %d retries, %s", name, p.Retry.Attempts, kind), func(t *testing.T) {
					r := &moving{}
					r.endpoints(p, tt.before...)
					cc := mesh(t, r)
					c := pb.NewTestServiceClient(cc)
					await(t, cc, connectivity.TransientFailure)
					if err := call(soon(t), c); status.Code(err) != codes.Unavailable {
						t.Errorf("%v, want a failure at once", err)
					}
					short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					defer cancel()
					if err := call(short, c, grpc.WaitForReady(true)); status.Code(err) != codes.DeadlineExceeded {
						t.Errorf("%v, want to have waited", err)
					}
					done := make(chan error)
					go func() { done <- call(soon(t), c, grpc.WaitForReady(true)) }()
					// It may not have begun to wait by then; it must be answered either way.
					r.report(tt.after(p, (&backend{name: "a"}).serve(t).addr), nil)
					if err := <-done; err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

func TestCallAuthority(t *testing.T) {
	got := make(chan string, 1)
	a := &backend{name: "a", unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		got <- first(md, ":authority")
		return &pb.SimpleResponse{}, nil
	}}
	a.serve(t)
	r := &moving{}
	r.endpoints(resilience.Policy{}, a.addr)
	c := pb.NewTestServiceClient(mesh(t, r))
	for want, opts := range map[string][]grpc.CallOption{"s": nil, "other:80": {grpc.CallAuthority("other:80")}} {
		if _, err := c.UnaryCall(soon(t), &pb.SimpleRequest{}, opts...); err != nil {
			t.Fatal(err)
		}
		if a := <-got; a != want {
			t.Errorf("authority %q, want %q", a, want)
		}
	}
}

// Trace context and the like is added to the caller's metadata, not doubled by a retry.
func TestAttemptsHeader(t *testing.T) {
	got := make(chan metadata.MD, 2)
	a := &backend{name: "a", unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		got <- md
		if len(got) == 1 {
			return unavailable(ctx, nil)
		}
		return &pb.SimpleResponse{}, nil
	}}
	a.serve(t)
	r := &moving{}
	r.endpoints(retrying, a.addr)
	seen := &witness{headers: []engine.Field{{Name: "traceparent", Value: "t"}}}
	c := pb.NewTestServiceClient(dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...))
	ctx := metadata.AppendToOutgoingContext(soon(t), "k", "v")
	if _, err := c.UnaryCall(ctx, &pb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		md := <-got
		if !slices.Equal(md.Get("traceparent"), []string{"t"}) || !slices.Equal(md.Get("k"), []string{"v"}) {
			t.Errorf("metadata %v", md)
		}
	}
}
