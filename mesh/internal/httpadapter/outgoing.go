package httpadapter

import (
	"context"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// outgoing is what one attempt needs. Attempts do not share it: the transport
// may look at a request for a while after it gave it up.
type outgoing struct {
	ctx    attemptContext
	url    url.URL
	header http.Header // nil if it is the caller's
	values [2]string   // of header
}

// outgoing is that of another attempt.
func (c *carrier) outgoing(ctx context.Context, a *engine.Attempt, upgrade bool) *outgoing {
	o := &c.first
	if o.ctx.attempt != nil {
		o = new(outgoing)
	}
	o.ctx.pool, o.ctx.attempt, o.ctx.upgrade = c.pool, a, upgrade
	o.ctx.use, o.ctx.most = a.InUse()
	if use := o.ctx.use; use.Connections.Count()+use.Requests.Count() >= int64(o.ctx.most.MaxConnections) {
		// It may have to wait for a connection, and there is no other way to learn that it waits no more.
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GetConn: func(string) { o.ctx.wants() },
			GotConn: func(httptrace.GotConnInfo) { o.ctx.got() },
		})
	}
	o.ctx.Context = ctx //nolint:fatcontext // each attempt wraps the call's context once
	return o
}

// request is the caller's request as the attempt sends it. They share the
// headers, which transports do not modify.
func (o *outgoing) request(req *http.Request, body io.ReadCloser, secure bool) *http.Request {
	a := o.ctx.attempt
	o.url = *req.URL
	o.url.Host, o.url.Scheme = a.Host.Addr(), "http"
	if secure {
		o.url.Scheme = "https"
	}
	out := req.WithContext(&o.ctx)
	out.URL, out.Host, out.Body = &o.url, a.Call().Request.Authority, body
	o.head(req.Header, a)
	if o.header != nil {
		out.Header = o.header
	}
	return out
}

// head adds to the caller's headers h what the attempt says of itself.
func (o *outgoing) head(h http.Header, a *engine.Attempt) {
	for _, f := range a.Header {
		o.set(h, textproto.CanonicalMIMEHeaderKey(f.Name), []string{f.Value})
	}
	if a.Retries > 0 {
		o.values[0] = strconv.Itoa(a.Retries + 1)
		o.set(h, "X-Envoy-Attempt-Count", o.values[0:1:1])
	}
	if deadline, ok := o.ctx.Deadline(); ok && !o.ctx.upgrade {
		if left, less := timeLeft(h, time.Until(deadline)); less {
			o.values[1] = left
			o.set(h, expectedTimeout.Canonical, o.values[1:2:2])
		}
	}
}

// set sets a header of the attempt's own headers, which begin as h.
func (o *outgoing) set(h http.Header, name string, values []string) {
	if o.header == nil {
		o.header = make(http.Header, len(h)+3)
		maps.Copy(o.header, h)
	}
	o.header[name] = values
}

// attemptContext is the context of an attempt's request. By it, the transport's
// dial finds the attempt that it is for.
type attemptContext struct {
	context.Context
	pool    *pool
	attempt *engine.Attempt
	use     *resilience.InUse // of the attempt, whose call may be elsewhere when a dial asks
	most    resilience.Thresholds
	upgrade bool // needs HTTP/1.1
	dials   atomic.Int32
	sends   int // how often net/http has begun to send the request

	served  atomic.Bool  // has a connection, or needs none any more
	waiting atomic.Int32 // dials that wait
}

type attemptKey struct{}

func (c *attemptContext) Value(key any) any {
	if key == (attemptKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// wants says that the attempt looks for a connection.
func (c *attemptContext) wants() { c.served.Store(false) }

// got says that it has one, though perhaps not by a dial of its own, or that it is over.
func (c *attemptContext) got() {
	c.served.Store(true)
	if c.waiting.Load() > 0 {
		c.pool.connections.release(c)
	}
}

// header is http.Header as routes and retry policies read it.
type header http.Header

func (h header) Values(n resolver.HeaderName) []string { return h[n.Canonical] }

// All yields each header with its values.
func (h header) All() iter.Seq2[string, []string] { return maps.All(h) }

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
