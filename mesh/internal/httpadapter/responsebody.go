package httpadapter

import (
	"context"
	"errors"
	"io"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// A responseBody ends its attempt when it was read to the end or closed, or the
// attempt's context ended.
type responseBody struct {
	io.ReadCloser
	attempt *engine.Attempt
	status  int
	stop    func() bool // nil if the context cannot end
}

// watch makes the end of the context count even if the caller never comes back
// to the body. It is called before the caller has it.
func (b *responseBody) watch() {
	if ctx := b.attempt.Context(); ctx.Done() != nil {
		b.stop = context.AfterFunc(ctx, b.abandoned)
	}
}

func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.finish(err)
	}
	return n, err
}

func (b *responseBody) Close() error {
	err := b.ReadCloser.Close()
	b.finish(nil)
	return err
}

func (b *responseBody) abandoned() { b.attempt.Finish(b.outcome(b.attempt.Context().Err())) }

func (b *responseBody) finish(err error) {
	if b.stop != nil {
		b.stop()
	}
	b.attempt.Finish(b.outcome(err))
}

// outcome is how the attempt ended whose body gave err.
func (b *responseBody) outcome(err error) resilience.Outcome {
	if err == nil || errors.Is(err, io.EOF) {
		return resilience.Outcome{Status: b.status}
	}
	out := failure(b.attempt.Context(), err)
	out.Status = b.status
	return out
}

// upgraded is the connection of a response that left HTTP (101). Like the
// connection itself, it does not end with the request's context.
type upgraded struct {
	io.ReadWriteCloser
	attempt *engine.Attempt
}

func (u *upgraded) Close() error {
	err := u.ReadWriteCloser.Close()
	u.attempt.Finish(resilience.Outcome{Status: 101})
	return err
}

// CloseWrite ends the sending side, if the connection has that.
func (u *upgraded) CloseWrite() error {
	if c, ok := u.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
