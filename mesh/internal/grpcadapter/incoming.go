package grpcadapter

import (
	"context"
	"encoding/binary"
	"iter"
	"maps"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resolver"
)

// Set implements engine.Incoming.
func (in *inbound) Set(name resolver.HeaderName, value string) {
	md := in.own()
	for other := range md {
		if identity.ReadsAs(other, name.Lower) {
			delete(md, other)
		}
	}
	md[name.Lower] = []string{value}
}

// Append implements engine.Incoming.
func (in *inbound) Append(name resolver.HeaderName, value string) { in.own().Append(name.Lower, value) }

// Remove implements engine.Incoming.
func (in *inbound) Remove(name resolver.HeaderName) {
	if len(in.Values(name)) > 0 {
		delete(in.own(), name.Lower)
	}
}

// RemoveSteering implements engine.Incoming.
func (in *inbound) RemoveSteering() {
	md := in.md
	if md == nil {
		md, _ = metadata.FromIncomingContext(in.ctx)
	}
	for name := range md {
		if identity.Steering(name) {
			delete(in.own(), name)
		}
	}
}

// All yields each header with its values.
func (in *inbound) All() iter.Seq2[string, []string] {
	md := in.md
	if md == nil {
		md, _ = metadata.FromIncomingContext(in.ctx)
	}
	return maps.All(md)
}

// own is the metadata of the call as a copy, which its handler is to see.
func (in *inbound) own() metadata.MD {
	if in.md == nil {
		if in.md, _ = metadata.FromIncomingContext(in.ctx); in.md == nil {
			in.md = metadata.MD{}
		}
	}
	return in.md
}

// handed is ctx with what the handler is to see of the metadata.
func (in *inbound) handed(ctx context.Context) context.Context {
	if in.md == nil {
		return ctx
	}
	return metadata.NewIncomingContext(ctx, in.md)
}

// Body implements engine.Incoming: the request of a unary call as it is framed on the wire, uncompressed. A stream has none
// before its handler reads it.
func (in *inbound) Body(limit int) ([]byte, error) {
	m, ok := in.req.(proto.Message)
	if !ok || limit <= 0 {
		return nil, nil
	}
	body, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, prefix, prefix+proto.Size(m)), m)
	if err != nil {
		return nil, err
	}
	if n := len(body) - prefix; n <= math.MaxUint32 {
		binary.BigEndian.PutUint32(body[1:prefix], uint32(n))
	}
	return body[:min(len(body), limit)], nil
}

// End implements engine.Incoming. The end of the context would not wake a handler that waits for a message: the status does, which gRPC's own
// stream takes at any time, and which is the last it takes. Tests hold that to the gRPC in use; a handler that is not
// woken learns of it by its next message.
func (in *inbound) End(why *engine.Refusal) {
	s := grpc.ServerTransportStreamFromContext(in.ctx)
	if s, ok := s.(interface{ WriteStatus(*status.Status) error }); ok {
		_ = s.WriteStatus(status.New(codes.Code(why.Code), why.Text)) // it fails where the connection does
	}
}

// denied is the status of a call that its caller may not make.
func denied(r *engine.Refusal) error { return status.Error(codes.Code(r.Code), r.Text) }
