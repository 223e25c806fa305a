package httpadapter

import (
	"context"
	"net"
	"net/http"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Handler serves next as inbound calls of e. next sees the ResponseWriter as the
// server made it; with an observer, one that records the status and keeps
// Flusher, Hijacker, Pusher, io.ReaderFrom and http.ResponseController working.
func Handler(e *engine.Engine, next http.Handler) http.Handler { return &handler{e, next} }

type handler struct {
	engine *engine.Engine
	next   http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := &served{next: h.next, w: w, r: r, remote: remote(r.RemoteAddr)}
	s.call.Protocol = engine.HTTP
	s.call.Request = resolver.Request{
		Authority: r.Host,
		Scheme:    "http",
		Method:    r.Method,
		Path:      wirePath(r.URL),
		Query:     r.URL.RawQuery,
		Header:    header(r.Header),
	}
	if r.TLS != nil {
		s.call.Request.Scheme = "https"
	}
	s.call.Local, _ = r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	s.call.Remote = &s.remote
	h.engine.Serve(r.Context(), &s.call, s.handle)
}

// served is one request that is being served.
type served struct {
	call   engine.InboundCall
	next   http.Handler
	w      http.ResponseWriter
	r      *http.Request
	remote remote
	rec    recorder
}

func (s *served) handle(ctx context.Context) resilience.Outcome {
	w, r := s.w, s.r
	if ctx != r.Context() {
		r = r.WithContext(ctx)
		// What the handler leaves in the request is for those around it, the server included, which
		// removes the files of forms.
		defer func() { s.r.MultipartForm, s.r.Pattern = r.MultipartForm, r.Pattern }()
	}
	if s.call.Start().IsZero() { // nobody observes
		s.next.ServeHTTP(w, r)
		return resilience.Outcome{}
	}
	s.rec.ResponseWriter = w
	s.next.ServeHTTP(s.rec.writer(), r)
	out := resilience.Outcome{Status: s.rec.status}
	if out.Status == 0 {
		out.Status = http.StatusOK
	}
	if err := s.r.Context().Err(); err != nil { // the client left, or the server is being closed
		out.Err, out.Cause = err, resilience.Canceled
	}
	return out
}

// remote is the address of a client as the server wrote it.
type remote string

func (*remote) Network() string { return "tcp" }

func (r *remote) String() string { return string(*r) }
