package grpcadapter

import (
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// A message is one that was sent, encoded. gRPC is given it when it is sent again.
type message struct{ data mem.BufferSlice }

// A recorder is the codec of a call that may be replayed. It encodes as the
// call's own codec does and lets the call keep the result: messages are encoded once
// and not copied.
type recorder struct {
	encoding.CodecV2
	subtype string // what goes out as content-subtype
	replay  *replay
}

// Marshal is called by gRPC within SendMsg, so the call's lock is held.
func (c *recorder) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*message); ok {
		m.data.Ref()
		return slices.Clone(m.data), nil
	}
	data, err := c.CodecV2.Marshal(v)
	if err == nil {
		c.replay.keep(data)
	}
	return data, err
}

// Name is what gRPC sends as content-subtype; empty as for a call that names none.
func (c *recorder) Name() string { return c.subtype }

// record puts the recorder before the codec that the call's options choose. With
// one it cannot stand before, nothing is kept.
func (r *replay) record() {
	r.codec.replay = r
	r.codec.CodecV2, r.codec.subtype = codecOf(r.options.each)
	for _, opt := range r.options.each {
		if opt, ok := opt.(grpc.MaxRetryRPCBufferSizeCallOption); ok {
			r.limit = opt.MaxRetryRPCBufferSize
		}
	}
	if r.codec.CodecV2 == nil {
		r.full = true
		return
	}
	r.opts = append(slices.Clip(r.opts), grpc.ForceCodecV2(&r.codec))
}

// codecOf is the codec that a call's options choose, and the content-subtype that goes out with it. The codec is
// nil if there is none, or one of gRPC's oldest kind.
func codecOf(opts []grpc.CallOption) (c encoding.CodecV2, subtype string) {
	custom := false
	for _, opt := range opts {
		switch opt := opt.(type) {
		case grpc.ContentSubtypeCallOption:
			subtype = opt.ContentSubtype
		case grpc.ForceCodecV2CallOption:
			c, custom = opt.CodecV2, false
		case grpc.ForceCodecCallOption:
			c, custom = oldCodec{opt.Codec}, false
		case grpc.CustomCodecCallOption:
			custom = true
		}
	}
	switch {
	case custom:
		return nil, ""
	case c != nil:
		return c, c.Name()
	case subtype != "":
		return registered(subtype), ""
	}
	return registered(proto.Name), ""
}

// registered is the codec gRPC would use for a content-subtype; nil if there is none.
func registered(name string) encoding.CodecV2 {
	if c := encoding.GetCodec(name); c != nil {
		return oldCodec{c}
	}
	return encoding.GetCodecV2(name)
}

// An oldCodec makes a CodecV2 of a Codec.
type oldCodec struct{ encoding.Codec }

func (c oldCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, err := c.Codec.Marshal(v)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (c oldCodec) Unmarshal(data mem.BufferSlice, v any) error {
	return c.Codec.Unmarshal(data.Materialize(), v)
}
