package engine

import (
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/identity"
)

// A Made is a connection over TLS that this process makes. Whatever the configuration says from now on is not believed any more, it is
// ended by that: which service and demand it was made for does not matter, and whether these are there still. It is followed by Forget.
type Made struct {
	of    *secured
	shut  func(error)
	lists func() *identity.Revoked // in force, as far as it is known to whom it is made for
	names []string                 // by which the server may be revoked; nil before it has proved who it is
	proof atomic.Pointer[proof]    // nil before that
	over  bool                     // as are names, under secured.mu
}

// Make returns a connection for the attempt that has yet to shake hands. shut ends it at once, and may be called at any time until Forget, also
// while that is being called. It must not block.
func (a *Attempt) Make(shut func(why error)) *Made {
	s, name := a.call.service, a.Cluster.Name
	return &Made{of: &s.engine.secured, shut: shut, lists: func() *identity.Revoked {
		if p := s.plan.Load(); p != nil && p.clusters[name] != nil && p.clusters[name].TLS != nil {
			return p.clusters[name].TLS.Revoked
		}
		return nil
	}}
}

// Make is that of an attempt, for a connection that is made ahead of them.
func (d *Demand) Make(shut func(why error)) *Made {
	return &Made{of: &d.engine.secured, shut: shut, lists: d.revoked.Load}
}

// Prove says what the server has shown, which was verified. An error means that the connection is not to be used: the server is not believed since a
// moment ago.
func (m *Made) Prove(shown []*x509.Certificate) error {
	if len(shown) == 0 {
		return nil
	}
	if err := m.show(shown); err != nil {
		return err
	}
	// What is in force is asked once the connection can be found: a change comes before this or finds it.
	return m.revokedBy(namesOf(m.lists()))
}

// Principal is the SPIFFE ID that the server has proved; nil if there is none.
func (m *Made) Principal() *string {
	if p := m.proof.Load(); p != nil {
		return p.principal()
	}
	return nil
}

// Doubt ends the connection if its server is not believed any more, by lists that were not in force when it was made.
func (m *Made) Doubt() {
	m.of.mu.Lock()
	err := m.revokedBy(namesOf(m.lists()))
	m.of.mu.Unlock()
	if err != nil {
		m.shut(err)
	}
}

// Forget says that the connection has ended, or could not be made. It may be called more than once.
func (m *Made) Forget() {
	s := m.of
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.over {
		return
	}
	m.over = true
	delete(s.all, m)
	if p := m.proof.Load(); p != nil {
		if p.uses--; p.uses == 0 {
			s.proofs.Delete(p.leaf)
		}
	}
}

var errEnded = errors.New("the connection was closed")

// show makes the connection findable.
func (m *Made) show(shown []*x509.Certificate) error {
	s, id := m.of, spiffeIDOf(shown[0])
	names := namesIn(id, shown)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.over {
		return errEnded
	}
	m.names = names
	if s.all == nil {
		s.all = map[*Made]struct{}{}
	}
	s.all[m] = struct{}{}
	v, _ := s.proofs.LoadOrStore(shown[0], &proof{leaf: shown[0], id: id.String()})
	p := v.(*proof)
	p.uses++
	m.proof.Store(p)
	return nil
}

// revokedBy says why the server is not believed; nil if it is.
func (m *Made) revokedBy(names map[string]bool) error {
	for _, n := range m.names {
		if names[n] {
			return fmt.Errorf("server certificate: %s is revoked", n)
		}
	}
	return nil
}

// secured are the connections over TLS that this process has made.
type secured struct {
	mu     sync.Mutex
	all    map[*Made]struct{}
	proofs sync.Map // *x509.Certificate -> *proof; written under mu
}

// A proof is who a server has proved to be, by a leaf certificate that crypto/tls shares among the connections on which it was shown.
type proof struct {
	leaf *x509.Certificate
	id   string // empty if it is none of SPIFFE
	uses int    // under secured.mu
}

func (p *proof) principal() *string {
	if p.id == "" {
		return nil
	}
	return &p.id
}

// revoke ends the connections to servers whom the lists name.
func (s *secured) revoke(names map[string]bool) {
	s.mu.Lock()
	lost := map[*Made]error{}
	for m := range s.all {
		if err := m.revokedBy(names); err != nil {
			lost[m] = err
		}
	}
	s.mu.Unlock()
	for m, err := range lost {
		m.shut(err)
	}
}

// distrust ends the connections to servers that are not believed since next has taken the place of old. old may be nil.
func (s *secured) distrust(old, next *plan) {
	var done *identity.Revoked // most often all clusters have the same
	for name, c := range next.clusters {
		if c.TLS == nil || c.TLS.Revoked == nil || c.TLS.Revoked.Equal(done) {
			continue
		}
		if old != nil {
			if was := old.clusters[name]; was != nil && was.TLS != nil && c.TLS.Revoked.Equal(was.TLS.Revoked) {
				continue
			}
		}
		done = c.TLS.Revoked
		s.revoke(namesOf(done))
	}
}

// Proved notes who answered the attempt: the server that has shown this leaf certificate.
func (a *Attempt) Proved(leaf *x509.Certificate) {
	if v, ok := a.call.service.engine.secured.proofs.Load(leaf); ok {
		a.ProvedBy(v.(*proof).principal())
		return
	}
	if id := spiffeIDOf(leaf); !id.IsZero() { // its connection has ended with the answer
		s := id.String()
		a.ProvedBy(&s)
	}
}

// ProvedBy notes that the server with this SPIFFE ID is asked; nil is none.
func (a *Attempt) ProvedBy(principal *string) { a.server.Store(principal) }

// Server is the SPIFFE ID that the server of the call's last attempt has proved by TLS, and whether this process has
// proved its own; empty if there was no such proof.
func (c *Call) Server() (principal string, mutual bool) {
	if c.last == nil {
		return "", false
	}
	p := c.last.server.Load()
	if p == nil {
		return "", false
	}
	return *p, c.last.Cluster.TLS != nil && c.last.Cluster.TLS.Mutual
}
