package grpcadapter

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

type mark struct{}

// The engine sees every call that is served, and its context reaches the handler.
func TestServerCarriesCallsThroughTheEngine(t *testing.T) {
	var answer error
	check := func(ctx context.Context) error {
		if ctx.Value(mark{}) != "mesh" {
			return status.Error(codes.Internal, "the handler has not the context of the mesh")
		}
		return answer
	}
	b := &backend{
		unary: func(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
			return &pb.SimpleResponse{Payload: r.Payload}, check(ctx)
		},
		in: func(s grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
			if err := check(s.Context()); err != nil {
				return err
			}
			return s.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: 6})
		},
		out: func(r *pb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
			for range r.ResponseParameters {
				_ = s.Send(&pb.StreamingOutputCallResponse{})
			}
			return check(s.Context())
		},
		duplex: func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
			for range 3 {
				_ = s.Send(&pb.StreamingOutputCallResponse{})
			}
			return check(s.Context())
		},
	}
	for _, tt := range []struct {
		err  error
		code codes.Code
	}{
		{nil, codes.OK},
		{status.Error(codes.NotFound, "no"), codes.NotFound},
		{errors.New("plain"), codes.Unknown},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
	} {
		answer = tt.err
		for kind, call := range kinds {
			seen := &witness{ctxKey: mark{}}
			b.addr = ""
			b.serve(t, ServerOptions(newEngine(t, resolver.Static{}, seen))...)
			ctx := metadata.AppendToOutgoingContext(soon(t), "k", "v")
			err := call(ctx, pb.NewTestServiceClient(dial(t, b.addr, plain(), grpc.WithAuthority("payments"))))
			if status.Code(err) != tt.code {
				t.Errorf("%s: %v, want %v", kind, err, tt.code)
			}
			b.server.GracefulStop()
			if len(seen.served) != 1 || len(seen.done) != 1 {
				t.Fatalf("%s: %d calls seen, %d ended", kind, len(seen.served), len(seen.done))
			}
			c := seen.served[0]
			if c.Protocol != engine.GRPC || c.Request.Authority != "payments" || c.Request.Method != http.MethodPost || c.Request.Path[:len(service)] != service {
				t.Errorf("%s: %+v", kind, c.Request)
			}
			if v := c.Request.Header.Values(resolver.HeaderName{Lower: "k"}); len(v) != 1 || v[0] != "v" {
				t.Errorf("%s: header %v", kind, v)
			}
			if c.Local == nil || c.Local.String() != b.addr || c.Remote == nil {
				t.Errorf("%s: from %v to %v, want to %s", kind, c.Remote, c.Local, b.addr)
			}
			if want := (resilience.Outcome{GRPC: true, Code: uint32(tt.code)}); seen.done[0] != want {
				t.Errorf("%s: ended as %+v, want %+v", kind, seen.done[0], want)
			}
		}
	}
}

const service = "/grpc.testing.TestService/"
