package ca

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	// skew is how far back certificates begin, for peers whose clocks are late (Istio).
	skew = 2 * time.Minute
	// refresh is how soon those who follow the bundle should look again.
	refresh = 5 * time.Minute
)

// Keys are what an authority signs with, as far as its state directory does not hold it.
type Keys struct {
	// Passphrase encrypts the private keys on disk; empty leaves them as they are.
	Passphrase []byte
	// Signers hold the keys of roots elsewhere: in a KMS, in an HSM. If there are any, a new root takes the first that no root has yet, and no
	// key of a root is on disk. Keys of intermediates always are.
	Signers []crypto.Signer

	iterations int // of a test; 0 means iterationsNow
}

// signer is the private key of that name, from the signers or the store.
func (k Keys) signer(from store, name string) (crypto.Signer, error) {
	for _, s := range k.Signers {
		if keyName(s.Public()) == name {
			return s, nil
		}
	}
	text, err := from.key(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key %s: %w in the state directory, and no signer has it", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	key, err := decodeKey(text, k.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	if keyName(key.Public()) != name {
		return nil, fmt.Errorf("key %s: it is another key", name)
	}
	return key, nil
}

// make is a new key, kept in the store.
func (k Keys) make(in store) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	text, err := encodeKey(key, k.Passphrase, cmp.Or(k.iterations, iterationsNow))
	if err != nil {
		return nil, err
	}
	return key, in.putKey(keyName(key.Public()), text)
}

// newRoot is a self-signed authority of a trust domain. Its key is in the store, or that of a signer none of taken has.
func (k Keys) newRoot(in store, domain spiffeid.TrustDomain, life time.Duration, taken []root) (root, error) {
	var key crypto.Signer
	for _, s := range k.Signers {
		if !slices.ContainsFunc(taken, func(r root) bool { return r.Key == keyName(s.Public()) }) {
			key = s
			break
		}
	}
	switch {
	case key != nil:
	case len(k.Signers) > 0:
		return root{}, errors.New("ca: a new root needs a signer that no root has yet: add one to Signers")
	default:
		made, err := k.make(in)
		if err != nil {
			return root{}, err
		}
		key = made
	}
	now := time.Now()
	form := authorityForm(domain, "root", now, now.Add(life))
	form.MaxPathLen = 1
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		return root{}, fmt.Errorf("ca: root: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return root{}, fmt.Errorf("ca: root: %w", err)
	}
	return root{Certificate: encodeCertificate(cert), Key: keyName(key.Public()), Since: now}, nil
}

// newIntermediate is a certificate, as PEM, for a new key in the store, signed by a root.
func (k Keys) newIntermediate(in store, domain spiffeid.TrustDomain, by root, life time.Duration) (string, error) {
	above, err := parseCertificate(by.Certificate)
	if err != nil {
		return "", fmt.Errorf("ca: root: %w", err)
	}
	signer, err := k.signer(in, by.Key)
	if err != nil {
		return "", fmt.Errorf("ca: root: %w", err)
	}
	key, err := k.make(in)
	if err != nil {
		return "", fmt.Errorf("ca: intermediate: %w", err)
	}
	now := time.Now()
	end := now.Add(life)
	if end.After(above.NotAfter) {
		end = above.NotAfter
	}
	form := authorityForm(domain, "intermediate", now, end)
	form.MaxPathLenZero = true
	der, err := x509.CreateCertificate(rand.Reader, form, above, key.Public(), signer)
	if err != nil {
		return "", fmt.Errorf("ca: intermediate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return "", fmt.Errorf("ca: intermediate: %w", err)
	}
	return encodeCertificate(cert), nil
}

// authorityForm is a signing certificate, which has the SPIFFE ID of its trust domain (X509-SVID 3.2).
func authorityForm(domain spiffeid.TrustDomain, what string, from, to time.Time) *x509.Certificate {
	n := serial()
	return &x509.Certificate{
		SerialNumber: n, URIs: []*url.URL{domain.ID().URL()},
		// The serial number makes names differ, by which some look for who has signed.
		Subject:   pkix.Name{CommonName: what + " of " + domain.Name(), SerialNumber: n.Text(16)[:16]},
		NotBefore: from.Add(-5 * skew), NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// serial is positive, of 127 random bits, and in hexadecimal at least 16 digits long.
func serial() *big.Int {
	b := random(16)
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

// An authority is a state with its keys, ready to sign. It is not modified.
type authority struct {
	state        *state
	roots        []*x509.Certificate
	signing      *x509.Certificate // of roots
	intermediate *x509.Certificate
	key          crypto.Signer // of intermediate
	above        []string      // PEM of what follows a leaf in an answer: the intermediate, the roots, the one that signed last
	bundle       *spiffebundle.Bundle
	believed     *x509bundle.Bundle
}

// newAuthority reads what a state says. The key of the intermediate must be there; those of roots are asked for when they sign.
func newAuthority(s *state, keys Keys, from store) (*authority, error) {
	a := &authority{state: s}
	for _, r := range s.Roots {
		cert, err := parseCertificate(r.Certificate)
		if err != nil {
			return nil, fmt.Errorf("ca: root: %w", err)
		}
		if keyName(cert.PublicKey) != r.Key {
			return nil, fmt.Errorf("ca: root: its certificate is not of key %s", r.Key)
		}
		a.roots = append(a.roots, cert)
		if r.Key == s.Signing {
			a.signing = cert
		}
	}
	var err error
	if a.intermediate, err = parseCertificate(s.Intermediate); err != nil {
		return nil, fmt.Errorf("ca: intermediate: %w", err)
	}
	if err := a.intermediate.CheckSignatureFrom(a.signing); err != nil {
		return nil, fmt.Errorf("ca: intermediate: %w", err)
	}
	a.above = []string{s.Intermediate}
	for i, r := range s.Roots {
		if a.roots[i] != a.signing {
			a.above = append(a.above, r.Certificate)
		}
	}
	a.above = append(a.above, s.signing().Certificate)
	a.bundle = spiffebundle.FromX509Authorities(s.TrustDomain, a.roots)
	a.bundle.SetSequenceNumber(s.Sequence)
	a.bundle.SetRefreshHint(refresh)
	a.believed = a.bundle.X509Bundle()
	if a.key, err = keys.signer(from, keyName(a.intermediate.PublicKey)); err != nil {
		return a, fmt.Errorf("ca: intermediate: %w", err)
	}
	return a, nil
}

// A leaf is what to certify.
type leaf struct {
	id     spiffeid.ID
	public crypto.PublicKey
	life   time.Duration
	names  []string // DNS names and IP addresses, of the control server itself
}

// sign makes a certificate that ends with the intermediate at the latest.
func (a *authority) sign(l leaf) (*x509.Certificate, error) {
	now := time.Now()
	if !now.Before(a.intermediate.NotAfter) {
		return nil, fmt.Errorf("ca: the intermediate has expired at %v", a.intermediate.NotAfter)
	}
	form := &x509.Certificate{
		SerialNumber: serial(), URIs: []*url.URL{l.id.URL()},
		NotBefore: now.Add(-skew), NotAfter: now.Add(l.life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if _, ok := l.public.(*rsa.PublicKey); ok {
		form.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	if form.NotAfter.After(a.intermediate.NotAfter) {
		form.NotAfter = a.intermediate.NotAfter
	}
	for _, name := range l.names {
		if ip := net.ParseIP(name); ip != nil {
			form.IPAddresses = append(form.IPAddresses, ip)
		} else {
			form.DNSNames = append(form.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, form, a.intermediate, l.public, a.key)
	if err != nil {
		return nil, fmt.Errorf("ca: certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("ca: certificate: %w", err)
	}
	return cert, nil
}
