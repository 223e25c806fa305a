package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// What stands in a certificate is an identity exactly if it is written as one.
func FuzzPeer(f *testing.F) {
	for _, s := range []string{
		"spiffe://td/ns/shop/sa/a", "spiffe://td", "spiffe://td/", "SPIFFE://td/a", "spiffe://TD/a", "spiffe://td/a#", "spiffe://td/a?", "spiffe://td/%61",
		"spiffe://td/a/../b", "spiffe://td//a", "spiffe://x@td/a", "spiffe://@td/a", "spiffe://td:80/a", "spiffe://td:/a", "spiffe:///a", "spiffe:td/a", "https://td/a",
		"spiffe://td/a\x00", "spiffe://td/\xff", "", "spiffe://t%64/a", "spiffe://td/a;b", "spiffe://td\\/a", " spiffe://td/a", "spiffe://td.evil/a",
	} {
		f.Add(s)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	now := time.Now()
	f.Fuzz(func(t *testing.T, uri string) {
		form := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
		names1(6, uri)(form)
		der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		want, wrong := spiffeid.FromString(uri)
		is := wrong == nil && want.Path() != ""
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			if is {
				t.Fatalf("%q is an identity, whose certificate can't be read: %v", uri, err)
			}
			return
		}
		id, err := IDOf(cert)
		if (err == nil) != is || is && id != want {
			t.Fatalf("%q: %q, %v; as a string it is %q, %v", uri, id, err, want, wrong)
		}
		if err == nil {
			if parsed, err := spiffeid.FromURI(cert.URIs[0]); err != nil || parsed != id {
				t.Fatalf("%q: %q, as a URI it is %q, %v", uri, id, parsed, err)
			}
		}
	})
}

// No certificate that can be read makes the rules fail otherwise than by saying so.
func FuzzIDOf(f *testing.F) {
	cert, _ := selfSigned(f, "x.test", "spiffe://td/a", time.Hour)
	f.Add(cert.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if id, err := IDOf(cert); err == nil && (id.IsZero() || cert.IsCA || len(cert.URIs) != 1) {
			t.Fatalf("%v of %x", id, der)
		}
	})
}
