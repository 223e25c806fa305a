package identity

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// lists are revocation lists (RFC 5280 5).
type lists []*x509.RevocationList

// parseLists reads PEM. Lists that do not speak for all certificates of their issuer, or in words that are not known, are errors.
func parseLists(files [][]byte) (lists, error) {
	var out lists
	for rest := files[0]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("a PEM block %q among revocation lists", block.Type)
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		for _, ext := range list.Extensions {
			if ext.Critical || ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 27}) { // deltaCRLIndicator
				return nil, fmt.Errorf("extension %s of a revocation list is not known", ext.Id)
			}
		}
		for _, entry := range list.RevokedCertificateEntries {
			for _, ext := range entry.Extensions {
				if ext.Critical {
					return nil, fmt.Errorf("extension %s of an entry of a revocation list is not known", ext.Id)
				}
			}
		}
		out = append(out, list)
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM revocation list in it")
	}
	return out, nil
}

// unrevoked are the chains of which each certificate but the root is certainly not revoked: its issuer has signed a list that is in force, and the
// certificate is in none. An issuer without a list is an error (Envoy CertificateValidationContext crl).
func (l lists) unrevoked(chains [][]*x509.Certificate) ([][]*x509.Certificate, error) {
	var good [][]*x509.Certificate
	err := errors.New("no chain to a root")
	for _, chain := range chains {
		if bad := l.check(chain); bad != nil {
			err = bad
			continue
		}
		good = append(good, chain)
	}
	if len(good) == 0 {
		return nil, err
	}
	return good, nil
}

func (l lists) check(chain []*x509.Certificate) error {
	for i := range len(chain) - 1 {
		cert, issuer, inForce := chain[i], chain[i+1], false
		for _, list := range l {
			if !slices.Equal(list.RawIssuer, cert.RawIssuer) || list.CheckSignatureFrom(issuer) != nil {
				continue
			}
			now := time.Now()
			inForce = inForce || !now.Before(list.ThisUpdate) && now.Before(list.NextUpdate)
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return fmt.Errorf("certificate with serial number %s is revoked", Serial(cert.SerialNumber))
				}
			}
		}
		if !inForce {
			return fmt.Errorf("there is no revocation list in force of %q, which issued it", issuer.Subject)
		}
	}
	return nil
}
