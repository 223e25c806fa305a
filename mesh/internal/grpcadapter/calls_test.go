package grpcadapter

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

func TestAllKindsAreAnswered(t *testing.T) {
	a, b := (&backend{name: "a"}).serve(t), (&backend{name: "b"}).serve(t)
	for _, p := range []resilience.Policy{{}, retrying} {
		r := &moving{}
		r.endpoints(p, a.addr, b.addr)
		c := pb.NewTestServiceClient(mesh(t, r))
		for name, call := range kinds {
			for range 10 {
				if err := call(soon(t), c); err != nil {
					t.Errorf("%s, %d retries: %v", name, p.Retry.Attempts, err)
				}
			}
		}
	}
}

// A dead host costs nobody a call, not even without a policy: the call was never sent there.
func TestDeadHostIsPassedOver(t *testing.T) {
	a := (&backend{name: "a"}).serve(t)
	for _, p := range []resilience.Policy{{}, retrying} {
		r := &moving{}
		r.endpoints(p, dead(t), a.addr, dead(t))
		c := pb.NewTestServiceClient(mesh(t, r))
		for name, call := range kinds {
			for range 20 {
				if err := call(soon(t), c); err != nil {
					t.Errorf("%s, %d retries: %v", name, p.Retry.Attempts, err)
				}
			}
		}
	}
}

func refusing(name string) *backend {
	no := status.Error(codes.Unavailable, "not today")
	return &backend{
		name:  name,
		unary: func(context.Context, *pb.SimpleRequest) (*pb.SimpleResponse, error) { return nil, no },
		in: func(grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
			return no
		},
		out: func(*pb.StreamingOutputCallRequest, grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
			return no
		},
		duplex: func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
			for {
				if _, err := s.Recv(); err != nil {
					return no
				}
			}
		},
	}
}

func TestUnavailableAnswerIsTriedElsewhere(t *testing.T) {
	a, b := refusing("a").serve(t), (&backend{name: "b"}).serve(t)
	r := &moving{}
	r.endpoints(retrying, a.addr, b.addr)
	// The first calls of each channel find one host connected at most.
	for range 20 {
		c := pb.NewTestServiceClient(mesh(t, r))
		for name, call := range kinds {
			for range 3 {
				if err := call(soon(t), c); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

// What a server has answered reaches the caller as it was, after as many attempts as may be.
func TestServersAnswerIsNotWrapped(t *testing.T) {
	a := refusing("a").serve(t)
	for _, p := range []resilience.Policy{{}, retrying} {
		r := &moving{}
		r.endpoints(p, a.addr)
		c := pb.NewTestServiceClient(mesh(t, r))
		for name, call := range kinds {
			err := call(soon(t), c)
			var e *engine.Error
			if errors.As(err, &e) || status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "not today" {
				t.Errorf("%s, %d retries: %v, want the server's own answer", name, p.Retry.Attempts, err)
			}
		}
	}
}

func TestErrorsOfTheMesh(t *testing.T) {
	hung := make(chan struct{})
	defer close(hung)
	wait := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
		case <-hung:
		}
		return ctx.Err()
	}
	slow := (&backend{name: "a", unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		return nil, wait(ctx)
	}}).serve(t)
	limited := resilience.Policy{Timeout: 20e6}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()

	for _, tt := range []struct {
		name string
		ctx  context.Context
		set  func(*moving)
		kind engine.Kind
		code codes.Code
	}{
		{"no host", t.Context(), func(r *moving) { r.endpoints(retrying) }, engine.NoHost, codes.Unavailable},
		{"no service", t.Context(), func(r *moving) { r.report(nil, errors.New("gone")) }, engine.NoService, codes.Unavailable},
		{"nobody listens", t.Context(), func(r *moving) { r.endpoints(retrying, dead(t)) }, engine.Unreachable, codes.Unavailable},
		{"nobody listens, one try", t.Context(), func(r *moving) { r.endpoints(resilience.Policy{}, dead(t)) }, engine.Unreachable, codes.Unavailable},
		{"route's timeout", t.Context(), func(r *moving) { r.endpoints(limited, slow.addr) }, engine.Deadline, codes.DeadlineExceeded},
		{"canceled", canceled, func(r *moving) { r.endpoints(retrying, slow.addr) }, engine.Canceled, codes.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &moving{}
			tt.set(r)
			c := pb.NewTestServiceClient(mesh(t, r))
			for name, call := range kinds {
				if name != "unary" && tt.kind == engine.Deadline {
					continue // streams of this server are not slow
				}
				err := call(tt.ctx, c)
				var e *engine.Error
				if !errors.As(err, &e) || e.Kind != tt.kind || status.Code(err) != tt.code {
					t.Errorf("%s: %v (%v), want kind %v as %v", name, err, status.Code(err), tt.kind, tt.code)
				}
			}
		})
	}
}

// A connection that breaks under a call loses it, since the server may have done its work.
func TestKilledHostResetsItsCalls(t *testing.T) {
	begun := make(chan struct{}, 1)
	a := &backend{name: "a", unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	a.serve(t)
	r := &moving{}
	r.endpoints(retrying, a.addr)
	c := pb.NewTestServiceClient(mesh(t, r))
	go func() {
		<-begun
		a.server.Stop()
	}()
	_, err := c.UnaryCall(soon(t), &pb.SimpleRequest{})
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != engine.Reset || e.Attempts != 1 {
		t.Errorf("%v, want one attempt that was reset", err)
	}
}

// A host that shuts down in peace costs no call, retried or not.
func TestDrainedHostLosesNoCall(t *testing.T) {
	for _, p := range []resilience.Policy{{}, retrying} {
		a, b := (&backend{name: "a"}).serve(t), (&backend{name: "b"}).serve(t)
		r := &moving{}
		r.endpoints(p, a.addr, b.addr)
		cc := mesh(t, r)
		c := pb.NewTestServiceClient(cc)
		await(t, cc, connectivity.Ready)
		const callers = 8
		ctx, stop := context.WithCancel(t.Context())
		errs := make(chan error, callers)
		for range callers {
			go func() {
				for ctx.Err() == nil {
					for name, call := range kinds {
						if err := call(t.Context(), c); err != nil {
							errs <- errors.Join(errors.New(name), err)
							return
						}
					}
				}
				errs <- nil
			}()
		}
		for range 5 {
			a.server.GracefulStop()
			a = (&backend{name: "a"}).serve(t)
			r.endpoints(p, a.addr, b.addr)
			if err := kinds["unary"](soon(t), c); err != nil {
				t.Error(err)
			}
		}
		stop()
		for range callers {
			if err := <-errs; err != nil {
				t.Errorf("%d retries: %v", p.Retry.Attempts, err)
			}
		}
	}
}

func TestTwoClientConnsOfOneTarget(t *testing.T) {
	a := (&backend{name: "a"}).serve(t)
	r := &moving{}
	r.endpoints(resilience.Policy{}, a.addr)
	opts := DialOptions(newEngine(t, r, nil))
	for range 2 {
		cc, err := grpc.NewClient("mesh:///s", opts...)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := kinds["unary"](soon(t), pb.NewTestServiceClient(cc)); err != nil {
				t.Error(err)
			}
		}
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestForeignTargetIsRefused(t *testing.T) {
	r := &moving{}
	r.endpoints(resilience.Policy{}, dead(t))
	cc := dial(t, "passthrough:///"+dead(t), DialOptions(newEngine(t, r, nil))...)
	_, err := pb.NewTestServiceClient(cc).UnaryCall(soon(t), &pb.SimpleRequest{})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "mesh:///name") {
		t.Errorf("%v, want what targets are to look like", err)
	}
}
