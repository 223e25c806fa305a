package grpcadapter

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// An aside is one attempt of a unary call that runs beside others. All that gRPC
// writes to is its own.
type aside struct {
	unary   *unary
	try     try
	options []grpc.CallOption
	reply   proto.Message
	header  metadata.MD
	trailer metadata.MD
	peer    peer.Peer
	err     error
}

// Beside implements engine.Hedger. A reply that is no message of protobuf's can't be made twice.
func (u *unary) Beside() engine.Aside {
	if u.kind == nil {
		return nil
	}
	s := &aside{unary: u, reply: u.kind.New().Interface(), options: slices.Clone(u.options.each)}
	for i, opt := range s.options {
		switch opt.(type) {
		case grpc.HeaderCallOption:
			s.options[i] = grpc.Header(&s.header)
		case grpc.TrailerCallOption:
			s.options[i] = grpc.Trailer(&s.trailer)
		case grpc.PeerCallOption:
			s.options[i] = grpc.Peer(&s.peer)
		}
	}
	return s
}

// Take implements engine.Hedger.
func (u *unary) Take(won engine.Aside) {
	s := won.(*aside)
	u.err = s.err
	u.options.report(s.header, s.trailer, s.peer)
	if reply := u.reply.(proto.Message); s.err == nil {
		proto.Reset(reply)
		proto.Merge(reply, s.reply)
	}
}

// Send implements engine.Transport.
func (s *aside) Send(ctx context.Context, a *engine.Attempt) resilience.Outcome {
	s.try.begin(ctx, &s.unary.rpc, a)
	s.err = s.unary.carry(&s.try, s.reply, s.options)
	return s.try.outcome(s.err)
}

// Replayable implements engine.Transport.
func (s *aside) Replayable() bool { return true }

// Connected implements engine.Transport.
func (s *aside) Connected(h *balancer.Host) bool { return s.unary.Connected(h) }

// Discard implements engine.Aside: gRPC has read the answer to its end.
func (s *aside) Discard() {}
