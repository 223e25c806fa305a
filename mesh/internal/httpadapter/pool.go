package httpadapter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/mesh/internal/tcpadapter"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

const (
	maxResponseHeader = 1 << 20
	idleTimeout       = 90 * time.Second
	maxIdlePerHost    = 128
	maxIdle           = 4096
	pingAfter         = 30 * time.Second
	pingTimeout       = 15 * time.Second
)

// A pool holds an http.Transport for each way that hosts are spoken to; each of
// these keeps the connections of its hosts by address.
type pool struct {
	engine *engine.Engine
	plain  *http.Transport // HTTP/1.1
	h2c    *http.Transport
	tls    *tls.Config // of https where the cluster demands nothing; nil means the defaults

	connections connections

	secure atomic.Pointer[map[demand]*secure] // copied on write
	mu     sync.Mutex                         // guards writing secure
	swept  time.Time
}

// A demand is what a TLS server must prove. Demands of equal content may differ
// as values, since each update of the configuration brings its own pointer; they
// share a transport, so that connections outlive the update. So do those that differ in what is revoked: connections to servers
// that are close.
type demand struct {
	tls  *identity.ClientTLS
	name string // empty where tls says the name
	old  bool   // HTTP/1.1 alone, as a request needs that is to leave HTTP
}

// secure is the transport of a demand.
type secure struct {
	*shared
	used atomic.Bool // since the last sweep
}

// shared is what demands of equal content have in common.
type shared struct {
	*http.Transport
	demand *engine.Demand // nil where the cluster demands nothing
}

func (p *pool) open() {
	p.plain, p.h2c = newTransport(), newTransport()
	p.plain.Protocols = new(http.Protocols)
	p.plain.Protocols.SetHTTP1(true)
	p.plain.Proxy = again
	p.h2c.Protocols = new(http.Protocols)
	p.h2c.Protocols.SetUnencryptedHTTP2(true)
	p.secure.Store(&map[demand]*secure{})
}

// transport returns the transport for a request to u, to a host of the cluster that must prove what is wanted, and whether it
// speaks TLS.
func (p *pool) transport(c *resolver.Cluster, wanted *identity.ClientTLS, u *url.URL, upgrade bool) (t *http.Transport, overTLS bool, err error) {
	if wanted == nil && u.Scheme == "http" {
		if c.HTTP2 && !upgrade {
			return p.h2c, false, nil
		}
		return p.plain, false, nil
	}
	d := demand{tls: wanted, old: upgrade}
	if wanted == nil || wanted.ServerName == "" {
		d.name = u.Hostname()
	}
	s := (*p.secure.Load())[d]
	if s == nil {
		if s, err = p.add(d); err != nil {
			return nil, false, fmt.Errorf("cluster %s: tls: %w", c.Name, err)
		}
	}
	if !s.used.Load() {
		s.used.Store(true)
	}
	return s.Transport, true, nil
}

// add makes the transport of a demand, or finds the one of an equal demand.
func (p *pool) add(d demand) (*secure, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := *p.secure.Load()
	if s := known[d]; s != nil {
		return s, nil
	}
	next := p.sweep(known)
	for other, s := range next {
		if other.name == d.name && other.old == d.old && s.demand.Is(d.tls) {
			s.demand.Follow(d.tls)
			next[d] = &secure{shared: s.shared}
			p.secure.Store(&next)
			return next[d], nil
		}
	}
	s := &secure{shared: &shared{Transport: newTransport()}}
	if d.tls != nil {
		s.demand = p.engine.Demand(d.tls)
	}
	conf, err := p.config(d, s.demand)
	if err != nil {
		return nil, err
	}
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	protocols := []string{"h2", "http/1.1"}
	if d.old {
		protocols = protocols[1:]
	}
	s.Protocols.SetHTTP2(!d.old)
	if s.demand != nil {
		protocols = append(protocols, conf.NextProtos...)
	}
	conf.NextProtos = protocols
	s.DialTLSContext = dialTLS(conf)
	next[d] = s
	p.secure.Store(&next)
	return s, nil
}

// sweep returns known without the demands that nobody had since the sweep
// before, at least an idle timeout ago: their values are of the past, or asleep.
// A transport that no demand leads to any more closes its idle connections.
func (p *pool) sweep(known map[demand]*secure) map[demand]*secure {
	next := maps.Clone(known)
	if time.Since(p.swept) < idleTimeout {
		return next
	}
	p.swept = time.Now()
	maps.DeleteFunc(next, func(_ demand, s *secure) bool { return !s.used.Swap(false) })
	kept := make(map[*shared]bool, len(next))
	for _, s := range next {
		kept[s.shared] = true
	}
	for _, s := range known {
		if !kept[s.shared] {
			s.CloseIdleConnections()
		}
	}
	return next
}

func (p *pool) config(d demand, of *engine.Demand) (*tls.Config, error) {
	if of != nil {
		return of.Config(d.name)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.tls != nil {
		conf = p.tls.Clone()
	}
	if conf.ServerName == "" {
		conf.ServerName = d.name
	}
	return conf, nil
}

func (p *pool) closeIdle() {
	p.plain.CloseIdleConnections()
	p.h2c.CloseIdleConnections()
	for _, s := range *p.secure.Load() {
		s.CloseIdleConnections()
	}
}

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		ExpectContinueTimeout:  time.Second,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

// dial connects to the host of the attempt that ctx is of.
func dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return ctx.Value(attemptKey{}).(*attemptContext).dial(ctx, network, nil)
}

// dialTLS is dial over TLS. It takes the place of the transport's own handshake, so that this too
// ends with the cluster's timeout and when the host leaves.
func dialTLS(conf *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return ctx.Value(attemptKey{}).(*attemptContext).dial(ctx, network, conf)
	}
}

// maxDials bounds the connections that one attempt makes. net/http knows no
// bound: without a body it goes on for as long as the host greets each connection with GOAWAY.
// One in a herd of callers, of which others take the streams of each new
// connection, rightly needs a few dozen.
const maxDials = 100

var errRefusing = errors.New("the host shuts down every connection that is made to it")

func (c *attemptContext) dial(ctx context.Context, network string, conf *tls.Config) (net.Conn, error) {
	if c.dials.Add(1) > maxDials {
		return nil, &tcpadapter.ConnectError{Cause: resilience.Refused, Err: errRefusing}
	}
	if err := c.pool.connections.enter(ctx, c); err != nil {
		return nil, err
	}
	p, use, host := c.pool, c.use, c.attempt.Host // and not c, which may be forgotten before the connection
	return tcpadapter.Connect(ctx, network, c.attempt, conf, func() { p.connections.leave(use, host) })
}
