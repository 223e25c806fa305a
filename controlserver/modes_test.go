package controlserver

import (
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/controlserver/web"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds"
)

// mode is a document that has all servers take connections so.
func mode(m identity.Mode) string {
	return `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: ` + m.String() + `}}
`
}

// secured reports whether callers are told to speak mTLS with all of a service's servers, of which there are n.
func secured(s *resolver.Service, n int, want bool) bool {
	for _, c := range s.Clusters {
		if len(c.Endpoints) != n {
			return false
		}
		for _, e := range c.Endpoints {
			if e.MutualTLS != want {
				return false
			}
		}
	}
	return len(s.Clusters) > 0
}

// A doorman takes what a server is told of its port, as long as it is let.
type doorman struct {
	told chan identity.Mode
	gate chan struct{} // what is told waits for it
}

func (d *doorman) serve(tb testing.TB, c *xds.Client, addr string) {
	tb.Helper()
	over := make(chan struct{})
	stop := c.Serve(addr, func(in *resolver.Inbound, err error) {
		if err != nil {
			return
		}
		d.told <- in.TLS.Mode
		select { // before its client acknowledges
		case <-d.gate:
		case <-over:
		}
	})
	tb.Cleanup(func() { close(over); stop() })
}

func (d *doorman) wants(tb testing.TB, m identity.Mode) {
	tb.Helper()
	select {
	case got := <-d.told:
		if got != m {
			tb.Fatalf("told %v, want %v", got, m)
		}
	case <-within(tb).Done():
		tb.Fatalf("not told %v", m)
	}
}

// Callers hear that a server takes mTLS when it does, and that it takes plaintext when it does.
func TestCallersHearOfModesAfterServers(t *testing.T) {
	src := newSource()
	r := secure(t, Config{Sources: []Source{src}})
	src.says(t, mode(identity.Disable))
	caller := watch(t, dial(t, r.Addr(), xds.Config{Identity: r.joins(t, "/ns/default/sa/till")}), "payments")
	d := &doorman{told: make(chan identity.Mode, 1), gate: make(chan struct{})}
	d.serve(t, dial(t, r.Addr(), xds.Config{Identity: r.joins(t, "/ns/default/sa/payments"), Service: "payments"}), "127.0.0.1:7001")
	d.wants(t, identity.Disable)
	d.gate <- struct{}{}
	if err := r.Registered(within(t), "127.0.0.1:7001"); err != nil {
		t.Fatal(err)
	}
	caller.until(t, "plaintext", func(s *resolver.Service) bool { return secured(s, 1, false) })
	for _, step := range []struct {
		from, to identity.Mode
		waits    bool // for the server, as callers are told otherwise then
		secured  bool
	}{
		{identity.Disable, identity.Permissive, true, true},
		{identity.Permissive, identity.Strict, false, true},
		{identity.Strict, identity.Permissive, false, true},
		{identity.Permissive, identity.Disable, false, false},
		{identity.Disable, identity.Strict, false, true}, // never plaintext where only mTLS is to be taken
		{identity.Strict, identity.Disable, true, false},
	} {
		from := caller.updates()
		src.says(t, mode(step.to))
		d.wants(t, step.to)
		// The server has not taken it. Something else that is told after it says that callers have heard all there was.
		src.says(t, mode(step.to)+route("payments", time.Duration(from+1)*time.Second))
		got := caller.until(t, "another change", func(s *resolver.Service) bool { return timeout(s) == time.Duration(from+1)*time.Second })
		if want := step.secured != step.waits; !secured(got, 1, want) {
			t.Errorf("%v to %v: before the server has taken it callers speak mTLS: %v", step.from, step.to, !want)
		}
		d.gate <- struct{}{}
		caller.until(t, "how to call", func(s *resolver.Service) bool { return secured(s, 1, step.secured) })
		if err := r.Settled(within(t)); err != nil {
			t.Fatal(err)
		}
		caller.mu.Lock()
		changes, was := 0, secured(caller.history[from-1].service, 1, true)
		for _, h := range caller.history[from:] {
			if now := secured(h.service, 1, true); now != was {
				changes, was = changes+1, now
			}
		}
		caller.mu.Unlock()
		if changes > 1 {
			t.Errorf("%v to %v: callers were told otherwise %d times", step.from, step.to, changes)
		}
	}
}

// Settled says that callers have heard of what servers took.
func TestSettledMeansThatCallersHeardOfModes(t *testing.T) {
	src := newSource()
	r := secure(t, Config{Sources: []Source{src}})
	src.says(t, mode(identity.Disable))
	caller := watch(t, dial(t, r.Addr(), xds.Config{Identity: r.joins(t, "/ns/default/sa/till")}), "payments")
	serve(dial(t, r.Addr(), xds.Config{Identity: r.joins(t, "/ns/default/sa/payments"), Service: "payments"}), "127.0.0.1:7001")
	if err := r.Registered(within(t), "127.0.0.1:7001"); err != nil {
		t.Fatal(err)
	}
	caller.until(t, "the endpoint", func(s *resolver.Service) bool { return secured(s, 1, false) })
	for range 10 {
		for _, m := range []identity.Mode{identity.Permissive, identity.Disable, identity.Strict, identity.Disable} {
			src.says(t, mode(m))
			if err := r.Settled(within(t)); err != nil {
				t.Fatal(err)
			}
			caller.until(t, m.String(), func(s *resolver.Service) bool { return secured(s, 1, m != identity.Disable) })
		}
	}
}

// A control server that has just started knows of no server what it takes. Callers of strict ones hear nothing but mTLS all the same, before
// the servers are back and after.
func TestRestartSendsNobodyToPlaintext(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, state := ln.Addr().String(), filepath.Join(t.TempDir(), "ca")
	authority := func() *ca.Config { return &ca.Config{TrustDomain: domain, Dir: state} }
	dir := t.TempDir()
	save(t, dir, "mode.yaml", mode(identity.Strict))
	first := run(t, Config{Listener: ln, Dir: dir, CA: authority()})
	as := func(r *running, name string) xds.Config {
		id, err := spiffeid.FromPath(domain, "/ns/default/sa/"+name)
		if err != nil {
			t.Fatal(err)
		}
		return xds.Config{Identity: r.CA().Source(id)}
	}
	var wire cable
	till, server, back := as(first, "till"), as(first, "payments"), as(first, "payments")
	server.Service, back.Service = "payments", "payments"
	back.DialOptions = []grpc.DialOption{wire.option()}
	caller := watch(t, dial(t, addr, till), "payments")
	serve(dial(t, addr, server), "127.0.0.1:7001")
	serve(dial(t, addr, back), "127.0.0.1:7002")
	caller.until(t, "mTLS", func(s *resolver.Service) bool { return secured(s, 2, true) })
	// A stream that breaks is not another server.
	wire.cut()
	wire.mend()
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second := run(t, Config{Listen: addr, Dir: dir, CA: authority(), Grace: 4 * time.Second})
	second.knows(t, "both are back", func(st web.Status) bool {
		return len(st.Services) == 1 && len(st.Services[0].Endpoints) == 2
	})
	late := as(second, "late")
	if got := watch(t, dial(t, addr, late), "payments").until(t, "both", func(s *resolver.Service) bool { return addrs(s) == "127.0.0.1:7001 127.0.0.1:7002" }); !secured(got, 2, true) {
		t.Error("who has come since is told of plaintext")
	}
	save(t, dir, "route.yaml", route("payments", time.Hour))
	caller.until(t, "what is new since", func(s *resolver.Service) bool { return timeout(s) == time.Hour })
	caller.mu.Lock()
	defer caller.mu.Unlock()
	for i, was := range caller.history {
		if was.service != nil && slices.ContainsFunc(endpointsOf(was.service), func(e string) bool { return e != "mTLS" }) {
			t.Errorf("%d: told of plaintext: %+v", i, was.service.Clusters)
		}
	}
}

// endpointsOf is how callers are told to call each.
func endpointsOf(s *resolver.Service) (out []string) {
	for _, c := range s.Clusters {
		for _, e := range c.Endpoints {
			how := "plaintext"
			if e.MutualTLS {
				how = "mTLS"
			}
			out = append(out, how)
		}
	}
	return out
}
