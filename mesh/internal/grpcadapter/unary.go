package grpcadapter

import (
	"context"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// A unary is one unary call. Its request can be sent any number of times, and
// gRPC writes the reply only when there is one.
type unary struct {
	rpc
	invoke     grpc.UnaryInvoker
	req, reply any
	err        error // of the last attempt
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
	u.prepare(service.Name())
	if _, err := service.Do(ctx, &u.call, u); err != nil {
		u.err = errorOf(err)
	}
	u.options.finish(u.err)
	return u.err
}

// Send implements engine.Transport.
func (u *unary) Send(ctx context.Context, a *engine.Attempt) resilience.Outcome {
	t := u.begin(ctx, a)
	u.err = u.invoke(t, u.method, u.req, u.reply, u.cc, u.options.each...)
	return t.outcome(u.err)
}

// Replayable implements engine.Transport.
func (u *unary) Replayable() bool { return true }
