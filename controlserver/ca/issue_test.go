package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
	securityv1alpha1 "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
)

func TestCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCA(t)
		before := time.Now()
		svid := issue(t, c, payments)
		leaf := svid.Certificates[0]
		if id, _, err := x509svid.Verify(svid.Certificates, c); err != nil || id != payments {
			t.Fatal(id, err)
		}
		if len(leaf.URIs) != 1 || len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) != 0 || leaf.Subject.String() != "" {
			t.Errorf("names that nobody has proved: %v %v %v", leaf.URIs, leaf.DNSNames, leaf.Subject)
		}
		if got := leaf.NotAfter.Sub(before); got != time.Hour {
			t.Errorf("it lives %v", got)
		}
		if got := before.Sub(leaf.NotBefore); got != 2*time.Minute {
			t.Errorf("it begins %v back", got)
		}
		if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.ExtKeyUsage) != 2 || leaf.SerialNumber.BitLen() < 64 {
			t.Errorf("usage %v, %v, serial number %v", leaf.KeyUsage, leaf.ExtKeyUsage, leaf.SerialNumber)
		}
		if n := len(svid.Certificates); n != 3 || svid.Certificates[n-1].CheckSignatureFrom(svid.Certificates[n-1]) != nil {
			t.Errorf("the answer does not end in the root: %d certificates", n)
		}
		if _, _, err := x509svid.Verify(svid.Certificates[:1], c); err == nil {
			t.Error("the root signs leaves")
		}
		// A certificate proves who renews it, and nobody else.
		csr, _ := request(t)
		again, err := create(call(t, "", svid.Certificates...), c, csr, 60)
		if err != nil {
			t.Fatal(err)
		}
		if id, _ := x509svid.IDFromCert(again[0]); id != payments || time.Until(again[0].NotAfter) != time.Minute {
			t.Errorf("renewed: %v until %v", id, again[0].NotAfter)
		}
		time.Sleep(time.Hour + time.Second)
		_, err = create(call(t, "", svid.Certificates...), c, csr, 0)
		wantCode(t, "expired", err, codes.Unauthenticated)
	})
}

func TestRefusals(t *testing.T) {
	stranger := identitytest.New(t, "td").Issue("/ns/shop/sa/payments")
	other := identitytest.New(t, "other").Issue("/ns/shop/sa/payments")
	var revoked identity.Revoked
	c := newCA(t, func(c *Config) { c.Revoked = func() *identity.Revoked { return &revoked } })
	good := issue(t, c, payments)
	csr, _ := request(t)
	bad := strings.Replace(csr, "\n", "\nAAAA", 1)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// The signature of one request under the key of another.
	block, _ := pem.Decode([]byte(csr))
	forged := block.Bytes
	forged[len(forged)-3] ^= 1
	self := call(t, "", good.Certificates...)
	for _, tc := range []struct {
		name    string
		certs   []*x509.Certificate
		token   string
		csr     string
		seconds int64
		code    codes.Code
	}{
		{"nothing", nil, "", csr, 0, codes.Unauthenticated},
		{"a stranger", stranger.Certificates, "", csr, 0, codes.Unauthenticated},
		{"another trust domain", other.Certificates, "", csr, 0, codes.Unauthenticated},
		{"an intermediate as client", []*x509.Certificate{c.live.Load().intermediate}, "", csr, 0, codes.Unauthenticated},
		{"a join token nobody made", nil, tokenPrefix + "AAAA", csr, 0, codes.Unauthenticated},
		{"a path for a join token", nil, tokenPrefix + "../../state/1.json", csr, 0, codes.Unauthenticated},
		{"a token of no issuer", nil, "a.b.c", csr, 0, codes.Unauthenticated},
		{"no CSR", good.Certificates, "", "", 0, codes.InvalidArgument},
		{"no PEM", good.Certificates, "", "CERTIFICATE REQUEST", 0, codes.InvalidArgument},
		{"a damaged CSR", good.Certificates, "", bad, 0, codes.InvalidArgument},
		{"two CSRs", good.Certificates, "", csr + csr, 0, codes.InvalidArgument},
		{"a huge CSR", good.Certificates, "", csr + strings.Repeat("\n", mostCSR), 0, codes.InvalidArgument},
		{"a certificate for a CSR", good.Certificates, "", encodeCertificate(good.Certificates[0]), 0, codes.InvalidArgument},
		{"a wrong signature", good.Certificates, "", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: forged})), 0, codes.InvalidArgument},
		{"RSA 1024", good.Certificates, "", requestFor(t, small), 0, codes.InvalidArgument},
		{"P-224", good.Certificates, "", requestFor(t, p224), 0, codes.InvalidArgument},
		{"too long a life", good.Certificates, "", csr, 24*3600 + 1, codes.InvalidArgument},
		{"a life that overflows", good.Certificates, "", csr, math.MaxInt64, codes.InvalidArgument},
		{"a negative life is none (Istio)", good.Certificates, "", csr, -1, codes.OK},
		{"good", good.Certificates, "", csr, 24 * 3600, codes.OK},
	} {
		_, err := create(call(t, tc.token, tc.certs...), c, tc.csr, tc.seconds)
		wantCode(t, tc.name, err, tc.code)
	}
	for _, field := range []string{"ImpersonatedIdentity", "CertSigner"} {
		meta, err := structpb.NewStruct(map[string]any{field: "spiffe://td/ns/admin/sa/root"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (service{ca: c}).CreateCertificate(self, &securityv1alpha1.IstioCertificateRequest{Csr: csr, Metadata: meta}); err == nil {
			t.Errorf("%s is obeyed", field)
		}
	}
	revoked.IDs = []spiffeid.ID{payments}
	_, err = create(self, c, csr, 0)
	wantCode(t, "revoked identity", err, codes.Unauthenticated)
	revoked = identity.Revoked{Serials: []string{identity.Serial(good.Certificates[0].SerialNumber)}}
	_, err = c.Authenticate(self)
	wantCode(t, "revoked certificate", err, codes.Unauthenticated)
	revoked = identity.Revoked{}
	if who, err := c.Authenticate(self); err != nil || who.ID != payments || who.Kind != ByCertificate || !who.Peer.Secure() {
		t.Error(who, err)
	}
}

func TestKeyTypes(t *testing.T) {
	c := newCA(t)
	good := issue(t, c, payments)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bits, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{p384, ed, bits} {
		chain, err := create(call(t, "", good.Certificates...), c, requestFor(t, key), 0)
		if err != nil {
			t.Errorf("%T: %v", key, err)
			continue
		}
		if id, _, err := x509svid.Verify(chain, c); err != nil || id != payments {
			t.Errorf("%T: %v %v", key, id, err)
		}
	}
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCA(t, func(c *Config) { c.Rate, c.Burst = 2, 3 })
		a, b := issue(t, c, payments), issue(t, c, cart)
		csr, _ := request(t)
		count := func(svid *x509svid.SVID) (n int) {
			for range 10 {
				_, err := create(call(t, "", svid.Certificates...), c, csr, 0)
				if err == nil {
					n++
				} else {
					wantCode(t, "too many", err, codes.ResourceExhausted)
				}
			}
			return n
		}
		if n := count(a); n != 2 { // the first was how it got its certificate
			t.Errorf("%d certificates at once, want 2", n)
		}
		if n := count(b); n != 2 {
			t.Errorf("another identity: %d, want 2", n)
		}
		time.Sleep(time.Second)
		if n := count(a); n != 2 {
			t.Errorf("a second later: %d, want 2", n)
		}
	})
}
