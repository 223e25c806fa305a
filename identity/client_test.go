package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"
)

// selfSigned is a certificate that is its own root, and its PEM.
func selfSigned(t testing.TB, dns, uri string, until time.Duration) (*x509.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(until),
		DNSNames: []string{dns}, URIs: []*url.URL{id}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestAlternativeNames(t *testing.T) {
	const spiffe = "spiffe://td/ns/shop/sa/payments"
	cert, roots := selfSigned(t, "*.shop.test", spiffe, time.Hour)
	old, oldRoots := selfSigned(t, "*.shop.test", spiffe, -time.Hour)
	_, others := selfSigned(t, "*.shop.test", spiffe, time.Hour)
	for name, c := range map[string]struct {
		cert  *x509.Certificate
		roots string
		names []string
		wrong string // in the error; empty means none
	}{
		"uri":                      {cert, roots, []string{"x", spiffe}, ""},
		"dns, literally":           {cert, roots, []string{"*.shop.test"}, ""},
		"a label for the wildcard": {cert, roots, []string{"payments.shop.test"}, ""},
		"two labels for it":        {cert, roots, []string{"a.payments.shop.test"}, "none of its names"},
		"prefix of the uri":        {cert, roots, []string{"spiffe://td/ns/shop"}, "none of its names"},
		"expired":                  {old, oldRoots, []string{spiffe}, "expired"},
		"another root":             {cert, others, []string{spiffe}, "unknown authority"},
	} {
		conf, err := (&ClientTLS{SubjectAltNames: ExactNames(c.names...), RootCAs: c.roots}).Config("payments", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = conf.VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.cert}})
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	conf, err := (&ClientTLS{SubjectAltNames: ExactNames(spiffe), RootCAs: roots}).Config("payments", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := conf.VerifyConnection(tls.ConnectionState{}); err == nil {
		t.Error("a server without a certificate was accepted")
	}
}

func TestNameThatIsSent(t *testing.T) {
	for want, c := range map[string]ClientTLS{"payments": {}, "internal": {ServerName: "internal"}} {
		conf, err := c.Config("payments", nil, nil)
		if err != nil || conf.ServerName != want || conf.InsecureSkipVerify {
			t.Errorf("%+v: %+v, %v", c, conf, err)
		}
	}
}
