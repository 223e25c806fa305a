package httpadapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// A responseBody ends its attempt when it was read to the end or closed, or the
// attempt's context ended.
type responseBody struct {
	body    io.ReadCloser // the transport's
	paced   *paced        // of body; nil if nothing paces it
	ctx     context.Context
	attempt *engine.Attempt
	quiet   *idle    // nil without an idle time-out
	kept    *keeping // nil if the answer is not to be kept
	status  int
	stop    func() bool // nil if the context cannot end
}

// hold takes the body of an answer that goes on. ctx is what its attempt was sent with.
func (b *responseBody) hold(ctx context.Context, resp *http.Response, a *engine.Attempt, quiet *idle) {
	*b = responseBody{body: resp.Body, ctx: ctx, attempt: a, quiet: quiet, status: resp.StatusCode}
	if flow := a.Flow(); flow != nil {
		b.paced = newPaced(ctx, resp.Body, flow.Response)
	}
}

// watch makes the end of the context count even if the caller never comes back
// to the body. It is called before the caller has it.
func (b *responseBody) watch() {
	if b.ctx.Done() != nil {
		b.stop = context.AfterFunc(b.ctx, b.abandoned)
	}
}

func (b *responseBody) Read(p []byte) (n int, err error) {
	if b.paced != nil {
		n, err = b.paced.Read(p)
	} else {
		n, err = b.body.Read(p)
	}
	if n > 0 {
		b.quiet.touch()
	}
	if b.kept != nil {
		b.kept.add(p[:n], err)
	}
	if err != nil {
		err = b.overdue(err)
		b.finish(err)
	}
	return n, err
}

func (b *responseBody) Close() error {
	body := b.body
	if b.paced != nil {
		body = b.paced
	}
	err := body.Close()
	b.finish(nil)
	return err
}

// release is the body as the transport made it, of an attempt whose end is of no interest any more.
func (b *responseBody) release() io.ReadCloser {
	if b.paced != nil {
		b.paced.close()
	}
	b.quiet.stop()
	return b.body
}

// overdue is err, which reading the body ended with, or that the attempt was idle for too long.
func (b *responseBody) overdue(err error) error {
	if b.quiet != nil && !errors.Is(err, io.EOF) {
		if idle, ok := expired(b.ctx); ok && !errors.Is(err, idle) {
			return fmt.Errorf("%w: %w", idle, err)
		}
	}
	return err
}

func (b *responseBody) abandoned() {
	b.attempt.Finish(b.outcome(b.ctx.Err()))
	b.quiet.stop()
}

func (b *responseBody) finish(err error) {
	if b.stop != nil {
		b.stop()
	}
	b.attempt.Finish(b.outcome(err))
	b.quiet.stop()
}

// outcome is how the attempt ended whose body gave err.
func (b *responseBody) outcome(err error) resilience.Outcome {
	if err == nil || errors.Is(err, io.EOF) {
		return resilience.Outcome{Status: b.status}
	}
	out := failure(b.ctx, err)
	out.Status = b.status
	return out
}

// upgraded is the connection of a response that left HTTP (101). Like the
// connection itself, it does not end with the request's context.
type upgraded struct {
	io.ReadWriteCloser
	attempt *engine.Attempt
	quiet   *idle
}

func newUpgraded(conn io.ReadWriteCloser, a *engine.Attempt, quiet *idle) *upgraded {
	u := &upgraded{conn, a, quiet}
	if quiet != nil {
		quiet.upgraded.Store(u)
	}
	return u
}

func (u *upgraded) Read(p []byte) (int, error) {
	n, err := u.ReadWriteCloser.Read(p)
	u.quiet.touch()
	return n, err
}

func (u *upgraded) Write(p []byte) (int, error) {
	n, err := u.ReadWriteCloser.Write(p)
	u.quiet.touch()
	return n, err
}

func (u *upgraded) Close() error {
	err := u.ReadWriteCloser.Close()
	u.attempt.Finish(resilience.Outcome{Status: http.StatusSwitchingProtocols})
	u.quiet.stop()
	return err
}

// expire ends a connection that is idle.
func (u *upgraded) expire(err error) {
	_ = u.ReadWriteCloser.Close() // what matters is that it breaks
	u.attempt.Finish(resilience.Outcome{Err: err, Cause: resilience.Timeout, Status: http.StatusSwitchingProtocols})
}

// CloseWrite ends the sending side, if the connection has that.
func (u *upgraded) CloseWrite() error {
	if c, ok := u.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
