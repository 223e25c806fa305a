package ca

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/identity"
)

// A former is an intermediate that signs no more, and whose certificates are still in use.
type former struct {
	Certificate string    `json:"certificate"` // PEM
	Until       time.Time `json:"until"`       // when the last of them is over
}

// signed are lists that were made once: the same are given out until something changes.
type signed struct {
	issuers, serials []string
	lists            string
}

// RevocationLists returns PEM lists (RFC 5280 5) of certificates by their serial numbers, as identity.Serial writes them, for those who know no
// other way to look: each intermediate of which certificates may be in use has signed one, which holds as long as it does, so that there is one in force
// of each issuer. Of an intermediate that is revoked itself there is none, nor of one whose key is away, which is said in the log: who finds none
// believes nothing that it has signed. Without serials there are no lists.
func (c *CA) RevocationLists(serials []string) string {
	if len(serials) == 0 {
		return ""
	}
	a := c.live.Load()
	issuers := a.state.intermediates()
	c.listing.Lock()
	defer c.listing.Unlock()
	if s := c.signed; s != nil && slices.Equal(s.issuers, issuers) && slices.Equal(s.serials, serials) {
		return s.lists
	}
	form := &x509.RevocationList{ThisUpdate: time.Now().Add(-skew), Number: big.NewInt(time.Now().UnixNano())}
	for _, text := range serials {
		if n, ok := new(big.Int).SetString(text, 16); ok {
			form.RevokedCertificateEntries = append(form.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: form.ThisUpdate})
		}
	}
	var out strings.Builder
	for _, text := range issuers {
		der, err := c.list(*form, text)
		if err != nil {
			c.log.Error("there is no revocation list of an intermediate: proxies that need one refuse what it has signed", "err", err)
			continue
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	}
	c.signed = &signed{issuers, slices.Clone(serials), out.String()}
	return out.String()
}

// list is the list of an intermediate.
func (c *CA) list(form x509.RevocationList, text string) ([]byte, error) {
	issuer, err := parseCertificate(text)
	if err != nil {
		return nil, fmt.Errorf("ca: intermediate: %w", err)
	}
	if slices.ContainsFunc(form.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(issuer.SerialNumber) == 0 }) {
		return nil, fmt.Errorf("ca: the intermediate with serial number %s is revoked", identity.Serial(issuer.SerialNumber))
	}
	key, err := c.config.Keys.signer(c.store, keyName(issuer.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("ca: intermediate: %w", err)
	}
	form.NextUpdate = issuer.NotAfter
	der, err := x509.CreateRevocationList(rand.Reader, &form, issuer, key)
	if err != nil {
		return nil, fmt.Errorf("ca: revocation list: %w", err)
	}
	return der, nil
}

// intermediates are those that signed what is in use, the newest first.
func (s *state) intermediates() []string {
	out := []string{s.Intermediate}
	for _, f := range s.Former {
		out = append(out, f.Certificate)
	}
	return out
}

// replace takes another intermediate, signed by the root that signs, and keeps the one before for its lists.
func (s *state) replace(keys Keys, in store, domain spiffeid.TrustDomain, life time.Duration, now time.Time) error {
	next, err := keys.newIntermediate(in, domain, *s.signing(), life)
	if err != nil {
		return err
	}
	s.Former = append(slices.Clip(s.Former), former{s.Intermediate, now.Add(s.Longest.duration() + takeUp)})
	s.Intermediate = next
	return nil
}

// forget drops former intermediates of which no certificate is in use, or believed, any more.
func (s *state) forget(now time.Time) {
	var believed []*x509.Certificate
	for _, r := range s.Roots {
		if cert, err := parseCertificate(r.Certificate); err == nil {
			believed = append(believed, cert)
		}
	}
	s.Former = slices.DeleteFunc(slices.Clone(s.Former), func(f former) bool {
		cert, err := parseCertificate(f.Certificate)
		return err != nil || !now.Before(f.Until) || !slices.ContainsFunc(believed, func(r *x509.Certificate) bool { return cert.CheckSignatureFrom(r) == nil })
	})
	if len(s.Former) == 0 {
		s.Former = nil
	}
}
