package xds

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// Trust reports what the control server says that this process is to believe: bundles of trust domains, by the secret ROOTCA. It
// follows the rules of Watch; a control server that has none is no error, and nothing is reported then.
func (c *Client) Trust(sink func([]*x509bundle.Bundle)) (stop func()) {
	return c.secret(wire.OwnRoots, func(s *wire.Secret, _ error) {
		if s == nil || len(s.Bundles) == 0 {
			return
		}
		bundles, err := bundlesOf(s)
		if err != nil {
			c.log.Warn("bundles of the control server are not used", "err", err)
			return
		}
		sink(bundles)
	})
}

// A Source is an identity.Source by secrets of the control server (SDS over ADS). Its private key has crossed the wire: where there is a
// choice, enroll has a key that nobody else ever saw.
type Source struct {
	stops [2]func()

	mu    sync.Mutex
	svid  *x509svid.SVID
	trust map[spiffeid.TrustDomain]*x509bundle.Bundle
	roots []*x509.Certificate // of the own trust domain, where the secret does not say of which
	err   error
	news  chan struct{} // closed and replaced when something changes
}

var (
	_ identity.Source = (*Source)(nil)
	_ identity.Waiter = (*Source)(nil)
)

// Source is the identity by two secrets: a certificate with its key, and roots. In Istio they are "default" and "ROOTCA".
func (c *Client) Source(certificate, roots string) *Source {
	s := &Source{news: make(chan struct{}), trust: map[spiffeid.TrustDomain]*x509bundle.Bundle{}}
	s.stops = [2]func(){c.secret(certificate, s.takeCertificate), c.secret(roots, s.takeRoots)}
	return s
}

func (s *Source) takeCertificate(secret *wire.Secret, err error) {
	var svid *x509svid.SVID
	if secret != nil {
		if svid, err = x509svid.Parse([]byte(secret.Certificates), []byte(secret.Key)); err != nil {
			err = fmt.Errorf("secret %q: %w", secret.Name, err)
		}
	}
	s.set(func() {
		if s.err = err; svid != nil && err == nil {
			s.svid = svid
		}
	})
}

func (s *Source) takeRoots(secret *wire.Secret, err error) {
	var bundles []*x509bundle.Bundle
	var roots []*x509.Certificate
	if secret != nil {
		if bundles, err = bundlesOf(secret); err == nil {
			roots, err = certificatesOf(secret.Roots)
		}
	}
	s.set(func() {
		if s.err = err; err != nil || secret == nil {
			return
		}
		s.roots, s.trust = roots, map[spiffeid.TrustDomain]*x509bundle.Bundle{}
		for _, b := range bundles {
			s.trust[b.TrustDomain()] = b
		}
	})
}

func (s *Source) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.news)
	s.news = make(chan struct{})
}

// GetX509SVID implements identity.Source.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.svid == nil {
		return nil, s.missing()
	}
	return s.svid, nil
}

// GetX509BundleForTrustDomain implements identity.Source.
func (s *Source) GetX509BundleForTrustDomain(d spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.trust[d]; b != nil {
		return b, nil
	}
	switch {
	case s.svid == nil || len(s.roots)+len(s.trust) == 0:
		return nil, s.missing()
	case len(s.roots) > 0 && s.svid.ID.MemberOf(d):
		return x509bundle.FromX509Authorities(d, s.roots), nil
	}
	return nil, fmt.Errorf("xds: trust domain %q is not believed", d.Name())
}

var errNoSecret = errors.New("the control server has not sent it yet")

func (s *Source) missing() error {
	if s.err != nil {
		return fmt.Errorf("xds: no identity by secrets: %w", s.err)
	}
	return fmt.Errorf("xds: no identity by secrets: %w", errNoSecret)
}

// Ready implements identity.Waiter.
func (s *Source) Ready(ctx context.Context) error {
	for {
		s.mu.Lock()
		there, news, why := s.svid != nil && len(s.roots)+len(s.trust) > 0, s.news, s.missing()
		s.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", why, ctx.Err())
		}
	}
}

// Close follows the secrets no more. What there is stays in use.
func (s *Source) Close() error {
	for _, stop := range s.stops {
		stop()
	}
	return nil
}

func bundlesOf(s *wire.Secret) ([]*x509bundle.Bundle, error) {
	var out []*x509bundle.Bundle
	for name, text := range s.Bundles {
		d, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return nil, fmt.Errorf("secret %q: %w", s.Name, err)
		}
		certs, err := certificatesOf(text)
		if err != nil {
			return nil, fmt.Errorf("secret %q: trust domain %s: %w", s.Name, name, err)
		}
		out = append(out, x509bundle.FromX509Authorities(d, certs))
	}
	return out, nil
}

func certificatesOf(text string) (out []*x509.Certificate, err error) {
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}
