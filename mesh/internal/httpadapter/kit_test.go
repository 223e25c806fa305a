package httpadapter

import (
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// moving is a resolver whose services tests change.
type moving struct {
	mu       sync.Mutex
	services map[string]*resolver.Service
	sinks    map[string]func(*resolver.Service, error)
	serving  *resilience.Serving // of all addresses
}

func (m *moving) Watch(name string, sink func(*resolver.Service, error)) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sinks[name] = sink
	if s := m.services[name]; s != nil {
		sink(s, nil)
	} else {
		sink(nil, &resolver.UnknownError{Name: name, Detail: "no service " + name + "; did you mean payments?"})
	}
	return func() {}
}

func (m *moving) Serve(addr string, sink func(*resolver.Inbound, error)) (stop func()) {
	if m.serving != nil {
		sink(&resolver.Inbound{Addr: addr, Serving: *m.serving}, nil)
	}
	return func() {}
}

func (m *moving) set(s *resolver.Service) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.services[s.Name] = s
	if sink := m.sinks[s.Name]; sink != nil {
		sink(s, nil)
	}
}

func (m *moving) remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.services, name)
	if sink := m.sinks[name]; sink != nil {
		sink(nil, &resolver.UnknownError{Name: name})
	}
}

// watcher is an observer that keeps outcomes.
type watcher struct {
	mu       sync.Mutex
	attempts []resilience.Outcome
	calls    []resilience.Outcome
	served   []resilience.Outcome
	requests []resolver.Request
	inbound  []resolver.Request
	header   []engine.Field
	use      *resilience.InUse // of the newest attempt's cluster
	finished chan struct{}
}

func (w *watcher) CallStarted(ctx context.Context, _ *engine.Call) context.Context { return ctx }

func (w *watcher) AttemptStarted(ctx context.Context, _ *engine.Call, a *engine.Attempt) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.use, _ = a.InUse()
	a.Header = w.header
	return ctx
}

func (w *watcher) AttemptFinished(_ *engine.Call, _ *engine.Attempt, o resilience.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts = append(w.attempts, o)
}

func (w *watcher) CallFinished(c *engine.Call, o resilience.Outcome, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, o)
	w.requests = append(w.requests, c.Request)
	w.finished <- struct{}{}
}

func (w *watcher) ServeStarted(ctx context.Context, _ *engine.InboundCall) context.Context {
	return context.WithValue(ctx, watcherKey{}, true)
}

type watcherKey struct{}

func (w *watcher) ServeFinished(c *engine.InboundCall, o resilience.Outcome) {
	w.mu.Lock()
	w.served = append(w.served, o)
	w.inbound = append(w.inbound, c.Request)
	w.mu.Unlock()
	w.finished <- struct{}{}
}

// mesh is an engine and a RoundTripper over a moving resolver.
type mesh struct {
	*RoundTripper
	t        testing.TB
	resolver *moving
	engine   *engine.Engine
	watcher  *watcher
}

func newMesh(t testing.TB, c Config, observe bool) *mesh {
	m := &mesh{t: t, resolver: &moving{services: map[string]*resolver.Service{}, sinks: map[string]func(*resolver.Service, error){}}}
	conf := engine.Config{Resolver: m.resolver, Logger: slog.New(slog.DiscardHandler)}
	if observe {
		m.watcher = &watcher{finished: make(chan struct{}, 1<<16)}
		conf.Observer = m.watcher
	}
	m.engine = engine.New(conf)
	m.RoundTripper = New(m.engine, c)
	t.Cleanup(func() {
		m.engine.Close()
		m.Close()
	})
	return m
}

// serve makes the service "payments" of one route and these hosts.
func (m *mesh) serve(c resolver.Cluster, p resilience.Policy, addrs ...string) {
	c.Name = "payments"
	for _, a := range addrs {
		c.Endpoints = append(c.Endpoints, balancer.Endpoint{Addr: a})
	}
	m.resolver.set(&resolver.Service{
		Name: "payments",
		VirtualHosts: []resolver.VirtualHost{{Name: "payments", Domains: []string{"*"}, Routes: []resolver.Route{{
			Name: "all", To: []resolver.Target{{Cluster: "payments", Weight: 1}}, Policy: p,
		}}}},
		Clusters: map[string]resolver.Cluster{"payments": c},
	})
}

// again gives the service "payments" another policy.
func (m *mesh) again(p resilience.Policy) {
	c := m.resolver.services["payments"].Clusters["payments"]
	var addrs []string
	for _, e := range c.Endpoints {
		addrs = append(addrs, e.Addr)
	}
	c.Endpoints = nil
	m.serve(c, p, addrs...)
}

func (m *mesh) do(req *http.Request) *http.Response {
	m.t.Helper()
	resp, err := m.RoundTrip(req)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// listen starts a server of the mesh on that wire.
func (m *mesh) listen(w wire, p resilience.Serving, h http.HandlerFunc) *httptest.Server {
	m.t.Helper()
	m.resolver.serving = &p
	s := w.start(m.t, Handler(m.engine, h))
	if _, err := m.engine.Listen(s.Listener.Addr().(*net.TCPAddr)); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// inFlight is the number of attempts that count at the hosts of "payments".
func (m *mesh) inFlight() (n int64) {
	for _, h := range m.engine.Service("payments").Hosts() {
		n += h.InFlight()
	}
	return n
}

var retryAll = resilience.Policy{Retry: resilience.Retry{
	Attempts: 2, On: resilience.OnConnectFailure | resilience.OnRefusedStream,
}}

func request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func read(t testing.TB, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A wire is a way to speak HTTP.
type wire struct {
	name    string
	proto   string
	cluster resolver.Cluster
	start   func(testing.TB, http.Handler) *httptest.Server
	tls     bool
}

var wires = []wire{
	{name: "http1", proto: "HTTP/1.1", start: func(t testing.TB, h http.Handler) *httptest.Server {
		return started(t, h, func(s *httptest.Server) { s.Start() })
	}},
	{name: "h2c", proto: "HTTP/2.0", cluster: resolver.Cluster{HTTP2: true}, start: func(t testing.TB, h http.Handler) *httptest.Server {
		return started(t, h, func(s *httptest.Server) {
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetHTTP1(true)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
		})
	}},
	{name: "http1 tls", proto: "HTTP/1.1", tls: true, start: func(t testing.TB, h http.Handler) *httptest.Server {
		return started(t, h, func(s *httptest.Server) { s.StartTLS() })
	}},
	{name: "http2 tls", proto: "HTTP/2.0", tls: true, start: func(t testing.TB, h http.Handler) *httptest.Server {
		return started(t, h, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() })
	}},
}

func started(t testing.TB, h http.Handler, start func(*httptest.Server)) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	start(s)
	t.Cleanup(s.Close)
	return s
}

// to is a mesh whose service "payments" is one server of that wire.
func (w wire) to(t testing.TB, h http.Handler, p resilience.Policy) *mesh {
	m := newMesh(t, Config{}, true)
	s := w.start(t, h)
	c := w.cluster
	if w.tls {
		c.TLS = demandOf(s)
	}
	m.serve(c, p, addr(s))
	return m
}

// demandOf is what the certificate of httptest proves.
func demandOf(s *httptest.Server) *identity.ClientTLS {
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return &identity.ClientTLS{ServerName: "example.com", RootCAs: string(roots)}
}

func addr(s *httptest.Server) string { return s.Listener.Addr().String() }

// deadAddr is an address that refuses connections.
func deadAddr(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func each(t *testing.T, f func(t *testing.T, w wire)) {
	for _, w := range wires {
		t.Run(strings.ReplaceAll(w.name, " ", "_"), func(t *testing.T) { f(t, w) })
	}
}
