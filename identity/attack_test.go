package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/internal/match"
)

// A meeting is what came of a client and a server.
type meeting struct {
	client, server error
	served         bool // the server's handler was called
	answered       bool // the client had its answer
	state          tls.ConnectionState
}

// meet has a client call a server whose handler echoes one byte.
func meet(t *testing.T, client, server *tls.Config) meeting {
	t.Helper()
	c, s := wire(t)
	deadline := time.Now().Add(time.Minute)
	c.SetDeadline(deadline)
	s.SetDeadline(deadline)
	var m meeting
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.Close()
		conn := tls.Server(s, server)
		if m.server = conn.Handshake(); m.server != nil {
			return
		}
		m.state = conn.ConnectionState()
		b := make([]byte, 1)
		if _, err := io.ReadFull(conn, b); err == nil {
			m.served = true
			conn.Write(b)
		}
	}()
	conn := tls.Client(c, client)
	if m.client = conn.Handshake(); m.client == nil {
		if _, m.client = conn.Write([]byte{1}); m.client == nil {
			_, m.client = io.ReadFull(conn, make([]byte, 1))
		}
		m.answered = m.client == nil
	}
	c.Close()
	<-done
	return m
}

// wire is a connection. It has room for what nobody reads yet, which a pipe has not.
func wire(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func mutual(t *testing.T, c ClientTLS, s Source) *tls.Config {
	t.Helper()
	c.Mutual = true
	conf, err := c.Config("payments", s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

// names1 is an extension with one name, as it is given.
func names1(tag int, name string) identitytest.Option {
	return func(c *x509.Certificate) {
		value, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(name)}})
		if err != nil {
			panic(err)
		}
		c.URIs = nil
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value})
	}
}

// Every certificate is shown by a client and by a server, and the other side must refuse it; a good one is let through (reliability E).
func TestCertificatesThatLie(t *testing.T) {
	const me = "/ns/shop/sa/a"
	ca, twin, other := identitytest.New(t, "td"), identitytest.New(t, "td"), identitytest.New(t, "other")
	both := identitytest.ExtUsage(x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)
	for name, c := range map[string]struct {
		svid           *x509svid.SVID
		client, server bool // that it is let through as
	}{
		"good":                           {ca.Issue(me), true, true},
		"good, by an intermediate":       {ca.Intermediate().Intermediate().Issue(me), true, true},
		"good, no extended usage":        {ca.Issue(me, identitytest.ExtUsage()), true, true},
		"good, other names beside":       {ca.Issue(me, identitytest.DNS("x.test")), true, true},
		"E1 another trust domain":        {other.Issue(me), false, false},
		"E1 by an authority of another":  {other.Issue("spiffe://td" + me), false, false},
		"E1 another, by ours":            {ca.Issue("spiffe://other" + me), false, false},
		"an authority of the same name":  {twin.Issue(me), false, false},
		"expired":                        {ca.Issue(me, identitytest.Expired()), false, false},
		"not yet":                        {ca.Issue(me, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), false, false},
		"E2 two ids":                     {ca.Issue(me, identitytest.URIs("spiffe://td"+me, "spiffe://td/b")), false, false},
		"E2 one id twice":                {ca.Issue(me, identitytest.URIs("spiffe://td"+me, "spiffe://td"+me)), false, false},
		"E2 an id and a URI":             {ca.Issue(me, identitytest.URIs("spiffe://td"+me, "https://x.test")), false, false},
		"no id":                          {ca.Issue(me, identitytest.URIs()), false, false},
		"a URI that is no id":            {ca.Issue(me, identitytest.URIs("https://td"+me)), false, false},
		"a trust domain":                 {ca.Issue(me, identitytest.URIs("spiffe://td")), false, false},
		"a path that ends":               {ca.Issue(me, identitytest.URIs("spiffe://td"+me+"/")), false, false},
		"dots in the path":               {ca.Issue(me, identitytest.URIs("spiffe://td/x/.."+me)), false, false},
		"a port":                         {ca.Issue(me, identitytest.URIs("spiffe://td:1"+me)), false, false},
		"a user":                         {ca.Issue(me, identitytest.URIs("spiffe://x@td"+me)), false, false},
		"a query":                        {ca.Issue(me, identitytest.URIs("spiffe://td"+me+"?x")), false, false},
		"an empty fragment":              {ca.Issue(me, names1(6, "spiffe://td"+me+"#")), false, false},
		"the scheme in capitals":         {ca.Issue(me, names1(6, "SPIFFE://td"+me)), false, false},
		"escapes":                        {ca.Issue(me, names1(6, "spiffe://td/ns/shop/sa/%61")), false, false},
		"E4 NUL in the id":               {ca.Issue(me, names1(6, "spiffe://td"+me+"\x00.evil")), false, false},
		"E4 NUL in a name beside":        {ca.Issue(me, identitytest.DNS("a\x00.evil")), false, false},
		"E7 cA":                          {ca.Issue(me, identitytest.Authority()), false, false},
		"E7 keyCertSign":                 {ca.Issue(me, identitytest.Usage(x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign)), false, false},
		"E7 cRLSign":                     {ca.Issue(me, identitytest.Usage(x509.KeyUsageDigitalSignature|x509.KeyUsageCRLSign)), false, false},
		"E7 signed by a leaf":            {byLeaf(t, ca, me), false, false},
		"E8 no key usage":                {ca.Issue(me, identitytest.Usage(0)), false, false},
		"E8 no digitalSignature":         {ca.Issue(me, identitytest.Usage(x509.KeyUsageKeyEncipherment)), false, false},
		"E8 serverAuth":                  {ca.Issue(me, identitytest.ExtUsage(x509.ExtKeyUsageServerAuth)), false, true},
		"E8 clientAuth":                  {ca.Issue(me, identitytest.ExtUsage(x509.ExtKeyUsageClientAuth)), true, false},
		"E8 codeSigning":                 {ca.Issue(me, identitytest.ExtUsage(x509.ExtKeyUsageCodeSigning)), false, false},
		"E8 any":                         {ca.Issue(me, identitytest.ExtUsage(x509.ExtKeyUsageAny)), false, false},
		"E8 one that is not known":       {ca.Issue(me, identitytest.ExtUsage(), unknownUsage), false, false},
		"E8 an authority for servers":    {ca.Intermediate(identitytest.ExtUsage(x509.ExtKeyUsageServerAuth)).Issue(me), false, true},
		"E8 an authority for both":       {ca.Intermediate(both).Issue(me), true, true},
		"E8 an authority for anything":   {ca.Intermediate(identitytest.ExtUsage(x509.ExtKeyUsageAny)).Issue(me), true, true},
		"E16 a constraint on the domain": {constrained(ca, "elsewhere").Issue(me), false, false},
		"E16 one that holds":             {constrained(ca, "td").Issue(me), true, true},
		"E16 one of another case":        {constrained(ca, "TD").Issue(me), true, true}, // as domains are
		"E16 one of what is below":       {constrained(ca, ".td").Issue(me), false, false},
		"E16 an empty DNS name":          {ca.Issue(me, identitytest.DNS("")), true, true}, // which nothing matches
		"critical, not known":            {ca.Issue(me, critical), false, false},
		"an intermediate without cA":     {ca.Intermediate(func(c *x509.Certificate) { c.IsCA = false }).Issue(me), false, false},
	} {
		source := &identitytest.Source{}
		source.SetSVID(c.svid)
		source.SetBundles(ca.Bundle())
		good := ca.Source("/ns/shop/sa/b")
		if m := meet(t, mutual(t, ClientTLS{}, source), (&ServerTLS{}).Config(good, nil)); m.served != c.client || (m.server == nil) != c.client {
			t.Errorf("%s, as a client: served %v, %v", name, m.served, m.server)
		}
		if m := meet(t, mutual(t, ClientTLS{}, good), (&ServerTLS{}).Config(source, nil)); m.served != c.server || m.answered != c.server {
			t.Errorf("%s, as a server: served %v, %v", name, m.served, m.client)
		}
	}
}

// constrained is an authority for the URIs of a domain.
func constrained(ca *identitytest.CA, domain string) *identitytest.CA {
	return ca.Intermediate(func(c *x509.Certificate) {
		c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{domain}, true
	})
}

// byLeaf is a certificate that a workload signed with its own.
func byLeaf(t *testing.T, ca *identitytest.CA, id string) *x509svid.SVID {
	t.Helper()
	leaf := ca.Issue("/ns/shop/sa/evil")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := *leaf.Certificates[0]
	form.ExtraExtensions, form.URIs = nil, []*url.URL{ca.ID(id).URL()}
	der, err := x509.CreateCertificate(rand.Reader, &form, leaf.Certificates[0], &key.PublicKey, leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &x509svid.SVID{ID: ca.ID(id), Certificates: append([]*x509.Certificate{cert}, leaf.Certificates...), PrivateKey: key}
}

func unknownUsage(c *x509.Certificate) {
	c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3, 4}}
}

func critical(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
}

// E1, the positive control: a trust domain that is federated is let in, and its authority speaks for itself alone.
func TestFederation(t *testing.T) {
	ca, other := identitytest.New(t, "td"), identitytest.New(t, "other")
	knows := ca.Source("/a", other)
	for id, ok := range map[string]bool{"spiffe://other/a": true, "spiffe://td/a": false} {
		from := &identitytest.Source{}
		from.SetSVID(other.Issue(id))
		from.SetBundles(ca.Bundle())
		m := meet(t, mutual(t, ClientTLS{}, from), (&ServerTLS{}).Config(knows, nil))
		if m.served != ok {
			t.Errorf("%s: served %v, %v", id, m.served, m.server)
		}
	}
}

func TestNoIdentity(t *testing.T) {
	ca := identitytest.New(t, "td")
	good, server := ca.Source("/a"), (&ServerTLS{}).Config(ca.Source("/b"), nil)
	if _, err := (&ClientTLS{Mutual: true}).Config("payments", nil, nil); err == nil || !strings.Contains(err.Error(), "no identity") {
		t.Error("mTLS without an identity:", err)
	}
	if m := meet(t, &tls.Config{InsecureSkipVerify: true}, server); m.served || m.server == nil {
		t.Error("a client without a certificate was served")
	}
	empty := &identitytest.Source{}
	if m := meet(t, mutual(t, ClientTLS{}, empty), server); m.served || m.answered {
		t.Error("a client that has nothing yet was served")
	}
	for name, s := range map[string]Source{"none": nil, "empty": empty} {
		if m := meet(t, mutual(t, ClientTLS{}, good), (&ServerTLS{}).Config(s, nil)); m.served || m.server == nil {
			t.Errorf("a server whose source is %s served", name)
		}
	}
	away := ca.Source("/a")
	away.Fail(errors.New("away"))
	if m := meet(t, mutual(t, ClientTLS{}, good), (&ServerTLS{}).Config(away, nil)); m.served {
		t.Error("a server whose source fails served")
	}
	// A server of the public web is none of the mesh, whatever its name.
	web := certificate(t, ca, identitytest.URIs(), identitytest.DNS("payments"))
	if m := meet(t, mutual(t, ClientTLS{ServerName: "payments"}, good), &tls.Config{Certificates: []tls.Certificate{web}}); m.answered {
		t.Error("a server without an id was believed")
	}
}

// certificate is one that a server shows which is not of this package.
func certificate(t *testing.T, ca *identitytest.CA, opts ...identitytest.Option) tls.Certificate {
	t.Helper()
	c, err := certificateOf(ca.Issue("/web", opts...))
	if err != nil {
		t.Fatal(err)
	}
	return *c
}

// E19, E20: what the configuration says counts, not the name that was called; nothing said is no wildcard beyond the mesh.
func TestWhoIsMeant(t *testing.T) {
	ca := identitytest.New(t, "td")
	client, ledger := ca.Source("/ns/shop/sa/web"), ca.Source("/ns/shop/sa/ledger")
	id := func(kind match.Kind, of string) []SubjectAltName {
		return []SubjectAltName{{Type: URIName, Is: match.String{Kind: kind, Value: of}}}
	}
	for name, c := range map[string]struct {
		names []SubjectAltName
		ok    bool
	}{
		"nobody in particular":   {nil, true},
		"it":                     {ExactNames("spiffe://td/ns/shop/sa/ledger"), true},
		"one of two":             {ExactNames("spiffe://td/x", "spiffe://td/ns/shop/sa/ledger"), true},
		"another":                {ExactNames("spiffe://td/ns/shop/sa/payments"), false},
		"a part of it":           {ExactNames("spiffe://td/ns/shop/sa/ledge"), false},
		"in capitals":            {ExactNames("spiffe://td/ns/shop/sa/LEDGER"), false},
		"by a prefix":            {id(match.Prefix, "spiffe://td/ns/shop/"), true},
		"by another prefix":      {id(match.Prefix, "spiffe://td/ns/shop2/"), false},
		"by a regex":             {id(match.Regex, "spiffe://td/ns/[a-z]+/sa/ledger"), true},
		"by a regex of a part":   {id(match.Regex, "ns/shop"), false},
		"by the wrong type":      {[]SubjectAltName{{Type: DNSName, Is: match.String{Value: "spiffe://td/ns/shop/sa/ledger"}}}, false},
		"by a name of a service": {ExactNames("payments"), false},
	} {
		for _, called := range []string{"payments", "ledger"} {
			conf := mutual(t, ClientTLS{SubjectAltNames: c.names, ServerName: called}, client)
			if m := meet(t, conf, (&ServerTLS{}).Config(ledger, nil)); m.answered != c.ok {
				t.Errorf("%s, called %s: %v", name, called, m.client)
			}
		}
		// The same of a client, by the server.
		server := (&ServerTLS{SubjectAltNames: c.names}).Config(client, nil)
		if m := meet(t, mutual(t, ClientTLS{}, ledger), server); m.served != c.ok {
			t.Errorf("%s, as a client: %v", name, m.server)
		}
	}
	bad := id(match.Regex, "(")
	if _, err := (&ClientTLS{Mutual: true, SubjectAltNames: bad}).Config("x", client, nil); err == nil {
		t.Error("a name that can't be compiled")
	}
	if m := meet(t, mutual(t, ClientTLS{}, ledger), (&ServerTLS{SubjectAltNames: bad}).Config(client, nil)); m.served {
		t.Error("a server whose demands are not understood served")
	}
}

// E22.
func TestRevoked(t *testing.T) {
	ca := identitytest.New(t, "td")
	between := ca.Intermediate()
	client, server := &identitytest.Source{}, ca.Source("/b")
	client.SetSVID(between.Issue("/a"))
	client.SetBundles(ca.Bundle())
	svid, err := client.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		revoked *Revoked
		ok      bool
	}{
		"nothing":       {nil, true},
		"nothing in it": {&Revoked{}, true},
		"another":       {&Revoked{Serials: []string{"1"}, IDs: []spiffeid.ID{ca.ID("/c"), {}}}, true},
		"the id":        {&Revoked{IDs: []spiffeid.ID{ca.ID("/c"), ca.ID("/a")}}, false},
		"the leaf":      {&Revoked{Serials: []string{"1", Serial(svid.Certificates[0].SerialNumber)}}, false},
		"the authority": {&Revoked{Serials: []string{Serial(svid.Certificates[1].SerialNumber)}}, false},
		"the root":      {&Revoked{Serials: []string{Serial(ca.Bundle().X509Authorities()[0].SerialNumber)}}, true}, // the bundle's to say
	} {
		asked := func() *Revoked { return c.revoked }
		if m := meet(t, mutual(t, ClientTLS{}, client), (&ServerTLS{}).Config(server, asked)); m.served != c.ok {
			t.Errorf("%s, of a client: %v", name, m.server)
		}
		if m := meet(t, mutual(t, ClientTLS{Revoked: c.revoked}, server), (&ServerTLS{}).Config(client, nil)); m.answered != c.ok {
			t.Errorf("%s, of a server: %v", name, m.client)
		}
	}
	// At once: the server asks at each handshake.
	var now *Revoked
	conf := (&ServerTLS{}).Config(server, func() *Revoked { return now })
	if m := meet(t, mutual(t, ClientTLS{}, client), conf); !m.served {
		t.Error(m.server)
	}
	now = &Revoked{IDs: []spiffeid.ID{ca.ID("/a")}}
	if m := meet(t, mutual(t, ClientTLS{}, client), conf); m.served {
		t.Error("a revoked client was served")
	}
}

// E11: no session outlives what it was believed by.
func TestNothingIsResumed(t *testing.T) {
	ca := identitytest.New(t, "td")
	server := (&ServerTLS{}).Config(ca.Source("/b"), nil)
	client := mutual(t, ClientTLS{}, ca.Source("/a"))
	client.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	for range 3 {
		if m := meet(t, client, server); !m.served || m.state.DidResume {
			t.Errorf("resumed %v, %v", m.state.DidResume, m.server)
		}
	}
	old := mutual(t, ClientTLS{}, ca.Source("/a"))
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if m := meet(t, old, server); m.served {
		t.Error("TLS 1.2 was spoken")
	}
}
