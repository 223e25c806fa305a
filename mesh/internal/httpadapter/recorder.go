package httpadapter

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/weftmesh/weft/mesh/internal/engine"
)

// A recorder is a ResponseWriter that remembers the status, adds the call's headers, and lets
// the body go at the call's pace, unless the connection is hijacked. Embedded in one of
// the types below, it has the optional methods of the one it wraps.
type recorder struct {
	http.ResponseWriter
	call   *engine.InboundCall
	ctx    context.Context
	pass   func(context.Context, int) (int, error) // of the body; nil if nothing paces it
	status int                                     // 0 before the header was written
	cut    bool                                    // the body was broken off

	hijacked atomic.Pointer[net.Conn] // what the handler took over
}

// writer is the recorder with those optional methods that the wrapped writer has:
// what a handler finds by a type assertion must not change.
func (r *recorder) writer() http.ResponseWriter {
	_, flushes := r.ResponseWriter.(http.Flusher)
	_, hijacks := r.ResponseWriter.(http.Hijacker)
	_, pushes := r.ResponseWriter.(http.Pusher)
	_, reads := r.ResponseWriter.(io.ReaderFrom)
	switch {
	case flushes && hijacks && reads: // HTTP/1.1
		return http1Recorder{flushRecorder{r}}
	case flushes && hijacks:
		return hijackRecorder{flushRecorder{r}}
	case flushes && pushes: // HTTP/2
		return pushRecorder{flushRecorder{r}}
	case flushes:
		return flushRecorder{r}
	default:
		return r
	}
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols { // others announce
		r.note(status)
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.note(http.StatusOK)
	if !r.call.Stays() {
		return 0, errDenied
	}
	if r.pass != nil {
		return r.paced(p)
	}
	return r.ResponseWriter.Write(p)
}

// WriteString saves the copy where the wrapped writer does.
func (r *recorder) WriteString(s string) (int, error) {
	r.note(http.StatusOK)
	if !r.call.Stays() {
		return 0, errDenied
	}
	if r.pass != nil {
		return r.paced([]byte(s))
	}
	return io.WriteString(r.ResponseWriter, s)
}

// note keeps the first status, which is the one that is sent, and completes the header.
func (r *recorder) note(status int) {
	if r.status != 0 {
		return
	}
	r.status = status
	set(r.Header(), r.call.Header())
	if r.call.Leaving() {
		r.Header().Set("Connection", "close")
	}
	if status >= 500 && r.call.Spent() {
		r.Header().Set("X-Envoy-Overloaded", "true")
	}
}

// paced writes p as fast as it may go. Where that is broken off, what went before is to arrive.
func (r *recorder) paced(p []byte) (int, error) {
	flush := func() { _ = http.NewResponseController(r.ResponseWriter).Flush() } // a writer that can't has no buffer to speak of
	n, err := write(r.ctx, r.ResponseWriter, p, r.pass, flush)
	if err != nil {
		flush()
		r.cut = true
	}
	return n, err
}

var errDenied = errors.New("the caller may not make the call any more")

type flushRecorder struct{ *recorder }

func (r flushRecorder) Flush() {
	r.note(http.StatusOK)
	r.ResponseWriter.(http.Flusher).Flush()
}

func (r flushRecorder) FlushError() error {
	if f, ok := r.ResponseWriter.(interface{ FlushError() error }); ok {
		r.note(http.StatusOK)
		return f.FlushError()
	}
	r.Flush()
	return nil
}

type hijackRecorder struct{ flushRecorder }

// Hijack takes the connection over; without a status before it is taken for an upgrade.
func (r hijackRecorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := r.ResponseWriter.(http.Hijacker).Hijack()
	if err == nil && r.status == 0 {
		r.status = http.StatusSwitchingProtocols
	}
	if err == nil {
		r.hijacked.Store(&conn)
		if r.call.Cut() != nil { // just before
			conn.Close()
		}
	}
	return conn, rw, err
}

type http1Recorder struct{ flushRecorder }

// Hijack is that of hijackRecorder.
func (r http1Recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return hijackRecorder(r).Hijack()
}

// ReadFrom lets the server send files without copying, unless the body is paced.
func (r http1Recorder) ReadFrom(src io.Reader) (int64, error) {
	if r.pass != nil {
		return io.Copy(writerOnly{r.recorder}, src)
	}
	r.note(http.StatusOK)
	if !r.call.Stays() {
		return 0, errDenied
	}
	return r.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
}

// writerOnly hides ReadFrom.
type writerOnly struct{ io.Writer }

type pushRecorder struct{ flushRecorder }

func (r pushRecorder) Push(target string, o *http.PushOptions) error {
	return r.ResponseWriter.(http.Pusher).Push(target, o)
}
