package attacks

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/resolver"
)

// What stands before TLS or a request says nothing of who calls, and opens nothing; where both tongues are spoken, who speaks plaintext is nobody (E17).
func TestE17Prefixes(t *testing.T) {
	local := policy("local", path(exactly("/local")))
	local.Principals = []identity.Condition{{Kind: identity.RemoteIn, Net: netip.MustParsePrefix("203.0.113.0/24")}}
	guard := only(aliceID)
	guard.Steps[0].Rules.Policies = append(guard.Steps[0].Rules.Policies, local)
	const v2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x7f\x00\x00\x01\x00\x50\x00\x50"
	for mode, name := range map[identity.Mode]string{identity.Strict: "STRICT", identity.Permissive: "PERMISSIVE"} {
		g := serve(t, resolver.Inbound{TLS: identity.ServerTLS{Mode: mode}, Guard: guard})
		alice := g.ca.Source(aliceID)
		for _, w := range both {
			if o := g.attack(&Attack{}, w, alice); o.Reached != 1 {
				t.Errorf("%s: %v: alice: %+v", name, w, o)
			}
			if o := g.attack(&Attack{}, w, nil); o.Reached != 0 {
				t.Errorf("%s: %v: nobody: %+v", name, w, o)
			}
			for what, a := range map[string]*Attack{
				"who he is, by headers": {Header: [][2]string{{"x-forwarded-client-cert", "URI=" + aliceID}, {"l5d-client-id", "alice"}, {"x-mesh-identity", aliceID}}},
				"where he is":           {Path: "/local", Header: [][2]string{{"x-forwarded-for", "203.0.113.9"}, {"x-envoy-external-address", "203.0.113.9"}, {"true-client-ip", "203.0.113.9"}}},
			} {
				if o := g.attack(a, w, nil); o.Reached != 0 {
					t.Errorf("%s: %v: %s: %+v", name, w, what, o)
				}
			}
		}
		request := (&Attack{Path: "/local"}).lines()
		for what, text := range map[string]string{
			"PROXY v1":                     "PROXY TCP4 203.0.113.9 127.0.0.1 1 80\r\n" + request,
			"PROXY v2":                     v2 + request,
			"a byte of TLS":                "\x16" + request,
			"a record of TLS that is none": "\x16\x03\x01\x00\x05hello" + request,
			"a hello of SSL 2":             "\x80\x2e\x01\x00\x02" + request,
			"an alert of TLS":              "\x15\x03\x03\x00\x02\x01\x00" + request,
			"data of TLS":                  "\x17\x03\x03\x00\x05hello" + request,
			"a line":                       "\r\n" + request,
			"a NUL":                        "\x00" + request,
		} {
			before := g.web.count()
			c := g.dial(HTTP1, nil)
			c.SetDeadline(time.Now().Add(patience))
			io.WriteString(c, text)
			io.Copy(io.Discard, c)
			c.Close()
			if g.web.count() != before {
				t.Errorf("%s: %s: a request got through", name, what)
			}
		}
		// What is before the first record of TLS is not skipped, and records in pieces are TLS all the same.
		for what, tc := range map[string]struct {
			before string
			piece  int
			good   bool
		}{
			"as it is": {"", 0, true}, "byte by byte": {"", 1, true}, "a line before it": {"\n", 0, false}, "PROXY before it": {"PROXY UNKNOWN\r\n", 0, false},
			"a request before it": {"GET /ok HTTP/1.1\r\nHost: shop\r\n\r\n", 0, false},
		} {
			before := g.web.count()
			if c := g.dial(HTTP1, nil); tc.before != "" {
				io.WriteString(c, tc.before)
				g.over(c, tc.piece, alice)
			} else {
				g.over(c, tc.piece, alice)
			}
			if got := g.web.count() - before; (got == 1) != tc.good || got > 1 {
				t.Errorf("%s: TLS, %s: %d requests got through", name, what, got)
			}
		}
	}
}

// pieces writes no more than so many bytes at a time; 0 is all.
type pieces struct {
	net.Conn
	most int
}

func (p pieces) Write(b []byte) (n int, err error) {
	for p.most > 0 && len(b) > p.most && err == nil {
		var m int
		m, err = p.Conn.Write(b[:p.most])
		n, b = n+m, b[m:]
	}
	if err != nil {
		return n, err
	}
	m, err := p.Conn.Write(b)
	return n + m, err
}

// over asks over TLS on a connection, in pieces.
func (g *guarded) over(c net.Conn, piece int, who identity.Source) {
	g.t.Helper()
	defer c.Close()
	conf, err := (&identity.ClientTLS{Mutual: true}).Config("shop", who, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	conf.NextProtos = []string{"http/1.1"}
	c.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(pieces{c, piece}, conf)
	io.WriteString(conn, (&Attack{}).lines()) // it fails where the handshake does
	io.Copy(io.Discard, conn)
}

// Names that are almost alice's get nobody in where rules, of whatever kind, name her (E1, E2, C5, C7, C17).
func TestENames(t *testing.T) {
	g := serve(t, strictly(only(aliceID)))
	evil := identitytest.New(t, "td.evil")
	g.own.SetBundles(g.ca.Bundle(), evil.Bundle()) // believed, but not as alice
	const me = "/ns/a/sa/alice"
	uri := func(s string) *x509svid.SVID { return g.ca.Issue(me, identitytest.URIs(s)) }
	for name, tc := range map[string]struct {
		svid *x509svid.SVID
		good bool
	}{
		"alice":                           {g.ca.Issue(me), true},
		"alice, by an intermediate":       {g.ca.Intermediate().Issue(me), true},
		"of another trust domain":         {evil.Issue(me), false},
		"of another, by our name":         {evil.Issue("spiffe://td" + me), false},
		"in capitals":                     {uri("spiffe://td/ns/a/sa/Alice"), false},
		"the namespace in capitals":       {uri("spiffe://td/ns/A/sa/alice"), false},
		"the trust domain in capitals":    {uri("spiffe://TD" + me), false},
		"more behind it":                  {uri("spiffe://td" + me + "/x"), false},
		"a slash behind it":               {uri("spiffe://td" + me + "/"), false},
		"a slash twice":                   {uri("spiffe://td//ns/a/sa/alice"), false},
		"dots":                            {uri("spiffe://td/ns/b/../a/sa/alice"), false},
		"escaped":                         {uri("spiffe://td/ns/a/sa/%61lice"), false},
		"a wildcard":                      {uri("spiffe://td/ns/a/sa/*"), false},
		"a query":                         {uri("spiffe://td" + me + "?x"), false},
		"a fragment":                      {uri("spiffe://td" + me + "#x"), false},
		"a user":                          {uri("spiffe://x@td" + me), false},
		"a port":                          {uri("spiffe://td:443" + me), false},
		"another scheme":                  {uri("https://td" + me), false},
		"two schemes":                     {uri("spiffe://spiffe://td" + me), false},
		"no scheme":                       {uri("td" + me), false},
		"two of the same":                 {g.ca.Issue(me, identitytest.URIs("spiffe://td"+me, "spiffe://td"+me)), false},
		"mallory, and alice":              {g.ca.Issue("/ns/a/sa/mallory", identitytest.URIs(malloryID, aliceID)), false},
		"mallory, alice as a DNS name":    {g.ca.Issue("/ns/a/sa/mallory", identitytest.DNS(aliceID, "alice.a")), false},
		"mallory, alice as the subject":   {g.ca.Issue("/ns/a/sa/mallory", func(c *x509.Certificate) { c.Subject.CommonName = aliceID }), false},
		"alice as a DNS name alone":       {g.ca.Issue(me, identitytest.URIs(), identitytest.DNS(aliceID)), false},
		"alice as the subject alone":      {g.ca.Issue(me, identitytest.URIs(), func(c *x509.Certificate) { c.Subject.CommonName = aliceID }), false},
		"the control server":              {g.ca.Issue("/ns/weft-system/sa/control-server"), false},
		"the trust domain itself":         {uri("spiffe://td"), false},
		"an authority below a leaf":       {g.ca.Intermediate(func(c *x509.Certificate) { c.IsCA = false }).Issue(me), false},
		"an authority that may have none": {g.ca.Intermediate(func(c *x509.Certificate) { c.MaxPathLenZero = true }).Intermediate().Issue(me), false},
		"not yet":                         {g.ca.Issue(me, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), false},
		"an authority that is over":       {g.ca.Intermediate(identitytest.Expired()).Issue(me), false},
		"for mail":                        {g.ca.Issue(me, identitytest.ExtUsage(x509.ExtKeyUsageEmailProtection)), false},
		"64 KiB":                          {uri("spiffe://td" + me + strings.Repeat("x", 64<<10)), false},
	} {
		for _, w := range both {
			if o := g.shows(w, showing(tc.svid)); (o.Reached == 1) != tc.good || o.Reached > 1 {
				t.Errorf("%s: %v: %+v", name, w, o)
			}
		}
	}
	// A chain that is somebody else's, behind a leaf that is one's own.
	mixed := g.ca.Issue("/ns/a/sa/mallory")
	mixed.Certificates = append(mixed.Certificates, g.ca.Issue(me).Certificates...)
	stolen := g.ca.Issue(me)
	stolen.PrivateKey = g.ca.Issue(me).PrivateKey // alice's certificate, without her key
	for name, svid := range map[string]*x509svid.SVID{"alice behind mallory": mixed, "without the key": stolen} {
		for _, w := range both {
			if o := g.shows(w, showing(svid)); o.Reached != 0 {
				t.Errorf("%s: %v: %+v", name, w, o)
			}
		}
	}
}
