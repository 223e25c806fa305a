package grpcadapter

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// What a server says of the next try in its trailers is obeyed, and it learns how many there were.
func TestServersPushBack(t *testing.T) {
	for _, tt := range []struct {
		ms    string
		tries string
	}{{"1", "-,1,2"}, {"-1", "-"}, {"", "-,1,2"}} {
		var mu sync.Mutex
		var tries []string
		a := (&backend{name: "a", unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			n := first(md, "grpc-previous-rpc-attempts")
			if n == "" {
				n = "-"
			}
			mu.Lock()
			tries = append(tries, n)
			mu.Unlock()
			if tt.ms != "" {
				_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", tt.ms))
			}
			return unavailable(ctx, nil)
		}}).serve(t)
		r := &moving{}
		r.endpoints(retrying, a.addr)
		_, err := pb.NewTestServiceClient(mesh(t, r)).UnaryCall(soon(t), &pb.SimpleRequest{})
		if status.Convert(err).Message() != "not today" {
			t.Error(err)
		}
		mu.Lock()
		if got := strings.Join(tries, ","); got != tt.tries {
			t.Errorf("push-back %q: tries %s, want %s", tt.ms, got, tt.tries)
		}
		mu.Unlock()
	}
}

// What a server says in its trailers is heard though gRPC tells no error, as when the end comes while a message is sent.
func TestTrailersWithoutAnError(t *testing.T) {
	u := &try{ctx: t.Context()}
	u.done(balancer.DoneInfo{Trailer: metadata.Pairs("grpc-retry-pushback-ms", "-1"), BytesSent: true, BytesReceived: true})
	out := u.outcome(status.Error(codes.Unavailable, "not today"))
	if _, again := retrying.Retry.Next(1, out); again || out.Header == nil {
		t.Errorf("%+v is repeated", out)
	}
}

// mute is a server that answers no call before stop is closed.
func mute(stop <-chan struct{}) *backend {
	wait := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
		case <-stop:
		}
		return status.Error(codes.Internal, "too late")
	}
	return &backend{
		name:  "mute",
		unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) { return nil, wait(ctx) },
		in: func(s grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
			return wait(s.Context())
		},
		out: func(_ *pb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
			return wait(s.Context())
		},
		duplex: func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
			return wait(s.Context())
		},
	}
}

// long is the time of a try: enough for a server that answers, on a machine that is busy.
const long = time.Second

// bounded gives each try so long.
func bounded(n uint32) resilience.Policy {
	return resilience.Policy{Retry: resilience.Retry{
		Attempts: n, On: resilience.OnReset, Unguarded: true, TryTimeout: long, Base: time.Microsecond,
	}}
}

func TestTryTimeout(t *testing.T) {
	stop := make(chan struct{})
	a, b := mute(stop).serve(t), (&backend{name: "b"}).serve(t)
	t.Cleanup(func() { close(stop) })
	for name, call := range kinds {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			r := &moving{}
			r.endpoints(bounded(4), a.addr, b.addr)
			c := pb.NewTestServiceClient(mesh(t, r))
			for range 4 { // two of which begin at the mute one, once both are connected
				if err := call(soon(t), c); err != nil {
					t.Error(err)
				}
			}
			for _, retries := range []uint32{0, 1} {
				r.endpoints(bounded(retries), a.addr)
				err := call(soon(t), c)
				var e *engine.Error
				if !errors.As(err, &e) || e.Kind != engine.Deadline || e.Attempts != int(retries)+1 || status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("%d retries: %v", retries, err)
				}
			}
		})
	}
}

// A stream that has begun may last as long as it likes.
func TestTryTimeoutEndsWithTheFirstAnswer(t *testing.T) {
	b := (&backend{name: "b"}).serve(t)
	for _, retries := range []uint32{0, 1} {
		r := &moving{}
		r.endpoints(bounded(retries), b.addr)
		cc := mesh(t, r)
		await(t, cc, connectivity.Ready)
		s, err := pb.NewTestServiceClient(cc).FullDuplexCall(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := s.Send(&pb.StreamingOutputCallRequest{Payload: body(2)}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Recv(); err != nil {
				t.Fatalf("%d retries: %v", retries, err)
			}
			timer := time.NewTimer(long * 2 / 5)
			<-timer.C
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		if err := drain(s, 0); err != nil {
			t.Error(err)
		}
	}
}

func TestFullClusterAndRate(t *testing.T) {
	b := (&backend{name: "b"}).serve(t)
	full, rated := oneRoute(retrying, b.addr), oneRoute(retrying, b.addr)
	c := full.Clusters["c"]
	c.Thresholds = &[resilience.Priorities]resilience.Thresholds{}
	full.Clusters["c"] = c
	rated.VirtualHosts[0].Routes[0].Policy.Rate = &resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 1, FillInterval: time.Hour}}
	r := &moving{}
	r.report(full, nil)
	cc := mesh(t, r)
	for name, call := range kinds {
		r.report(full, nil)
		err := call(soon(t), pb.NewTestServiceClient(cc))
		var e *engine.Error
		if !errors.As(err, &e) || e.Kind != engine.Overloaded || status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
		r.report(oneRoute(resilience.Policy{}, b.addr), nil) // forgets what the rate has used
		r.report(rated, nil)
		if err := call(soon(t), pb.NewTestServiceClient(cc)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		err = call(soon(t), pb.NewTestServiceClient(cc))
		if !errors.As(err, &e) || e.Kind != engine.RateLimited || status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%s: %v", name, err)
		}
	}
}
