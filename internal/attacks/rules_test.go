package attacks

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/mesh"
)

// raw serves TCP that is no HTTP, and counts the connections that get a byte through.
func (g *guarded) raw() (addr string, calls *atomic.Int64) {
	g.t.Helper()
	calls = new(atomic.Int64)
	var running sync.WaitGroup
	addr = g.listen(func(ln net.Listener) error {
		for {
			c, err := ln.Accept()
			if err != nil {
				return err
			}
			running.Go(func() {
				defer c.Close()
				one := make([]byte, 1)
				if _, err := io.ReadFull(c, one); err == nil {
					calls.Add(1)
					c.Write(one)
				}
			})
		}
	}, running.Wait)
	return addr, calls
}

// says sends a byte over TLS without ALPN and reports whether it comes back.
func (g *guarded) says(addr string, who identity.Source) bool {
	g.t.Helper()
	conf, err := (&identity.ClientTLS{Mutual: true}).Config("shop", who, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	conf.NextProtos = nil
	c, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	one := []byte{0xff}
	if _, err := c.Write(one); err != nil {
		return false
	}
	_, err = io.ReadFull(c, one)
	return err == nil
}

// A rule of the end of an identity holds for requests and for connections alike (C7), what is exact is not a pattern (C5), and a trust domain is
// not the beginning of another (C17).
func TestC5C7C17Principals(t *testing.T) {
	for name, tc := range map[string]struct {
		is     match.String
		action identity.Action
		who    string // is let in
		not    string // is not
	}{
		"C7 suffix, DENY":  {match.String{Kind: match.Suffix, Value: "/ns/a/sa/mallory"}, identity.Deny, aliceID, malloryID},
		"C7 regex, DENY":   {match.String{Kind: match.Regex, Value: "spiffe://[^/]+/ns/a/sa/mal.*"}, identity.Deny, aliceID, malloryID},
		"C4 regex, whole":  {match.String{Kind: match.Regex, Value: "spiffe://td/ns/a/sa/a"}, identity.Allow, "spiffe://td/ns/a/sa/a", aliceID},
		"C5 a dot":         {exactly("spiffe://td/ns/a/sa/a.b"), identity.Allow, "spiffe://td/ns/a/sa/a.b", "spiffe://td/ns/a/sa/aXb"},
		"C17 trust domain": {prefix("spiffe://td"), identity.Allow, aliceID, "spiffe://td.evil/ns/a/sa/alice"},
		"C17 namespace":    {prefix("spiffe://td/ns/a/"), identity.Allow, aliceID, "spiffe://td/ns/ab/sa/alice"},
	} {
		t.Run(name, func(t *testing.T) {
			evil := identitytest.New(t, "td.evil")
			rule := step("it", tc.action, identity.Policy{Name: "p", Permissions: anybody, Principals: []identity.Condition{{Kind: identity.Authentic, Is: tc.is}}})
			g := serve(t, strictly(identity.Guard{Steps: []identity.Step{rule}, Connections: []identity.Step{rule}}))
			// The other trust domain is believed, so that rules alone keep it out.
			g.own.SetBundles(g.ca.Bundle(), evil.Bundle())
			source := func(id string) identity.Source {
				if strings.HasPrefix(id, "spiffe://td.evil/") {
					return evil.Source(id, g.ca)
				}
				return g.ca.Source(id)
			}
			tcp, calls := g.raw()
			for _, w := range both {
				if o := g.attack(&Attack{}, w, source(tc.who)); o.Reached != 1 {
					t.Errorf("%v: %s: %+v", w, tc.who, o)
				}
				if o := g.attack(&Attack{}, w, source(tc.not)); o.Reached != 0 || o.Answer != "403" && o.Answer != "PERMISSION_DENIED" {
					t.Errorf("%v: %s: %+v", w, tc.not, o)
				}
			}
			if !g.says(tcp, source(tc.who)) || g.says(tcp, source(tc.not)) || calls.Load() != 1 {
				t.Errorf("TCP: %d connections got through", calls.Load())
			}
		})
	}
}

// While policies change no request is decided by none (C14).
func TestC14PolicyStorm(t *testing.T) {
	guards := []identity.Guard{only(aliceID), policies(), {}}
	keepOut := identity.Policy{Name: "no-mallory", Principals: []identity.Condition{caller(malloryID)}, Permissions: anybody}
	for i := range guards {
		guards[i].Steps = append([]identity.Step{step("out", identity.Deny, keepOut)}, guards[i].Steps...)
	}
	g := serve(t, strictly(guards[0]))
	mallory, alice := g.ca.Source(malloryID), g.ca.Source(aliceID)
	var got atomic.Int64
	g.handle = func(_ http.ResponseWriter, r *http.Request) {
		if p, ok := mesh.PeerFromContext(r.Context()); ok && p.ID.String() == malloryID {
			got.Add(1)
		}
	}
	over := make(chan struct{})
	var callers sync.WaitGroup
	answers := make([]map[string]int, len(both))
	for i, w := range both {
		answers[i] = map[string]int{}
		callers.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					c, err := g.try(w, mallory)
					if err != nil {
						t.Error(err)
						return
					}
					answers[i][(&Attack{}).Send(w, c)]++
				}
			}
		})
	}
	for i := range 150 {
		g.set(strictly(guards[i%len(guards)]))
		if i%30 == 0 {
			if o := g.attack(&Attack{}, HTTP1, alice); o.Reached == 0 {
				t.Errorf("alice: %+v", o)
			}
		}
	}
	close(over)
	callers.Wait()
	if n := got.Load(); n > 0 || g.rpc.count() > 0 {
		t.Errorf("%d and %d requests of who is always denied got through", n, g.rpc.count())
	}
	for i, w := range both {
		if n := answers[i]["403"] + answers[i]["PERMISSION_DENIED"]; n == 0 || len(answers[i]) != 1 {
			t.Errorf("%v: %v", w, answers[i])
		}
	}
}

// Nothing is exempt: health checks, reflection and channelz are for rules to let in (C20).
func TestC20NothingIsExempt(t *testing.T) {
	g := serve(t, strictly(only(aliceID)))
	for _, p := range []string{"/healthz", "/livez", "/readyz", "/debug/pprof/", "/metrics"} {
		a := &Attack{Path: p}
		for _, w := range web {
			if o := g.attack(a, w, g.ca.Source(malloryID)); o.Reached != 0 || o.Answer != "403" {
				t.Errorf("%s: %v: %+v", p, w, o)
			}
		}
	}
	for _, p := range []string{"/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.channelz.v1.Channelz/GetServers"} {
		if o := g.attack(&Attack{Path: p}, GRPC, g.ca.Source(malloryID)); o.Reached != 0 || o.Answer != "PERMISSION_DENIED" {
			t.Errorf("%s: %+v", p, o)
		}
		if o := g.attack(&Attack{Path: p}, GRPC, g.ca.Source(aliceID)); o.Reached != 1 {
			t.Errorf("%s: alice: %+v", p, o)
		}
	}
}
