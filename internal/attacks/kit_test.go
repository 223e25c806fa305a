package attacks

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/resolver"
)

const (
	aliceID   = "spiffe://td/ns/a/sa/alice"
	malloryID = "spiffe://td/ns/a/sa/mallory"
	shopID    = "spiffe://td/ns/shop/sa/shop"
)

// demands is a Resolver without services, whose servers demand what a test says.
type demands struct {
	mu    sync.Mutex
	in    resolver.Inbound
	sinks map[string]func(*resolver.Inbound, error)
}

func (d *demands) Watch(name string, sink func(*resolver.Service, error)) (stop func()) {
	sink(nil, &resolver.UnknownError{Name: name})
	return func() {}
}

func (d *demands) Serve(addr string, sink func(*resolver.Inbound, error)) (stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sinks[addr] = sink
	d.tell(addr)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.sinks, addr)
	}
}

func (d *demands) tell(addr string) {
	in := d.in
	in.Addr = addr
	d.sinks[addr](&in, nil)
}

// set changes what is demanded.
func (d *demands) set(in resolver.Inbound) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.in = in
	for addr := range d.sinks {
		d.tell(addr)
	}
}

// handled is what a handler saw. It counts for itself: no one else's word is taken for it.
type handled struct {
	mu     sync.Mutex
	calls  int
	path   string
	header http.Header
	peer   *identity.Peer
}

func (h *handled) note(ctx context.Context, path string, header http.Header) {
	p, _ := mesh.PeerFromContext(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	h.path, h.header, h.peer = path, header, p
}

func (h *handled) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls
}

// since is what was handled beyond the first n calls.
func (h *handled) since(n int) Outcome {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Outcome{Reached: h.calls - n, Saw: h.path}
}

// A guarded server of all wires, and the authority of its callers.
type guarded struct {
	t *testing.T
	*demands
	ca       *identitytest.CA
	own      *identitytest.Source // the server's
	mesh     *mesh.Mesh
	web, rpc struct {
		addr string
		handled
	}
	handle http.HandlerFunc        // called after the count; may be nil
	stream func(grpc.ServerStream) // the same; not of calls with x-honest
}

func strictly(g identity.Guard) resolver.Inbound {
	return resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}, Guard: g}
}

func serve(t *testing.T, in resolver.Inbound, more ...mesh.Option) *guarded {
	t.Helper()
	g := &guarded{t: t, demands: &demands{in: in, sinks: map[string]func(*resolver.Inbound, error){}}, ca: identitytest.New(t, "td")}
	g.own = g.ca.Source(shopID)
	var err error
	options := []mesh.Option{mesh.WithResolver(g.demands), mesh.WithIdentity(g.own), mesh.WithLogger(slog.New(slog.DiscardHandler))}
	if g.mesh, err = mesh.New(t.Context(), append(options, more...)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.mesh.Close() })
	web := &http.Server{ReadHeaderTimeout: patience, Protocols: new(http.Protocols), Handler: g.mesh.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.web.note(r.Context(), r.URL.Path, r.Header.Clone())
		if g.handle != nil {
			g.handle(w, r)
		}
	})), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetHTTP2(true)
	web.Protocols.SetUnencryptedHTTP2(true)
	var open sync.WaitGroup // HTTP/2 connections outlive Close by what they still have to say
	web.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Done()
		}
	}
	g.web.addr = g.listen(web.Serve, func() {
		web.Close()
		open.Wait()
	})
	// Whatever method is asked for has a handler: that it is not known to the server protects nothing.
	rpc := grpc.NewServer(append(g.mesh.ServerOptions(), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(s)
		md, _ := metadata.FromIncomingContext(s.Context())
		g.rpc.note(s.Context(), method, http.Header(md))
		if g.stream != nil && len(md["x-honest"]) == 0 {
			g.stream(s)
		}
		if err := s.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		return s.SendMsg(&emptypb.Empty{})
	}))...)
	g.rpc.addr = g.listen(rpc.Serve, rpc.Stop)
	return g
}

func (g *guarded) listen(serve func(net.Listener) error, stop func()) (addr string) {
	g.t.Helper()
	ln, err := g.mesh.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(ln) // ends by stop
	}()
	g.t.Cleanup(func() {
		ln.Close()
		stop()
		<-done
	})
	return ln.Addr().String()
}

// dial connects for a wire over TLS as who; nil is plaintext.
func (g *guarded) dial(w Wire, who identity.Source) net.Conn {
	g.t.Helper()
	c, err := g.try(w, who)
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

func (g *guarded) try(w Wire, who identity.Source) (net.Conn, error) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr(w))
	if err != nil || who == nil {
		return c, err
	}
	conf, err := (&identity.ClientTLS{Mutual: true}).Config("shop", who, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if conf.NextProtos = []string{"h2"}; w == HTTP1 {
		conf.NextProtos = []string{"http/1.1"}
	}
	conn := tls.Client(c, conf)
	c.SetDeadline(time.Now().Add(patience))
	if err := conn.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	return conn, nil
}

func (g *guarded) addr(w Wire) string {
	if w == GRPC {
		return g.rpc.addr
	}
	return g.web.addr
}

// attack sends an attack as who and says what came of it.
func (g *guarded) attack(a *Attack, w Wire, who identity.Source) Outcome {
	g.t.Helper()
	h := &g.web.handled
	if w == GRPC {
		h = &g.rpc.handled
	}
	before := h.count()
	answer := a.Send(w, g.dial(w, who))
	out := h.since(before)
	out.Answer = answer
	return out
}

func exactly(s string) match.String { return match.String{Value: s} }

func prefix(s string) match.String { return match.String{Kind: match.Prefix, Value: s} }

func path(is match.String) identity.Condition {
	return identity.Condition{Kind: identity.PathIs, Is: is}
}

func header(name, value string) identity.Condition {
	return identity.Condition{Kind: identity.HeaderIs, Name: name, Is: exactly(value)}
}

func all(of ...identity.Condition) identity.Condition {
	return identity.Condition{Kind: identity.All, Of: of}
}

func not(c identity.Condition) identity.Condition {
	return identity.Condition{Kind: identity.Not, Of: []identity.Condition{c}}
}

func caller(id string) identity.Condition {
	return identity.Condition{Kind: identity.Authentic, Is: exactly(id)}
}

var anybody = []identity.Condition{{Kind: identity.Always}}

func step(name string, a identity.Action, policies ...identity.Policy) identity.Step {
	return identity.Step{Name: name, Rules: &identity.Rules{Action: a, Policies: policies}}
}

// policy is for requests that one of the conditions holds for.
func policy(name string, permissions ...identity.Condition) identity.Policy {
	return identity.Policy{Name: name, Principals: anybody, Permissions: permissions}
}

// only lets in these callers.
func only(ids ...string) identity.Guard {
	p := identity.Policy{Name: "friends", Permissions: anybody}
	for _, id := range ids {
		p.Principals = append(p.Principals, caller(id))
	}
	return identity.Guard{Steps: []identity.Step{step("allow", identity.Allow, p)}}
}
