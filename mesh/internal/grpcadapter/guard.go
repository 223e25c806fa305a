package grpcadapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// A guard paces the messages of an attempt and ends it from outside gRPC: when its flow
// breaks, or when neither side has sent anything for too long.
type guard struct {
	try    *try
	ctx    context.Context // of the attempt
	cancel context.CancelFunc
	flow   *engine.Flow  // nil lets everything through
	idle   time.Duration // 0 never ends anything
	timer  *time.Timer   // nil without idle
	ended  atomic.Bool
	breach atomic.Pointer[breach]
}

// A breach is why an attempt was ended from outside gRPC.
type breach struct {
	cause resilience.Cause
	err   error
}

func (b *breach) Error() string { return b.err.Error() }

func (b *breach) Unwrap() error { return b.err }

// watch puts a guard on the attempt, if there is a flow or its route has an idle timeout that can be up before the deadline.
func (t *try) watch(flow *engine.Flow) {
	idle := t.rpc.call.Route().Policy.Idle
	if idle > 0 {
		if d, ok := t.ctx.Deadline(); ok && time.Until(d) <= idle {
			idle = 0
		}
	}
	if flow == nil && idle <= 0 {
		return
	}
	t.guard = newGuard(t.ctx, flow, idle)
	t.guard.try, t.ctx = t, t.guard.ctx
}

func newGuard(ctx context.Context, flow *engine.Flow, idle time.Duration) *guard {
	g := &guard{flow: flow, idle: idle}
	g.ctx, g.cancel = context.WithCancel(ctx)
	if idle > 0 {
		g.timer = time.AfterFunc(idle, func() {
			g.stop(&breach{resilience.Timeout, fmt.Errorf("neither side has sent anything for %v (idle timeout)", idle)})
		})
	}
	return g
}

// end gives up what the guard holds. The attempt is over.
func (g *guard) end() {
	if g == nil {
		return
	}
	g.ended.Store(true)
	if g.timer != nil {
		g.timer.Stop()
	}
	g.cancel()
}

// stop ends the attempt, unless that has ended by itself.
func (g *guard) stop(why *breach) {
	if !g.ended.Load() && g.breach.CompareAndSwap(nil, why) {
		g.cancel()
	}
}

// touch notes that a message came through.
func (g *guard) touch() {
	if g == nil || g.timer == nil || g.breach.Load() != nil {
		return
	}
	g.timer.Reset(g.idle)
	if g.ended.Load() { // maybe just now
		g.timer.Stop()
	}
}

// request waits until a message of the request may go. An error means that it may not.
func (g *guard) request(m any) error { return g.pass(g.flow.Request, m) }

// response is request for a message of the answer.
func (g *guard) response(m any) error { return g.pass(g.flow.Response, m) }

func (g *guard) pass(flow pace, m any) error {
	if g.flow == nil {
		return nil
	}
	err := pass(g.ctx, flow, m)
	if b, ok := errors.AsType[*breach](err); ok {
		g.stop(b)
	}
	return err
}

// breach is why the attempt that came to err was ended from outside gRPC; nil if it was not.
func (t *try) breach(err error) *breach {
	if t.guard != nil {
		if b := t.guard.breach.Load(); b != nil {
			return b
		}
	}
	b, _ := errors.AsType[*breach](err)
	return b
}

// told is what the caller gets for an error of gRPC: why the guard has ended the attempt, if it has.
func (g *guard) told(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	if b := g.breach.Load(); b != nil {
		return g.try.failure(b)
	}
	return err
}

// failure is the error of a stream whose answer has begun when it was ended.
func (t *try) failure(b *breach) error {
	kind := engine.Reset
	if b.cause == resilience.Timeout {
		kind = engine.Deadline
	}
	a := t.attempt
	return &failure{&engine.Error{Kind: kind, Service: a.Call().Service(), Cluster: a.Cluster.Name, Host: a.Host.Addr(), Attempts: a.Retries + 1, Err: b.err}}
}

// A pace is one way of an engine.Flow.
type pace func(ctx context.Context, n int) (int, error)

// pass waits until all of a message may go. The error is a breach, or the status of a call that has ended.
func pass(ctx context.Context, flow pace, m any) error {
	for n := sizeOf(m); n > 0; {
		some, err := flow(ctx, n)
		switch {
		case err == nil:
			n -= some
		case ctx.Err() != nil:
			return status.FromContextError(ctx.Err()).Err()
		default:
			return &breach{resilience.Reset, err}
		}
	}
	return nil
}

// prefix is what precedes each message on the wire.
const prefix = 5

// sizeOf is how many bytes a message takes on the wire, without compression. One that is not
// of protobuf's counts as empty.
func sizeOf(m any) int {
	switch m := m.(type) {
	case proto.Message:
		return prefix + proto.Size(m)
	case *message:
		return prefix + m.data.Len()
	}
	return prefix
}

// A guarded is the stream of an attempt with a guard.
type guarded struct {
	grpc.ClientStream
	guard *guard
	eof   error // what SendMsg returns after the end
}

// SendMsg implements grpc.ClientStream. The reason of a failure comes with RecvMsg.
func (s *guarded) SendMsg(m any) error {
	if s.guard.request(m) != nil {
		return s.eof
	}
	err := s.ClientStream.SendMsg(m)
	if err == nil {
		s.guard.touch()
	}
	return err
}

// CloseSend implements grpc.ClientStream. What was cut off must not look like all there is.
func (s *guarded) CloseSend() error {
	select {
	case <-s.guard.ctx.Done():
		return nil
	default:
		return s.ClientStream.CloseSend()
	}
}

// RecvMsg implements grpc.ClientStream.
func (s *guarded) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.guard.touch()
		err = s.guard.response(m)
	}
	return s.guard.told(err)
}

// Header implements grpc.ClientStream.
func (s *guarded) Header() (md metadata.MD, err error) {
	if md, err = s.ClientStream.Header(); err == nil {
		s.guard.touch()
	}
	return md, s.guard.told(err)
}
