package ads

import (
	"cmp"
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

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
)

// short is how tests write types.
var short = map[string]string{ClusterType: "CDS", EndpointType: "EDS", ListenerType: "LDS", RouteType: "RDS"}

func long(s string) string {
	for url, name := range short {
		if name == s {
			return url
		}
	}
	return s
}

// res makes a resource from "CDS a=1": type, name, and a word for its content.
func res(t testing.TB, text string) *Resource {
	t.Helper()
	kind, rest, _ := strings.Cut(text, " ")
	name, content, _ := strings.Cut(rest, "=")
	var m proto.Message
	switch kind {
	case "CDS":
		m = &clusterv3.Cluster{Name: name, AltStatName: content}
	case "EDS":
		m = &endpointv3.ClusterLoadAssignment{ClusterName: name, NamedEndpoints: map[string]*endpointv3.Endpoint{content: {}, "z": {}}}
	case "LDS":
		m = &listenerv3.Listener{Name: name, StatPrefix: content}
	case "RDS":
		m = &routev3.RouteConfiguration{Name: name, InternalOnlyHeaders: []string{content}}
	default:
		t.Fatalf("no type %q", kind)
	}
	r, err := NewResource(name, m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// snap makes a snapshot from resources written as for res, separated by commas.
func snap(t testing.TB, version, text string) *Set {
	t.Helper()
	var rs []*Resource
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			rs = append(rs, res(t, part))
		}
	}
	return NewSet(version, rs...)
}

// A kit is a server on an in-memory connection.
type kit struct {
	t      testing.TB
	server *Server
	grpc   *grpc.Server
	conn   *grpc.ClientConn
}

func newKit(t testing.TB, cfg Config) *kit {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	k := &kit{t: t, server: New(cfg), grpc: grpc.NewServer(ServerOptions(cfg.Limits)...)}
	k.server.Register(k.grpc)
	l := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- k.grpc.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///ads",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	k.conn = conn
	t.Cleanup(func() {
		_ = conn.Close()
		if err := k.server.Close(); err != nil {
			t.Error(err)
		}
		k.grpc.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return k
}

// publish serves one snapshot to everybody.
func (k *kit) publish(s Snapshot) { k.server.Publish(func(*Node) Snapshot { return s }) }

// in runs a test in a bubble, where waiting for silence is exact.
func in(t *testing.T, cfg Config, f func(t *testing.T, k *kit)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newKit(t, cfg)) })
}

// A client is a raw stream; what it receives is collected.
type client struct {
	t      testing.TB
	stream grpc.ClientStream
	cancel context.CancelFunc
	proto  Protocol
	auto   bool // acknowledge everything at once

	mu     sync.Mutex
	got    []answer
	names  map[string][]string // of a state-of-the-world client, by type: repeated with each request
	nonces map[string]string   // the last of each type
	err    error
	ended  bool
}

// An answer is a response in the words of the tests.
type answer struct {
	typ, version, nonce string
	sent, gone, lost    []string
	versions            map[string]string
}

// String is "CDS +a=1 -b !c": type, resources, removed, errors.
func (a answer) String() string {
	s := a.typ
	for _, n := range a.sent {
		s += " +" + n
	}
	for _, n := range a.gone {
		s += " -" + n
	}
	for _, n := range a.lost {
		s += " !" + n
	}
	return s
}

func (k *kit) connect(p Protocol) *client {
	k.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &client{t: k.t, proto: p, auto: true, cancel: cancel, names: map[string][]string{}, nonces: map[string]string{}}
	method := "DeltaAggregatedResources"
	if p == StateOfTheWorld {
		method = "StreamAggregatedResources"
	}
	var err error
	c.stream, err = k.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		"/envoy.service.discovery.v3.AggregatedDiscoveryService/"+method)
	if err != nil {
		k.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); c.receive() }()
	k.t.Cleanup(func() { cancel(); <-done })
	return c
}

func (c *client) receive() {
	for {
		var m proto.Message = &discoveryv3.DeltaDiscoveryResponse{}
		if c.proto == StateOfTheWorld {
			m = &discoveryv3.DiscoveryResponse{}
		}
		err := c.stream.RecvMsg(m)
		c.mu.Lock()
		if err != nil {
			c.ended, c.err = true, err
			c.mu.Unlock()
			return
		}
		a := read(c.t, m)
		c.got = append(c.got, a)
		c.nonces[a.typ] = a.nonce
		auto := c.auto
		c.mu.Unlock()
		if auto {
			c.ack(a)
		}
	}
}

func read(t testing.TB, m proto.Message) answer {
	a := answer{versions: map[string]string{}}
	var errs []*discoveryv3.ResourceError
	switch m := m.(type) {
	case *discoveryv3.DeltaDiscoveryResponse:
		a.typ, a.version, a.nonce, a.gone, errs = short[m.GetTypeUrl()], m.GetSystemVersionInfo(), m.GetNonce(), m.GetRemovedResources(), m.GetResourceErrors()
		for _, r := range m.GetResources() {
			name, text := describe(t, r.GetResource())
			if name != r.GetName() {
				t.Errorf("resource %q is wrapped as %q", name, r.GetName())
			}
			a.sent = append(a.sent, text)
			a.versions[r.GetName()] = r.GetVersion()
		}
	case *discoveryv3.DiscoveryResponse:
		a.typ, a.version, a.nonce, errs = short[m.GetTypeUrl()], m.GetVersionInfo(), m.GetNonce(), m.GetResourceErrors()
		for _, r := range m.GetResources() {
			_, text := describe(t, r)
			a.sent = append(a.sent, text)
		}
	}
	for _, e := range errs {
		a.lost = append(a.lost, e.GetResourceName().GetName()+": "+e.GetErrorDetail().GetMessage())
	}
	return a
}

// describe gives a resource as the argument of res has it.
func describe(t testing.TB, a interface{ UnmarshalNew() (proto.Message, error) }) (name, text string) {
	m, err := a.UnmarshalNew()
	if err != nil {
		t.Error(err)
		return "", ""
	}
	content := ""
	switch m := m.(type) {
	case *clusterv3.Cluster:
		name, content = m.GetName(), m.GetAltStatName()
	case *endpointv3.ClusterLoadAssignment:
		name = m.GetClusterName()
		for k := range m.GetNamedEndpoints() {
			if k != "z" {
				content = k
			}
		}
	case *listenerv3.Listener:
		name, content = m.GetName(), m.GetStatPrefix()
	case *routev3.RouteConfiguration:
		name, content = m.GetName(), strings.Join(m.GetInternalOnlyHeaders(), "")
	}
	return name, name + "=" + content
}

// send sends a request.
func (c *client) send(m proto.Message) {
	c.t.Helper()
	if err := c.stream.SendMsg(m); err != nil && !errors.Is(err, io.EOF) {
		c.t.Errorf("send: %v", err)
	}
}

func (c *client) ack(a answer) { c.answer(a, nil) }

func (c *client) nack(a answer, text string) {
	c.answer(a, &rpcstatus.Status{Code: 3, Message: text})
}

func (c *client) answer(a answer, detail *rpcstatus.Status) {
	if c.proto == Delta {
		c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: long(a.typ), ResponseNonce: a.nonce, ErrorDetail: detail})
		return
	}
	c.mu.Lock()
	names := c.names[a.typ]
	c.mu.Unlock()
	c.send(&discoveryv3.DiscoveryRequest{TypeUrl: long(a.typ), ResponseNonce: a.nonce, VersionInfo: a.version, ResourceNames: names, ErrorDetail: detail})
}

var node = &corev3.Node{Id: "sidecar~10.0.0.1~shop.default~default.svc.cluster.local"}

// ask subscribes: for delta to the names beside others, for the state of the
// world to exactly these.
func (c *client) ask(typ string, names ...string) {
	c.t.Helper()
	if c.proto == Delta {
		c.send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: long(typ), ResourceNamesSubscribe: names})
		return
	}
	c.mu.Lock()
	c.names[typ] = names
	last := c.nonces[typ]
	c.mu.Unlock()
	c.send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: long(typ), ResourceNames: names, ResponseNonce: last})
}

func (c *client) drop(typ string, names ...string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: long(typ), ResourceNamesUnsubscribe: names})
}

// take waits until nothing moves and returns what was received since the last call.
func (c *client) take() []answer {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.got
	c.got = nil
	return got
}

// expect compares everything received since the last call, in order.
func (c *client) expect(want ...string) []answer {
	c.t.Helper()
	got := c.take()
	var texts []string
	for _, a := range got {
		texts = append(texts, a.String())
	}
	if !slices.Equal(texts, want) {
		c.t.Errorf("received\n\t%s\nwant\n\t%s", strings.Join(texts, "\n\t"), strings.Join(want, "\n\t"))
	}
	return got
}

// failure returns how the stream ended, nil if it has not.
func (c *client) failure() error {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		return nil
	}
	return c.err
}

// status is the only client's state of a type.
func (k *kit) status(typ string) TypeStatus {
	k.t.Helper()
	synctest.Wait()
	all := k.server.Status()
	if len(all) != 1 {
		k.t.Fatalf("%d clients", len(all))
	}
	i := slices.IndexFunc(all[0].Types, func(s TypeStatus) bool { return s.TypeURL == long(typ) })
	if i < 0 {
		k.t.Fatalf("client has no %s: %+v", typ, all[0])
	}
	return all[0].Types[i]
}

// events is an Observer that keeps what it is told.
type events struct {
	mu  sync.Mutex
	all []string
	on  func(event string) // called with each, may panic
}

func (e *events) add(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if e.on != nil {
		e.on(text)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, text)
}

func (e *events) take() []string {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

func (e *events) StreamOpened(id uint64, n *Node) { e.add("open %d %s", id, n.ID) }
func (e *events) Subscribed(id uint64, url string, names []string) {
	e.add("sub %d %s %s", id, short[url], sorted(names))
}
func (e *events) Unsubscribed(id uint64, url string, names []string) {
	e.add("unsub %d %s %s", id, short[url], sorted(names))
}
func (e *events) Took(id uint64, rs []*Resource) {
	var what []string
	for _, r := range rs {
		what = append(what, short[r.TypeURL]+" "+r.Name+" "+r.Version[:4])
	}
	e.add("took %d %s", id, sorted(what))
}
func (e *events) Health(id uint64, healthy bool, reason string) {
	e.add("health %d %v %s", id, healthy, reason)
}
func (e *events) StreamClosed(id uint64, clean bool) { e.add("close %d %v", id, clean) }

func sorted(names []string) string {
	names = slices.Clone(names)
	slices.SortFunc(names, cmp.Compare)
	return strings.Join(names, ",")
}
