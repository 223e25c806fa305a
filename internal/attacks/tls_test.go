package attacks

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/resolver"
)

// shows connects with a certificate that no source would show, over TLS of any kind, and asks for something.
func (g *guarded) shows(w Wire, conf *tls.Config) Outcome {
	g.t.Helper()
	h := &g.web.handled
	if w == GRPC {
		h = &g.rpc.handled
	}
	before := h.count()
	c, err := net.Dial("tcp", g.addr(w))
	if err != nil {
		g.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	conf.InsecureSkipVerify = true // whom the attacker speaks with he does not care
	if conf.NextProtos == nil {
		if conf.NextProtos = []string{"h2"}; w == HTTP1 {
			conf.NextProtos = []string{"http/1.1"}
		}
	}
	conn := tls.Client(c, conf)
	if err := conn.Handshake(); err != nil {
		c.Close()
		return h.since(before)
	}
	// TLS 1.3: the client is done before the server has looked at its certificate.
	answer := (&Attack{}).Send(w, conn)
	o := h.since(before)
	o.Answer = answer
	return o
}

func showing(svid *x509svid.SVID) *tls.Config {
	cert := tls.Certificate{PrivateKey: svid.PrivateKey}
	for _, c := range svid.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// Certificates that do not prove who they say (E1, E2, E7, E8, E16). All kinds of them are shown in both directions in identity; here none of
// them gets a request to a handler.
func TestECertificates(t *testing.T) {
	g := serve(t, resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}})
	const me = "/ns/a/sa/alice"
	twin, other := identitytest.New(t, "td"), identitytest.New(t, "other")
	for name, tc := range map[string]struct {
		svid *x509svid.SVID
		good bool
	}{
		"good":                    {g.ca.Issue(me), true},
		"E1 another trust domain": {other.Issue(me), false},
		"E1 another's, our name":  {other.Issue("spiffe://td" + me), false},
		"E1 ours, another's name": {g.ca.Issue("spiffe://other" + me), false},
		"E1 a root of our name":   {twin.Issue(me), false},
		"E2 two ids":              {g.ca.Issue(me, identitytest.URIs("spiffe://td"+me, "spiffe://td/b")), false},
		"E2 no id":                {g.ca.Issue(me, identitytest.URIs(), identitytest.DNS("alice.a")), false},
		"E7 an authority's":       {g.ca.Issue(me, identitytest.Authority()), false},
		"E7 that may sign":        {g.ca.Issue(me, identitytest.Usage(x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign)), false},
		"E8 a server's":           {g.ca.Issue(me, identitytest.ExtUsage(x509.ExtKeyUsageServerAuth)), false},
		"E8 no key usage":         {g.ca.Issue(me, identitytest.Usage(0)), false},
		"expired":                 {g.ca.Issue(me, identitytest.Expired()), false},
	} {
		for _, w := range both {
			if o := g.shows(w, showing(tc.svid)); (o.Reached == 1) != tc.good || o.Reached > 1 {
				t.Errorf("%s: %v: %+v", name, w, o)
			}
		}
	}
	for _, w := range both {
		if o := g.shows(w, &tls.Config{}); o.Reached != 0 {
			t.Errorf("no certificate: %v: %+v", w, o)
		}
		old := showing(g.ca.Issue(me))
		old.MaxVersion = tls.VersionTLS12
		if o := g.shows(w, old); o.Reached != 0 {
			t.Errorf("TLS 1.2: %v: %+v", w, o)
		}
	}
}

// No session is resumed, so that nobody comes back whose root, or who, is not believed any more (E11).
func TestE11Resumption(t *testing.T) {
	g := serve(t, resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}})
	conf := showing(g.ca.Issue("/ns/a/sa/alice"))
	conf.InsecureSkipVerify, conf.ClientSessionCache = true, tls.NewLRUClientSessionCache(8)
	conf.NextProtos = []string{"http/1.1"}
	for range 3 {
		c, err := tls.Dial("tcp", g.web.addr, conf)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		io.WriteString(c, (&Attack{}).lines())
		if _, err := io.ReadAll(c); err != nil {
			t.Error(err)
		}
		if c.ConnectionState().DidResume {
			t.Error("a session is resumed")
		}
		c.Close()
	}
	// What was believed is not any more: no ticket brings it back.
	before := g.web.count()
	g.ca.Rotate()
	g.ca.Retire()
	g.own.SetSVID(g.ca.Issue(shopID))
	g.own.SetBundles(g.ca.Bundle())
	if c, err := tls.Dial("tcp", g.web.addr, conf); err == nil {
		c.SetDeadline(time.Now().Add(patience))
		io.WriteString(c, (&Attack{}).lines())
		io.ReadAll(c)
		c.Close()
	}
	if g.web.count() != before {
		t.Error("a certificate of a root that is gone gets through")
	}
}

// Who speaks another language is not listened to (E17): plaintext where TLS is demanded, TLS where plaintext is, and a protocol that is not the server's.
func TestE17OtherLanguages(t *testing.T) {
	g := serve(t, resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}})
	alice := g.ca.Source(aliceID)
	for _, w := range both {
		if o := g.attack(&Attack{}, w, alice); o.Reached != 1 {
			t.Errorf("%v over TLS: %+v", w, o)
		}
		if o := g.attack(&Attack{}, w, nil); o.Reached != 0 || o.Answer != "closed" {
			t.Errorf("%v in plaintext: %+v", w, o)
		}
	}
	conf := showing(g.ca.Issue("/ns/a/sa/alice"))
	conf.NextProtos = []string{"http/1.1"}
	if o := g.shows(GRPC, conf); o.Reached != 0 {
		t.Errorf("HTTP/2 to gRPC without having said so: %+v", o)
	}
	conf = showing(g.ca.Issue("/ns/a/sa/alice"))
	conf.NextProtos = []string{"h3", "spdy/3"}
	for _, w := range both {
		if o := g.shows(w, conf); o.Reached != 0 {
			t.Errorf("%v by a protocol that nobody speaks: %+v", w, o)
		}
	}
	g = serve(t, resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Disable}}) // one that was STRICT takes TLS for a while yet
	for _, w := range both {
		if o := g.attack(&Attack{}, w, nil); o.Reached != 1 {
			t.Errorf("%v in plaintext where that is demanded: %+v", w, o)
		}
		if o := g.shows(w, showing(g.ca.Issue("/ns/a/sa/alice"))); o.Reached != 0 {
			t.Errorf("%v over TLS where plaintext is demanded: %+v", w, o)
		}
	}
}

// A certificate or an identity that is revoked is refused at the next request of a connection that is there, and at the next handshake (E22, H10).
func TestE22Revocation(t *testing.T) {
	for _, by := range []string{"serial", "identity"} {
		g := serve(t, resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}})
		svid := g.ca.Issue("/ns/a/sa/alice")
		conn := g.open(t, svid)
		if status := conn.get(t, "/ok"); status != "200" {
			t.Fatalf("before: %s", status)
		}
		r := &identity.Revoked{}
		if r.IDs = append(r.IDs, svid.ID); by == "serial" {
			r.IDs, r.Serials = nil, []string{identity.Serial(svid.Certificates[0].SerialNumber)}
		}
		g.set(strictly(identity.Guard{Revoked: r}))
		before := g.web.count()
		if status := conn.get(t, "/ok"); status == "200" {
			t.Errorf("%s: on the connection that is there: %s", by, status)
		}
		for _, w := range both {
			if o := g.shows(w, showing(svid)); o.Reached != 0 {
				t.Errorf("%s: %v: on another: %+v", by, w, o)
			}
			if o := g.attack(&Attack{}, w, g.ca.Source(malloryID)); o.Reached != 1 {
				t.Errorf("%s: %v: another caller: %+v", by, w, o)
			}
		}
		if n := g.web.count() - before; n != 2 {
			t.Errorf("%s: %d requests got through, and 2 may", by, n)
		}
	}
}

// A kept is a connection of HTTP/1 that is kept alive.
type kept struct{ net.Conn }

func (g *guarded) open(t *testing.T, svid *x509svid.SVID) kept {
	t.Helper()
	conf := showing(svid)
	conf.InsecureSkipVerify, conf.NextProtos = true, []string{"http/1.1"}
	c, err := tls.Dial("tcp", g.web.addr, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return kept{c}
}

// get asks and returns the status, or how the connection ended.
func (k kept) get(t *testing.T, path string) string {
	t.Helper()
	io.WriteString(k, "HEAD "+path+" HTTP/1.1\r\nHost: shop\r\n\r\n")
	var got []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(got), "\r\n\r\n"); {
		if _, err := k.Read(b); err != nil {
			return "closed"
		}
		got = append(got, b[0])
	}
	return string(got[9:12])
}
