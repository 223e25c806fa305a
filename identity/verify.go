package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// IDOf is the identity that a leaf certificate is for. It fails unless the certificate keeps all rules of an X509-SVID of a workload that can be seen
// without a bundle: exactly one URI, which is a SPIFFE ID with a path, letter for letter; no authority; a key that
// signs handshakes and neither certificates nor revocation lists (SPIFFE X509-SVID 4, 5.2). It does not say who signed it.
func IDOf(leaf *x509.Certificate) (spiffeid.ID, error) {
	uris, err := urisOf(leaf)
	if err != nil {
		return spiffeid.ID{}, err
	}
	id, err := x509svid.IDFromCert(leaf)
	switch {
	case err != nil:
		return spiffeid.ID{}, err
	case len(uris) != 1 || uris[0] != id.String():
		return spiffeid.ID{}, errors.New("its URI is not written as a SPIFFE ID is")
	case id.Path() == "":
		return spiffeid.ID{}, fmt.Errorf("%s is a trust domain and no workload", id)
	case leaf.IsCA:
		return spiffeid.ID{}, errors.New("it is an authority's")
	case leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return spiffeid.ID{}, errors.New("its key may sign certificates or revocation lists")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return spiffeid.ID{}, errors.New("its key usage lacks digitalSignature")
	}
	return id, nil
}

// Verify verifies the certificates of the other side of a TLS connection by all rules there are for an X509-SVID, whoever shook hands: its trust
// domain is one that s knows, the chain leads to that one's bundle, and the usages allow what it was used for, which is
// [x509.ExtKeyUsageClientAuth] of a client and [x509.ExtKeyUsageServerAuth] of a server. Nothing of it is revoked.
func Verify(state tls.ConnectionState, s x509bundle.Source, usage x509.ExtKeyUsage, revoked *Revoked) (*Peer, error) {
	d := demand{bundles: s, usage: usage}
	return d.verify(state, revoked)
}

// A demand is what the other side must prove.
type demand struct {
	bundles x509bundle.Source
	usage   x509.ExtKeyUsage
	names   names
}

func (d *demand) verify(state tls.ConnectionState, revoked *Revoked) (*Peer, error) {
	certs := state.PeerCertificates
	if len(certs) == 0 {
		return nil, errors.New("there is none")
	}
	id, err := IDOf(certs[0])
	if err != nil {
		return nil, err
	}
	if !allows(certs[0], d.usage) {
		return nil, errors.New("its extended key usage does not allow what it is used for")
	}
	_, chains, err := x509svid.Verify(certs, d.bundles)
	if err != nil {
		return nil, err
	}
	chains = slices.DeleteFunc(chains, func(chain []*x509.Certificate) bool { return !passesOn(chain[1:], d.usage) })
	if len(chains) == 0 {
		return nil, errors.New("an authority of its chain may not sign for what it is used for")
	}
	if err := d.names.in(certs[0], []string{id.String()}); err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	chain, err := revoked.unrevoked(id, chains)
	if err != nil {
		return nil, err
	}
	return &Peer{ID: id, Certificates: chain, ServerName: state.ServerName, Protocol: state.NegotiatedProtocol}, nil
}

// allows reports whether a leaf's extended key usage, if it has one, names a usage. That of anything does not do (SPIFFE X509-SVID 4.4).
func allows(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 || slices.Contains(c.ExtKeyUsage, usage)
}

// passesOn reports whether authorities may sign for a usage.
func passesOn(authorities []*x509.Certificate, usage x509.ExtKeyUsage) bool {
	return !slices.ContainsFunc(authorities, func(c *x509.Certificate) bool {
		return !allows(c, usage) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
	})
}

// urisOf are the URIs of a certificate as they stand in it, which is not always as they are parsed. It fails for a name with a
// NUL in it, behind which other programs do not look.
func urisOf(c *x509.Certificate) ([]string, error) {
	const email, dns, uri = 1, 2, 6 // (RFC 5280 4.2.1.6)
	var out []string
	for _, ext := range c.Extensions {
		if !ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var all, one asn1.RawValue
		if _, err := asn1.Unmarshal(ext.Value, &all); err != nil {
			return nil, fmt.Errorf("its names: %w", err)
		}
		for rest := all.Bytes; len(rest) > 0; {
			var err error
			if rest, err = asn1.Unmarshal(rest, &one); err != nil {
				return nil, fmt.Errorf("its names: %w", err)
			}
			if one.Class != asn1.ClassContextSpecific || one.Tag != email && one.Tag != dns && one.Tag != uri {
				continue
			}
			if bytes.IndexByte(one.Bytes, 0) >= 0 {
				return nil, errors.New("there is a NUL in one of its names")
			}
			if one.Tag == uri {
				out = append(out, string(one.Bytes))
			}
		}
	}
	return out, nil
}
