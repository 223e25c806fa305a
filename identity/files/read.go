package files

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/weftmesh/weft/identity"
)

// readSVID reads a chain and its key, whose kinds of PEM are those of [tls.X509KeyPair]. What is as before is before itself.
func readSVID(certificate, key string, before *x509svid.SVID) (*x509svid.SVID, error) {
	chain, err := os.ReadFile(certificate)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if _, err := whole(chain); err != nil {
		return nil, fmt.Errorf("certificate %s: %w", certificate, err)
	}
	secret, err := os.ReadFile(key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	pair, err := tls.X509KeyPair(chain, secret)
	if err != nil {
		return nil, fmt.Errorf("certificate %s and key %s: %w", certificate, key, err)
	}
	if before != nil && slices.EqualFunc(pair.Certificate, before.Certificates, func(der []byte, c *x509.Certificate) bool { return bytes.Equal(der, c.Raw) }) {
		return before, nil
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key %s: it can't sign", key)
	}
	svid := &x509svid.SVID{PrivateKey: signer}
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", certificate, err)
		}
		svid.Certificates = append(svid.Certificates, c)
	}
	leaf := svid.Certificates[0]
	if svid.ID, err = identity.IDOf(leaf); err != nil {
		return nil, fmt.Errorf("certificate %s: %w", certificate, err)
	}
	if time.Now().After(leaf.NotAfter) {
		return nil, fmt.Errorf("certificate %s: it is over since %v", certificate, leaf.NotAfter)
	}
	return svid, nil
}

// readBundle reads a bundle; if that can't be, it is the one before.
func readBundle(d spiffeid.TrustDomain, path string, before *x509bundle.Bundle) (*x509bundle.Bundle, error) {
	content, err := os.ReadFile(path)
	if err == nil {
		var b *x509bundle.Bundle
		if b, err = keep(d, content, before); err == nil {
			return b, nil
		}
	}
	return before, fmt.Errorf("bundle %s: %w", path, err)
}

// keep is the bundle that the content of a file is, and the one before if that is the same.
func keep(d spiffeid.TrustDomain, content []byte, before *x509bundle.Bundle) (*x509bundle.Bundle, error) {
	certs, err := authorities(content)
	if err != nil {
		return nil, err
	}
	b := x509bundle.FromX509Authorities(d, certs)
	if before != nil && before.Equal(b) {
		return before, nil
	}
	return b, nil
}

// authorities are the certificates of PEM, which are all authorities' and one at least.
func authorities(content []byte) ([]*x509.Certificate, error) {
	blocks, err := whole(content)
	if err != nil {
		return nil, err
	}
	out := make([]*x509.Certificate, 0, len(blocks))
	for _, block := range blocks {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block %q among certificates", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !c.IsCA {
			return nil, fmt.Errorf("the certificate of %q is no authority's", c.Subject)
		}
		out = append(out, c)
	}
	return out, nil
}

// whole are the blocks of PEM, one at least. Of a file that is being written the beginning alone could do, but with an authority missing: nothing but
// blanks may follow the last block.
func whole(content []byte) ([]*pem.Block, error) {
	var out []*pem.Block
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			break
		}
		out, content = append(out, block), rest
	}
	switch {
	case len(out) == 0:
		return nil, errors.New("no PEM in it")
	case len(bytes.TrimSpace(content)) > 0:
		return nil, errors.New("what follows the last block is no PEM")
	}
	return out, nil
}
