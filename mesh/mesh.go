// Package mesh makes a Go process a member of a service mesh.
//
// A [Mesh] gives the process three doors to call services and one to serve them:
//
//	m, err := mesh.New(ctx, mesh.WithControlServer("127.0.0.1:18000"))
//
//	grpc.NewClient("mesh:///payments", m.DialOptions()...)  // gRPC
//	&http.Client{Transport: m.RoundTripper()}               // http://payments/charge
//	m.Dial(ctx, "tcp", "ledger")                            // raw TCP
//
//	ln, err := m.Listen("tcp", ":8080")                     // serve, and be found
//	http.Serve(ln, m.Handler(mux))
//	grpc.NewServer(m.ServerOptions()...).Serve(ln)
//
// Routing, load balancing, retries, limits and whatever else stands between a call and its
// failure follow the configuration of a control server, live, and mean the same for every
// protocol. There is no sidecar: what the mesh decides is decided in this process.
//
// With an identity ([WithIdentity]) connections are mutual TLS, and handlers know who calls ([PeerFromContext]). Package
// meshtest puts a mesh into a test.
//
// One Mesh serves the whole process; all of its methods are safe for concurrent use.
package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/jwt"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/mesh/internal/extauthz"
	"github.com/weftmesh/weft/mesh/internal/grpcadapter"
	"github.com/weftmesh/weft/mesh/internal/httpadapter"
	"github.com/weftmesh/weft/mesh/internal/jwks"
	"github.com/weftmesh/weft/mesh/internal/ratelimit"
	"github.com/weftmesh/weft/mesh/internal/tcpadapter"
	"github.com/weftmesh/weft/mesh/internal/telemetry"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds"
)

// A Mesh is this process's membership of the mesh.
type Mesh struct {
	settings settings
	engine   *engine.Engine
	http     *httpadapter.RoundTripper
	xds      *xds.Client        // nil with WithResolver
	limiter  *ratelimit.Limiter // nil with WithResolver
	tokens   *jwt.Authenticator
	fetcher  *jwks.Fetcher // of keys, for tokens
	asker    *extauthz.Asker
	asks     *httpadapter.RoundTripper // for asker and fetcher: to the mesh, and nowhere else
	lobby    tcpadapter.Lobby
	secrets  *xds.Source // with WithSDS
	untrust  func()      // ends the news of what is to be believed; nil without

	closing sync.Once
}

// New joins the mesh. It reads the configuration of where the control server is
// (the bootstrap) and fails, saying what to set, if that is missing or wrong; it
// does not wait for the control server: see [Mesh.Ready].
//
// ctx bounds New alone.
func New(ctx context.Context, opts ...Option) (*Mesh, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	s := defaults()
	for _, o := range opts {
		o(&s)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	m := &Mesh{settings: s}
	observer, err := s.observer()
	if err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	source := s.resolver
	var limiter engine.Limiter
	if source == nil {
		if m.xds, err = s.client(); err != nil {
			return nil, fmt.Errorf("mesh: %w", err)
		}
		m.limiter = ratelimit.New(m.xds)
		source, limiter = m.xds, m.limiter
		if s.sds != [2]string{} {
			m.secrets = m.xds.Source(s.sds[0], s.sds[1])
			s.identity, m.settings.identity = m.secrets, m.secrets
		}
		if l, ok := s.identity.(identity.Learner); ok {
			m.untrust = m.xds.Trust(func(bundles []*x509bundle.Bundle) { l.SetBundles(bundles...) })
		}
	}
	m.fetcher = jwks.New((*asking)(m))
	m.tokens = jwt.New(jwt.Config{Fetch: m.fetcher.Fetch, Logger: s.logger})
	m.asker = extauthz.New(extauthz.Config{Dial: m.dialAsker, HTTP: (*asking)(m), Self: s.principal})
	m.engine = engine.New(engine.Config{
		Resolver: source, Observer: observer, Limiter: limiter, Logger: s.logger,
		Source: s.identity, Tokens: m.tokens, Asker: m.asker,
	})
	m.asks = httpadapter.New(m.engine, httpadapter.Config{})
	m.http = httpadapter.New(m.engine, httpadapter.Config{AllowAny: s.outbound == AllowAny})
	if s.identity == nil {
		s.logger.Warn("mesh: no identity: calls are plaintext and not authenticated")
	}
	return m, nil
}

// observer returns nil, and not a nil pointer, when there is no telemetry.
func (s *settings) observer() (engine.Observer, error) {
	if s.tracer == nil && s.meter == nil {
		return nil, nil
	}
	w := telemetry.Workload{Name: s.service, Namespace: s.labels["namespace"], App: s.labels["app"], Version: s.labels["version"]}
	if w.App == "" {
		w.App = s.service
	}
	return telemetry.New(telemetry.Config{Tracer: s.tracer, Meter: s.meter, Workload: w, Principal: s.principal})
}

// principal is the SPIFFE ID of this process; empty if it does not know.
func (s *settings) principal() string {
	if s.identity == nil {
		return ""
	}
	svid, err := s.identity.GetX509SVID()
	if err != nil || svid == nil {
		return ""
	}
	return svid.ID.String()
}

// DialOptions makes a gRPC client call through the mesh:
//
//	conn, err := grpc.NewClient("mesh:///payments", m.DialOptions()...)
//
// The options carry the transport credentials and interceptors; add your own
// interceptors with grpc.WithChainUnaryInterceptor before them to stand outside
// the mesh's retries. One value serves any number of clients.
//
// A call that the mesh could not get an answer to has the status that [Kind] says, and unwraps
// to an [*Error] (errors.As).
func (m *Mesh) DialOptions() []grpc.DialOption { return grpcadapter.DialOptions(m.engine) }

// RoundTripper makes an http.Client call through the mesh:
//
//	client := &http.Client{Transport: m.RoundTripper()}
//	client.Get("http://payments/v1/charges")
//
// The host may be a service's short, namespaced or full name, with a port or,
// where there is one port or port 80, without. The request's Host header stays
// what the caller wrote. A host the mesh does not know follows [WithOutbound].
//
// If the mesh could not get an answer, the error is (errors.As) an [*Error].
// A body is replayed on a retry by GetBody, or from a buffer of up to 64 KiB.
func (m *Mesh) RoundTripper() http.RoundTripper { return m.http }

// Dial connects to a host of the service, which is named as in a URL's host. network is "tcp".
//
// The connection is the call: it counts at its host until it is closed. ctx, and the timeout of the route, bound the
// dialing alone. Where the cluster demands it the connection is TLS, and its handshake is done. A call that fails is an [*Error].
func (m *Mesh) Dial(ctx context.Context, network, service string) (net.Conn, error) {
	if network != "tcp" {
		return nil, fmt.Errorf("mesh: dial %s: network %q is not tcp", service, network)
	}
	return tcpadapter.Dial(ctx, m.engine, network, service)
}

// ServerOptions makes a gRPC server observe and obey the mesh. Serve on a
// listener of [Mesh.Listen]. They bound headers to 64 KiB and streams of a connection to 1,024;
// what stands after them, such as grpc.MaxHeaderListSize, counts instead.
func (m *Mesh) ServerOptions() []grpc.ServerOption { return grpcadapter.ServerOptions(m.engine) }

// Handler makes an HTTP server observe and obey the mesh. Serve on a listener of [Mesh.Listen].
func (m *Mesh) Handler(next http.Handler) http.Handler { return httpadapter.Handler(m.engine, next) }

// Ready waits until this process has its identity, if it has a source of one, and the first configuration is there: the control server has
// answered for every service called or served so far. The error says in one
// sentence what is missing and what to do about it.
func (m *Mesh) Ready(ctx context.Context) error {
	if w, ok := m.settings.identity.(identity.Waiter); ok {
		if err := w.Ready(ctx); err != nil {
			return fmt.Errorf("mesh: identity: %w", err)
		}
	}
	if m.xds != nil {
		if err := m.xds.Ready(ctx); err != nil {
			return fmt.Errorf("mesh: %w", err)
		}
	}
	for _, s := range m.engine.Services() {
		if err := s.Await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// SetServing says whether this process is fit to serve; it is at first. While it
// is not, callers in the mesh are told to go elsewhere; reason is shown to
// operators. With [WithResolver] it has no effect.
func (m *Mesh) SetServing(serving bool, reason string) {
	if m.xds == nil {
		return
	}
	health := balancer.Healthy
	if !serving {
		health = balancer.Unhealthy
	}
	m.xds.SetHealth(health, reason)
}

// Close leaves the mesh: what this process serves is deregistered and all watches end.
// Close servers and clients first; calls made after Close fail. It waits for what it ends, and
// may be called again, to no effect.
func (m *Mesh) Close() error {
	var err error
	m.closing.Do(func() {
		_ = m.asker.Close() // neither fails
		m.engine.Close()
		_ = m.tokens.Close()
		_ = m.fetcher.Close() // it never fails either
		m.asks.Close()
		m.http.Close()
		if m.xds != nil {
			_ = m.limiter.Close() // an error says that it was closed
			if m.untrust != nil {
				m.untrust()
			}
			if m.secrets != nil {
				_ = m.secrets.Close() // never fails
			}
			err = m.xds.Close()
		}
	})
	return err
}

// An Error says that the mesh could not get an answer to a call, and why. A
// server's own answer, good or bad, never becomes one. Its fields are Kind, Service, Cluster, Host,
// Attempts and Err; it unwraps to Err.
type Error = engine.Error

// Kind says why the mesh could not get an answer.
//
//	Kind         gRPC               HTTP  did a server process it?
//	NoService    UNAVAILABLE        503   no
//	NoRoute      UNAVAILABLE        404   no
//	NoHost       UNAVAILABLE        503   no
//	Unreachable  UNAVAILABLE        503   no
//	Reset        UNAVAILABLE        503   maybe
//	Deadline     DEADLINE_EXCEEDED  504   maybe
//	Canceled     CANCELLED          499   maybe
//	Overloaded   UNAVAILABLE        503   no
//	RateLimited  RESOURCE_EXHAUSTED 429   no
//	Injected     UNAVAILABLE        503   no
//	Denied       PERMISSION_DENIED  403   no
//
// An http.Client gets the Error itself; its status is what a server of the mesh answers that fails for the same reason.
// Injected are aborts of calls over TCP: HTTP and gRPC get the answer that is configured. Denied is what a server of the mesh makes of a
// caller who may not call: its callers see the server's answer, of 401 and UNAUTHENTICATED where a token is missing or bad, and no Error.
type Kind = engine.Kind

// The kinds of [Error].
const (
	NoService   = engine.NoService
	NoRoute     = engine.NoRoute
	NoHost      = engine.NoHost
	Unreachable = engine.Unreachable
	Reset       = engine.Reset
	Deadline    = engine.Deadline
	Canceled    = engine.Canceled
	Overloaded  = engine.Overloaded
	RateLimited = engine.RateLimited
	Injected    = engine.Injected
	Denied      = engine.Denied
)

var (
	errResolverAndBootstrap = errors.New("WithResolver and a control server are two ways to configure one thing: choose one")
	errNamesOfSecrets       = errors.New("WithSDS names two secrets: a certificate and roots")
	errIdentityAndSDS       = errors.New("WithIdentity and WithSDS are two ways to configure one thing: choose one")
	errResolverAndSDS       = errors.New("WithSDS needs a control server, and WithResolver is without")
	errBootstrapAndServers  = errors.New("WithBootstrap and WithControlServer are two ways to configure one thing: choose one")
)

var _ resolver.Resolver = (*xds.Client)(nil)
