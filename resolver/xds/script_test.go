package xds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// A script is a control server that does only what the test says. It runs in the test's bubble.
type script struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	t       *testing.T
	name    string
	lis     *bufconn.Listener
	grpc    *grpc.Server
	streams chan *conversation
	noDelta bool

	mu       sync.Mutex
	refused  error                   // what streams are ended with at once
	deadName string                  // a target that cannot be dialled
	down     error                   // what dialling fails with
	wrap     func(net.Conn) net.Conn // of the client's connections
	opens    []opening
}

func newScript(t *testing.T) *script {
	t.Helper()
	s := &script{t: t, name: "cp", lis: bufconn.Listen(1 << 20), grpc: grpc.NewServer(), streams: make(chan *conversation, 100)}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s.grpc, s)
	go s.grpc.Serve(s.lis)
	t.Cleanup(s.grpc.Stop)
	return s
}

// An opening is a stream's beginning.
type opening struct {
	protocol string
	at       time.Time
}

// A conversation is one stream, seen from the server.
type conversation struct {
	*script
	delta bool
	asks  chan ask
	reply chan proto.Message
	end   chan error // ends the stream
	over  chan struct{}
	bye   chan struct{} // closed when the client has half-closed
	nonce int
	said  map[kind]string // of settle: what a state-of-the-world client asked for last
}

// An ask is a request, of either protocol.
type ask struct {
	typeURL     string
	node        *corev3.Node
	nonce       string
	version     string
	names, gone []string
	initial     map[string]string
	nack        *rpcstatus.Status
}

func (a ask) kind() kind { k, _ := kindOf(a.typeURL); return k }

func (s *script) DeltaAggregatedResources(g grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	s.opened("delta")
	if s.noDelta {
		return status.Error(codes.Unimplemented, "no delta here")
	}
	return s.converse(g.Context(), true, func() (ask, error) {
		m, err := g.Recv()
		return ask{typeURL: m.GetTypeUrl(), node: m.GetNode(), nonce: m.GetResponseNonce(), names: m.GetResourceNamesSubscribe(),
			gone: m.GetResourceNamesUnsubscribe(), initial: m.GetInitialResourceVersions(), nack: m.GetErrorDetail()}, err
	}, func(m proto.Message) error { return g.Send(m.(*discoveryv3.DeltaDiscoveryResponse)) })
}

func (s *script) StreamAggregatedResources(g grpc.BidiStreamingServer[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]) error {
	s.opened("sotw")
	return s.converse(g.Context(), false, func() (ask, error) {
		m, err := g.Recv()
		return ask{typeURL: m.GetTypeUrl(), node: m.GetNode(), nonce: m.GetResponseNonce(), version: m.GetVersionInfo(),
			names: m.GetResourceNames(), nack: m.GetErrorDetail()}, err
	}, func(m proto.Message) error { return g.Send(m.(*discoveryv3.DiscoveryResponse)) })
}

func (s *script) opened(protocol string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens = append(s.opens, opening{protocol, time.Now()})
}

func (s *script) converse(ctx context.Context, delta bool, recv func() (ask, error), send func(proto.Message) error) error {
	if err := s.refusal(); err != nil {
		return err
	}
	c := &conversation{script: s, delta: delta, asks: make(chan ask, 1000), reply: make(chan proto.Message, 1000),
		end: make(chan error, 1), over: make(chan struct{}), bye: make(chan struct{}), said: make(map[kind]string)}
	defer close(c.over)
	s.streams <- c
	failed := make(chan error, 1)
	go func() {
		for {
			a, err := recv()
			if errors.Is(err, io.EOF) {
				close(c.bye)
				return
			}
			if err != nil {
				failed <- err
				return
			}
			c.asks <- a
		}
	}()
	for {
		select {
		case m := <-c.reply:
			if err := send(m); err != nil {
				return err
			}
		case err := <-c.end:
			return err
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// dial is how clients reach the script.
func (s *script) dial(ctx context.Context, addr string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return nil, s.down
	}
	if addr == s.deadName {
		return nil, errors.New("connection refused")
	}
	conn, err := s.lis.DialContext(ctx)
	if err == nil && s.wrap != nil {
		conn = s.wrap(conn)
	}
	return conn, err
}

// client makes a client of the script, which is closed at the end of the test.
func (s *script) client(features ...string) *Client {
	s.t.Helper()
	return s.clientOf(Config{}, features...)
}

func (s *script) clientOf(config Config, features ...string) *Client {
	s.t.Helper()
	b, err := BootstrapFor("passthrough:///" + s.name)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range features {
		b.servers[0].features.add(f)
	}
	b.node = &corev3.Node{Id: "sidecar~10.0.0.1~test.default~default.svc.cluster.local"}
	if config.Bootstrap == nil {
		config.Bootstrap = b
	}
	config.DialOptions = append(config.DialOptions, grpc.WithContextDialer(s.dial))
	c, err := New(config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// accept waits for the client's next stream.
func (s *script) accept() *conversation { return <-s.streams }

// ask is the client's next request.
func (c *conversation) ask() ask { return <-c.asks }

// quiet fails the test if there is a request that was not looked at.
func (c *conversation) quiet() {
	c.t.Helper()
	synctest.Wait()
	select {
	case a := <-c.asks:
		c.t.Errorf("request that nothing called for: %+v", a)
	default:
	}
}

// expect is the client's next request, which must be of the kind and ask for, or in
// delta ask newly for, the names.
func (c *conversation) expect(k kind, names ...string) ask {
	c.t.Helper()
	a := c.ask()
	if a.typeURL != k.typeURL() || !slices.Equal(a.names, names) {
		c.t.Fatalf("request is %s %q, want %s %q", a.kind(), a.names, k, names)
	}
	return a
}

// acked expects the answer to the response of the nonce, and returns why it is a refusal.
func (c *conversation) acked(k kind, nonce string) ask {
	c.t.Helper()
	a := c.ask()
	if a.typeURL != k.typeURL() || a.nonce != nonce {
		c.t.Fatalf("request is %s, nonce %q, want the answer to %s, nonce %q", a.kind(), a.nonce, k, nonce)
	}
	return a
}

// A piece is one thing in a response.
type piece struct {
	name    string
	any     *anypb.Any
	removed bool
	fault   *discoveryv3.ResourceError
}

func packed(m proto.Message) piece {
	a, err := wire.Marshal(m)
	if err != nil {
		panic(err)
	}
	return piece{name: wire.Name(a), any: a}
}

func gone(name string) piece { return piece{name: name, removed: true} }

func faulty(name string, code codes.Code, text string) piece {
	return piece{name: name, fault: &discoveryv3.ResourceError{ResourceName: &discoveryv3.ResourceName{Name: name},
		ErrorDetail: &rpcstatus.Status{Code: int32(code), Message: text}}}
}

// send sends a response, of which every resource has the version, and returns its nonce.
func (c *conversation) send(k kind, version string, pieces ...piece) (nonce string) {
	c.nonce++
	nonce = fmt.Sprintf("n%d", c.nonce)
	c.sendAs(k.typeURL(), version, nonce, pieces...)
	return nonce
}

func (c *conversation) sendAs(typeURL, version, nonce string, pieces ...piece) {
	if c.delta {
		m := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, Nonce: nonce}
		for _, p := range pieces {
			switch {
			case p.fault != nil:
				m.ResourceErrors = append(m.ResourceErrors, p.fault)
			case p.removed:
				m.RemovedResources = append(m.RemovedResources, p.name)
			default:
				m.Resources = append(m.Resources, &discoveryv3.Resource{Name: p.name, Version: version, Resource: p.any})
			}
		}
		c.reply <- m
		return
	}
	m := &discoveryv3.DiscoveryResponse{TypeUrl: typeURL, VersionInfo: version, Nonce: nonce}
	for _, p := range pieces {
		switch {
		case p.fault != nil:
			m.ResourceErrors = append(m.ResourceErrors, p.fault)
		case !p.removed:
			m.Resources = append(m.Resources, p.any)
		}
	}
	c.reply <- m
}

// A world is what a control server has to give.
type world map[kind]map[string]piece

func worldOf(pieces ...piece) world {
	w := world{}
	for _, p := range pieces {
		k, _ := kindOf(p.any.GetTypeUrl())
		if w[k] == nil {
			w[k] = map[string]piece{}
		}
		w[k][p.name] = p
	}
	return w
}

// history is the streams so far.
func (s *script) history() []opening {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.opens)
}

// refuse makes new streams end at once with err, or not if it is nil.
func (s *script) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = err
}

func (s *script) refusal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// breakDown makes dialling fail, or work again if err is nil.
func (s *script) breakDown(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

func contains(s, part string) bool { return strings.Contains(s, part) }

// settleMute drops requests until the client has no more.
func (c *conversation) settleMute() {
	for {
		synctest.Wait()
		select {
		case <-c.asks:
			continue
		default:
		}
		return
	}
}

// settle answers from the world until the client asks for nothing more. It returns all requests.
func (c *conversation) settle(w world) []ask {
	c.t.Helper()
	var all []ask
	for {
		synctest.Wait()
		select {
		case a := <-c.asks:
			all = append(all, a)
			if a.nack != nil {
				c.t.Errorf("refused: %s", a.nack.GetMessage())
			}
			if a.nonce != "" && (c.delta || c.said[a.kind()] == strings.Join(a.names, ",")) {
				continue
			}
			c.said[a.kind()] = strings.Join(a.names, ",")
			var out []piece
			for _, n := range a.names {
				if p, ok := w[a.kind()][n]; ok {
					out = append(out, p)
				} else {
					out = append(out, gone(n))
				}
			}
			if len(out) > 0 {
				c.send(a.kind(), "1", out...)
			}
			continue
		default:
		}
		return all
	}
}

// breaks ends the stream and waits until the client knows.
func (c *conversation) breaks(err error) {
	c.end <- err
	<-c.over
	synctest.Wait()
}

// A told is what the sink of one watch was told, in order.
type told struct {
	mu   sync.Mutex
	list []telling
	stop func()
}

type telling struct {
	value *resolver.Service
	err   error
}

func watching(c *Client, name string) *told {
	w := new(told)
	w.stop = c.Watch(name, func(v *resolver.Service, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.list = append(w.list, telling{v, err})
	})
	return w
}

// take returns what was told since the last take, once nothing more is coming.
func (w *told) take() []telling {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.list
	w.list = nil
	return list
}

// one is the only report since the last take.
func (w *told) one(t *testing.T) telling {
	t.Helper()
	list := w.take()
	if len(list) != 1 {
		t.Fatalf("reports: %v, want one", list)
	}
	return list[0]
}

func (w *told) value(t *testing.T) *resolver.Service {
	t.Helper()
	r := w.one(t)
	if r.err != nil || r.value == nil {
		t.Fatalf("report is the error %v, want a service", r.err)
	}
	return r.value
}

func (w *told) error(t *testing.T) error {
	t.Helper()
	r := w.one(t)
	if r.err == nil {
		t.Fatalf("report is %+v, want an error", r.value)
	}
	return r.err
}

func (w *told) nothing(t *testing.T) {
	t.Helper()
	if list := w.take(); len(list) > 0 {
		t.Fatalf("reports: %v, want none", list)
	}
}

func (r telling) String() string {
	if r.err != nil {
		return r.err.Error()
	}
	return fmt.Sprintf("%s: %s", r.value.Name, addrs(r.value))
}

// addrs is a service in short: its routes' clusters in order, each with its endpoints.
func addrs(s *resolver.Service) string {
	var out []string
	for _, v := range s.VirtualHosts {
		for _, r := range v.Routes {
			for _, t := range r.To {
				c, ok := s.Clusters[t.Cluster]
				if !ok {
					out = append(out, t.Cluster+"?")
					continue
				}
				var list []string
				for _, e := range c.Endpoints {
					list = append(list, e.Addr)
				}
				out = append(out, t.Cluster+"="+strings.Join(list, ","))
			}
		}
	}
	return strings.Join(out, " ")
}

// What a service is made of.

func lds(name, route string) piece {
	return packed(wire.EncodeListener(wire.Listener{Name: name, RouteConfig: route}))
}

func rds(name string, targets ...string) piece {
	return packed(wire.EncodeRouteTable(wire.RouteTable{Name: name, VirtualHosts: hosts(targets...)}))
}

func hosts(targets ...string) []resolver.VirtualHost {
	v := resolver.VirtualHost{Name: "v", Domains: []string{"*"}}
	for _, t := range targets {
		v.Routes = append(v.Routes, resolver.Route{Name: "to-" + t, Match: resolver.Match{Path: resolver.PathMatch{Kind: resolver.PathPrefix, Value: "/" + t}},
			To: []resolver.Target{{Cluster: t, Weight: 1}}})
	}
	return []resolver.VirtualHost{v}
}

func cds(name, endpoints string) piece {
	return packed(wire.EncodeCluster(wire.Cluster{Cluster: resolver.Cluster{Name: name}, EndpointsName: endpoints}))
}

func eds(name string, addr ...string) piece {
	e := wire.Endpoints{Name: name}
	for _, a := range addr {
		e.Endpoints = append(e.Endpoints, balancer.Endpoint{Addr: a})
	}
	return packed(wire.EncodeEndpoints(e))
}

// shop is one service with one of each resource.
func shop(name string) []piece {
	return []piece{lds(name, name+"-r"), rds(name+"-r", name+"-c"), cds(name+"-c", name+"-e"), eds(name+"-e", "10.0.0.1:80")}
}

// bad is a resource of the name that decoders refuse.
func bad(k kind, name string) piece {
	var p piece
	switch k {
	case listeners:
		p = packed(wire.EncodeListener(wire.Listener{Name: name, VirtualHosts: []resolver.VirtualHost{{Name: "v"}}}))
	case routes:
		p = packed(wire.EncodeRouteTable(wire.RouteTable{Name: name, VirtualHosts: []resolver.VirtualHost{{Name: "v"}}})) // no domains
	case clusters:
		p = packed(wire.EncodeCluster(wire.Cluster{Cluster: resolver.Cluster{Name: name, ConnectTimeout: -time.Second}, EndpointsName: "x"}))
	case endpoints:
		p = eds(name, "10.0.0.9:99999")
	}
	if _, err := decoders[k](p.any); err == nil {
		panic(fmt.Sprintf("the bad %s is not refused", k))
	}
	return p
}

// both runs a test for each protocol, in a bubble.
func both(t *testing.T, f func(s *script, features ...string)) {
	t.Helper()
	t.Run("delta", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(newScript(t)) })
	})
	t.Run("sotw", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(newScript(t), "ads_sotw") })
	})
}

// A logbook keeps the lines that were logged.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

func (l *logbook) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
