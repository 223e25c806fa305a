package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/weftmesh/weft/identity"
)

// Source is an identity of the control server itself. Its certificate is made when it is asked for, renewed at half its life and when another root
// signs, and stands in the log. names are DNS names and IP addresses that it has besides, for clients that verify a
// host and not a SPIFFE ID. It believes the bundles of the CA.
func (c *CA) Source(id spiffeid.ID, names ...string) identity.Source {
	return &source{ca: c, id: id, names: slices.Clone(names)}
}

type source struct {
	ca    *CA
	id    spiffeid.ID
	names []string

	mu      sync.Mutex
	svid    *x509svid.SVID
	signing string    // the root that its certificate is of
	renew   time.Time // not before then
}

// renewPause is between attempts to renew, while there is a certificate.
const renewPause = 5 * time.Second

// GetX509SVID implements identity.Source.
func (s *source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.svid != nil && now.Before(s.renew) && s.ca.live.Load().state.Signing == s.signing {
		return s.svid, nil
	}
	err := s.issue()
	switch {
	case err == nil:
		return s.svid, nil
	case s.svid != nil && now.Before(s.svid.Certificates[0].NotAfter):
		s.renew, s.signing = now.Add(renewPause), s.ca.live.Load().state.Signing
		s.ca.log.Error("the control server's own certificate can't be renewed", "id", s.id.String(), "err", err)
		return s.svid, nil
	}
	return nil, err
}

func (s *source) issue() error {
	if !s.id.MemberOf(s.ca.TrustDomain()) || s.id.Path() == "" {
		return fmt.Errorf("ca: %q is no identity of trust domain %s", s.id, s.ca.TrustDomain())
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("ca: key: %w", err)
	}
	cert, by, err := s.ca.certify(leaf{id: s.id, public: key.Public(), life: s.ca.config.LeafTTL, names: s.names})
	if err != nil {
		return err
	}
	if err := s.ca.record(entry(cert, s.id.String(), bySelf, "")); err != nil {
		return err
	}
	s.svid = &x509svid.SVID{ID: s.id, PrivateKey: key, Certificates: []*x509.Certificate{cert, by.intermediate}}
	s.signing = by.state.Signing
	s.renew = time.Now().Add(time.Until(cert.NotAfter) / 2)
	return nil
}

// GetX509BundleForTrustDomain implements identity.Source.
func (s *source) GetX509BundleForTrustDomain(d spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return s.ca.GetX509BundleForTrustDomain(d)
}
