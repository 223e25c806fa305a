package httpadapter

import (
	"context"
	"io"
	"net/http"

	"github.com/weftmesh/weft/mesh/internal/engine"
)

// paceSize is how much of a body is read ahead of what may go.
const paceSize = 16 << 10

// A paced reads a body as fast as it may go. It is given a method of an engine.Flow.
type paced struct {
	body  io.ReadCloser
	pass  func(context.Context, int) (int, error)
	ctx   context.Context
	close context.CancelFunc
	buf   []byte // nil before the first Read
	read  []byte // of buf, what was read and may not go yet
	err   error  // how body ended
	cut   bool   // it was broken off
}

func newPaced(ctx context.Context, body io.ReadCloser, pass func(context.Context, int) (int, error)) *paced {
	p := &paced{body: body, pass: pass}
	p.ctx, p.close = context.WithCancel(ctx)
	return p
}

func (p *paced) Read(b []byte) (int, error) {
	if len(p.read) == 0 {
		if p.err != nil || len(b) == 0 {
			return 0, p.err
		}
		if p.buf == nil {
			p.buf = make([]byte, paceSize)
		}
		n, err := p.body.Read(p.buf)
		if p.read, p.err = p.buf[:n], err; n == 0 {
			return 0, p.end()
		}
	}
	n, err := p.pass(p.ctx, min(len(b), len(p.read)))
	if err != nil {
		p.read, p.err, p.cut = nil, err, true
		_ = p.Close() // it is broken already
		return 0, err
	}
	n = copy(b, p.read[:n])
	if p.read = p.read[n:]; len(p.read) == 0 {
		return n, p.end()
	}
	return n, nil
}

// end is how body ended, if it has, once all that was read of it has gone.
func (p *paced) end() error {
	if p.err != nil {
		p.close()
	}
	return p.err
}

// Close ends a Read that waits, too.
func (p *paced) Close() error {
	p.close()
	return p.body.Close()
}

// write writes b to w as fast as it may go. What is held back is not let wait in buffers: flush is
// called before each pause.
func write(ctx context.Context, w io.Writer, b []byte, pass func(context.Context, int) (int, error), flush func()) (written int, err error) {
	for len(b) > 0 {
		n, err := pass(ctx, len(b))
		if err != nil {
			return written, err
		}
		n, err = w.Write(b[:n])
		written += n
		if err != nil {
			return written, err
		}
		if b = b[n:]; len(b) > 0 {
			flush()
		}
	}
	return written, nil
}

// watchSending makes the body of a request go at the pace of flow, and count for quiet. Both may be nil.
func watchSending(req *http.Request, flow *engine.Flow, quiet *idle) {
	if flow == nil && quiet == nil {
		return
	}
	watched := func(body io.ReadCloser) io.ReadCloser {
		if flow != nil {
			body = newPaced(req.Context(), body, flow.Request)
		}
		return &sent{body, quiet}
	}
	req.Body = watched(req.Body)
	if again := req.GetBody; again != nil {
		req.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			if err != nil {
				return nil, err
			}
			return watched(body), nil
		}
	}
}

// sent is a body whose bytes count for quiet as they are sent.
type sent struct {
	io.ReadCloser
	quiet *idle
}

func (s *sent) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.quiet.touch()
	return n, err
}
