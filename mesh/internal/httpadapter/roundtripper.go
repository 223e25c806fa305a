// Package httpadapter carries net/http requests through the engine: a
// [RoundTripper] those that this process sends, a [Handler] those it serves.
package httpadapter

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resolver"
)

// Config is what a RoundTripper is made of. The zero Config is usable.
type Config struct {
	// AllowAny passes requests to hosts that the mesh does not know to Base.
	// Otherwise they are refused (Istio outboundTrafficPolicy REGISTRY_ONLY).
	AllowAny bool
	// Base carries what is passed through; nil means a clone of http.DefaultTransport.
	// If it is an *http.Transport, its TLSClientConfig is also that of https requests to
	// clusters that demand no TLS of their own.
	Base http.RoundTripper
}

// A RoundTripper sends requests to the services of an engine, each named by the
// request's URL.Host. It is safe for concurrent use and has the semantics of
// http.Transport, with this in addition:
//
// The Host header stays the caller's. If the mesh could not get an answer, the
// error is (errors.As) an [*engine.Error]. A body is sent again on a
// retry by GetBody or, without that, from a buffer of up to 64 KiB; a larger one only if none of it
// was read. A response ends its attempt, and so counts at its host, when its
// body is read to the end or closed, or the request's context ends.
//
// Servers are told by x-envoy-expected-rq-timeout-ms how long the context has, but never more than a
// header of that name says already. Where a route falls back to the last good answer, answers to GET and HEAD are kept as their
// bodies are read to the end, but for those that say no-store or private, set a cookie, or vary by
// what tells one request from another of the same caller.
//
// The limits of its connections, by way of [http.Transport]: 1 MiB of response
// headers; dialing and TLS handshake together the cluster's ConnectTimeout or 5 s;
// idle connections are kept for 90 s, 128 a host and 4096 in all; the cluster's thresholds bound its
// connections, but for the first to each host, and how many calls wait for one;
// HTTP/2 connections that are silent for 30 s are pinged and closed after
// 15 s without an answer. No proxy is used for services of the mesh.
type RoundTripper struct {
	engine   *engine.Engine
	base     http.RoundTripper
	ownBase  bool
	allowAny bool
	pool     pool
}

// New returns a RoundTripper to the services of e.
func New(e *engine.Engine, c Config) *RoundTripper {
	t := &RoundTripper{engine: e, base: c.Base, allowAny: c.AllowAny}
	if t.base == nil {
		t.base = http.DefaultTransport
		if d, ok := t.base.(*http.Transport); ok {
			t.base, t.ownBase = d.Clone(), true
		}
	}
	t.pool.engine = e
	t.pool.open()
	if base, ok := t.base.(*http.Transport); ok && base.TLSClientConfig != nil {
		t.pool.tls = base.TLSClientConfig.Clone()
	}
	return t
}

// RoundTrip implements http.RoundTripper.
func (t *RoundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL == nil || req.Header == nil || req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return t.base.RoundTrip(req) // to no host: the base has the words to refuse it
	}
	service := t.engine.Service(serviceName(req.URL.Host))
	if t.allowAny && service.Value() == nil {
		// Asked before the call is made: what is passed through is no failed call of the mesh.
		if err := service.Await(req.Context()); unknown(err) {
			return t.passThrough(req, err)
		}
	}
	if req.Method == http.MethodConnect {
		closeBody(req)
		return nil, &engine.Error{Kind: engine.NoRoute, Service: service.Name(), Err: errConnect}
	}
	x := newExchange(t, req)
	_, err := service.Do(req.Context(), &x.call, x)
	if err != nil && t.allowAny && unknown(err) { // it was known a moment ago; nothing was sent
		return t.passThrough(req, err)
	}
	x.body.settle()
	if err != nil {
		x.won.discard() // of an attempt that no other could follow after all
		return nil, err
	}
	return x.response(), nil
}

// CloseIdleConnections closes the connections that carry no request.
func (t *RoundTripper) CloseIdleConnections() {
	t.pool.closeIdle()
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok && t.ownBase {
		base.CloseIdleConnections()
	}
}

// Close is CloseIdleConnections: requests that run may end, and their
// connections close with them.
func (t *RoundTripper) Close() { t.CloseIdleConnections() }

// passThrough sends a request outside the mesh. If DNS does not know the host
// either, the error holds what the mesh had to say, such as the nearest names.
func (t *RoundTripper) passThrough(req *http.Request, why error) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		err = fmt.Errorf("%w (%w)", err, why)
	}
	return resp, err
}

var errConnect = errors.New("the mesh opens no tunnels: CONNECT is not supported, dial the service instead")

// serviceName is what the URL's host is called in the mesh: names are in lower
// case, and an empty port is none.
func serviceName(host string) string { return strings.ToLower(strings.TrimSuffix(host, ":")) }

// unknown reports that the mesh has no such service, which is not the same as not knowing yet.
func unknown(err error) bool {
	if err == nil {
		return false
	}
	var u *resolver.UnknownError
	return errors.As(err, &u)
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}
