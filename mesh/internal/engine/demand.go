package engine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver"
)

var errNoIdentity = errors.New("mutual TLS is demanded, and this process has no identity: give it one by mesh.WithIdentity")

// TLS is what a host of the cluster must prove; nil if it is spoken to in plaintext. Where the cluster leaves it to the host, one that can is
// spoken to by TLS, if this process has an identity. The error says that it can't be spoken to at all.
func (s *Service) TLS(c *resolver.Cluster, h *balancer.Host) (*identity.ClientTLS, error) {
	t, able := c.TLS, s.engine.config.Source != nil
	switch {
	case t == nil, c.AutoTLS && !h.Endpoint().MutualTLS, c.AutoTLS && t.Mutual && !able:
		return nil, nil
	case t.Mutual && !able:
		return nil, fmt.Errorf("cluster %s: %w", c.Name, errNoIdentity)
	}
	return t, nil
}

// TLS is what the host of the attempt must prove, as [Service.TLS] says.
func (a *Attempt) TLS() (*identity.ClientTLS, error) { return a.call.service.TLS(a.Cluster, a.Host) }

// Demand is a demand of which connections are made.
func (e *Engine) Demand(t *identity.ClientTLS) *Demand {
	d := &Demand{ClientTLS: *t, engine: e}
	d.Revoked = nil
	d.revoked.Store(t.Revoked)
	return d
}

// A Demand is what TLS servers must prove, as long as connections are made under it. What is revoked follows the configuration, so that
// it takes none but the connections it is about.
type Demand struct {
	identity.ClientTLS // without Revoked
	engine             *Engine
	revoked            atomic.Pointer[identity.Revoked]
}

// Is reports whether t is the same demand, whatever it says is revoked.
func (d *Demand) Is(t *identity.ClientTLS) bool {
	if d == nil || t == nil {
		return d == nil && t == nil
	}
	o := *t
	o.Revoked = nil
	return d.Equal(&o)
}

// Follow takes what t, which is the same demand, says is revoked now, and reports whether that is something else than before.
func (d *Demand) Follow(t *identity.ClientTLS) bool {
	if d == nil || d.revoked.Load().Equal(t.Revoked) {
		return false
	}
	d.revoked.Store(t.Revoked)
	return true
}

// Config is the configuration of connections to a server that is called by that name.
func (d *Demand) Config(called string) (*tls.Config, error) {
	conf, err := d.ClientTLS.Config(called, d.engine.config.Source, func(err error) {
		d.engine.config.Logger.Warn("file of a TLS configuration is not read: its last content stays in use", "err", err)
	})
	if err != nil {
		return nil, err
	}
	verify := conf.VerifyConnection
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		if verify != nil {
			if err := verify(s); err != nil {
				return err
			}
		}
		if err := d.Revokes(s.PeerCertificates); err != nil {
			return fmt.Errorf("server certificate: %w", err)
		}
		return nil
	}
	return conf, nil
}

// Revokes says why what a server has shown is not believed any more; nil if it is.
func (d *Demand) Revokes(shown []*x509.Certificate) error {
	r := d.revoked.Load()
	if r == nil || len(shown) == 0 {
		return nil
	}
	return r.Check(spiffeIDOf(shown[0]), rooted(shown))
}

// spiffeIDOf is the SPIFFE ID of a certificate; zero if it has none.
func spiffeIDOf(c *x509.Certificate) spiffeid.ID {
	if i := slices.IndexFunc(c.URIs, func(u *url.URL) bool { return u.Scheme == "spiffe" }); i >= 0 {
		if id, err := spiffeid.FromURI(c.URIs[i]); err == nil {
			return id
		}
	}
	return spiffeid.ID{}
}

// rooted is what a peer has shown, which ends before the root, as a chain that ends with one.
func rooted(shown []*x509.Certificate) []*x509.Certificate {
	return append(slices.Clip(shown), &x509.Certificate{})
}
