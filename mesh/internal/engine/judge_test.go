package engine

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// guardOf lets in callers of the identities. Ten rules stand before the one that does.
func guardOf(ids ...string) identity.Guard {
	var policies []identity.Policy
	for i := range 10 {
		policies = append(policies, identity.Policy{
			Name:        fmt.Sprintf("p%d", i),
			Permissions: []identity.Condition{{Kind: identity.PathIs, Is: match.String{Kind: match.Prefix, Value: fmt.Sprintf("/%d/", i)}}},
			Principals:  []identity.Condition{{Kind: identity.Authentic, Is: match.String{Value: fmt.Sprintf("spiffe://td/ns/n/sa/%d", i)}}},
		})
	}
	for _, id := range ids {
		policies = append(policies, identity.Policy{
			Name: "friends", Permissions: []identity.Condition{{Kind: identity.Always}},
			Principals: []identity.Condition{{Kind: identity.Authentic, Is: match.String{Value: id}}},
		})
	}
	return identity.Guard{Steps: []identity.Step{{Name: "allow", Rules: &identity.Rules{Policies: policies}}}}
}

const friendID = "spiffe://td/ns/a/sa/friend"

// peerOf is a peer of that identity, whose certificate nobody has to verify any more.
func peerOf(t testing.TB, id string, serial int64) *identity.Peer {
	t.Helper()
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		t.Fatal(err)
	}
	return &identity.Peer{ID: parsed, Certificates: []*x509.Certificate{{
		Raw: []byte(id), SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "a\"\nb"}, URIs: nil,
	}}}
}

// judging is a server with an identity, and what it demands.
func judging(t testing.TB, in resolver.Inbound, config ...func(*Config)) *server {
	t.Helper()
	s := newServer(t, resilience.Serving{}, append(config, func(c *Config) { c.Source = identitytest.New(t, "td").Source("spiffe://td/ns/b/sa/server") })...)
	s.demand(in)
	return s
}

func (s *server) demand(in resolver.Inbound) {
	in.Addr = "127.0.0.1:8080"
	s.resolver.inbounds[in.Addr](&in, nil)
}

// connect has a connection enter; nil is plaintext.
func (s *server) connect(t testing.TB, p *identity.Peer) *Connection {
	t.Helper()
	c := &Connection{Peer: p, Local: tcp(8080), Remote: tcp(1000), Shut: func() {}, Moved: func() uint64 { return 0 }}
	if why := s.Enter(t.Context(), c); why != Welcome {
		t.Fatalf("not let in: %v", why)
	}
	t.Cleanup(func() { s.Leave(c) })
	return c
}

// A noted Incoming notes what is done to it.
type noted struct {
	header
	steering int
	ended    chan *Refusal
}

func (n *noted) Set(name resolver.HeaderName, v string)    { n.header[name.Lower] = v }
func (n *noted) Append(name resolver.HeaderName, v string) { n.header[name.Lower] += v }
func (n *noted) Remove(name resolver.HeaderName)           { delete(n.header, name.Lower) }
func (n *noted) RemoveSteering()                           { n.steering++ }
func (n *noted) Body(int) ([]byte, error)                  { return nil, nil }
func (n *noted) End(r *Refusal)                            { n.ended <- r }

func (c *Connection) call(path string) *InboundCall {
	n := &noted{header: header{"x-forwarded-client-cert": "URI=spiffe://td/king"}, ended: make(chan *Refusal, 1)}
	return &InboundCall{Local: c.Local, Remote: c.Remote, Incoming: n, Request: resolver.Request{Method: "GET", Path: path, Authority: "b", Header: n.header}}
}

func TestWhoMayCall(t *testing.T) {
	friend, other := peerOf(t, friendID, 1), peerOf(t, "spiffe://td/ns/a/sa/other", 255)
	revoked := guardOf(friendID, other.ID.String())
	revoked.Revoked = &identity.Revoked{Serials: []string{"ff"}}
	permissive := identity.ServerTLS{Mode: identity.Permissive}
	for name, tc := range map[string]struct {
		in     resolver.Inbound
		peer   *identity.Peer
		path   string
		status int // 0: handled
		kind   Kind
	}{
		"nothing is demanded":   {resolver.Inbound{}, other, "/", 0, 0},
		"friend":                {resolver.Inbound{Guard: guardOf(friendID)}, friend, "/x", 0, 0},
		"other":                 {resolver.Inbound{Guard: guardOf(friendID)}, other, "/x", 403, Denied},
		"nobody":                {resolver.Inbound{TLS: permissive, Guard: guardOf(friendID)}, nil, "/x", 403, Denied},
		"health check":          {resolver.Inbound{Guard: guardOf(friendID)}, other, "/healthz", 403, Denied},
		"path that is none":     {resolver.Inbound{Guard: guardOf(friendID)}, friend, "/a%2fb", 400, Denied},
		"star of GET":           {resolver.Inbound{Guard: guardOf(friendID)}, friend, "*", 400, Denied},
		"no rules, any path":    {resolver.Inbound{}, friend, "/a%2fb", 0, 0},
		"revoked":               {resolver.Inbound{Guard: revoked}, friend, "/", 0, 0},
		"rate after the rules":  {resolver.Inbound{Guard: guardOf(friendID), Serving: resilience.Serving{Rate: &resilience.Rate{Descriptors: []resilience.DescriptorRate{{Entries: []resilience.Entry{{Key: "method", Value: "GET"}}, TokenBucket: resilience.TokenBucket{FillInterval: time.Hour}}}}}}, friend, "/", 429, RateLimited},
		"rules before the rate": {resolver.Inbound{Guard: guardOf(friendID), Serving: resilience.Serving{Rate: &resilience.Rate{Descriptors: []resilience.DescriptorRate{{Entries: []resilience.Entry{{Key: "method", Value: "GET"}}, TokenBucket: resilience.TokenBucket{FillInterval: time.Hour}}}}}}, other, "/", 403, Denied},
	} {
		t.Run(name, func(t *testing.T) {
			s := judging(t, tc.in)
			c := s.connect(t, tc.peer).call(tc.path)
			handled := false
			_, r := s.Serve(t.Context(), c, func(ctx context.Context) resilience.Outcome {
				handled = true
				if p := Caused(ctx).Peer; p != tc.peer {
					t.Errorf("peer %+v", p)
				}
				return resilience.Outcome{Status: 200}
			})
			switch {
			case tc.status == 0 && (r != nil || !handled):
				t.Errorf("refused: %+v", r)
			case tc.status != 0 && (r == nil || handled || r.Status != tc.status || r.Kind != tc.kind):
				t.Errorf("handled: %v, refused: %+v, want %d", handled, r, tc.status)
			}
			cert := c.Incoming.(*noted).header["x-forwarded-client-cert"]
			if tc.peer == nil && cert != "" || tc.peer != nil && !strings.HasSuffix(cert, `;Subject="CN=a\\\"?b";URI=`+tc.peer.ID.String()) && !strings.HasSuffix(cert, ";URI="+tc.peer.ID.String()) {
				t.Errorf("x-forwarded-client-cert: %s", cert)
			}
		})
	}
	s := judging(t, resolver.Inbound{Guard: revoked})
	if why := s.Enter(t.Context(), &Connection{Peer: other, Local: tcp(8080), Remote: tcp(1), Shut: func() {}, Moved: func() uint64 { return 0 }}); why != Revoked {
		t.Errorf("a revoked certificate: %v", why)
	}
}

// Whose headers count: by default those of the process's own trust domain.
func TestTrusted(t *testing.T) {
	none := identity.Guard{Trusted: []match.String{}}
	some := identity.Guard{Trusted: []match.String{{Kind: match.Prefix, Value: "spiffe://td/ns/a/"}}}
	for name, tc := range map[string]struct {
		guard identity.Guard
		peer  *identity.Peer
		want  bool
	}{
		"own trust domain":  {identity.Guard{}, peerOf(t, friendID, 1), true},
		"another":           {identity.Guard{}, peerOf(t, "spiffe://other/ns/a/sa/friend", 1), false},
		"plaintext":         {identity.Guard{}, nil, false},
		"nobody is trusted": {none, peerOf(t, friendID, 1), false},
		"named":             {some, peerOf(t, friendID, 1), true},
		"not named":         {some, peerOf(t, "spiffe://td/ns/b/sa/x", 1), false},
		"named, plaintext":  {some, nil, false},
	} {
		s := judging(t, resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}, Guard: tc.guard})
		c := s.connect(t, tc.peer).call("/")
		s.Meet(c)
		if got := c.Incoming.(*noted).steering == 0; got != tc.want {
			t.Errorf("%s: trusted %v, want %v", name, got, tc.want)
		}
	}
	plain := newServer(t, resilience.Serving{})
	c := plain.connect(t, nil).call("/")
	plain.Meet(c)
	if n := c.Incoming.(*noted); n.steering != 0 || n.header["x-forwarded-client-cert"] != "" {
		t.Errorf("without identities: %+v", n)
	}
}

// Rules that can't be evaluated let nobody in, unless there were others before, which stay.
func TestRulesThatAreWrong(t *testing.T) {
	wrong := identity.Guard{Steps: []identity.Step{{Rules: &identity.Rules{Policies: []identity.Policy{{Name: "p", Permissions: []identity.Condition{{}}, Principals: []identity.Condition{{Kind: identity.Always}}}}}}}}
	var log bytes.Buffer
	s := judging(t, resolver.Inbound{Guard: wrong}, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	conn := &Connection{Peer: peerOf(t, friendID, 1), Local: tcp(8080), Remote: tcp(1), Shut: func() {}, Moved: func() uint64 { return 0 }}
	if why := s.Enter(t.Context(), conn); why != Refused {
		t.Errorf("let in: %v", why)
	}
	if _, r := s.Serve(t.Context(), conn.call("/"), answer200); r == nil || r.Kind != Denied {
		t.Errorf("handled: %+v", r)
	}
	s.demand(resolver.Inbound{Guard: guardOf(friendID)})
	known := s.connect(t, conn.Peer)
	s.demand(resolver.Inbound{Guard: wrong})
	if _, r := s.Serve(t.Context(), known.call("/"), answer200); r != nil {
		t.Errorf("the last good rules are lost: %+v", r)
	}
	if _, r := s.Serve(t.Context(), s.connect(t, peerOf(t, "spiffe://td/ns/a/sa/other", 2)).call("/"), answer200); r == nil {
		t.Error("the last good rules are lost: others are let in")
	}
	if text := log.String(); !strings.Contains(text, "nobody may") || !strings.Contains(text, "those before stay in force") {
		t.Error(text)
	}
}

// panics is an Asker that panics.
type panics struct{}

func (panics) Ask(context.Context, *identity.ExtAuthz, *identity.Request, []byte) identity.Verdict {
	panic("no")
}

func TestPanicDenies(t *testing.T) {
	g := identity.Guard{Steps: []identity.Step{{Name: "ask", Ask: &identity.ExtAuthz{Service: "x"}}}}
	s := judging(t, resolver.Inbound{Guard: g}, func(c *Config) { c.Asker = panics{} })
	if _, r := s.Serve(t.Context(), s.connect(t, peerOf(t, friendID, 1)).call("/"), answer200); r == nil || r.Kind != Denied || r.Text != deniedText {
		t.Errorf("%+v", r)
	}
}

// A stream ends within a second of the change by which its caller may not make it any more.
func TestStreamIsEndedByAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := judging(t, resolver.Inbound{Guard: guardOf(friendID)})
		c := s.connect(t, peerOf(t, friendID, 1)).call("/")
		c.Stream = true
		began, done := make(chan time.Time, 1), make(chan struct{})
		go func() {
			defer close(done)
			s.Serve(t.Context(), c, func(ctx context.Context) resilience.Outcome {
				began <- time.Now()
				<-ctx.Done()
				return resilience.Outcome{Status: 200}
			})
		}()
		<-began
		s.demand(resolver.Inbound{Guard: guardOf(friendID, "spiffe://td/ns/a/sa/other")})
		time.Sleep(time.Minute)
		if c.Cut() != nil {
			t.Fatal("ended by a change that lets it go on")
		}
		before := time.Now()
		s.demand(resolver.Inbound{Guard: guardOf("spiffe://td/ns/a/sa/other")})
		r := <-c.Incoming.(*noted).ended
		<-done
		if took := time.Since(before); took > time.Second || r.Kind != Denied || c.Cut() != r {
			t.Errorf("ended after %v as %+v", took, r)
		}
		for _, u := range []*underway{&c.conn.calls, &s.strays} {
			u.each(func(*InboundCall) { t.Error("a stream is remembered after its end") })
		}
	})
}

// A call that was read from a connection before that was ended, for a revocation say, is nobody's: it is not let in as such.
func TestCallsOfConnectionsThatHaveEndedAreRefused(t *testing.T) {
	s := judging(t, resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}})
	conn := s.connect(t, peerOf(t, friendID, 1))
	s.demand(resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}, Guard: identity.Guard{Revoked: &identity.Revoked{IDs: []spiffeid.ID{conn.Peer.ID}}}})
	c := conn.call("/")
	s.Leave(conn)
	reached := false
	if _, r := s.Serve(t.Context(), c, func(ctx context.Context) resilience.Outcome {
		reached = true
		return answer200(ctx)
	}); r == nil || reached {
		t.Errorf("refused %+v, handled %v", r, reached)
	}
}

// Connections that may not be there any more end: at once without calls, else after these.
func TestConnectionsEndByAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := judging(t, resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}})
		var mu sync.Mutex
		shut := map[string]time.Duration{}
		before := time.Now()
		enter := func(name string, p *identity.Peer, moved func() uint64) *Connection {
			c := &Connection{Peer: p, Local: tcp(8080), Remote: tcp(1), Moved: moved}
			c.Shut = func() {
				mu.Lock()
				defer mu.Unlock()
				shut[name] = time.Since(before)
				s.Leave(c)
			}
			if why := s.Enter(t.Context(), c); why != Welcome {
				t.Fatal(why)
			}
			return c
		}
		still := func() uint64 { return 0 }
		n := uint64(0)
		busy := func() uint64 { n++; return n }
		enter("idle", nil, still)
		enter("busy", nil, busy)
		enter("secure", peerOf(t, friendID, 1), still)
		revoked := enter("revoked", peerOf(t, "spiffe://td/ns/a/sa/other", 2), still)
		calling, streaming := enter("calling", nil, still), enter("streaming", nil, still)
		calling.begin(false)
		streaming.begin(true)
		mu.Lock()
		before = time.Now()
		mu.Unlock()
		s.demand(resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}, Guard: identity.Guard{Revoked: &identity.Revoked{IDs: []spiffeid.ID{revoked.Peer.ID}}}})
		time.Sleep(10 * time.Second)
		if c := calling.call("/"); !calling.Leaving() {
			t.Error("a connection that is in use does not learn that it is to end")
		} else if _, r := s.Serve(t.Context(), c, answer200); r == nil {
			t.Error("a plaintext call is served long after plaintext was")
		}
		calling.end(false)
		synctest.Wait()
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		for name, most := range map[string]time.Duration{"idle": 100 * time.Millisecond, "busy": lingering, "revoked": 100 * time.Millisecond, "calling": 11 * time.Second, "streaming": lingering} {
			if took, ok := shut[name]; !ok || took > most+glance {
				t.Errorf("%s: ended %v after %v", name, ok, took)
			}
		}
		if _, ok := shut["secure"]; ok {
			t.Error("a connection that may be there was ended")
		}
	})
}

// What is said of denials is bounded, and says how much was left out.
func TestDenialsAreSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d := denials{log: slog.New(slog.NewTextHandler(&log, nil))}
		r := &identity.Request{Method: "GET", Path: "/x\ny"}
		for range 100 {
			d.note(1, r, &identity.Decision{Policy: "p"})
		}
		d.note(1, r, &identity.Decision{Allowed: true})
		if lines := strings.Count(log.String(), "\n"); lines != mostLines {
			t.Errorf("%d lines:\n%s", lines, log.String())
		}
		time.Sleep(time.Second)
		d.note(1, r, &identity.Decision{Policy: "p"})
		if !strings.Contains(log.String(), "leftOut=90") {
			t.Error(log.String())
		}
	})
}

// Calls on connections that outlive their listener are judged as before.
func TestClosedInboundStillJudges(t *testing.T) {
	s := judging(t, resolver.Inbound{Guard: guardOf(friendID)})
	c := &Connection{Peer: peerOf(t, "spiffe://td/ns/a/sa/other", 1), Local: tcp(8080), Remote: tcp(1), Shut: func() {}, Moved: func() uint64 { return 0 }}
	if why := s.Enter(t.Context(), c); why != Welcome {
		t.Fatal(why)
	}
	s.Inbound.Close()
	if _, r := s.Serve(t.Context(), c.call("/"), answer200); r == nil {
		t.Error("handled")
	}
	s.Leave(c)
	if len(s.Inbounds()) != 0 {
		t.Error("a closed inbound is remembered after its last connection")
	}
}

func TestJudgingAllocatesOnce(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	for name, tc := range map[string]struct {
		guard identity.Guard
		most  float64
	}{"identity alone": {identity.Guard{}, 0}, "eleven rules": {guardOf(friendID), 1}} {
		s := judging(t, resolver.Inbound{Guard: tc.guard})
		conn := s.connect(t, peerOf(t, friendID, 1))
		calls := make([]InboundCall, 1002)
		next := 0
		if allocs := testing.AllocsPerRun(1000, func() {
			c := &calls[next]
			next++
			c.Local, c.Remote, c.Request.Path, c.Request.Authority = conn.Local, conn.Remote, "/pay", "ledger.b.svc.cluster.local"
			if _, r := s.Serve(t.Context(), c, answer200); r != nil {
				t.Fatal(r)
			}
		}); allocs > tc.most {
			t.Errorf("%s: %v allocations a call", name, allocs)
		}
	}
}

// BenchmarkJudge is what rules add to a call that is served.
func BenchmarkJudge(b *testing.B) {
	for name, g := range map[string]identity.Guard{"identity alone": {}, "10 rules": guardOf(friendID)} {
		b.Run(name, func(b *testing.B) {
			s := judging(b, resolver.Inbound{Guard: g})
			conn := s.connect(b, peerOf(b, friendID, 1))
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				c := &InboundCall{Local: conn.Local, Remote: conn.Remote}
				c.Request.Path, c.Request.Authority = "/pay", "ledger.b.svc.cluster.local"
				if _, r := s.Serve(ctx, c, answer200); r != nil {
					b.Fatal(r)
				}
			}
		})
	}
}
