package grpcadapter

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// replayLimit is how many bytes of encoded messages a stream keeps by default,
// the same as gRPC's own. grpc.MaxRetryRPCBufferSize sets another.
const replayLimit = 256 << 10

// A replay is a streaming call that may begin again at another host until a
// server answers with headers (gRFC A6). What was sent is kept until then, in encoded
// form, since the caller may reuse a message once SendMsg returns.
//
// The engine's control flow runs in a goroutine of its own, which ends when a
// server answers, the last attempt fails, or the context or the ClientConn is over.
type replay struct {
	stream
	codec recorder // records what is sent

	// settled is closed when no other attempt will follow: final answers then, or err does.
	settled chan struct{}
	final   grpc.ClientStream
	failure error
	decided atomic.Bool // settled is closed, or about to

	mu      sync.Mutex // held while messages are sent, by the caller or again
	changed sync.Cond  // of current and over
	current grpc.ClientStream
	attempt *try // of current
	over    bool
	closed  bool // CloseSend was called
	kept    []*message
	size    int
	limit   int
	full    bool // messages were not kept: there is no way back
}

// launch starts the call and waits for its first stream.
func (r *replay) launch(service *engine.Service) (grpc.ClientStream, error) {
	r.settled = make(chan struct{})
	r.changed.L = &r.mu
	r.limit = replayLimit
	r.record()
	go r.run(service)

	r.mu.Lock()
	defer r.mu.Unlock()
	for r.current == nil && !r.over {
		r.changed.Wait()
	}
	if r.current == nil && r.failure != nil {
		return nil, r.failure
	}
	return r, nil
}

// run is the call, to its settlement.
func (r *replay) run(service *engine.Service) {
	_, err := service.Do(r.ctx, &r.call, r)
	if r.decided.Load() {
		return
	}
	// Nothing holds the call: it was answered without headers, or failed.
	switch {
	case err != nil:
		r.failure = errorOf(err)
		r.err = r.failure
	case r.cs == nil:
		r.failure = r.err // gRPC would not open a stream with these options
	case errors.Is(r.err, io.EOF):
		r.err = nil // an answer of no messages
	}
	r.options.finish(r.err)
	r.settle(r.cs)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.changed.Broadcast()
}

// settle makes s the stream of the call for good. It may be nil if there is a failure.
func (r *replay) settle(s grpc.ClientStream) {
	r.final = s
	r.decided.Store(true)
	close(r.settled)
	// Whoever holds the lock now is sending, and clears up after that.
	if r.mu.TryLock() {
		r.clear()
		r.mu.Unlock()
	}
}

// Send implements engine.Transport: it opens a stream at the host, sends again
// what was sent, and waits for headers.
func (r *replay) Send(ctx context.Context, a *engine.Attempt) resilience.Outcome {
	t := r.begin(ctx, a)
	r.mu.Lock()
	r.current = nil
	r.mu.Unlock()
	if r.err = r.start(t); r.err != nil {
		r.cs = nil
		return t.outcome(r.err)
	}
	if retry := &r.call.Route().Policy.Retry; retry.Attempts == 0 {
		r.spill()
		if retry.TryTimeout == 0 {
			r.attach(r.cs, t)
			return r.hold(t)
		}
	}
	r.attach(r.cs, t)
	if md, err := r.cs.Header(); md != nil && err == nil {
		return r.hold(t)
	}
	// It has ended without headers, so there is no message to be lost here.
	if r.err = r.cs.RecvMsg(nil); errors.Is(r.err, io.EOF) && t.answered.Load() {
		return resilience.Outcome{GRPC: true}
	}
	return t.outcome(r.err)
}

// hold makes the stream of t that of the call for good.
func (r *replay) hold(t *try) resilience.Outcome {
	if !t.hold() {
		return resilience.Outcome{Err: errLate, Cause: resilience.Canceled}
	}
	r.settle(r.cs)
	return resilience.Outcome{}
}

// attach lets the caller send on the stream, after all that was sent before.
func (r *replay) attach(s grpc.ClientStream, t *try) {
	r.mu.Lock()
	if len(r.kept) == 0 && !r.closed {
		defer r.mu.Unlock()
		r.use(s, t)
		return
	}
	// Aside, because the server may answer before it reads, and not read before it was heard.
	go func() {
		defer r.mu.Unlock()
		for _, m := range r.kept {
			if s.SendMsg(m) != nil {
				break // the stream has ended, which Header tells
			}
		}
		if r.closed {
			_ = s.CloseSend() // always nil
		}
		r.use(s, t)
	}()
}

func (r *replay) use(s grpc.ClientStream, t *try) {
	r.current, r.attempt = s, t
	r.changed.Broadcast()
	if r.decided.Load() {
		r.clear()
	}
}

// Replayable implements engine.Transport.
func (r *replay) Replayable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.full
}

// SendMsg implements grpc.ClientStream. While the call moves to another host it waits.
func (r *replay) SendMsg(m any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.current == nil && !r.over {
		r.changed.Wait()
	}
	if r.current == nil { // it ended while it was between two hosts
		return r.eof()
	}
	if _, ok := m.(*grpc.PreparedMsg); ok {
		r.overflow() // what is encoded already passes the codec by
	}
	err := r.current.SendMsg(m)
	if r.decided.Load() {
		r.clear()
		return err
	}
	switch {
	case err == nil:
	case !errors.Is(err, io.EOF) && !r.attempt.refused():
		r.overflow() // gRPC could not send it: another host would not get it either
	case !r.full:
		return nil // kept; the next host gets it, or RecvMsg says why not
	default:
		return r.eof()
	}
	return err
}

// CloseSend implements grpc.ClientStream.
func (r *replay) CloseSend() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.current != nil {
		return r.current.CloseSend()
	}
	return nil
}

// RecvMsg implements grpc.ClientStream.
func (r *replay) RecvMsg(m any) error {
	<-r.settled
	if r.failure != nil {
		return r.failure
	}
	return r.final.RecvMsg(m)
}

// Header implements grpc.ClientStream. As gRPC's, it leaves errors to RecvMsg.
func (r *replay) Header() (metadata.MD, error) {
	<-r.settled
	if r.final == nil {
		return nil, nil
	}
	return r.final.Header()
}

// Trailer implements grpc.ClientStream.
func (r *replay) Trailer() metadata.MD {
	<-r.settled
	if r.final == nil {
		return nil
	}
	return r.final.Trailer()
}

// Context implements grpc.ClientStream. As with gRPC's own retries, a call whose
// context was asked for stays with its host.
func (r *replay) Context() context.Context {
	select {
	case <-r.settled:
		if r.final == nil {
			return r.ctx
		}
		return r.final.Context()
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.current == nil && !r.over {
		r.changed.Wait()
	}
	if r.current == nil {
		return r.ctx
	}
	r.overflow()
	return r.current.Context()
}

// spill is overflow for who does not hold the lock.
func (r *replay) spill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.overflow()
}

// overflow gives up the way back.
func (r *replay) overflow() {
	r.full = true
	r.clear()
}

// clear frees what was kept.
func (r *replay) clear() {
	for _, m := range r.kept {
		m.data.Free()
	}
	r.kept, r.size = nil, 0
}

// keep keeps a message that is being sent.
func (r *replay) keep(data mem.BufferSlice) {
	if r.full || r.decided.Load() {
		return
	}
	if r.size += data.Len(); r.size > r.limit {
		r.overflow()
		return
	}
	data.Ref()
	r.kept = append(r.kept, &message{slices.Clone(data)})
}
