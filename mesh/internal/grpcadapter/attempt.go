package grpcadapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	grpcbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// An rpc is what unary calls and streams have in common: the call, its first
// attempt and the headers by which it is matched, in one allocation.
type rpc struct {
	call    engine.Call
	first   try
	client  *client
	cc      *grpc.ClientConn
	channel *channel // nil until known
	ctx     context.Context
	method  string
	options options
	moves   atomic.Int32 // see maxMoves
	md      metadata.MD  // of ctx; read when it is asked for
}

// prepare fills in what the engine must know of the call.
func (r *rpc) prepare(name string) {
	r.call.Protocol = engine.GRPC
	r.call.WaitForHost = r.options.wait
	r.call.Request = resolver.Request{Authority: name, Scheme: "http", Method: "POST", Path: r.method, Header: r}
	if a := r.options.authority; a != "" {
		r.call.Request.Authority = a
	}
}

// Values implements resolver.Header over the outgoing metadata. Binary headers
// cannot be matched (gRFC A28).
func (r *rpc) Values(name resolver.HeaderName) []string {
	if strings.HasSuffix(name.Lower, "-bin") {
		return nil
	}
	if name.Lower == "content-type" {
		return contentType
	}
	if r.md == nil {
		if r.md, _ = metadata.FromOutgoingContext(r.ctx); r.md == nil {
			r.md = metadata.MD{}
		}
	}
	return r.md[name.Lower]
}

var contentType = []string{"application/grpc"}

// Connected implements engine.Transport. It may be asked by attempts that run side by side.
func (r *rpc) Connected(h *balancer.Host) bool {
	ch := r.connections()
	return ch != nil && ch.picker.Load().connected(h)
}

// connections are those of the call's ClientConn; nil while they are not known.
func (r *rpc) connections() *channel {
	if r.channel != nil {
		return r.channel
	}
	return r.client.channelOf(r.cc)
}

// begin makes the context of an attempt of the call's own.
func (r *rpc) begin(ctx context.Context, a *engine.Attempt) *try {
	t := &r.first
	if t.rpc != nil {
		t = new(try) // gRPC may still hold the context of the attempt before
		r.options.reset()
	}
	t.begin(ctx, r, a)
	return t
}

// begin makes t the context of an attempt.
func (t *try) begin(ctx context.Context, r *rpc, a *engine.Attempt) {
	if a.Retries > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, "grpc-previous-rpc-attempts", strconv.Itoa(a.Retries))
	}
	if len(a.Header) > 0 {
		pairs := make([]string, 0, 2*len(a.Header))
		for _, f := range a.Header {
			pairs = append(pairs, f.Name, f.Value)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, pairs...)
	}
	t.ctx, t.rpc, t.attempt = ctx, r, a
	// As far as the policy can be foreseen. If it would not try again, gRPC does, as without the mesh.
	_, t.elsewhere = r.call.Route().Policy.Retry.Next(uint32(a.Retries)+1, refusal)
}

var refusal = resilience.Outcome{Err: errRefused, Cause: resilience.Refused}

// A try is one attempt on its way through gRPC. It is the context of the
// attempt, by which the picker finds it.
type try struct {
	ctx       context.Context
	rpc       *rpc
	attempt   *engine.Attempt
	elsewhere bool   // what is refused may go to another host
	guard     *guard // nil if nothing is to be watched

	cause    atomic.Uint32 // why the picker gave no connection
	pending  atomic.Bool   // counted as one that waits for a connection
	full     atomic.Bool   // there were as many that wait as there may be
	sent     atomic.Bool   // a stream was opened
	answered atomic.Bool   // the server has sent something on it
	trailers atomic.Pointer[trailers]

	phase atomic.Uint32 // of a stream
	err   error         // of a stream that ended; set before phase
}

type tryKey struct{}

// Value implements context.Context.
func (t *try) Value(key any) any {
	if _, ok := key.(tryKey); ok {
		return t
	}
	return t.ctx.Value(key)
}

// Deadline implements context.Context.
func (t *try) Deadline() (time.Time, bool) { return t.ctx.Deadline() }

// Done implements context.Context.
func (t *try) Done() <-chan struct{} { return t.ctx.Done() }

// Err implements context.Context.
func (t *try) Err() error { return t.ctx.Err() }

// done is told by gRPC how a stream ended. The zero DoneInfo means that the
// connection was gone before there was one.
func (t *try) done(i grpcbalancer.DoneInfo) {
	if i.BytesSent {
		t.sent.Store(true)
	}
	if i.BytesReceived {
		t.answered.Store(true)
	}
	if len(i.Trailer) > 0 { // of a stream that fails while something is sent gRPC tells no error
		md := trailers(i.Trailer)
		t.trailers.Store(&md)
	}
}

// trailers are the end of an answer, as policies read it: what a server says of the next
// try stands there (gRFC A6).
type trailers metadata.MD

// Values implements resilience.Header.
func (t *trailers) Values(name resilience.HeaderName) []string { return (*t)[name.Lower] }

// refused reports whether the picker has ended the attempt, so that another may follow.
func (t *try) refused() bool { return resilience.Cause(t.cause.Load()) != resilience.None }

// outcome says what the error of an RPC means. An error that gRPC itself has made
// of a message or an option counts as the answer it looks like: the call is not to be repeated, nor
// the error to be changed.
func (t *try) outcome(err error) resilience.Outcome {
	if err == nil {
		return resilience.Outcome{GRPC: true}
	}
	if b := t.breach(err); b != nil {
		return resilience.Outcome{Err: b.err, Cause: b.cause}
	}
	if errors.Is(err, io.EOF) && !t.answered.Load() {
		// gRPC's own second attempt has ended before the request was written to it
		// again, and it takes that for the end of an answer.
		return resilience.Outcome{Err: io.ErrUnexpectedEOF, Cause: resilience.Reset}
	}
	code := status.Code(err)
	switch cause := resilience.Cause(t.cause.Load()); {
	case code == codes.Canceled && t.ctx.Err() != nil:
		return resilience.Outcome{Err: err, Cause: resilience.Canceled}
	case code == codes.DeadlineExceeded && t.overdue():
		return resilience.Outcome{Err: err, Cause: resilience.Timeout}
	case t.full.Load():
		_, most := t.attempt.InUse()
		return resilience.Outcome{Err: fmt.Errorf("%w: %d calls wait for a connection, the most there may be (max_pending)", engine.ErrFull, most.MaxPending), Cause: cause}
	case cause != resilience.None:
		return resilience.Outcome{Err: err, Cause: cause}
	case code == codes.Unavailable && t.sent.Load() && !t.answered.Load():
		return resilience.Outcome{Err: err, Cause: resilience.Reset}
	}
	out := resilience.Outcome{GRPC: true, Code: uint32(code)}
	if md := t.trailers.Load(); md != nil {
		out.Header = md
	}
	return out
}

// overdue reports whether the deadline has passed, which gRPC may see before the context does.
func (t *try) overdue() bool {
	d, ok := t.ctx.Deadline()
	return ok && !d.After(time.Now())
}
