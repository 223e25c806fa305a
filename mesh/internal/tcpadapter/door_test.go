package tcpadapter

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

const long = 30 * time.Second

// A house is a Listener and what is behind it.
type house struct {
	*Listener
	in   *engine.Inbound
	sink func(*resolver.Inbound, error)
}

// Serve implements resolver.Resolver: what the house demands comes by sink.
func (h *house) Serve(_ string, sink func(*resolver.Inbound, error)) func() {
	h.sink = sink
	return func() {}
}

func (h *house) Watch(string, func(*resolver.Service, error)) func() { return func() {} }

func newHouse(t *testing.T, who identity.Source, mode identity.Mode, p patience) *house {
	t.Helper()
	h := new(house)
	e := engine.New(engine.Config{Resolver: h, Source: who, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(e.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if h.in, err = e.Listen(ln.Addr().(*net.TCPAddr)); err != nil {
		t.Fatal(err)
	}
	if mode != identity.Unset {
		h.sink(&resolver.Inbound{TLS: identity.ServerTLS{Mode: mode}}, nil)
	}
	h.Listener = newListener(ln, h.in, new(Lobby), p)
	t.Cleanup(func() { h.Close() })
	return h
}

func (h *house) visit(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", h.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(long))
	return c
}

// counts wants one connection to have been turned away for that reason, which may be counted after it was closed.
func (h *house) counts(t *testing.T, why engine.Unwelcome) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(long); h.in.State().Turned[why] == 0; {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not counted as %v: %v", why, h.in.State().Turned)
		}
	}
	if turned := h.in.State().Turned; turned[why] != 1 || len(turned) != 1 {
		t.Errorf("counted %v, want one %v", turned, why)
	}
}

// shown wants the visitor to be shown the door.
func shown(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("let in")
	} else if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		t.Error("neither let in nor turned away")
	}
}

func member(t *testing.T) *identitytest.Source {
	t.Helper()
	return identitytest.New(t, "td").Source("spiffe://td/ns/a/sa/b")
}

// Who says nothing, or says it slowly, is turned away, and counted.
func TestSilentConnectionsAreTurnedAway(t *testing.T) {
	for name, tc := range map[string]struct {
		mode identity.Mode
		says []byte
	}{
		"nothing, strict":          {identity.Strict, nil},
		"one byte, strict":         {identity.Strict, []byte{handshakeRecord}},
		"half a hello, strict":     {identity.Strict, []byte{handshakeRecord, 3, 1, 2, 0, 1}},
		"half a hello, permissive": {identity.Permissive, []byte{handshakeRecord, 3, 1, 2, 0, 1}},
		"nothing ever, permissive": {identity.Permissive, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, member(t), tc.mode, patience{handshake: 50 * time.Millisecond, firstWord: 10 * time.Millisecond})
			c := h.visit(t)
			c.Write(tc.says)
			shown(t, c)
			h.counts(t, engine.Silent)
		})
	}
}

// What is not spoken where it should be is closed, counted, and gets no answer.
func TestWrongTongue(t *testing.T) {
	for name, tc := range map[string]struct {
		mode identity.Mode
		says []byte
		why  engine.Unwelcome
	}{
		"plaintext, strict": {identity.Strict, []byte("GET / HTTP/1.1\r\n\r\n"), engine.Plaintext},
		"rubbish as TLS":    {identity.Strict, bytes.Repeat([]byte{handshakeRecord}, 512), engine.Unproved},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, member(t), tc.mode, patience{long, long})
			c := h.visit(t)
			c.Write(tc.says)
			if b, _ := io.ReadAll(c); tc.why != engine.Unproved && len(b) > 0 {
				t.Errorf("answered %q", b)
			}
			h.counts(t, tc.why)
		})
	}
}

// Where mutual TLS is not asked for TLS is the application's, also where rules look at connections.
func TestTLSOfTheApplication(t *testing.T) {
	all := []identity.Step{{Name: "all", Rules: &identity.Rules{Policies: []identity.Policy{{
		Name: "all", Permissions: []identity.Condition{{Kind: identity.Always}}, Principals: []identity.Condition{{Kind: identity.Always}},
	}}}}}
	for name, guard := range map[string]identity.Guard{"no rules": {}, "rules": {Steps: all, Connections: all}} {
		h := newHouse(t, member(t), identity.Unset, patience{long, long})
		h.sink(&resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Disable}, Guard: guard}, nil)
		c := h.visit(t)
		hello := []byte{handshakeRecord, 3, 1, 2, 0}
		c.Write(hello)
		c.(*net.TCPConn).CloseWrite()
		in, err := h.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(in); err != nil || !bytes.Equal(b, hello) {
			t.Errorf("%s: the server reads %v, %v", name, b, err)
		}
		if p := PeerOf(in); p != nil {
			t.Errorf("%s: it is %+v who calls", name, p)
		}
		in.Close()
	}
}

// Callers hear after a server that it takes plaintext alone. Until then they come by mutual TLS, are who they are, and stay.
func TestMutualTLSOutlivesItsEnd(t *testing.T) {
	for _, before := range []identity.Mode{identity.Permissive, identity.Strict} {
		who := member(t)
		h := newHouse(t, who, before, patience{long, long})
		come := func() (in net.Conn, out *tls.Conn) {
			t.Helper()
			out = tls.Client(h.visit(t), clientOf(t, who))
			got := make(chan error, 1)
			go func() { got <- out.Handshake() }()
			in, err := h.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if err := <-got; err != nil {
				t.Fatal(err)
			}
			if p := PeerOf(in); p == nil || p.ID.String() != "spiffe://td/ns/a/sa/b" {
				t.Errorf("%v: peer %+v", before, p)
			}
			return in, out
		}
		in, out := come()
		h.sink(&resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Disable}}, nil)
		h.sink(&resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Disable}, Guard: identity.Guard{Revoked: &identity.Revoked{Serials: []string{"1"}}}}, nil) // another change
		late, later := come()
		for _, c := range []net.Conn{in, late} {
			if _, err := c.Write([]byte("x")); err != nil {
				t.Error(err)
			}
		}
		for _, c := range []net.Conn{out, later} {
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Errorf("%v: a connection over TLS was ended: %v", before, err)
			}
		}
		plain := h.visit(t)
		plain.Write([]byte("hello"))
		c, err := h.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if b := make([]byte, 5); func() error { _, err := io.ReadFull(c, b); return err }() != nil || string(b) != "hello" {
			t.Errorf("%v: plaintext: %q", before, b)
		}
		for _, c := range []net.Conn{in, late, c} {
			c.Close()
		}
	}
}

// A server may speak first where the client may speak plaintext.
func TestServerSpeaksFirst(t *testing.T) {
	h := newHouse(t, member(t), identity.Permissive, patience{long, time.Millisecond})
	c := h.visit(t)
	in, err := h.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	in.Write([]byte("220 hello"))
	if b := make([]byte, 9); func() error { _, err := io.ReadFull(c, b); return err }() != nil || string(b) != "220 hello" {
		t.Errorf("%q", b)
	}
	if peers := h.in.State().Plaintext; len(peers) != 1 || peers[0].Connections != 1 || peers[0].Addr.String() != "127.0.0.1" {
		t.Errorf("who speaks plaintext: %+v", peers)
	}
	// Who begins TLS after all does not get to the server.
	late := h.visit(t)
	if in, err = h.Accept(); err != nil {
		t.Fatal(err)
	}
	late.Write([]byte{handshakeRecord, 3, 1})
	if n, err := in.Read(make([]byte, 8)); n > 0 || err == nil {
		t.Error("TLS got to the server as plaintext")
	}
}

// The first byte, which was looked at, is read, however the server reads.
func TestFirstByteIsPutBack(t *testing.T) {
	for name, read := range map[string]func(net.Conn) ([]byte, error){
		"Read": func(c net.Conn) ([]byte, error) { return io.ReadAll(struct{ io.Reader }{c}) },
		"WriteTo": func(c net.Conn) ([]byte, error) {
			var b bytes.Buffer
			_, err := c.(io.WriterTo).WriteTo(&b)
			return b.Bytes(), err
		},
	} {
		for _, mode := range []identity.Mode{identity.Permissive, identity.Disable} {
			h := newHouse(t, member(t), mode, patience{long, long})
			c := h.visit(t)
			c.Write([]byte("hello, server"))
			c.(*net.TCPConn).CloseWrite()
			in, err := h.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if b, err := read(in); err != nil || string(b) != "hello, server" {
				t.Errorf("%s, %v: %q, %v", name, mode, b, err)
			}
			in.Close()
		}
	}
}

// Nobody is let in by a process with an identity before it knows what it demands, nor where what it demands can't be.
func TestClosedUntilKnown(t *testing.T) {
	who := member(t)
	h := newHouse(t, who, identity.Unset, patience{long, long})
	got := make(chan error, 1)
	c := tls.Client(h.visit(t), clientOf(t, who))
	go func() { got <- c.Handshake() }()
	if h.in.Trusting() {
		t.Error("open to anybody")
	}
	h.sink(nil, errors.New("refused")) // which is no demand
	select {
	case err := <-got:
		t.Fatalf("let in: %v", err)
	default:
	}
	h.sink(&resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}}, nil)
	in, err := h.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if p := PeerOf(in); p == nil || p.ID.String() != "spiffe://td/ns/a/sa/b" {
		t.Errorf("peer %+v", p)
	}
	in.Close()

	none := newHouse(t, nil, identity.Strict, patience{long, long})
	shown(t, none.visit(t))
	none.counts(t, engine.ClosedDoor)
	if none.in.State().Closed == nil {
		t.Error("it is not said why nobody is let in")
	}
}

func clientOf(t *testing.T, who identity.Source) *tls.Config {
	t.Helper()
	conf, err := (&identity.ClientTLS{Mutual: true}).Config("server", who, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

// When too many wait, who has waited longest goes.
func TestLobbyIsBounded(t *testing.T) {
	l := new(Lobby)
	first, second := new(accepted), new(accepted)
	for i := range mostWaiting {
		c := new(accepted)
		switch i {
		case 0:
			c = first
		case 1:
			c = second
		}
		if out := l.enter(c); out != nil {
			t.Fatalf("%d are too many", i+1)
		}
	}
	l.leave(first)
	if out := l.enter(new(accepted)); out != nil {
		t.Error("there was room")
	}
	if out := l.enter(new(accepted)); out != second {
		t.Error("not the one that has waited longest goes")
	}
}

// A listener that closes leaves nobody waiting.
func TestCloseEndsWhatWaits(t *testing.T) {
	h := newHouse(t, member(t), identity.Strict, patience{long, long})
	silent, said := h.visit(t), h.visit(t)
	c := tls.Client(said, clientOf(t, member(t))) // whom the house does not know
	failed := make(chan error, 1)
	go func() { failed <- c.Handshake() }()
	<-failed
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	shown(t, silent)
	if _, err := h.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}

// Rules of connections are passed over only for servers that ask rules of requests, whatever a client pretends to speak.
func TestWhoServesRequests(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(net.Listener)
		want  bool
	}{
		"net/http": {func(ln net.Listener) { (&http.Server{ReadHeaderTimeout: long}).Serve(ln) }, true},
		"gRPC":     {func(ln net.Listener) { grpc.NewServer().Serve(ln) }, true},
		"raw":      {func(ln net.Listener) { ln.Accept() }, false},
	} {
		got := make(chan bool, 1)
		tc.serve(asked{func() { got <- servesRequests() }})
		if web := <-got; web != tc.want {
			t.Errorf("%s: %v", name, web)
		}
	}
}

// asked is a Listener that is closed.
type asked struct{ accepts func() }

func (a asked) Accept() (net.Conn, error) { a.accepts(); return nil, net.ErrClosed }
func (asked) Close() error                { return nil }
func (asked) Addr() net.Addr              { return &net.TCPAddr{} }

func TestRawServerAsksRulesOfConnections(t *testing.T) {
	nobody := []identity.Step{{Name: "nobody", Rules: &identity.Rules{}}}
	h := newHouse(t, member(t), identity.Unset, patience{long, long})
	h.sink(&resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}, Guard: identity.Guard{Steps: nobody, Connections: nobody}}, nil)
	accepted := make(chan error, 1)
	go func() {
		_, err := h.Accept()
		accepted <- err
	}()
	c := h.visit(t)
	c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	shown(t, c)
	h.counts(t, engine.Refused)
	h.Close()
	if err := <-accepted; err == nil {
		t.Error("let in")
	}
}

// A fault shows a share of the connections a certificate that can't be verified.
func TestCorruptCertificate(t *testing.T) {
	who := member(t)
	h := newHouse(t, who, identity.Unset, patience{long, long})
	for _, spoils := range []bool{true, false} {
		var f *resilience.Fault
		if spoils {
			f = &resilience.Fault{Break: resilience.Break{Kind: resilience.CorruptCertificate}, BreakPercent: resilience.Percent(100)}
		}
		h.sink(&resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}, Serving: resilience.Serving{Fault: f}}, nil)
		accepted := make(chan error, 1)
		if !spoils {
			go func() {
				_, err := h.Accept()
				accepted <- err
			}()
		}
		err := tls.Client(h.visit(t), clientOf(t, who)).Handshake()
		if (err != nil) != spoils {
			t.Errorf("spoils %v: %v", spoils, err)
		}
		if !spoils && <-accepted != nil {
			t.Error("not let in")
		}
	}
}
