package grpcadapter

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// An abort is an answer: a status that is not ours, and no server hears of the call.
func TestAbort(t *testing.T) {
	b := (&backend{name: "b"}).serve(t)
	for _, p := range []resilience.Policy{{}, retrying} {
		for _, tt := range []struct {
			abort resilience.Abort
			want  codes.Code
		}{
			{resilience.Abort{GRPC: true, Code: uint32(codes.PermissionDenied)}, codes.PermissionDenied},
			{resilience.Abort{GRPC: true, Code: uint32(codes.Unavailable)}, codes.Unavailable},
			{resilience.Abort{Status: 404}, codes.Unimplemented},
			{resilience.Abort{Status: 503}, codes.Unavailable},
		} {
			p.Fault = &resilience.Fault{Abort: tt.abort, AbortPercent: resilience.Percent(100)}
			for kind, call := range kinds {
				r := &moving{}
				r.endpoints(p, b.addr)
				seen := &witness{}
				var ends []error
				err := call(soon(t), pb.NewTestServiceClient(dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...)),
					grpc.OnFinish(func(err error) { ends = append(ends, err) }))
				var e *engine.Error
				if status.Code(err) != tt.want || errors.As(err, &e) || status.Convert(err).Message() != "fault filter abort" {
					t.Errorf("%s, %+v: %v", kind, tt.abort, err)
				}
				if len(ends) != 1 || status.Code(ends[0]) != tt.want {
					t.Errorf("%s, %+v: finished with %v", kind, tt.abort, ends)
				}
				if out := seen.call(t); !out.GRPC || out.Code != uint32(tt.want) {
					t.Errorf("%s, %+v: ended as %+v", kind, tt.abort, out)
				}
				if n := seen.tries(); n != 0 {
					t.Errorf("%s: %d attempts", kind, n)
				}
			}
		}
	}
}

// encoded is the body of an answer.
func encoded(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestConfiguredFallback(t *testing.T) {
	a := signed(refusing("a")).serve(t)
	good := &resilience.Answer{GRPC: true, Header: []resilience.Entry{{Key: "who", Value: "nobody"}}}
	bad := &resilience.Answer{GRPC: true, Code: uint32(codes.NotFound), Body: []byte("there is none")}
	bodies := map[string]proto.Message{
		"unary":         &pb.SimpleResponse{Payload: body(3)},
		"client stream": &pb.StreamingInputCallResponse{AggregatedPayloadSize: 6},
	}
	for _, p := range []resilience.Policy{{}, retrying} {
		for kind, m := range bodies {
			good := *good
			good.Body = encoded(t, m)
			for want, answer := range map[codes.Code]*resilience.Answer{codes.OK: &good, codes.NotFound: bad} {
				if kind != "unary" && p.Retry.Attempts == 0 {
					continue // the stream is the server's as soon as it is open
				}
				p.Fallback = &resilience.Fallback{Answer: answer}
				r := &moving{}
				r.endpoints(p, a.addr)
				var header, trailer metadata.MD
				var from peer.Peer
				var ends []error
				err := kinds[kind](soon(t), pb.NewTestServiceClient(mesh(t, r)), grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from),
					grpc.OnFinish(func(err error) { ends = append(ends, err) }))
				if status.Code(err) != want || want == codes.NotFound && status.Convert(err).Message() != "there is none" {
					t.Errorf("%s, %v: %v", kind, want, err)
				}
				if first(header, "x-weft-fallback") != "configured" || want == codes.OK && first(header, "who") != "nobody" {
					t.Errorf("%s, %v: header %v", kind, want, header)
				}
				if len(trailer) > 0 || from.Addr != nil {
					t.Errorf("%s, %v: trailer %v and peer %v of a host that did not answer", kind, want, trailer, from)
				}
				if len(ends) != 1 || status.Code(ends[0]) != want {
					t.Errorf("%s, %v: finished with %v", kind, want, ends)
				}
			}
		}
	}
}

// A good answer to a stream is one message, or none.
func TestConfiguredFallbackOfStreams(t *testing.T) {
	for _, kind := range []string{"server stream", "duplex"} {
		for n, body := range [][]byte{nil, encoded(t, &pb.StreamingOutputCallResponse{Payload: body(2)})} {
			p := resilience.Policy{Fallback: &resilience.Fallback{Answer: &resilience.Answer{GRPC: true, Body: body}}}
			for _, attempts := range []uint32{0, 2} {
				p.Retry = retrying.Retry
				p.Retry.Attempts = attempts
				r := &moving{}
				r.endpoints(p) // there is no host
				c := pb.NewTestServiceClient(mesh(t, r))
				var err error
				if kind == "duplex" {
					var s grpc.BidiStreamingClient[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]
					if s, err = c.FullDuplexCall(soon(t)); err == nil {
						_ = s.Send(&pb.StreamingOutputCallRequest{})
						_ = s.CloseSend()
						err = drain(s, n)
					}
				} else {
					var s grpc.ServerStreamingClient[pb.StreamingOutputCallResponse]
					if s, err = c.StreamingOutputCall(soon(t), &pb.StreamingOutputCallRequest{}); err == nil {
						if md, err := s.Header(); err != nil || first(md, "x-weft-fallback") != "configured" {
							t.Errorf("header %v, %v", md, err)
						}
						err = drain(s, n)
					}
				}
				if err != nil {
					t.Errorf("%s, %d messages, %d retries: %v", kind, n, attempts, err)
				}
			}
		}
	}
}

// forgetful answers once, with what it was asked, and refuses from then on.
func forgetful(tb testing.TB) (b *backend, again func()) {
	tb.Helper()
	var spent atomic.Bool
	b = &backend{unary: func(ctx context.Context, q *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		if spent.Load() {
			return unavailable(ctx, q)
		}
		md, _ := metadata.FromIncomingContext(ctx)
		return &pb.SimpleResponse{Payload: q.Payload, Username: first(md, "authorization")}, nil
	}}
	b.serve(tb)
	return b, func() { spent.Store(!spent.Load()) }
}

func TestLastGoodAnswer(t *testing.T) {
	b, turn := forgetful(t)
	p := retrying
	p.Fallback = &resilience.Fallback{MaxAge: time.Hour, MaxBytes: 100}
	r := &moving{}
	r.endpoints(p, b.addr)
	opts := DialOptions(newEngine(t, r, nil))
	c := pb.NewTestServiceClient(dial(t, "mesh:///s", opts...))
	other := pb.NewTestServiceClient(dial(t, "mesh:///s", opts...))
	as := func(who string) context.Context {
		return metadata.AppendToOutgoingContext(soon(t), "authorization", who, "x-request-id", time.Now().String())
	}
	ask := func(n byte, size int) *pb.SimpleRequest {
		q := &pb.SimpleRequest{Payload: body(size)}
		q.Payload.Body[0] = n
		return q
	}
	for _, q := range []*pb.SimpleRequest{ask(1, 50), ask(2, 200)} {
		if _, err := c.UnaryCall(as("ann"), q); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.UnaryCall(as("ann"), ask(4, 50)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UnaryCall(as("ann"), ask(5, 50), grpc.PerRPCCredentials(token{})); err != nil {
		t.Fatal(err)
	}
	turn()
	for _, tt := range []struct {
		name   string
		client pb.TestServiceClient
		ctx    context.Context
		ask    *pb.SimpleRequest
		opts   []grpc.CallOption
		kept   bool
	}{
		{"the same", c, as("ann"), ask(1, 50), nil, true},
		{"and again", c, as("ann"), ask(1, 50), nil, true},
		{"another caller", c, as("bob"), ask(1, 50), nil, false},
		{"nobody", c, soon(t), ask(1, 50), nil, false},
		{"other metadata", c, metadata.AppendToOutgoingContext(as("ann"), "tenant", "x"), ask(1, 50), nil, false},
		{"another question", c, as("ann"), ask(3, 50), nil, false},
		{"a long answer", c, as("ann"), ask(2, 200), nil, false},
		{"credentials of a call", c, as("ann"), ask(5, 50), []grpc.CallOption{grpc.PerRPCCredentials(token{})}, false},
		{"another ClientConn", c, as("ann"), ask(4, 50), nil, false},
		{"that ClientConn", other, as("ann"), ask(4, 50), nil, true},
	} {
		var header metadata.MD
		got, err := tt.client.UnaryCall(tt.ctx, tt.ask, append(tt.opts, grpc.Header(&header))...)
		if (err == nil) != tt.kept {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if !tt.kept {
			if status.Convert(err).Message() != "not today" {
				t.Errorf("%s: %v, want the server's answer", tt.name, err)
			}
			continue
		}
		if got.Username != "ann" || !slices.Equal(got.Payload.GetBody(), tt.ask.Payload.Body) {
			t.Errorf("%s: %v", tt.name, got)
		}
		if v := first(header, "x-weft-fallback"); !strings.HasPrefix(v, "last-good; age=") {
			t.Errorf("%s: header %v", tt.name, header)
		}
	}
}

// A token is what gRPC itself adds to a call.
type token struct{}

func (token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"secret": "x"}, nil
}

func (token) RequireTransportSecurity() bool { return false }

type asker struct{}

// asking is who asks, as gRPC's later stages learn it from the context.
func asking(ctx context.Context) string {
	who, _ := ctx.Value(asker{}).(string)
	return who
}

// A badge is credentials of a ClientConn that are its caller's.
type badge struct{ token }

func (badge) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	return map[string]string{"authorization": asking(ctx)}, nil
}

// Nobody is given what another was answered, be it that who asks is only said where the interceptor does not see it.
func TestLastGoodAnswerIsNotAnothers(t *testing.T) {
	adds := func(ctx context.Context, method string, q, a any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return invoke(metadata.AppendToOutgoingContext(ctx, "authorization", asking(ctx)), method, q, a, cc, opts...)
	}
	for _, tt := range []struct {
		name          string
		before, after []grpc.DialOption
		kept          bool // for the same caller
	}{
		{name: "interceptor before", before: []grpc.DialOption{grpc.WithChainUnaryInterceptor(adds)}, kept: true},
		{name: "interceptor that is always first", after: []grpc.DialOption{grpc.WithUnaryInterceptor(adds)}, kept: true},
		{name: "interceptor after", after: []grpc.DialOption{grpc.WithChainUnaryInterceptor(adds)}},
		{name: "credentials", after: []grpc.DialOption{grpc.WithPerRPCCredentials(badge{})}},
		{name: "credentials of each call", after: []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.PerRPCCredentials(badge{}))}},
	} {
		b, turn := forgetful(t)
		p := resilience.Policy{Fallback: &resilience.Fallback{MaxAge: time.Hour}}
		r := &moving{}
		r.endpoints(p, b.addr)
		opts := slices.Concat(tt.before, DialOptions(newEngine(t, r, nil)), tt.after)
		c := pb.NewTestServiceClient(dial(t, "mesh:///s", opts...))
		ask := func(who string) (string, error) {
			a, err := c.UnaryCall(context.WithValue(soon(t), asker{}, who), &pb.SimpleRequest{Payload: body(3)})
			return a.GetUsername(), err
		}
		if got, err := ask("ann"); got != "ann" || err != nil {
			t.Fatalf("%s: %q, %v", tt.name, got, err)
		}
		turn()
		if got, err := ask("bob"); err == nil {
			t.Errorf("%s: bob was given what %s was answered", tt.name, got)
		}
		if got, err := ask("ann"); (err == nil) != tt.kept || tt.kept && got != "ann" {
			t.Errorf("%s: ann got %q, %v", tt.name, got, err)
		}
	}
}

// Equal requests have equal keys, whatever the order of what they hold.
func TestKeysOfEqualRequests(t *testing.T) {
	b, turn := forgetful(t)
	p := resilience.Policy{Fallback: &resilience.Fallback{MaxAge: time.Hour}}
	r := &moving{}
	r.endpoints(p, b.addr)
	c := pb.NewTestServiceClient(mesh(t, r))
	ctx := func() context.Context {
		ctx := soon(t)
		for _, name := range []string{"k", "l", "m", "n", "o", "p"} {
			ctx = metadata.AppendToOutgoingContext(ctx, name, name)
		}
		return ctx
	}
	if _, err := c.UnaryCall(ctx(), &pb.SimpleRequest{Payload: body(3)}); err != nil {
		t.Fatal(err)
	}
	turn()
	for range 10 {
		if _, err := c.UnaryCall(ctx(), &pb.SimpleRequest{Payload: body(3)}); err != nil {
			t.Error(err)
		}
	}
}
