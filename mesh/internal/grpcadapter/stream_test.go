package grpcadapter

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// A listener takes messages of duplex calls and answers the first call, or
// every one up to a number, with UNAVAILABLE after so many messages.
type listener struct {
	backend
	refuse chan int // how many messages to take before the answer no; empty is yes
	heard  chan []byte
}

func listening(tb testing.TB, name string, refusals ...int) *listener {
	tb.Helper()
	l := &listener{backend: backend{name: name}, refuse: make(chan int, len(refusals)), heard: make(chan []byte, 1000)}
	for _, n := range refusals {
		l.refuse <- n
	}
	l.duplex = l.listen
	l.serve(tb)
	return l
}

func (l *listener) listen(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	select {
	case n := <-l.refuse:
		for range n {
			if _, err := s.Recv(); err != nil {
				return status.Error(codes.Internal, "fewer messages than expected")
			}
		}
		return status.Error(codes.Unavailable, "not today")
	default:
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.Send(&pb.StreamingOutputCallResponse{Payload: body(1)})
		}
		if err != nil {
			return err
		}
		l.heard <- m.Payload.GetBody()
	}
}

// What was sent to a host that then refuses is sent again to the next, as it
// was, though the caller has used its message for something else since.
func TestStreamIsReplayed(t *testing.T) {
	for _, tt := range []struct {
		name        string
		sent, after int // messages before the first refusal, and after it
		refusals    []int
		opts        []grpc.CallOption
	}{
		{"before a message", 0, 3, []int{0}, nil},
		{"after a message", 1, 2, []int{1}, nil},
		{"after all", 3, 0, []int{3}, nil},
		{"twice", 2, 1, []int{2, 2}, nil},
		{"compressed", 2, 1, []int{2}, []grpc.CallOption{grpc.UseCompressor(gzip.Name)}},
		{"under a name", 2, 1, []int{2}, []grpc.CallOption{grpc.CallContentSubtype("proto")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := listening(t, "l", tt.refusals...)
			r := &moving{}
			r.endpoints(retrying, l.addr)
			s, err := pb.NewTestServiceClient(mesh(t, r)).FullDuplexCall(soon(t), tt.opts...)
			if err != nil {
				t.Fatal(err)
			}
			m := &pb.StreamingOutputCallRequest{Payload: body(600)}
			for i := range tt.sent + tt.after {
				m.Payload.Body[0] = byte(i)
				if err := s.Send(m); err != nil {
					t.Fatal(err)
				}
				m.Payload.Body[0] = 99
			}
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if err := drain(s, 1); err != nil {
				t.Fatal(err)
			}
			for i := range tt.sent + tt.after {
				if b := <-l.heard; len(b) != 600 || b[0] != byte(i) {
					t.Errorf("message %d came as %d bytes with %d", i, len(b), b[0])
				}
			}
			if len(l.heard) > 0 || len(l.refuse) > 0 {
				t.Errorf("%d messages too many, %d refusals not used", len(l.heard), len(l.refuse))
			}
		})
	}
}

// Beyond the limit nothing is kept, so there is one attempt.
func TestStreamBeyondTheLimitIsNotReplayed(t *testing.T) {
	for name, tt := range map[string]struct {
		size int
		opts []grpc.CallOption
		ok   bool
	}{
		"default, below":  {replayLimit - 100, nil, true},
		"default, beyond": {replayLimit + 1, nil, false},
		"own, below":      {900, []grpc.CallOption{grpc.MaxRetryRPCBufferSize(1000)}, true},
		"own, beyond":     {1001, []grpc.CallOption{grpc.MaxRetryRPCBufferSize(1000)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := listening(t, "l", 1)
			r := &moving{}
			r.endpoints(retrying, l.addr)
			s, err := pb.NewTestServiceClient(mesh(t, r)).FullDuplexCall(soon(t), tt.opts...)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Send(&pb.StreamingOutputCallRequest{Payload: body(tt.size)}); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			_ = s.CloseSend()
			err = drain(s, 1)
			if tt.ok && err != nil || !tt.ok && status.Convert(err).Message() != "not today" {
				t.Errorf("%v, want an answer: %v", err, tt.ok)
			}
		})
	}
}

// A server may answer before the client has said all, and the client may want to hear it first.
func TestClientReadsFirst(t *testing.T) {
	greet := &backend{name: "a", duplex: func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: body(1)}); err != nil {
			return err
		}
		_, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}}
	greet.serve(t)
	for _, p := range []resilience.Policy{{}, retrying} {
		r := &moving{}
		r.endpoints(p, greet.addr)
		s, err := pb.NewTestServiceClient(mesh(t, r)).FullDuplexCall(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			t.Error(err)
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		if err := drain(s, 0); err != nil {
			t.Error(err)
		}
	}
}

// A server that answers at once and reads nothing of what is sent again must still be heard.
func TestAnswerIsHeardDuringReplay(t *testing.T) {
	const messages = 4 // more than a server's window and gRPC's own buffer take
	l := listening(t, "l", messages)
	release := make(chan struct{})
	l.duplex = func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
		if len(l.refuse) > 0 {
			return l.listen(s)
		}
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: body(1)}); err != nil {
			return err
		}
		<-release
		return nil
	}
	l.addr = ""
	l.serve(t, grpc.StaticStreamWindowSize(64<<10), grpc.StaticConnWindowSize(64<<10))
	r := &moving{}
	r.endpoints(retrying, l.addr)
	s, err := pb.NewTestServiceClient(mesh(t, r)).FullDuplexCall(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	for range messages {
		if err := s.Send(&pb.StreamingOutputCallRequest{Payload: body(60 << 10)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Recv(); err != nil {
		t.Error(err)
	}
	close(release)
	if err := drain(s, 0); err != nil {
		t.Error(err)
	}
}

// A server may answer without headers: no message, only a status.
func TestTrailersOnly(t *testing.T) {
	quiet := &backend{name: "a"}
	quiet.out = func(r *pb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
		s.SetTrailer(metadata.Pairs("who", "a"))
		if r.ResponseStatus != nil {
			return status.Error(codes.Code(r.ResponseStatus.Code), r.ResponseStatus.Message)
		}
		return nil
	}
	quiet.serve(t)
	for _, p := range []resilience.Policy{{}, retrying} {
		r := &moving{}
		r.endpoints(p, quiet.addr)
		c := pb.NewTestServiceClient(mesh(t, r))
		for want, st := range map[codes.Code]*pb.EchoStatus{codes.OK: nil, codes.NotFound: {Code: int32(codes.NotFound)}} {
			s, err := c.StreamingOutputCall(soon(t), &pb.StreamingOutputCallRequest{ResponseStatus: st})
			if err != nil {
				t.Fatal(err)
			}
			if md, err := s.Header(); err != nil || first(md, "who") != "" {
				t.Errorf("header %v, %v", md, err)
			}
			for range 2 { // the end stays the end
				_, err = s.Recv()
				if want == codes.OK && !errors.Is(err, io.EOF) || want != codes.OK && status.Code(err) != want {
					t.Errorf("%v, want %v", err, want)
				}
			}
			if who := s.Trailer().Get("who"); !slices.Equal(who, []string{"a"}) {
				t.Errorf("trailer %v", who)
			}
		}
	}
}

// A caller that gives up ends its stream by its context, wherever it is then. That
// nothing is left of it is for the leak check to say.
func TestAbandonedStreamEnds(t *testing.T) {
	ended := make(chan struct{}, 1)
	silent := &backend{name: "a", duplex: func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
		<-s.Context().Done()
		ended <- struct{}{}
		return s.Context().Err()
	}}
	silent.serve(t)
	for _, p := range []resilience.Policy{{}, retrying} {
		r := &moving{}
		r.endpoints(p, silent.addr)
		seen := &witness{}
		cc := dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...)
		ctx, cancel := context.WithCancel(t.Context())
		s, err := pb.NewTestServiceClient(cc).FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&pb.StreamingOutputCallRequest{}); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-ended
		if _, err := s.Recv(); status.Code(err) != codes.Canceled {
			t.Errorf("%v, want canceled", err)
		}
		if out := seen.call(t); out.Cause != resilience.Canceled {
			t.Errorf("call ended as %+v, want canceled", out)
		}
	}
}

// A stream on its way ends with its host, and the mesh is told.
func TestBrokenStream(t *testing.T) {
	for _, p := range []resilience.Policy{{}, retrying} {
		for _, headers := range []bool{false, true} {
			begun := make(chan struct{}, 1)
			a := &backend{name: "a"}
			a.duplex = func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
				if headers {
					_ = s.SendHeader(nil)
				}
				begun <- struct{}{}
				<-s.Context().Done()
				return s.Context().Err()
			}
			a.serve(t)
			r := &moving{}
			r.endpoints(p, a.addr)
			seen := &witness{}
			cc := dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...)
			s, err := pb.NewTestServiceClient(cc).FullDuplexCall(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			if headers {
				if _, err := s.Header(); err != nil {
					t.Error(err)
				}
			}
			<-begun
			a.server.Stop()
			_, err = s.Recv()
			if status.Code(err) != codes.Unavailable {
				t.Errorf("%v, want unavailable", err)
			}
			var e *engine.Error
			if p.Retry.Attempts > 0 && !headers && (!errors.As(err, &e) || e.Kind != engine.Reset) {
				t.Errorf("%v, want a reset", err)
			}
			if out := seen.call(t); out.OK() {
				t.Errorf("call ended as %+v, want a failure", out)
			}
			if n := seen.calls(); n != 1 {
				t.Errorf("%d calls were begun or not ended", n)
			}
		}
	}
}

// Sending fails with io.EOF once the call has failed, and the reason comes with Recv.
func TestSendAfterTheEnd(t *testing.T) {
	for _, p := range []resilience.Policy{{}, retrying} {
		a := &backend{name: "a", in: func(grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
			return status.Error(codes.NotFound, "no")
		}}
		a.serve(t)
		r := &moving{}
		r.endpoints(p, a.addr)
		s, err := pb.NewTestServiceClient(mesh(t, r)).StreamingInputCall(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			err = s.Send(&pb.StreamingInputCallRequest{})
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%v, want EOF", err)
		}
		if _, err := s.CloseAndRecv(); status.Code(err) != codes.NotFound {
			t.Errorf("%v, want the server's answer", err)
		}
	}
}

// A message that cannot be encoded is the caller's fault: it is told at once, and no other host is asked.
func TestUnsendableMessage(t *testing.T) {
	for _, p := range []resilience.Policy{{}, retrying} {
		l := listening(t, "l")
		r := &moving{}
		r.endpoints(p, l.addr)
		seen := &witness{}
		c := pb.NewTestServiceClient(dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...))
		s, err := c.FullDuplexCall(soon(t), grpc.MaxCallSendMsgSize(10))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&pb.StreamingOutputCallRequest{Payload: body(100)}); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%v, want resource exhausted", err)
		}
		seen.call(t)
		if n := seen.tries(); n != 1 {
			t.Errorf("%d attempts, want 1", n)
		}
	}
}

// A PreparedMsg works as without the mesh; it costs the way back.
func TestPreparedMessage(t *testing.T) {
	for _, p := range []resilience.Policy{{}, retrying} {
		l := listening(t, "l")
		r := &moving{}
		r.endpoints(p, l.addr)
		s, err := pb.NewTestServiceClient(mesh(t, r)).FullDuplexCall(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		var m grpc.PreparedMsg
		if err := m.Encode(s, &pb.StreamingOutputCallRequest{Payload: body(7)}); err != nil {
			t.Fatal(err)
		}
		if err := s.SendMsg(&m); err != nil {
			t.Fatal(err)
		}
		_ = s.CloseSend()
		if err := drain(s, 1); err != nil {
			t.Error(err)
		}
		if b := <-l.heard; len(b) != 7 {
			t.Errorf("%d bytes came, want 7", len(b))
		}
	}
}
