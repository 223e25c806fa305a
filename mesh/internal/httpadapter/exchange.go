package httpadapter

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// An exchange is one request and its response, as the engine's Transport. All
// that a call which is answered at its first attempt needs is part of it.
type exchange struct {
	call  engine.Call
	round *RoundTripper
	req   *http.Request // the caller's
	body  requestBody
	resp  *http.Response // of the newest attempt; nil if there is none
	held  responseBody   // its body, if the attempt goes on
	first outgoing
}

// outgoing is what one attempt needs. Attempts do not share it: the transport
// may look at a request for a while after it gave it up.
type outgoing struct {
	ctx attemptContext
	url url.URL
}

func newExchange(t *RoundTripper, req *http.Request) *exchange {
	x := &exchange{round: t, req: req}
	x.body.open(req)
	x.call.Protocol = engine.HTTP
	r := &x.call.Request
	if r.Authority = req.Host; r.Authority == "" {
		r.Authority = req.URL.Host
	}
	if r.Method = req.Method; r.Method == "" {
		r.Method = http.MethodGet
	}
	r.Scheme, r.Path, r.Query = req.URL.Scheme, wirePath(req.URL), req.URL.RawQuery
	r.Header = header(req.Header)
	x.call.Unbounded = upgrades(req.Header)
	x.call.Idempotent = idempotent(r.Method, req.Header)
	return x
}

// Send sends the request to the host of the attempt and waits for the response's header.
func (x *exchange) Send(ctx context.Context, a *engine.Attempt) resilience.Outcome {
	x.discard()
	upgrade := upgrades(x.req.Header)
	transport, secure, err := x.round.pool.transport(a.Cluster, x.req.URL, upgrade)
	if err != nil {
		return resilience.Outcome{Err: err, Cause: resilience.Unsent}
	}
	keep := int64(0)
	if a.Call().Route().Policy.Retry.Attempts > 0 {
		keep = maxKept
	}
	body, err := x.body.next(ctx, keep)
	if err != nil {
		return failure(ctx, err)
	}
	resp, err := transport.RoundTrip(x.outgoing(ctx, a, body, secure, upgrade)) //nolint:bodyclose // the caller does
	if err != nil {
		return x.failure(ctx, err)
	}
	return x.answered(resp, a)
}

// Replayable reports whether the body can be sent again.
func (x *exchange) Replayable() bool { return x.body.replayable() }

// Connected is true of every host: connections are made when they are wanted.
func (x *exchange) Connected(*balancer.Host) bool { return true }

// outgoing is the request as the attempt sends it. It shares the caller's
// headers, which transports do not modify.
func (x *exchange) outgoing(ctx context.Context, a *engine.Attempt, body io.ReadCloser, secure, upgrade bool) *http.Request {
	o := &x.first
	if a.Number > 1 {
		o = new(outgoing)
	}
	o.ctx.Context, o.ctx.attempt, o.ctx.upgrade = ctx, a, upgrade //nolint:fatcontext // each attempt wraps the call's context once
	o.url = *x.req.URL
	o.url.Host, o.url.Scheme = a.Host.Addr(), "http"
	if secure {
		o.url.Scheme = "https"
	}
	out := x.req.WithContext(&o.ctx)
	out.URL, out.Host, out.Body = &o.url, x.call.Request.Authority, body
	if a.Retries > 0 {
		a.Header = append(a.Header, engine.Field{Name: "x-envoy-attempt-count", Value: strconv.Itoa(a.Retries + 1)})
	}
	if len(a.Header) > 0 {
		out.Header = withFields(x.req.Header, a.Header)
	}
	return out
}

// answered takes the response of the attempt.
func (x *exchange) answered(resp *http.Response, a *engine.Attempt) resilience.Outcome {
	resp.Request = x.req
	x.resp = resp
	if resp.Body == http.NoBody {
		if !a.Answered() {
			return resilience.Outcome{Err: errLate, Cause: resilience.Canceled}
		}
	} else {
		if !a.Hold() {
			return resilience.Outcome{Err: errLate, Cause: resilience.Canceled}
		}
		x.held = responseBody{ReadCloser: resp.Body, attempt: a, status: resp.StatusCode}
		if conn, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
			resp.Body = &upgraded{conn, a}
		} else {
			resp.Body = &x.held
		}
	}
	out := resilience.Outcome{Status: resp.StatusCode}
	if a.Call().Route().Policy.Retry.Attempts > 0 {
		out.Header = header(resp.Header)
	}
	return out
}

var errLate = errors.New("the answer came too late")

const (
	maxDrained = 16 << 10
	drainTime  = 50 * time.Millisecond
)

// discard drops the answer of the attempt before, if there is one. A short one is read first, so
// that its connection can be used again.
func (x *exchange) discard() {
	if x.resp == nil {
		return
	}
	body := x.resp.Body
	if body == &x.held {
		body = x.held.ReadCloser // what becomes of it is of no interest any more
	}
	if n := x.resp.ContentLength; x.resp.StatusCode != http.StatusSwitchingProtocols && n >= -1 && n <= maxDrained {
		stuck := time.AfterFunc(drainTime, func() { body.Close() })
		_, _ = io.CopyN(io.Discard, body, maxDrained) // an answer that is longer, or breaks, costs its connection
		stuck.Stop()
	}
	body.Close()
	x.resp = nil
}

// failure is the outcome of an attempt that got no response.
func (x *exchange) failure(ctx context.Context, err error) resilience.Outcome {
	out := failure(ctx, err)
	if broken := x.body.broken(); broken != nil && ctx.Err() == nil {
		return resilience.Outcome{Err: broken, Cause: resilience.Canceled}
	}
	select {
	case <-x.req.Cancel: //nolint:staticcheck // deprecated, but http.Client's Timeout still uses it
		out.Cause = resilience.Canceled
	default:
	}
	return out
}

// response is the answer of a call that has one. It is called once, after the engine is done.
func (x *exchange) response() *http.Response {
	if x.resp.Body == &x.held {
		x.held.watch()
	}
	return x.resp
}

// attemptContext is the context of an attempt's request. By it, the transport's
// dial finds the attempt that it is for.
type attemptContext struct {
	context.Context
	attempt *engine.Attempt
	upgrade bool // needs HTTP/1.1
	dials   atomic.Int32
}

type attemptKey struct{}

func (c *attemptContext) Value(key any) any {
	if key == (attemptKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// header is http.Header as routes and retry policies read it.
type header http.Header

func (h header) Values(n resolver.HeaderName) []string { return h[n.Canonical] }

// withFields is h and the fields; where h has a field already, it is replaced.
func withFields(h http.Header, fields []engine.Field) http.Header {
	out := make(http.Header, len(h)+len(fields))
	maps.Copy(out, h)
	values := make([]string, len(fields))
	for i, f := range fields {
		values[i] = f.Value
		out[textproto.CanonicalMIMEHeaderKey(f.Name)] = values[i : i+1 : i+1]
	}
	return out
}

// wirePath is the path as it goes on the wire, without the query.
func wirePath(u *url.URL) string {
	path := u.EscapedPath()
	if u.Opaque != "" {
		path = u.Opaque
		if absolute, ok := strings.CutPrefix(path, "//"); ok {
			_, after, _ := strings.Cut(absolute, "/")
			path = "/" + after
		}
	}
	if path == "" {
		return "/"
	}
	return path
}

// idempotent reports that a request does no harm when it is processed twice: by its method (RFC 9110,
// 9.2.2), or because it carries a key by which the server knows it again.
func idempotent(method string, h http.Header) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return len(h["Idempotency-Key"]) > 0 || len(h["X-Idempotency-Key"]) > 0
}

// upgrades reports that a request asks to leave HTTP, which takes HTTP/1.1.
func upgrades(h http.Header) bool {
	return len(h["Upgrade"]) > 0 && h["Upgrade"][0] != ""
}
