package grpcadapter

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

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
// stand after them in the list see only what the mesh has let through. They bring transport credentials, which take
// connections as they come: those of the mesh's listener over TLS or plaintext, others as plaintext. Credentials of the user's stand after them.
func ServerOptions(e *engine.Engine) []grpc.ServerOption {
	s := &server{e}
	return []grpc.ServerOption{
		grpc.Creds(serverCredentials{}),
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeader),
	}
}

// maxStreams bounds what one connection may ask for at a time; gRPC has no bound (Envoy max_concurrent_streams).
const maxStreams = 1024

// maxHeader bounds the headers of a call, decompressed; gRPC takes 16 MB (Envoy max_request_headers_kb is 60).
const maxHeader = 64 << 10

type server struct{ engine *engine.Engine }

// An inbound is one call that is served, and the headers by which it may be judged.
type inbound struct {
	engine.InboundCall
	ctx context.Context // as the handler is to see it, but for what Serve adds
	md  metadata.MD     // of ctx if that was changed; else nil
	req any             // of a unary call
}

func (s *server) prepare(ctx context.Context, in *inbound, method string) {
	in.ctx, in.Incoming = ctx, in
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
	s.engine.Meet(&in.InboundCall)
}

// Values implements resolver.Header over the incoming metadata.
func (in *inbound) Values(name resolver.HeaderName) []string {
	if in.md != nil {
		return in.md[name.Lower]
	}
	return metadata.ValueFromIncomingContext(in.ctx, name.Lower)
}

func (s *server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	in := new(inbound)
	in.req = req
	s.prepare(ctx, in, info.FullMethod)
	_, refusal := s.engine.Serve(in.ctx, &in.InboundCall, func(ctx context.Context) resilience.Outcome {
		in.head()
		ctx = in.handed(ctx)
		if f := in.Flow(); f != nil {
			resp, err = paced(ctx, f, req, handler)
		} else {
			resp, err = handler(ctx, req)
		}
		if why := in.Cut(); why != nil {
			resp, err = nil, denied(why)
		}
		return served(err)
	})
	if refusal != nil {
		return nil, in.refuse(refusal)
	}
	in.tail(err)
	return resp, err
}

// paced is a handler whose messages go at the pace of a flow.
func paced(ctx context.Context, f *engine.Flow, req any, handler grpc.UnaryHandler) (resp any, err error) {
	if err := pass(ctx, f.Request, req); err != nil {
		return nil, brokenOff(err)
	}
	if resp, err = handler(ctx, req); err != nil {
		return nil, err
	}
	if err := pass(ctx, f.Response, resp); err != nil {
		return nil, brokenOff(err)
	}
	return resp, nil
}

func (s *server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	in := &inboundStream{ServerStream: ss}
	in.Stream = true
	s.prepare(ss.Context(), &in.inbound, info.FullMethod)
	_, refusal := s.engine.Serve(in.ctx, &in.InboundCall, func(ctx context.Context) resilience.Outcome {
		in.head()
		in.handled, in.flow = in.handed(ctx), in.Flow()
		if err = handler(srv, in); in.cut.Load() {
			err = errCut
		}
		if why := in.Cut(); why != nil {
			err = denied(why)
		}
		return served(err)
	})
	if refusal != nil {
		return in.refuse(refusal)
	}
	in.tail(err)
	return err
}

// An inboundStream is a stream that is served, as its handler sees it.
type inboundStream struct {
	inbound
	grpc.ServerStream
	handled context.Context // as the mesh made it
	flow    *engine.Flow
	cut     atomic.Bool // the flow has broken, and with it the call
}

// Context implements grpc.ServerStream.
func (s *inboundStream) Context() context.Context { return s.handled }

// SendMsg implements grpc.ServerStream.
func (s *inboundStream) SendMsg(m any) error {
	if s.flow != nil {
		if err := s.pass(s.flow.Response, m); err != nil {
			return err
		}
	}
	return s.ServerStream.SendMsg(m)
}

// RecvMsg implements grpc.ServerStream.
func (s *inboundStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil && s.flow != nil {
		err = s.pass(s.flow.Request, m)
	}
	return err
}

func (s *inboundStream) pass(flow pace, m any) error {
	err := pass(s.handled, flow, m)
	if err == nil {
		return nil
	}
	if err = brokenOff(err); errors.Is(err, errCut) {
		s.cut.Store(true)
	}
	return err
}

// brokenOff is the status of a call whose flow did not let a message through.
func brokenOff(err error) error {
	if _, ok := errors.AsType[*breach](err); ok {
		return errCut
	}
	return err
}

var errCut = status.Error(codes.Unavailable, "mesh: the connection is broken by a fault")

// head sends what the answer is to carry besides the handler's own.
func (in *inbound) head() {
	if fields := in.Header(); len(fields) > 0 {
		_ = grpc.SetHeader(in.ctx, metadataOf(fields)) // it fails once headers were sent, and none were
	}
}

// tail asks not to repeat a failed call that has caused too many already.
func (in *inbound) tail(err error) {
	if err != nil && in.Spent() {
		_ = grpc.SetTrailer(in.ctx, metadata.Pairs("grpc-retry-pushback-ms", "-1"))
	}
}

// refuse is the status of a call that is not handled. All that goes with it are trailers: headers before them would
// be an answer to a stream, which its caller could not try elsewhere any more (gRFC A6).
//
// gRPC has no way to break a connection, or reset a stream, from within a call: where that is asked for, the
// call is UNAVAILABLE, which is what a client makes of either.
func (in *inbound) refuse(r *engine.Refusal) error {
	if of, own := in.Header(), r.Header; len(of)+len(own) > 0 {
		_ = grpc.SetTrailer(in.ctx, metadataOf(append(slices.Clip(of), own...)))
	}
	if r.Cut {
		return errCut
	}
	return status.Error(codes.Code(r.Code), r.Text)
}

func metadataOf(fields []engine.Field) metadata.MD {
	md := make(metadata.MD, len(fields))
	for _, f := range fields {
		md.Append(f.Name, f.Value)
	}
	return md
}

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
