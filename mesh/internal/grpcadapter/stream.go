package grpcadapter

import (
	"context"
	"errors"
	"io"
	"slices"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A stream is one streaming call whose opening may be tried at several hosts.
// Once it is open the caller has gRPC's own stream, and the mesh only hears of its end.
type stream struct {
	rpc
	desc *grpc.StreamDesc
	open grpc.Streamer
	opts []grpc.CallOption // for each attempt, before its OnFinish
	cs   grpc.ClientStream // of the last attempt
	err  error             // of its opening
}

// stream is the interceptor of streaming calls.
func (c *client) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ch := c.channelOf(cc)
	service := c.service(cc, ch)
	if service == nil {
		return open(ctx, desc, cc, method, opts...)
	}
	var s *stream
	var r *replay
	if ch.mayRetry(service.Value()) {
		r = new(replay)
		s = &r.stream
	} else {
		s = new(stream)
	}
	s.client, s.cc, s.channel, s.ctx, s.method, s.options = c, cc, ch, ctx, method, newOptions(opts)
	s.desc, s.open, s.opts = desc, open, s.options.each
	s.prepare(service.Name())
	if r != nil {
		return r.launch(service)
	}
	return s.direct(service)
}

// direct opens a stream that is never replayed.
func (s *stream) direct(service *engine.Service) (grpc.ClientStream, error) {
	if _, err := service.Do(s.ctx, &s.call, s); err != nil {
		s.err = errorOf(err)
	}
	if s.err != nil {
		s.options.finish(s.err)
		return nil, s.err
	}
	return s.cs, nil
}

// Answer implements engine.Answerer.
func (s *stream) Answer(a *resilience.Answer) {
	s.options.answer(a)
	s.cs = nil
	if s.err = statusOf(a); s.err == nil {
		s.cs = &answered{call: s, answer: a}
	}
}

// Key implements engine.Answerer: streams are not kept.
func (s *stream) Key() (string, bool) { return "", false }

// Send implements engine.Transport. The attempt goes on until the stream ends.
func (s *stream) Send(ctx context.Context, a *engine.Attempt) resilience.Outcome {
	t := s.begin(ctx, a)
	if s.err = s.start(t); s.err != nil {
		return t.outcome(s.err)
	}
	if !t.hold() {
		return resilience.Outcome{Err: errLate, Cause: resilience.Canceled}
	}
	return resilience.Outcome{}
}

// Replayable implements engine.Transport. What ends while it opens has sent no message.
func (s *stream) Replayable() bool { return true }

// start opens the stream of an attempt.
func (s *stream) start(t *try) (err error) {
	opts := slices.Concat(s.opts, []grpc.CallOption{grpc.OnFinish(t.finished)})
	t.watch(t.attempt.Flow())
	s.cs, err = s.open(t, s.desc, s.cc, s.method, opts...)
	t.leave()
	switch {
	case t.guard == nil:
	case err != nil:
		t.guard.end()
	default:
		s.cs = &guarded{s.cs, t.guard, s.eof()}
	}
	return err
}

// eof is what SendMsg returns once the stream has ended: nil where there is one message, as gRPC does.
func (s *stream) eof() error {
	if s.desc.ClientStreams {
		return io.EOF
	}
	return nil
}

// The phases of an attempt's stream.
const (
	trying uint32 = iota
	held          // it is the call's for good
	ended
)

// hold makes the attempt last until its stream ends. It fails if the attempt's time is up.
func (t *try) hold() bool {
	if !t.attempt.Hold() {
		return false
	}
	if !t.phase.CompareAndSwap(trying, held) {
		t.finish()
	}
	return true
}

var errLate = errors.New("the answer came too late")

// finished is told by gRPC that the attempt's stream has ended: it was read to
// its end, could not be opened, or its context or ClientConn is over.
func (t *try) finished(err error) {
	if t.guard != nil {
		t.guard.end()
		err = t.guard.told(err)
	}
	t.leave() // gRPC's own second attempt may have waited
	t.err = err
	if t.phase.Swap(ended) == held {
		t.finish()
	}
}

func (t *try) finish() {
	t.attempt.Finish(t.outcome(t.err))
	t.rpc.options.finish(t.err)
}

// retries is whether any route of a service repeats calls, or waits for each try's answer.
type retries struct {
	service *resolver.Service
	any     bool
}

// mayRetry reports whether any route repeats calls or bounds its tries. What is not known yet may.
func (ch *channel) mayRetry(v *resolver.Service) bool {
	if v == nil || ch == nil {
		return true
	}
	if r := ch.retries.Load(); r != nil && r.service == v {
		return r.any
	}
	r := &retries{service: v}
	for _, host := range v.VirtualHosts {
		for i := range host.Routes {
			retry := &host.Routes[i].Policy.Retry
			r.any = r.any || retry.Attempts > 0 || retry.TryTimeout > 0
		}
	}
	ch.retries.Store(r)
	return r.any
}
