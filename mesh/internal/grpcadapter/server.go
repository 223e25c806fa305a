package grpcadapter

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// ServerOptions let a grpc.Server serve its calls through e. Interceptors that
// stand after them in the list see only what the mesh has let through.
func ServerOptions(e *engine.Engine) []grpc.ServerOption {
	s := &server{e}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.MaxConcurrentStreams(maxStreams),
	}
}

// maxStreams bounds what one connection may ask for at a time; gRPC has no bound (Envoy max_concurrent_streams).
const maxStreams = 1024

type server struct{ engine *engine.Engine }

// An inbound is one call that is served, and the headers by which it may be judged.
type inbound struct {
	engine.InboundCall
	ctx context.Context
}

func newInbound(ctx context.Context, method string) *inbound {
	in := &inbound{ctx: ctx}
	in.Protocol = engine.GRPC
	in.Request = resolver.Request{Scheme: "http", Method: "POST", Path: method, Header: in}
	if a := metadata.ValueFromIncomingContext(ctx, ":authority"); len(a) > 0 {
		in.Request.Authority = a[0]
	}
	if p, ok := peer.FromContext(ctx); ok {
		in.Local, in.Remote = p.LocalAddr, p.Addr
		if p.AuthInfo != nil && p.AuthInfo.AuthType() == "tls" {
			in.Request.Scheme = "https"
		}
	}
	return in
}

// Values implements resolver.Header over the incoming metadata.
func (in *inbound) Values(name resolver.HeaderName) []string {
	return metadata.ValueFromIncomingContext(in.ctx, name.Lower)
}

func (s *server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	s.engine.Serve(ctx, &newInbound(ctx, info.FullMethod).InboundCall, func(ctx context.Context) resilience.Outcome {
		resp, err = handler(ctx, req)
		return served(err)
	})
	return resp, err
}

func (s *server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx := ss.Context()
	s.engine.Serve(ctx, &newInbound(ctx, info.FullMethod).InboundCall, func(c context.Context) resilience.Outcome {
		if c != ctx {
			ss = &serverStream{ss, c}
		}
		err = handler(srv, ss)
		return served(err)
	})
	return err
}

// A serverStream is a stream with the context that the mesh made.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *serverStream) Context() context.Context { return s.ctx }

// served is the outcome of a handler, with the status that gRPC will send for its error.
func served(err error) resilience.Outcome {
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	if st.Code() == codes.OK {
		return resilience.Outcome{GRPC: true}
	}
	return resilience.Outcome{GRPC: true, Code: uint32(st.Code())}
}
