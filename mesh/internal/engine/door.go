package engine

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/weftmesh/weft/identity"
)

// A Door is what an Inbound demands of connections now.
type Door struct {
	// Mode is never Unset. Neither is a mode that needs an identity there without one: see Closed.
	Mode identity.Mode
	// TLS is for connections over TLS; nil if none is to be: Mode is Disable, and has been for a while.
	TLS *tls.Config
	// Tells says that connections are told apart by what comes first, whatever Mode is.
	Tells bool
	// Closed says why no connection is let in; nil if some are.
	Closed error

	until time.Time // when TLS ends, where Mode is Disable
}

// afterglow is for how long a door tells mutual TLS by the first byte when it has become Disable: callers hear of that after the server. What
// comes later is the application's, TLS too.
const afterglow = 30 * time.Second

// Door is what is demanded now. A listener asks anew for each connection.
func (in *Inbound) Door() Door {
	d := in.current.Load().door
	if d.Mode == identity.Disable && d.TLS != nil && !time.Now().Before(d.until) {
		d.TLS = nil
	}
	return d
}

// Known is closed once it is known what the Inbound demands. Where identities count nobody is let in before.
func (in *Inbound) Known() <-chan struct{} { return in.known }

// Trusting reports whether connections may be let in before it is known what is demanded of them: where there are no
// identities there is not much to be lost.
func (in *Inbound) Trusting() bool { return in.engine.config.Source == nil }

// Enter takes a connection in whose handshake is done, or says why it may not be there: nothing of what it sends is to be read then. One
// that was taken in is followed by Leave.
func (in *Inbound) Enter(ctx context.Context, c *Connection) Unwelcome {
	c.describe(in.engine.ownID())
	in.connections.add(c)
	// What is in force is asked once the connection can be found: a change comes before this or finds it.
	s := in.current.Load()
	why := s.unwanted(c)
	if why == Welcome && !s.connects(ctx, c) {
		why = Refused
	}
	if why != Welcome {
		in.Leave(c)
		return why
	}
	if s.suffers(c) {
		in.plaintext.note(in.engine.config.Logger, in.port, c)
	}
	return Welcome
}

// Leave says that a connection has ended.
func (in *Inbound) Leave(c *Connection) { in.connections.remove(c, in.forget) }

// Turn counts a connection that was not let in. Of those that were to prove who they are the log says why, of many some; err may be nil.
func (in *Inbound) Turn(w Unwelcome, remote *net.TCPAddr, err error) {
	in.turned[w].Add(1)
	switch w {
	case Plaintext, Encrypted, Unproved, Revoked, Crowded:
		in.engine.denials.turned(in.port, w, remote, err)
	}
}

// Unwelcome is why a connection is not let in.
type Unwelcome uint8

// The reasons.
const (
	Welcome    Unwelcome = iota
	Plaintext            // where TLS is demanded
	Encrypted            // TLS, after it was taken for plaintext
	Unproved             // the handshake failed
	Silent               // nothing came, or too slowly
	Crowded              // too many others are before it
	Revoked              // its identity or certificate is not believed any more
	Refused              // by the Guard
	ClosedDoor           // nobody is let in
	Gone                 // it left by itself
)

var unwelcomeNames = [...]string{"", "plaintext", "tls", "handshake", "silent", "crowded", "revoked", "refused", "closed", "gone"}

func (w Unwelcome) String() string { return unwelcomeNames[w] }

// unwanted is why a connection may not be there, its Guard's Connections apart.
func (s *serving) unwanted(c *Connection) Unwelcome {
	switch {
	case s.door.Closed != nil:
		return ClosedDoor
	case !c.Peer.Secure():
		if s.door.Mode == identity.Strict {
			return Plaintext
		}
	case s.revokes(c): // who came by mutual TLS when that was let in may stay
		return Revoked
	}
	return Welcome
}

// suffers reports whether the connection may be there, and would not if mutual TLS were demanded.
func (s *serving) suffers(c *Connection) bool {
	return !c.Peer.Secure() && s.door.Mode == identity.Permissive && s.engine.config.Source != nil
}

// connects decides on a connection by the Guard's Connections.
func (s *serving) connects(ctx context.Context, c *Connection) bool {
	if len(s.guard.Connections) == 0 && s.shut == nil {
		return true
	}
	if c.HTTP && s.shut == nil && (len(s.guard.Steps) > 0 || s.guard.JWT != nil) {
		return true // each of its requests is asked about, and who may not gets an answer
	}
	r := c.request()
	d := s.check(ctx, r, s.engine.config.Asker, nil)
	s.engine.denials.note(s.port, r, &d)
	return d.Allowed
}

// opened is what was demanded last of connections that were let in. Nobody was let in over TLS before it was known what is demanded.
func (in *Inbound) opened() Door {
	select {
	case <-in.known:
		return in.current.Load().door
	default:
		return Door{Mode: identity.Disable}
	}
}

// doorOf is what v demands of connections.
func (in *Inbound) doorOf(v identity.ServerTLS) Door {
	source := in.engine.config.Source
	d := Door{Mode: v.Mode}
	if d.Mode == identity.Unset {
		if d.Mode = identity.Disable; source != nil {
			d.Mode = identity.Strict
		}
	}
	if source == nil {
		if d.Mode == identity.Permissive { // nothing is to be proved, and nothing can be
			d.Mode = identity.Disable
		}
		if d.Mode != identity.Disable {
			d.Closed = fmt.Errorf("port %d: connections must be mutual TLS (%v), and this process has no identity: give it one by mesh.WithIdentity", in.port, d.Mode)
		}
		return d
	}
	switch was := in.opened(); {
	case d.Mode != identity.Disable:
		d.TLS = v.Config(source, in.revocations)
	case was.Mode != identity.Disable:
		d.TLS, d.until = was.TLS, time.Now().Add(afterglow)
	default:
		d.TLS, d.until = was.TLS, was.until
	}
	return d
}

// revocations are what is not believed any more, now.
func (in *Inbound) revocations() *identity.Revoked { return in.current.Load().guard.Revoked }
