package identitytest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// A Source is an identity.Source, and an identity.Waiter, that has what a test gives it. The zero Source has nothing. It is safe for concurrent
// use.
type Source struct {
	mu      sync.Mutex
	svid    *x509svid.SVID
	bundles map[spiffeid.TrustDomain]*x509bundle.Bundle
	err     error
	changed chan struct{} // closed by a change; nil if nobody waits
}

// SetSVID gives it another SVID; nil takes it away.
func (s *Source) SetSVID(svid *x509svid.SVID) {
	s.set(func() { s.svid = svid })
}

// SetBundles gives it these bundles in place of those it has.
func (s *Source) SetBundles(bundles ...*x509bundle.Bundle) {
	all := make(map[spiffeid.TrustDomain]*x509bundle.Bundle, len(bundles))
	for _, b := range bundles {
		all[b.TrustDomain()] = b
	}
	s.set(func() { s.bundles = all })
}

// Fail has it answer with an error until it is nil.
func (s *Source) Fail(err error) {
	s.set(func() { s.err = err })
}

// GetX509SVID implements identity.Source.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return nil, s.err
	case s.svid == nil:
		return nil, errors.New("identitytest: no SVID yet")
	}
	return s.svid, nil
}

// GetX509BundleForTrustDomain implements identity.Source.
func (s *Source) GetX509BundleForTrustDomain(d spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	if b := s.bundles[d]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("identitytest: no bundle of trust domain %q", d.Name())
}

// Ready implements identity.Waiter: it waits for an SVID and a bundle.
func (s *Source) Ready(ctx context.Context) error {
	for {
		s.mu.Lock()
		if s.err == nil && s.svid != nil && len(s.bundles) > 0 {
			s.mu.Unlock()
			return nil
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("identitytest: no SVID and bundle: %w", ctx.Err())
		}
	}
}

func (s *Source) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
