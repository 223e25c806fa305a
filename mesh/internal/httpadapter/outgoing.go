package httpadapter

import (
	"context"
	"io"
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
	ctx attemptContext
	url url.URL
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
	o.ctx.Context = ctx
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
	var few [8]engine.Field
	fields := append(few[:0], a.Header...)
	if a.Retries > 0 {
		fields = append(fields, engine.Field{Name: "x-envoy-attempt-count", Value: strconv.Itoa(a.Retries + 1)})
	}
	if deadline, ok := o.ctx.Deadline(); ok && !o.ctx.upgrade {
		if left, ok := timeLeft(req.Header, time.Until(deadline)); ok {
			fields = append(fields, engine.Field{Name: expectedTimeout.Lower, Value: left})
		}
	}
	if len(fields) > 0 {
		out.Header = withFields(req.Header, fields)
	}
	return out
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
