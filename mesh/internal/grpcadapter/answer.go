package grpcadapter

import (
	"context"
	"io"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/resilience"
)

// Answer implements engine.Answerer.
func (u *unary) Answer(a *resilience.Answer) {
	u.given = true
	u.options.answer(a)
	if u.err = statusOf(a); u.err == nil {
		u.err = decode(a, u.options.each, u.reply)
	}
}

// Key implements engine.Answerer. What an answer depends on is the request, and whatever the metadata say of
// who asks and how, but for what tells one call from the next. Credentials that gRPC or another interceptor adds later
// are unknown here and may be of anybody: where there may be any, an answer is not shared.
func (u *unary) Key() (key string, ok bool) {
	ch := u.connections()
	codec, _ := codecOf(u.options.each)
	if ch == nil || codec == nil || ch.blind(u.cc) || slices.ContainsFunc(u.options.each, isCredentials) {
		return "", false
	}
	req, err := canonical(codec, u.req)
	if err != nil {
		return "", false
	}
	b := make([]byte, 0, 256+len(req))
	add := func(s string) { b = append(append(b, s...), 0) }
	add(ch.name)
	add(u.method)
	add(u.call.Request.Authority)
	add(codec.Name())
	md, _ := metadata.FromOutgoingContext(u.ctx)
	for _, name := range slices.Sorted(maps.Keys(md)) {
		if !passing(name) {
			add(name)
			for _, v := range md[name] {
				add(v)
			}
		}
	}
	return string(append(append(b, 0), req...)), true
}

func isCredentials(o grpc.CallOption) bool {
	_, ok := o.(grpc.PerRPCCredsCallOption)
	return ok
}

// passing reports whether metadata of that name say nothing but which call of many this is.
func passing(name string) bool {
	switch name {
	case "traceparent", "tracestate", "grpc-trace-bin", "x-request-id", "x-weft-criticality",
		"b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags":
		return true
	}
	return false
}

// keep keeps the reply for calls that will fail, if it is not too long.
func (u *unary) keep(out resilience.Outcome) {
	if m, ok := u.reply.(proto.Message); ok && !u.call.Keeps(out, proto.Size(m)) {
		return
	}
	key, ok := u.Key()
	if !ok {
		return
	}
	codec, _ := codecOf(u.options.each)
	if body, err := marshal(codec, u.reply); err == nil && u.call.Keeps(out, len(body)) {
		u.call.Keep(key, &resilience.Answer{GRPC: true, Body: body})
	}
}

// canonical encodes equal messages alike, as far as the codec does.
func canonical(codec encoding.CodecV2, m any) ([]byte, error) {
	if p, ok := m.(proto.Message); ok {
		return proto.MarshalOptions{Deterministic: true}.Marshal(p)
	}
	return marshal(codec, m)
}

func marshal(codec encoding.CodecV2, m any) ([]byte, error) {
	data, err := codec.Marshal(m)
	if err != nil {
		return nil, err
	}
	defer data.Free()
	return data.Materialize(), nil
}

// decode makes a good answer the reply to a call.
func decode(a *resilience.Answer, opts []grpc.CallOption, reply any) error {
	codec, _ := codecOf(opts)
	if codec == nil {
		return status.Error(codes.Internal, "mesh: the codec of the call can't read the answer in the server's place")
	}
	if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(a.Body)}, reply); err != nil {
		return status.Errorf(codes.Internal, "mesh: the answer in the server's place: %v", err)
	}
	return nil
}

// An answered is the stream of a call that was answered well in a server's place. It brings one message; where
// there may be many, and there is no body, it brings none.
type answered struct {
	call   *stream
	answer *resilience.Answer
	read   bool
}

// Header implements grpc.ClientStream.
func (s *answered) Header() (metadata.MD, error) { return headerOf(s.answer), nil }

// Trailer implements grpc.ClientStream.
func (s *answered) Trailer() metadata.MD { return nil }

// Context implements grpc.ClientStream.
func (s *answered) Context() context.Context { return s.call.ctx }

// SendMsg implements grpc.ClientStream.
func (s *answered) SendMsg(any) error { return s.call.eof() }

// CloseSend implements grpc.ClientStream.
func (s *answered) CloseSend() error { return nil }

// RecvMsg implements grpc.ClientStream.
func (s *answered) RecvMsg(m any) error {
	if s.read || len(s.answer.Body) == 0 && s.call.desc.ServerStreams {
		return io.EOF
	}
	s.read = true
	return decode(s.answer, s.call.options.each, m)
}
