package mesh_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/resolver"
)

const (
	aliceID   = "spiffe://td/ns/a/sa/alice"
	malloryID = "spiffe://td/ns/a/sa/mallory"
	ledgerID  = "spiffe://td/ns/b/sa/ledger"
)

func exactly(s string) match.String { return match.String{Value: s} }

// from is the callers of these identities.
func from(ids ...string) (out []identity.Condition) {
	for _, id := range ids {
		out = append(out, identity.Condition{Kind: identity.Authentic, Is: exactly(id)})
	}
	return out
}

// on is these paths; all without any.
func on(paths ...string) (out []identity.Condition) {
	for _, p := range paths {
		out = append(out, identity.Condition{Kind: identity.PathIs, Is: exactly(p)})
	}
	if out == nil {
		out = []identity.Condition{{Kind: identity.Always}}
	}
	return out
}

func step(name string, a identity.Action, policies ...identity.Policy) identity.Step {
	return identity.Step{Name: name, Rules: &identity.Rules{Action: a, Policies: policies}}
}

// only lets in these callers.
func only(ids ...string) identity.Guard {
	return identity.Guard{Steps: []identity.Step{step("allow", identity.Allow, identity.Policy{Name: "friends", Principals: from(ids...), Permissions: on()})}}
}

func strictly(g identity.Guard) resolver.Inbound {
	return resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}, Guard: g}
}

// A party is two callers and a server of both protocols in one trust domain.
type party struct {
	*fleet
	ca             *identitytest.CA
	web, rpc       servedBy
	alice, mallory *mesh.Mesh
}

func newParty(t *testing.T, in resolver.Inbound, h http.HandlerFunc, more ...mesh.Option) *party {
	t.Helper()
	p := &party{fleet: newFleet(in), ca: identitytest.New(t, "td")}
	server := p.member(t, p.ca.Source(ledgerID), more...)
	p.web.web(t, server, h)
	p.rpc.rpc(t, server)
	tls := resolver.Cluster{TLS: &identity.ClientTLS{Mutual: true, SubjectAltNames: identity.ExactNames(ledgerID)}}
	p.route("web", tls, p.web.addr)
	p.route("rpc", tls, p.rpc.addr)
	p.alice, p.mallory = p.member(t, p.ca.Source(aliceID)), p.member(t, p.ca.Source(malloryID))
	return p
}

// ask calls the gRPC server.
func ask(ctx context.Context, t *testing.T, m *mesh.Mesh) error {
	t.Helper()
	cc, err := grpc.NewClient("mesh:///rpc", m.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	_, err = healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

func patiently(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	t.Cleanup(cancel)
	return ctx
}

// Who may not call does not get to the handler, learns nothing of why, and the log says it all.
func TestRulesAreEnforced(t *testing.T) {
	var log lockedBuffer
	g := only(aliceID)
	g.Steps = append([]identity.Step{step("deny", identity.Deny, identity.Policy{Name: "no-admin", Principals: []identity.Condition{{Kind: identity.Always}}, Permissions: on("/admin")})}, g.Steps...)
	p := newParty(t, strictly(g), nil, mesh.WithLogger(slog.New(slog.NewJSONHandler(&log, nil))))
	ctx := patiently(t)
	if code, body, err := get(ctx, p.alice.RoundTripper(), "http://web/"); code != 200 || err != nil {
		t.Errorf("alice: %d %q %v", code, body, err)
	}
	if err := ask(ctx, t, p.alice); err != nil {
		t.Errorf("alice: %v", err)
	}
	web, rpc := p.web.calls.Load(), p.rpc.calls.Load()
	if code, body, err := get(ctx, p.mallory.RoundTripper(), "http://web/healthz"); code != 403 || body != "RBAC: access denied" {
		t.Errorf("mallory: %d %q %v", code, body, err)
	}
	if err := ask(ctx, t, p.mallory); status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != "RBAC: access denied" {
		t.Errorf("mallory: %v", err)
	}
	for path, want := range map[string]int{"/admin": 403, "//admin": 403, "/x/../admin": 403, "/%61dmin": 403, "/x%2Fadmin": 400, "/%00": 400} {
		if code, body, err := get(ctx, p.alice.RoundTripper(), "http://web"+path); code != want {
			t.Errorf("%s: %d %q %v, want %d", path, code, body, err, want)
		}
	}
	if w, r := p.web.calls.Load()-web, p.rpc.calls.Load()-rpc; w != 0 || r != 0 {
		t.Errorf("%d and %d calls got to the handlers", w, r)
	}
	for _, want := range []string{`"policy":"no-admin"`, malloryID, `"step":"allow"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, log.String())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What callers say of themselves is not believed, and what was verified is said in its place. Paths are seen as rules saw them.
func TestHandlersSeeWhatWasVerified(t *testing.T) {
	g := only(aliceID, malloryID)
	g.Trusted = []match.String{exactly(aliceID)}
	p := newParty(t, strictly(g), func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s|%s|%s|%s|%s", r.Header.Get("X-Forwarded-Client-Cert"), r.Header.Get("X-Weft-Criticality"), r.URL.Path, r.URL.RawQuery, r.Host)
	})
	for who, m := range map[string]*mesh.Mesh{aliceID: p.alice, malloryID: p.mallory} {
		req, _ := http.NewRequestWithContext(patiently(t), http.MethodGet, "http://web/a//b/../%63?q=//", nil)
		req.Header.Set("X-Forwarded-Client-Cert", "URI=spiffe://td/ns/a/sa/king")
		req.Header.Set("X-Weft-Criticality", "sheddable")
		resp, err := m.RoundTripper().RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		parts := strings.Split(string(body), "|")
		if len(parts) != 5 || !strings.HasPrefix(parts[0], "By="+ledgerID+";Hash=") || !strings.HasSuffix(parts[0], ";URI="+who) || strings.Contains(parts[0], "king") {
			t.Errorf("%s: %s", who, body)
		}
		if (parts[1] != "") != (who == aliceID) {
			t.Errorf("%s: criticality %q", who, parts[1])
		}
		if parts[2] != "/a/c" || parts[3] != "q=//" || parts[4] != "web" {
			t.Errorf("%s: path %q, query %q, host %q", who, parts[2], parts[3], parts[4])
		}
	}
	ctx := metadata.AppendToOutgoingContext(patiently(t), "x-forwarded-client-cert", "URI=spiffe://td/ns/a/sa/king")
	if err := ask(ctx, t, p.mallory); err != nil {
		t.Fatal(err)
	}
	md := p.rpc.md.Load()
	if cert := (*md)["x-forwarded-client-cert"]; len(cert) != 1 || !strings.HasSuffix(cert[0], ";URI="+malloryID) {
		t.Errorf("gRPC: %q", cert)
	}
}

// A stream ends when its caller may not make it any more, wherever its handler waits, and whether or not there were rules when it began.
func TestStreamsAreCut(t *testing.T) {
	for name, before := range map[string]identity.Guard{"rules": only(aliceID), "no rules": {}} {
		t.Run(name, func(t *testing.T) { streamsAreCut(t, before) })
	}
}

func streamsAreCut(t *testing.T, before identity.Guard) {
	ended := make(chan error, 3)
	p := newParty(t, strictly(before), func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/events":
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			ended <- r.Context().Err()
		case "/upgrade":
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_, err = c.Read(make([]byte, 1))
			ended <- err
		case "/long":
			for {
				if _, err := io.WriteString(w, "x"); err != nil {
					ended <- err
					return
				}
				http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(time.Millisecond):
				}
			}
		}
	})
	ctx := patiently(t)
	cc, err := grpc.NewClient("mesh:///rpc", p.alice.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	watch, err := healthpb.NewHealthClient(cc).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	bodies := map[string]io.ReadCloser{}
	for path, header := range map[string][2]string{"/events": {"Accept", "text/event-stream"}, "/upgrade": {"Upgrade", "echo"}, "/long": {"X", "y"}} {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://web"+path, nil)
		req.Header.Set(header[0], header[1])
		if path == "/upgrade" {
			req.Header.Set("Connection", "Upgrade")
		}
		resp, err := p.alice.RoundTripper().RoundTrip(req)
		if err != nil {
			t.Fatal(path, err)
		}
		bodies[path] = resp.Body
	}
	// Another policy that still lets alice in ends nothing.
	p.demand(strictly(only(aliceID, malloryID)))
	if err := ask(ctx, t, p.mallory); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("a stream ended that may go on: %v", err)
	default:
	}
	p.demand(strictly(only(malloryID)))
	if _, err := watch.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("gRPC stream: %v", err)
	}
	for range bodies {
		select {
		case <-ended:
		case <-ctx.Done():
			t.Fatal("a handler goes on")
		}
	}
	for path, b := range bodies {
		if _, err := io.Copy(io.Discard, b); err == nil && path != "/upgrade" {
			t.Errorf("%s: an answer that was cut off looks whole", path)
		}
		b.Close()
	}
}

// Who speaks plaintext is known while that is permitted; when it is not any more his connections end, and no call fails on the way.
func TestFromPlaintextToStrict(t *testing.T) {
	p := newParty(t, resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Disable}}, nil)
	cluster := resolver.Cluster{TLS: &identity.ClientTLS{Mutual: true}, AutoTLS: true}
	unable := cluster
	unable.Endpoints = []balancer.Endpoint{{Addr: p.web.addr}}
	p.routeTo("web", unable)
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for ctx.Err() == nil {
				if code, body, err := get(context.Background(), p.alice.RoundTripper(), "http://web/"); code != 200 {
					t.Errorf("%d %q %v", code, body, err)
					return
				}
			}
		})
	}
	plain := func() bool { _, ok := p.web.peers.LoadAndDelete(""); return ok }
	secure := func() bool { _, ok := p.web.peers.LoadAndDelete(aliceID); return ok }
	eventually(t, "plaintext calls", plain)
	p.demand(resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}})
	stranger, err := net.Dial("tcp", p.web.addr) // a connection that is kept alive, and idle
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	io.WriteString(stranger, "GET / HTTP/1.1\r\nHost: web\r\n\r\n")
	reader := bufio.NewReader(stranger)
	if resp, err := http.ReadResponse(reader, nil); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	p.route("web", cluster, p.web.addr) // who can speak TLS now
	eventually(t, "calls over TLS", secure)
	p.demand(strictly(identity.Guard{}))
	stranger.SetReadDeadline(time.Now().Add(soon))
	if _, err := reader.ReadByte(); err == nil {
		t.Error("an idle plaintext connection is kept")
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Error("an idle plaintext connection is kept")
	}
	secure()
	eventually(t, "calls over TLS alone", secure)
	stop()
	callers.Wait()
}

// Who spoke plaintext before that was a thing to tell of is told of, too, and for as long as he is there.
func TestPlaintextIsReported(t *testing.T) {
	f := newFleet(resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Disable}})
	server := f.member(t, identitytest.New(t, "td").Source(ledgerID))
	var s servedBy
	s.web(t, server, nil)
	plain := func() (n uint64, last time.Time) {
		rec := httptest.NewRecorder()
		server.DebugHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/?format=json", nil))
		var belief struct {
			Inbounds []struct {
				Plaintext []struct {
					Connections uint64
					Last        time.Time
				}
			}
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &belief); err != nil {
			t.Fatal(err)
		}
		if len(belief.Inbounds) == 0 || len(belief.Inbounds[0].Plaintext) == 0 {
			return 0, last
		}
		p := belief.Inbounds[0].Plaintext[0]
		return p.Connections, p.Last
	}
	client := &http.Transport{}
	defer client.CloseIdleConnections()
	if code, _, err := get(patiently(t), client, "http://"+s.addr); code != http.StatusOK {
		t.Fatal(code, err)
	}
	if n, _ := plain(); n != 0 {
		t.Errorf("where nothing else is spoken, %d connections are told of", n)
	}
	f.demand(resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}})
	eventually(t, "a connection from before", func() bool { n, _ := plain(); return n == 1 })
	_, first := plain()
	f.demand(resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}, Guard: only(aliceID)}) // another review
	if code, _, err := get(patiently(t), client, "http://"+s.addr); code != http.StatusForbidden && code != http.StatusOK {
		t.Fatal(code, err)
	}
	eventually(t, "it is there still", func() bool { n, last := plain(); return n == 1 && last.After(first) })
	eventually(t, "it is idle", func() bool { _, one := plain(); _, two := plain(); return one.Equal(two) })
}

// A revoked identity is refused on connections that are there, which end, and gets no other.
func TestRevoked(t *testing.T) {
	p := newParty(t, strictly(identity.Guard{}), nil)
	ctx := patiently(t)
	for _, m := range []*mesh.Mesh{p.alice, p.mallory} {
		if code, _, err := get(ctx, m.RoundTripper(), "http://web/"); code != 200 {
			t.Fatal(code, err)
		}
	}
	before := p.web.calls.Load()
	p.demand(strictly(identity.Guard{Revoked: &identity.Revoked{IDs: []spiffeid.ID{p.ca.ID("/ns/a/sa/mallory")}}}))
	if code, _, err := get(ctx, p.mallory.RoundTripper(), "http://web/"); code == 200 {
		t.Errorf("mallory: %d %v", code, err)
	}
	if code, _, err := get(ctx, p.alice.RoundTripper(), "http://web/"); code != 200 {
		t.Errorf("alice: %d %v", code, err)
	}
	if n := p.web.calls.Load() - before; n != 1 {
		t.Errorf("%d calls got to the handler", n)
	}
}

// Requests whose meaning differs with who reads them are refused, or have one meaning only (A5, A16, B7).
func TestAmbiguousRequests(t *testing.T) {
	g := identity.Guard{Steps: []identity.Step{step("deny", identity.Deny, identity.Policy{
		Name: "no-kings", Principals: []identity.Condition{{Kind: identity.Always}},
		Permissions: []identity.Condition{{Kind: identity.HeaderIs, Name: "x-role", Is: exactly("king")}, {Kind: identity.HeaderIs, Name: ":path", Is: exactly("/q?a=1")}},
	})}}
	p := newParty(t, strictly(g), func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s|%s|%s", r.URL.RequestURI(), r.Header["Host"], r.Header["X_forwarded_client_cert"])
	})
	send := func(lines ...string) (int, string) {
		t.Helper()
		conf, err := (&identity.ClientTLS{Mutual: true}).Config("web", p.ca.Source(aliceID), nil)
		if err != nil {
			t.Fatal(err)
		}
		conf.NextProtos = []string{"http/1.1"}
		c, err := tls.Dial("tcp", p.web.addr, conf)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(soon))
		io.WriteString(c, strings.Join(append(lines, "Connection: close", "", ""), "\r\n"))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	for _, tc := range []struct {
		lines []string
		code  int
		body  string
	}{
		{[]string{"GET /a?b HTTP/1.1", "Host: web"}, 200, "/a?b|[]|[]"},
		{[]string{"GET /a#b?c HTTP/1.1", "Host: web"}, 200, "/a|[]|[]"},
		{[]string{"GET /a?b#c HTTP/1.1", "Host: web"}, 200, "/a?b|[]|[]"},
		{[]string{"GET http://web/a#b?c HTTP/1.1", "Host: web"}, 200, "/a|[]|[]"},
		{[]string{"GET /q?a=1 HTTP/1.1", "Host: web"}, 403, ""},
		{[]string{"GET /q?a=1#x HTTP/1.1", "Host: web"}, 403, ""},
		{[]string{"GET /a HTTP/1.1", "Host: web", "x-role: king"}, 403, ""},
		{[]string{"GET /a HTTP/1.1", "Host: web", "x_role: king"}, 400, ""},
		{[]string{"GET /a HTTP/1.1", "Host: web", "x_other: king"}, 200, "/a|[]|[]"},
		{[]string{"GET /a HTTP/1.1", "Host: web", "x_forwarded_client_cert: URI=spiffe://td/king"}, 200, "/a|[]|[]"},
		{[]string{"GET /a HTTP/1.1", "Host: web", "Host: other"}, 400, ""},
	} {
		if code, body := send(tc.lines...); code != tc.code || code == 200 && body != tc.body {
			t.Errorf("%q: %d %q, want %d %q", tc.lines, code, body, tc.code, tc.body)
		}
	}
	calls := p.rpc.calls.Load()
	if err := ask(metadata.AppendToOutgoingContext(patiently(t), "x_role", "king"), t, p.alice); status.Code(err) != codes.Internal || p.rpc.calls.Load() != calls {
		t.Errorf("gRPC: %v", err)
	}
	if err := ask(metadata.AppendToOutgoingContext(patiently(t), "x_forwarded_client_cert", "URI=spiffe://td/king"), t, p.alice); err != nil || len((*p.rpc.md.Load())["x_forwarded_client_cert"]) > 0 {
		t.Errorf("gRPC: %v %v", err, p.rpc.md.Load())
	}
}
