package mesh_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/resolver"
)

// lengthy is a handler of calls that last long, each in its way. It says how they ended.
func lengthy(t *testing.T, began chan<- string, ended chan<- error) http.HandlerFunc {
	huge, err := os.Create(filepath.Join(t.TempDir(), "huge"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { huge.Close() })
	if err := huge.Truncate(1 << 40); err != nil { // of which nothing is on the disk
		t.Skip("no sparse files here:", err)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		began <- r.URL.Path
		switch r.URL.Path {
		case "/file": // by sendfile, where there is no TLS
			_, err := io.Copy(w, io.NewSectionReader(huge, 0, 1<<40))
			ended <- err
		case "/sendfile":
			_, err := io.Copy(w, huge)
			ended <- err
		case "/poll":
			<-r.Context().Done()
			ended <- r.Context().Err()
		case "/upload":
			_, err := io.Copy(io.Discard, r.Body)
			ended <- err
		case "/hijack":
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, err = c.Read(make([]byte, 1))
			ended <- err
		}
	}
}

// However a handler is busy, its call is cut when its caller may not make it any more: by rules, or since he is revoked. So the handler sees it, and so does
// the caller.
func TestLongCallsAreCut(t *testing.T) {
	began, ended := make(chan string, 1), make(chan error, 1)
	p := newParty(t, resolver.Inbound{}, lengthy(t, began, ended))
	conf := func() *tls.Config {
		c, err := (&identity.ClientTLS{Mutual: true}).Config("web", p.ca.Source(aliceID), nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	always := []identity.Condition{{Kind: identity.Always}}
	nobody := identity.Guard{Steps: []identity.Step{step("deny", identity.Deny, identity.Policy{Name: "nobody", Principals: always, Permissions: on()})}}
	revoked := identity.Guard{Revoked: &identity.Revoked{IDs: []spiffeid.ID{p.ca.ID("/ns/a/sa/alice")}}}
	for _, wire := range []struct {
		name   string
		secure bool
		set    func(*http.Protocols)
	}{
		{"http1", false, func(p *http.Protocols) { p.SetHTTP1(true) }},
		{"h2c", false, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }},
		{"https1", true, func(p *http.Protocols) { p.SetHTTP1(true) }},
		{"h2", true, func(p *http.Protocols) { p.SetHTTP2(true) }},
	} {
		for why, guard := range map[string]identity.Guard{"rules": nobody, "no rules before": nobody, "revoked": revoked} {
			if !wire.secure && why == "revoked" {
				continue // nobody in particular
			}
			for _, path := range []string{"/file", "/sendfile", "/poll", "/upload", "/hijack"} {
				if path == "/hijack" && wire.name[:2] == "h2" {
					continue
				}
				t.Run(wire.name+path+" "+why, func(t *testing.T) {
					before := identity.Guard{}
					if why == "rules" {
						before = identity.Guard{Steps: []identity.Step{step("allow", identity.Allow, identity.Policy{Name: "all", Principals: always, Permissions: on()})}}
					}
					p.demand(resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}, Guard: before})
					transport := &http.Transport{Protocols: new(http.Protocols)}
					defer transport.CloseIdleConnections()
					wire.set(transport.Protocols)
					url := "http://" + p.web.addr
					if wire.secure {
						url = "https://" + p.web.addr
						transport.TLSClientConfig = conf()
						transport.TLSClientConfig.NextProtos = nil
					}
					body, more := io.Pipe()
					defer more.Close()
					var sent io.Reader
					method := http.MethodGet
					if path == "/upload" {
						method, sent = http.MethodPost, body
						go more.Write([]byte("x"))
					}
					req, err := http.NewRequestWithContext(patiently(t), method, url+path, sent)
					if err != nil {
						t.Fatal(err)
					}
					answer := make(chan error, 1)
					hold := make(chan struct{})
					go func() {
						resp, err := transport.RoundTrip(req)
						if err == nil {
							<-hold // it does not read until the end, so that writes wait
							_, err = io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
						}
						answer <- err
					}()
					<-began
					p.demand(resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}, Guard: guard})
					if err := <-ended; err == nil {
						t.Error("the handler takes it for whole")
					}
					close(hold)
					more.Close() // for which net/http waits
					if err := <-answer; err == nil || errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("the caller takes it for whole, or for going on: %v", err)
					}
				})
			}
		}
	}
}

// Of the calls on one connection those are cut that may not go on, and they alone.
func TestOtherCallsGoOn(t *testing.T) {
	began, ended, goOn := make(chan string, 2), make(chan string, 2), make(chan struct{})
	p := newParty(t, strictly(identity.Guard{}), func(w http.ResponseWriter, r *http.Request) {
		began <- r.URL.Path
		select {
		case <-r.Context().Done():
			ended <- r.URL.Path
		case <-goOn:
			io.WriteString(w, "done")
		}
	})
	type answer struct {
		code int
		body string
		err  error
	}
	call := func(path string) <-chan answer {
		out := make(chan answer, 1)
		ctx := patiently(t)
		go func() {
			code, body, err := get(ctx, p.alice.RoundTripper(), "http://web"+path)
			out <- answer{code, body, err}
		}()
		<-began
		return out
	}
	stays, goes := call("/stays"), call("/goes")
	p.demand(strictly(identity.Guard{Steps: []identity.Step{step("deny", identity.Deny, identity.Policy{
		Name: "none", Principals: from(aliceID), Permissions: on("/goes"),
	})}}))
	if path := <-ended; path != "/goes" {
		t.Errorf("%s was cut", path)
	}
	if a := <-goes; a.err == nil {
		t.Errorf("%+v", a)
	}
	close(goOn)
	if a := <-stays; a.err != nil || a.body != "done" {
		t.Errorf("%+v", a)
	}
}

// A waiting health service answers when it is let go on.
type waitingHealth struct {
	healthpb.UnimplementedHealthServer
	began chan string
	ended chan error
	goOn  chan struct{}
}

func (h *waitingHealth) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	h.began <- r.Service
	select {
	case <-ctx.Done():
		h.ended <- ctx.Err()
		return nil, ctx.Err()
	case <-h.goOn:
		return &healthpb.HealthCheckResponse{}, nil
	}
}

func (h *waitingHealth) Watch(r *healthpb.HealthCheckRequest, s grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	h.began <- r.Service
	<-s.Context().Done()
	h.ended <- s.Context().Err()
	return s.Context().Err()
}

// Unary calls and streams of gRPC end with PERMISSION_DENIED when their caller may not make them any more, and others on the connection go on; all of them
// do if he is revoked.
func TestLongRPCsAreCut(t *testing.T) {
	ca := identitytest.New(t, "td")
	f := newFleet(strictly(only(aliceID)))
	var rpc servedBy
	server := f.member(t, ca.Source(ledgerID))
	h := &waitingHealth{began: make(chan string, 2), ended: make(chan error, 2), goOn: make(chan struct{})}
	srv := grpc.NewServer(server.ServerOptions()...)
	healthpb.RegisterHealthServer(srv, h)
	rpc.serve(t, server, srv.Serve, srv.Stop)
	f.route("rpc", resolver.Cluster{TLS: &identity.ClientTLS{Mutual: true}}, rpc.addr)
	m := f.member(t, ca.Source(aliceID))
	cc, err := grpc.NewClient("mesh:///rpc", m.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	client := healthpb.NewHealthClient(cc)
	unary := func() <-chan error {
		out, ctx := make(chan error, 1), patiently(t)
		go func() {
			_, err := client.Check(ctx, &healthpb.HealthCheckRequest{})
			out <- err
		}()
		<-h.began
		return out
	}
	stream := func() <-chan error {
		out := make(chan error, 1)
		w, err := client.Watch(patiently(t), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := w.Recv()
			out <- err
		}()
		<-h.began
		return out
	}
	cut := func(what string, call <-chan error) {
		t.Helper()
		<-h.ended
		if err := <-call; status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", what, err)
		}
	}
	without := func(method string) resolver.Inbound {
		g := only(aliceID)
		g.Steps = append(g.Steps, step("deny", identity.Deny, identity.Policy{Name: "none", Principals: from(aliceID), Permissions: on("/grpc.health.v1.Health/" + method)}))
		return strictly(g)
	}
	u, s := unary(), stream()
	f.demand(without("Watch"))
	cut("a stream", s)
	f.demand(without("Check"))
	cut("a unary call", u)
	s = stream()
	f.demand(without("Watch"))
	cut("a stream", s)
	u = unary()
	f.demand(without("Watch"))
	h.goOn <- struct{}{}
	if err := <-u; err != nil {
		t.Errorf("a call that may go on: %v", err)
	}
	f.demand(strictly(only(aliceID)))
	u, s = unary(), stream()
	g := only(aliceID)
	g.Revoked = &identity.Revoked{IDs: []spiffeid.ID{ca.ID("/ns/a/sa/alice")}}
	f.demand(strictly(g))
	cut("a unary call of who is revoked", u)
	if err := <-s; status.Code(err) != codes.PermissionDenied {
		t.Errorf("a stream of who is revoked: %v", err)
	}
}
