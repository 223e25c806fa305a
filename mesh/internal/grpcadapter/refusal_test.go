package grpcadapter

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/resilience"
)

// busy is a server with room for one call, which somebody has. It lasts as long as the test.
func busy(tb testing.TB) *backend {
	tb.Helper()
	in := make(chan struct{}, 1)
	b := &backend{name: "busy", unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		in <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	b.member(tb, resilience.Serving{MaxRequests: 1}, nil)
	occupant := pb.NewTestServiceClient(dial(tb, b.addr, plain()))
	var occupied sync.WaitGroup
	occupied.Go(func() { _, _ = occupant.UnaryCall(tb.Context(), &pb.SimpleRequest{}) })
	tb.Cleanup(occupied.Wait)
	receive(tb, in, 1)
	return b
}

// exhausted is a server whose rate is used up.
func exhausted(tb testing.TB) *backend {
	tb.Helper()
	b := (&backend{name: "exhausted"}).member(tb, resilience.Serving{Rate: all(1)}, nil)
	if err := kinds["unary"](soon(tb), pb.NewTestServiceClient(dial(tb, b.addr, plain()))); err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestRefusedCalls(t *testing.T) {
	faulty := func(f resilience.Fault) func(testing.TB) *backend {
		f.AbortPercent, f.BreakPercent = resilience.Percent(100), resilience.Percent(100)
		return func(tb testing.TB) *backend {
			tb.Helper()
			return (&backend{}).member(tb, resilience.Serving{Fault: &f}, nil)
		}
	}
	for _, tt := range []struct {
		name    string
		serve   func(testing.TB) *backend
		want    codes.Code
		text    string
		trailer metadata.MD
	}{
		{"rate", exhausted, codes.ResourceExhausted, "local_rate_limited", metadata.Pairs("x-envoy-ratelimited", "true")},
		{"overload", busy, codes.Unavailable, "reached concurrency limit", metadata.Pairs("grpc-retry-pushback-ms", "-1")},
		{"abort", faulty(resilience.Fault{Abort: resilience.Abort{GRPC: true, Code: 9}}), codes.FailedPrecondition, "fault filter abort", metadata.MD{}},
		{"abort as HTTP", faulty(resilience.Fault{Abort: resilience.Abort{Status: 403}}), codes.PermissionDenied, "fault filter abort", metadata.MD{}},
		{"cut", faulty(resilience.Fault{Break: resilience.Break{Kind: resilience.ConnectionRefused}}), codes.Unavailable, "broken by a fault", metadata.MD{}},
	} {
		for kind, call := range kinds {
			t.Run(tt.name+", "+kind, func(t *testing.T) {
				b := tt.serve(t)
				var trailer metadata.MD
				err := call(soon(t), pb.NewTestServiceClient(dial(t, b.addr, plain())), grpc.Trailer(&trailer))
				if status.Code(err) != tt.want || !strings.Contains(status.Convert(err).Message(), tt.text) {
					t.Errorf("%v, want %v", err, tt.want)
				}
				for _, name := range []string{"content-type", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} {
					delete(trailer, name) // the first stands there where there are no headers
				}
				if !maps.EqualFunc(trailer, tt.trailer, slices.Equal) {
					t.Errorf("trailer %v, want %v", trailer, tt.trailer)
				}
			})
		}
	}
}

// Callers are told what is left of a rate: beside what the handler tells them, or with the refusal.
func TestRateIsTold(t *testing.T) {
	for _, kind := range []string{"unary", "duplex"} {
		b := signed(&backend{name: "b"}).member(t, resilience.Serving{Rate: all(1)}, nil)
		c := pb.NewTestServiceClient(dial(t, b.addr, plain()))
		for _, want := range []struct {
			code codes.Code
			left string
			who  string
		}{{codes.OK, "0", "b"}, {codes.ResourceExhausted, "0", ""}} {
			var header, trailer metadata.MD
			err := kinds[kind](soon(t), c, grpc.Header(&header), grpc.Trailer(&trailer))
			if want.code != codes.OK {
				if header != nil {
					t.Errorf("%s: header %v before a refusal", kind, header)
				}
				header = trailer
			}
			if status.Code(err) != want.code {
				t.Errorf("%s: %v, want %v", kind, err, want.code)
			}
			if first(header, "x-ratelimit-limit") != "1" || first(header, "x-ratelimit-remaining") != want.left || first(header, "x-ratelimit-reset") == "" || first(header, "who") != want.who {
				t.Errorf("%s, %v: header %v", kind, want.code, header)
			}
		}
	}
}

// A server that is too busy asks not to come again. One whose rate is used up does not.
func TestOverloadIsNotRepeated(t *testing.T) {
	again := retrying
	again.Retry.On |= resilience.OnEnvoyRateLimited
	for _, tt := range []struct {
		addr  string
		tries int
	}{{busy(t).addr, 1}, {exhausted(t).addr, 3}} {
		r := &moving{}
		r.endpoints(again, tt.addr)
		calls := &witness{}
		cc := dial(t, "mesh:///s", DialOptions(newEngine(t, r, calls))...)
		await(t, cc, connectivity.Ready)
		for kind, call := range kinds {
			before := calls.tries()
			if err := call(soon(t), pb.NewTestServiceClient(cc)); err == nil {
				t.Errorf("%s: answered", kind)
			}
			if n := calls.tries() - before; n != tt.tries {
				t.Errorf("%s: %d attempts, want %d", kind, n, tt.tries)
			}
		}
	}
}

// A call that fails for one it has caused, which was repeated already, asks not to be repeated.
func TestSpentCallsPushBack(t *testing.T) {
	leaf := refusing("leaf").serve(t)
	for _, tt := range []struct {
		name   string
		policy resilience.Policy
		fails  bool
		want   []string
	}{
		{"repeated", retrying, true, []string{"-1"}},
		{"not repeated", resilience.Policy{}, true, nil},
		{"got over", retrying, false, nil},
	} {
		r := &moving{}
		r.endpoints(tt.policy, leaf.addr)
		next := pb.NewTestServiceClient(mesh(t, r))
		cause := func(ctx context.Context) error {
			_, err := next.UnaryCall(ctx, &pb.SimpleRequest{})
			if tt.fails {
				return err
			}
			return nil
		}
		b := &backend{
			unary: func(ctx context.Context, q *pb.SimpleRequest) (*pb.SimpleResponse, error) {
				return &pb.SimpleResponse{Payload: q.Payload}, cause(ctx)
			},
			duplex: func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
				for range 3 {
					_ = s.Send(&pb.StreamingOutputCallResponse{})
				}
				return cause(s.Context())
			},
		}
		b.member(t, resilience.Serving{}, nil)
		c := pb.NewTestServiceClient(dial(t, b.addr, plain()))
		for _, kind := range []string{"unary", "duplex"} {
			var trailer metadata.MD
			if err := kinds[kind](soon(t), c, grpc.Trailer(&trailer)); (err != nil) != tt.fails {
				t.Errorf("%s, %s: %v", tt.name, kind, err)
			}
			if got := trailer.Get("grpc-retry-pushback-ms"); !slices.Equal(got, tt.want) {
				t.Errorf("%s, %s: push-back %v, want %v", tt.name, kind, got, tt.want)
			}
		}
	}
}

// A body that is to break is cut there; the handler and the caller both learn of it.
func TestServedBodyBreaks(t *testing.T) {
	reset := resilience.Serving{Fault: &resilience.Fault{Break: resilience.Break{Kind: resilience.BodyReset, After: 250}, BreakPercent: resilience.Percent(100)}}
	sent := make(chan error, 1)
	b := &backend{
		unary: func(context.Context, *pb.SimpleRequest) (*pb.SimpleResponse, error) {
			return &pb.SimpleResponse{Payload: body(300)}, nil
		},
		out: func(_ *pb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
			var err error
			for err == nil {
				err = s.Send(&pb.StreamingOutputCallResponse{Payload: body(90)})
			}
			sent <- err
			return nil // whatever the handler makes of it
		},
	}
	b.member(t, reset, nil)
	c := pb.NewTestServiceClient(dial(t, b.addr, plain()))
	if _, err := c.UnaryCall(soon(t), &pb.SimpleRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("%v, want unavailable", err)
	}
	s, err := c.StreamingOutputCall(soon(t), &pb.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("%v, want unavailable", err)
	}
	if err := <-sent; status.Code(err) != codes.Unavailable {
		t.Errorf("handler: %v", err)
	}
}

// Without room for its bytes a message waits, for as long as the call lasts.
func TestServedBodiesArePaced(t *testing.T) {
	slow := resilience.Bandwidth{BytesPerSecond: 1}
	for _, tt := range []struct {
		name    string
		b       resilience.Bandwidths
		handled bool
	}{{"request", resilience.Bandwidths{Request: slow}, false}, {"response", resilience.Bandwidths{Response: slow}, true}} {
		for kind, call := range kinds {
			handled := make(chan struct{}, 2)
			handle := func() { handled <- struct{}{} }
			b := &backend{
				unary: func(_ context.Context, q *pb.SimpleRequest) (*pb.SimpleResponse, error) {
					handle()
					return &pb.SimpleResponse{Payload: q.Payload}, nil
				},
				in: func(s grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
					for {
						if _, err := s.Recv(); errors.Is(err, io.EOF) {
							handle()
							return s.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: 6})
						} else if err != nil {
							return err
						}
					}
				},
				out: func(q *pb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
					handle()
					for range 3 {
						if err := s.Send(&pb.StreamingOutputCallResponse{Payload: q.Payload}); err != nil {
							return err
						}
					}
					return nil
				},
				duplex: func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
					for range 3 {
						m, err := s.Recv()
						if err != nil {
							return err
						}
						handle()
						if err := s.Send(&pb.StreamingOutputCallResponse{Payload: m.Payload}); err != nil {
							return err
						}
					}
					return nil
				},
			}
			seen := &witness{came: make(chan struct{}, 1)}
			b.member(t, resilience.Serving{Bandwidth: tt.b}, seen)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- call(ctx, pb.NewTestServiceClient(dial(t, b.addr, plain()))) }()
			if tt.handled {
				receive(t, handled, 1)
			} else {
				receive(t, seen.came, 1)
			}
			cancel()
			if err := <-ended; status.Code(err) != codes.Canceled {
				t.Errorf("%s, %s: %v", tt.name, kind, err)
			}
			b.server.Stop()
			if len(handled) != 0 {
				t.Errorf("%s, %s: a message came through", tt.name, kind)
			}
		}
	}
}
