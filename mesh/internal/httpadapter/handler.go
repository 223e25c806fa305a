package httpadapter

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Handler serves next as inbound calls of e. next sees a ResponseWriter that records the status and
// completes the header, and keeps Flusher, Hijacker, Pusher, io.ReaderFrom and http.ResponseController working.
//
// The request's context ends when the caller waits no longer, as it said by
// x-envoy-expected-rq-timeout-ms or grpc-timeout.
func Handler(e *engine.Engine, next http.Handler) http.Handler { return &handler{e, next} }

type handler struct {
	engine *engine.Engine
	next   http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := &served{next: h.next, w: w, r: r, remote: remote(r.RemoteAddr)}
	s.call.Protocol = engine.HTTP
	s.call.Request = resolver.Request{
		Authority: host(r),
		Scheme:    "http",
		Method:    r.Method,
		Header:    header(r.Header),
	}
	s.call.Request.Path, s.call.Request.Query = asked(r)
	if r.TLS != nil {
		s.call.Request.Scheme = "https"
	}
	s.path, s.query = wirePath(r.URL), r.URL.RawQuery
	s.call.Incoming = s
	s.call.Local, _ = r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	s.call.Remote = &s.remote
	s.call.Stream = streams(r.Header)
	// Before any header is read: some may have been sent by who may not.
	h.engine.Meet(&s.call)
	ctx, cancel := withDeadline(r.Context(), r.Header)
	if cancel != nil {
		defer cancel()
	}
	if _, refusal := h.engine.Serve(ctx, &s.call, s.handle); refusal != nil {
		s.refuse(refusal)
	}
}

// served is one request that is being served.
type served struct {
	call   engine.InboundCall
	next   http.Handler
	w      http.ResponseWriter
	r      *http.Request
	path   string // as it came, as is the query
	query  string
	remote remote
	rec    recorder
}

func (s *served) handle(ctx context.Context) resilience.Outcome {
	r := s.r.WithContext(ctx)
	s.readdress(r)
	if s.call.Stream {
		r.Header = r.Header.Clone() // the handler may write it, and rules may be asked again while it runs
	}
	// What the handler leaves in the request is for those around it, the server included, which
	// removes the files of forms.
	defer func() { s.r.MultipartForm, s.r.Pattern = r.MultipartForm, r.Pattern }()
	s.rec.ResponseWriter, s.rec.call = s.w, &s.call
	var body *paced
	if flow := s.call.Flow(); flow != nil {
		if r.Body != http.NoBody {
			body = newPaced(ctx, r.Body, flow.Request)
			r.Body = body
		}
		if r.Method != http.MethodHead { // whose answer has no body, whatever is written
			s.rec.ctx, s.rec.pass = ctx, flow.Response //nolint:fatcontext // it is kept, not nested
		}
	}
	s.next.ServeHTTP(s.rec.writer(), r)
	s.rec.note(http.StatusOK)
	if s.rec.cut || body != nil && body.cut || s.call.Cut() != nil {
		panic(http.ErrAbortHandler)
	}
	out := resilience.Outcome{Status: s.rec.status}
	if err := s.r.Context().Err(); err != nil { // the client left, or the server is being closed
		out.Err, out.Cause = err, resilience.Canceled
	}
	return out
}

// refuse answers in the handler's place.
func (s *served) refuse(why *engine.Refusal) {
	if why.Cut {
		panic(http.ErrAbortHandler)
	}
	h := s.w.Header()
	if s.call.Leaving() {
		h.Set("Connection", "close")
	}
	set(h, s.call.Header())
	set(h, why.Header)
	if len(h["Content-Type"]) == 0 {
		h.Set("Content-Type", "text/plain")
	}
	s.w.WriteHeader(why.Status)
	_, _ = io.WriteString(s.w, why.Text) // who does not hear it has left
}

// streams reports that an answer lasts as long as the peers like: a connection that leaves HTTP, or events.
func streams(h http.Header) bool {
	return upgrades(h) || len(h["Accept"]) > 0 && strings.HasPrefix(h["Accept"][0], "text/event-stream")
}

// set puts the fields in the place of what h has of their names.
func set(h http.Header, fields []engine.Field) {
	for _, f := range fields {
		h.Set(f.Name, f.Value)
	}
}

// remote is the address of a client as the server wrote it.
type remote string

func (*remote) Network() string { return "tcp" }

func (r *remote) String() string { return string(*r) }
