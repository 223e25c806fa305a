package httpadapter

import (
	"context"
	"net/http"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// An exchange is one request and its response, as the engine's Transport. All
// that a call which is answered at its first attempt needs is part of it.
type exchange struct {
	carrier
	call  engine.Call
	won   *carrier // whose answer is that of the call
	given bool     // it is one that no server gave
}

func newExchange(t *RoundTripper, req *http.Request) *exchange {
	x := &exchange{carrier: carrier{pool: &t.pool, req: req}}
	x.won = &x.carrier
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

// Send is that of the carrier. The answer it replaces may be that of another.
func (x *exchange) Send(ctx context.Context, a *engine.Attempt) resilience.Outcome {
	if x.won != &x.carrier {
		x.won.discard()
		x.won = &x.carrier
	}
	return x.carrier.Send(ctx, a)
}

// response is the answer of a call that has one. It is called once, after the engine is done.
func (x *exchange) response() *http.Response {
	c := x.won
	x.keep(c)
	if c.resp.Body == &c.held {
		c.held.watch()
	}
	return c.resp
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
