package grpcadapter

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// A unary is one unary call. Its request can be sent any number of times, and
// gRPC writes the reply only when there is one.
type unary struct {
	rpc
	invoke     grpc.UnaryInvoker
	req, reply any
	kind       protoreflect.MessageType // of reply, which must not be looked at while gRPC may write it; nil if it has none
	err        error                    // of the last attempt
	given      bool                     // the answer is no server's
}

// unary is the interceptor of unary calls.
func (c *client) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ch := c.channelOf(cc)
	service := c.service(cc, ch)
	if service == nil {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	u := &unary{
		rpc:    rpc{client: c, cc: cc, channel: ch, ctx: ctx, method: method, options: newOptions(opts)},
		invoke: invoke,
		req:    req,
		reply:  reply,
	}
	if m, ok := reply.(proto.Message); ok {
		u.kind = m.ProtoReflect().Type()
	}
	u.prepare(service.Name())
	out, err := service.Do(ctx, &u.call, u)
	if err != nil {
		u.err = errorOf(err)
	} else if !u.given && u.err == nil && u.call.Keeps(out, 0) {
		u.keep(out)
	}
	u.options.finish(u.err)
	return u.err
}

// Send implements engine.Transport.
func (u *unary) Send(ctx context.Context, a *engine.Attempt) resilience.Outcome {
	t := u.begin(ctx, a)
	u.err = u.carry(t, u.reply, u.options.each)
	return t.outcome(u.err)
}

// Replayable implements engine.Transport.
func (u *unary) Replayable() bool { return true }

// carry takes the request to the host of an attempt, and the reply back.
func (u *unary) carry(t *try, reply any, opts []grpc.CallOption) error {
	t.watch(nil)
	if flow := t.attempt.Flow(); flow != nil || t.guard != nil {
		return u.paced(t, flow, reply, opts)
	}
	err := u.invoke(t, u.method, u.req, reply, u.cc, opts...)
	t.leave()
	return err
}

// paced is carry at the pace of a flow and under the eyes of a guard; either may be nil.
func (u *unary) paced(t *try, flow *engine.Flow, reply any, opts []grpc.CallOption) error {
	defer t.guard.end()
	defer t.leave()
	if flow != nil {
		if err := pass(t.ctx, flow.Request, u.req); err != nil {
			return err
		}
		t.guard.touch()
	}
	if err := u.invoke(t, u.method, u.req, reply, u.cc, opts...); err != nil || flow == nil {
		return err
	}
	t.guard.touch()
	return pass(t.ctx, flow.Response, reply)
}
