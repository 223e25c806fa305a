// Package identitytest makes identities for tests: certificate authorities, certificates good and bad, and sources whose
// content is the test's to change.
package identitytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// A CA is the certificate authority of a trust domain. Its methods are safe for concurrent use; what can't be
// made fails the test.
type CA struct {
	t      testing.TB
	domain spiffeid.TrustDomain
	above  []*x509.Certificate // of an intermediate: itself and what leads to the root, which is not in it
	parent *CA                 // of an intermediate

	mu          sync.Mutex
	cert        *x509.Certificate // that signs
	key         *ecdsa.PrivateKey
	authorities []*x509.Certificate // that are believed
}

// New makes the authority of a trust domain: one root, valid for ten years.
func New(t testing.TB, trustDomain string) *CA {
	t.Helper()
	domain, err := spiffeid.TrustDomainFromString(trustDomain)
	if err != nil {
		t.Fatalf("identitytest: %v", err)
	}
	c := &CA{t: t, domain: domain}
	c.Rotate()
	return c
}

// Rotate gives the authority a new root, which signs from now on. The old ones are believed until Retire.
func (c *CA) Rotate() {
	c.t.Helper()
	form, key := c.authority(), newKey(c.t)
	cert := sign(c.t, form, form, &key.PublicKey, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cert, c.key = cert, key
	c.authorities = append(slices.Clip(c.authorities), cert)
}

// Retire has only the newest root believed.
func (c *CA) Retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.authorities = []*x509.Certificate{c.cert}
}

// Intermediate is an authority of the same trust domain that the root of now has signed. Its own bundle is c's, and what it
// issues brings it along.
func (c *CA) Intermediate(opts ...Option) *CA {
	c.t.Helper()
	form, key := c.authority(), newKey(c.t)
	for _, o := range opts {
		o(form)
	}
	c.mu.Lock()
	by, signer := c.cert, c.key
	c.mu.Unlock()
	cert := sign(c.t, form, by, &key.PublicKey, signer)
	return &CA{t: c.t, domain: c.domain, parent: c, cert: cert, key: key, above: append([]*x509.Certificate{cert}, c.above...)}
}

// TrustDomain is whose authority it is.
func (c *CA) TrustDomain() spiffeid.TrustDomain { return c.domain }

// ID is an identity of the trust domain: path is "/ns/shop/sa/payments", or a whole id, which may be of another.
func (c *CA) ID(path string) spiffeid.ID {
	c.t.Helper()
	if !strings.HasPrefix(path, "spiffe://") {
		path = c.domain.IDString() + path
	}
	id, err := spiffeid.FromString(path)
	if err != nil {
		c.t.Fatalf("identitytest: %s: %v", path, err)
	}
	return id
}

// Bundle is what is believed now: a copy, which later rotations do not change.
func (c *CA) Bundle() *x509bundle.Bundle {
	if c.parent != nil {
		return c.parent.Bundle()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return x509bundle.FromX509Authorities(c.domain, c.authorities)
}

// PEM are the certificates of Bundle.
func (c *CA) PEM() []byte { return PEM(c.Bundle().X509Authorities()...) }

// An Option changes a certificate before it is signed.
type Option func(*x509.Certificate)

// Expired is over for an hour.
func Expired() Option {
	return func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}
}

// For lives that long from now on.
func For(life time.Duration) Option {
	return func(c *x509.Certificate) { c.NotAfter = time.Now().Add(life) }
}

// URIs has these in place of the id, and may be none.
func URIs(uris ...string) Option {
	return func(c *x509.Certificate) {
		c.URIs = nil
		for _, uri := range uris {
			u, err := url.Parse(uri)
			if err != nil { // what no parser takes is what a test may want
				u = &url.URL{Opaque: uri}
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

// DNS has these names besides the id.
func DNS(names ...string) Option {
	return func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, names...) }
}

// Usage has this key usage in place of digitalSignature.
func Usage(u x509.KeyUsage) Option { return func(c *x509.Certificate) { c.KeyUsage = u } }

// ExtUsage has these in place of those of a client and a server; none leaves the extension out.
func ExtUsage(u ...x509.ExtKeyUsage) Option {
	return func(c *x509.Certificate) { c.ExtKeyUsage = u }
}

// Authority is the certificate of an authority.
func Authority() Option {
	return func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }
}

// Issue makes a certificate for an id, which is as ID reads it, valid from an hour ago to an hour from now. The SVID's own ID is that
// one whatever the options put into the certificate.
func (c *CA) Issue(id string, opts ...Option) *x509svid.SVID {
	c.t.Helper()
	who, key := c.ID(id), newKey(c.t)
	form := &x509.Certificate{
		SerialNumber: serial(c.t), URIs: []*url.URL{who.URL()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, o := range opts {
		o(form)
	}
	c.mu.Lock()
	by, signer := c.cert, c.key
	c.mu.Unlock()
	leaf := sign(c.t, form, by, &key.PublicKey, signer)
	return &x509svid.SVID{ID: who, Certificates: append([]*x509.Certificate{leaf}, c.above...), PrivateKey: key}
}

// Source has a certificate for an id and believes the bundle of c, and those of the others.
func (c *CA) Source(id string, others ...*CA) *Source {
	c.t.Helper()
	s := &Source{}
	s.SetSVID(c.Issue(id))
	bundles := []*x509bundle.Bundle{c.Bundle()}
	for _, o := range others {
		bundles = append(bundles, o.Bundle())
	}
	s.SetBundles(bundles...)
	return s
}

// RevocationList is the PEM of a list of these certificates that the authority signs, in force from an hour ago until then.
func (c *CA) RevocationList(until time.Time, revoked ...*x509.Certificate) []byte {
	c.t.Helper()
	form := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: until}
	for _, cert := range revoked {
		form.RevokedCertificateEntries = append(form.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: form.ThisUpdate})
	}
	c.mu.Lock()
	by, signer := c.cert, c.key
	c.mu.Unlock()
	der, err := x509.CreateRevocationList(rand.Reader, form, by, signer)
	if err != nil {
		c.t.Fatalf("identitytest: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func (c *CA) authority() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(c.t), Subject: pkix.Name{CommonName: "root of " + c.domain.Name()}, URIs: []*url.URL{c.domain.ID().URL()},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// PEM is how files have certificates.
func PEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func sign(t testing.TB, form, by *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, form, by, public, key)
	if err != nil {
		t.Fatalf("identitytest: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		// A certificate that Go does not read can still be shown to a peer.
		return &x509.Certificate{Raw: der}
	}
	return cert
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("identitytest: %v", err)
	}
	return key
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		t.Fatalf("identitytest: %v", err)
	}
	return n.Add(n, big.NewInt(1))
}
