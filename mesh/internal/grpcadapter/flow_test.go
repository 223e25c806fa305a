package grpcadapter

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// A message passes when all of its bytes have, prefix included.
func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			message any
			want    int
		}{
			{&pb.SimpleRequest{}, prefix},
			{&pb.SimpleRequest{Payload: body(100)}, prefix + 104},
			{&message{mem.BufferSlice{mem.SliceBuffer(make([]byte, 30)), mem.SliceBuffer(make([]byte, 3))}}, prefix + 33},
			{new([]byte), prefix},
			{nil, prefix},
		} {
			asked := 0
			begun := time.Now()
			err := pass(t.Context(), func(_ context.Context, n int) (int, error) {
				time.Sleep(time.Second)
				some := min(n, 10)
				asked += some
				return some, nil
			}, tt.message)
			if err != nil || asked != tt.want || time.Since(begun) != time.Duration((tt.want+9)/10)*time.Second {
				t.Errorf("%T: %d bytes in %v, %v: want %d", tt.message, asked, time.Since(begun), err, tt.want)
			}
		}
		errEnd := errors.New("the end")
		if err := pass(t.Context(), func(context.Context, int) (int, error) { return 0, errEnd }, nil); !errors.Is(err, errEnd) {
			t.Errorf("%v, want what the flow says", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := pass(ctx, func(ctx context.Context, _ int) (int, error) { return 0, ctx.Err() }, nil); status.Code(err) != codes.Canceled {
			t.Errorf("%v, want canceled", err)
		}
	})
}

// Without room for its bytes a message waits, for as long as the call lasts.
func TestCallsArePaced(t *testing.T) {
	slow := resilience.Bandwidth{BytesPerSecond: 1}
	for _, p := range []resilience.Policy{{}, retrying} {
		for _, tt := range []struct {
			name string
			b    resilience.Bandwidths
			sent bool
		}{{"request", resilience.Bandwidths{Request: slow}, false}, {"response", resilience.Bandwidths{Response: slow}, true}} {
			for kind, call := range kinds {
				p.Bandwidth = tt.b
				heard := make(chan struct{}, 4)
				b := (&backend{
					unary: func(_ context.Context, q *pb.SimpleRequest) (*pb.SimpleResponse, error) {
						heard <- struct{}{}
						return &pb.SimpleResponse{Payload: q.Payload}, nil
					},
					in: func(s grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
						for {
							if _, err := s.Recv(); errors.Is(err, io.EOF) {
								return s.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: 6})
							} else if err != nil {
								return err
							}
							heard <- struct{}{}
						}
					},
					out: func(q *pb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
						heard <- struct{}{}
						for range 3 {
							if err := s.Send(&pb.StreamingOutputCallResponse{Payload: q.Payload}); err != nil {
								return err
							}
						}
						return nil
					},
					duplex: func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
						for {
							m, err := s.Recv()
							if err != nil {
								return err
							}
							heard <- struct{}{}
							if err := s.Send(&pb.StreamingOutputCallResponse{Payload: m.Payload}); err != nil {
								return err
							}
						}
					},
				}).serve(t)
				r := &moving{}
				r.endpoints(p, b.addr)
				seen := &trier{began: make(chan struct{}, 100)}
				cc := dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...)
				await(t, cc, connectivity.Ready)
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- call(ctx, pb.NewTestServiceClient(cc)) }()
				if tt.sent {
					receive(t, heard, 1)
				} else {
					receive(t, seen.began, 1)
				}
				cancel()
				if err := <-ended; status.Code(err) != codes.Canceled {
					t.Errorf("%s, %s, %d retries: %v", tt.name, kind, p.Retry.Attempts, err)
				}
				b.server.GracefulStop()
				if n := len(heard); !tt.sent && n != 0 {
					t.Errorf("%s, %s: %d messages came through", tt.name, kind, n)
				}
				seen.call(t)
				if n := seen.calls(); n != 1 {
					t.Errorf("%s, %s: %d calls were begun or not ended", tt.name, kind, n)
				}
			}
		}
	}
}

// A trier tells of attempts as they begin.
type trier struct {
	witness
	began chan struct{}
}

func (w *trier) AttemptStarted(ctx context.Context, c *engine.Call, a *engine.Attempt) context.Context {
	w.began <- struct{}{}
	return w.witness.AttemptStarted(ctx, c, a)
}

// breaking is a policy by which a fault resets all bodies after so many bytes.
func breaking(p resilience.Policy, after int64) resilience.Policy {
	p.Fault = &resilience.Fault{Break: resilience.Break{Kind: resilience.BodyReset, After: after}, BreakPercent: resilience.Percent(100)}
	return p
}

// An answer that is broken off ends as one whose connection was reset, and the server learns that nobody listens.
func TestAnswerIsBrokenOff(t *testing.T) {
	for _, p := range []resilience.Policy{{}, retrying} {
		gone := make(chan struct{}, 1)
		b := (&backend{
			duplex: func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
				for range 3 {
					if err := s.Send(&pb.StreamingOutputCallResponse{Payload: body(90)}); err != nil {
						return err
					}
				}
				<-s.Context().Done()
				gone <- struct{}{}
				return s.Context().Err()
			},
		}).serve(t)
		r := &moving{}
		r.endpoints(breaking(p, 250), b.addr)
		seen := &witness{}
		cc := dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...)
		ends := make(chan error, 2)
		s, err := pb.NewTestServiceClient(cc).FullDuplexCall(soon(t), grpc.OnFinish(func(err error) { ends <- err }))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := s.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the end stays the end
			_, err = s.Recv()
			var e *engine.Error
			if !errors.As(err, &e) || e.Kind != engine.Reset || e.Host != b.addr || status.Code(err) != codes.Unavailable {
				t.Errorf("%d retries: %v", p.Retry.Attempts, err)
			}
		}
		receive(t, gone, 1)
		if out := seen.call(t); out.Cause != resilience.Reset {
			t.Errorf("ended as %+v", out)
		}
		if end := <-ends; status.Code(end) != codes.Unavailable || len(ends) > 0 {
			t.Errorf("finished with %v", end)
		}
		for err = nil; err == nil; {
			err = s.Send(&pb.StreamingOutputCallRequest{})
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%v, want EOF", err)
		}
	}
}

func TestReplyIsBrokenOff(t *testing.T) {
	b := (&backend{name: "b"}).serve(t)
	again := resilience.Policy{Retry: resilience.Retry{Attempts: 2, On: resilience.OnReset, Unguarded: true, Base: time.Microsecond}}
	for _, tt := range []struct {
		p     resilience.Policy
		tries int
	}{{resilience.Policy{}, 1}, {again, 3}} {
		r := &moving{}
		r.endpoints(breaking(tt.p, 2), b.addr)
		seen := &witness{}
		cc := dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...)
		var ends []error
		err := kinds["unary"](soon(t), pb.NewTestServiceClient(cc), grpc.OnFinish(func(err error) { ends = append(ends, err) }))
		var e *engine.Error
		if !errors.As(err, &e) || e.Kind != engine.Reset || status.Code(err) != codes.Unavailable || e.Attempts != tt.tries {
			t.Errorf("%v, want %d attempts that were reset", err, tt.tries)
		}
		if seen.tries() != tt.tries || len(ends) != 1 {
			t.Errorf("%d attempts, finished with %v", seen.tries(), ends)
		}
	}
}
