package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"reflect"
	"runtime/debug"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/resolver"
)

// justice is what of a serving says who may call. The zero justice lets everybody in.
type justice struct {
	guard   identity.Guard
	gate    *identity.Gate  // nil if there is nothing to decide by
	shut    error           // why nobody may call: there are rules, and they can't be evaluated
	trusted []match.Matcher // whose headers count that steer the mesh
	revoked map[string]bool // by the names of Connections
	judges  bool            // something is to be decided of each call
	reads   bool            // paths and hosts count, and have their one form
}

// justiceOf makes a guard ready. One that is wrong leaves the one before in force; nobody may call where there was none.
func (in *Inbound) justiceOf(g identity.Guard) justice {
	var was *serving
	if was = in.current.Load(); was != nil && was.value != nil && was.shut == nil && reflect.DeepEqual(was.guard, g) {
		return was.justice
	}
	j := justice{guard: g, judges: in.engine.config.Source != nil}
	if reflect.DeepEqual(g, identity.Guard{}) {
		return j
	}
	var err error
	if j.gate, err = identity.NewGate(g); err == nil {
		j.trusted, err = matchersOf(g.Trusted)
	}
	if err != nil {
		if was != nil && was.gate != nil {
			in.engine.config.Logger.Error("rules of who may call can't be evaluated: those before stay in force", "port", in.port, "err", err)
			j = was.justice
			j.guard.Revoked, j.revoked = g.Revoked, namesOf(g.Revoked)
			return j
		}
		in.engine.config.Logger.Error("rules of who may call can't be evaluated: nobody may", "port", in.port, "err", err)
		j.shut, j.gate, j.trusted = fmt.Errorf("rules: %w", err), nil, nil
	}
	j.judges, j.revoked = true, namesOf(g.Revoked)
	j.reads = len(g.Steps) > 0 || g.JWT != nil
	return j
}

func matchersOf(conditions []match.String) ([]match.Matcher, error) {
	var out []match.Matcher
	for _, c := range conditions {
		m, err := c.Compile()
		if err != nil {
			return nil, fmt.Errorf("trusted: %w", err)
		}
		out = append(out, m)
	}
	return out, nil
}

// namesOf are the names of who is revoked.
func namesOf(r *identity.Revoked) map[string]bool {
	if r == nil {
		return nil
	}
	out := make(map[string]bool, len(r.Serials)+len(r.IDs))
	for _, s := range r.Serials {
		out[s] = true
	}
	for _, id := range r.IDs {
		out[id.String()] = true
	}
	return out
}

// A trial is what a call was judged by, and how.
type trial struct {
	request  identity.Request
	decision identity.Decision
}

// judge decides whether the call may be made. The order of the steps is law.
func (s *serving) judge(c *InboundCall) *Refusal {
	switch {
	case s.shut != nil:
		return s.deny(c, identity.Decision{Reason: s.shut.Error()})
	// It was on its way when its connection was ended, with which who calls is forgotten: nobody must not stand for somebody.
	case c.conn == nil && s.engine.config.Source != nil:
		return s.deny(c, identity.Decision{Reason: "the connection that the call came on has ended"})
	// The connection was let in under other demands, and is to end. Its time is up.
	case c.conn != nil && !c.Peer.Secure() && c.conn.expired():
		return s.deny(c, identity.Decision{Reason: "the connection is plaintext, and mutual TLS is demanded by now"})
	}
	// Paths and hosts first: all that follows, the handler included, is to see the same.
	if s.reads {
		if err := c.normalize(); err != nil {
			return unreadable()
		}
		// What handlers behind others' gateways may take for what rules look at, rules have not seen.
		if s.mimics(c) {
			return ambiguous()
		}
	}
	// Who is not believed any more has no more to say.
	if s.revokes(c.conn) {
		return s.deny(c, revokedDecision)
	}
	if s.gate == nil || !s.reads {
		return nil
	}
	t := c.try()
	// Tokens before rules, which ask for what they say.
	if s.guard.JWT != nil {
		if r := s.authenticate(c, t); r != nil {
			return r
		}
	}
	t.decision = s.check(c.ctx, &t.request, s.engine.config.Asker, c.body())
	d := &t.decision
	s.engine.denials.note(s.port, &t.request, d)
	if !d.Allowed {
		return refusalOf(d)
	}
	for i := range d.Verdicts {
		c.obey(&d.Verdicts[i])
	}
	return nil
}

// try is the call as rules see it.
func (c *InboundCall) try() *trial {
	r := &c.Request
	c.trial = &trial{request: identity.Request{
		Method: r.Method, Scheme: r.Scheme, Authority: r.Authority, Path: r.Path, Query: r.Query, Header: r.Header, GRPC: c.Protocol == GRPC,
		Peer: c.Peer, Source: portOf(c.Remote), Local: portOf(c.Local),
	}}
	return c.trial
}

// check asks the gate. Whatever goes wrong within denies.
func (s *serving) check(ctx context.Context, r *identity.Request, a identity.Asker, body func(int) ([]byte, error)) (d identity.Decision) {
	if s.gate == nil {
		return identity.Decision{Reason: s.shut.Error()}
	}
	defer func() {
		if p := recover(); p != nil {
			s.engine.config.Logger.Error("rules of who may call panicked: the call is denied", "port", s.port, "panic", p, "stack", string(debug.Stack()))
			d = identity.Decision{Reason: "the rules panicked"}
		}
	}()
	return s.gate.Check(ctx, r, a, body)
}

// deny refuses a call by something else than rules.
func (s *serving) deny(c *InboundCall, d identity.Decision) *Refusal {
	t := c.try()
	t.decision = d
	s.engine.denials.note(s.port, &t.request, &t.decision)
	return refusalOf(&t.decision)
}

// revokes reports whether the peer of a connection is not believed any more.
func (s *serving) revokes(c *Connection) bool {
	if c == nil || len(s.revoked) == 0 {
		return false
	}
	for _, name := range c.names {
		if s.revoked[name] {
			return true
		}
	}
	return false
}

// mimics reports whether a header of the call passes for one that counts, with those who do not tell "_" from "-".
func (s *serving) mimics(c *InboundCall) bool {
	if s.gate == nil || !s.gate.Mimicked() || c.Request.Header == nil {
		return false
	}
	header, ok := c.Request.Header.(listed)
	return !ok || s.mimicked(header) // of one that can't be listed it can't be told
}

// A listed header can be listed.
type listed interface {
	All() iter.Seq2[string, []string]
}

// mimicked is the part of mimics that allocates.
func (s *serving) mimicked(header listed) bool {
	for name := range header.All() {
		if s.gate.Mimics(name) {
			return true
		}
	}
	return false
}

var errStar = errors.New("path: is that of OPTIONS alone")

// normalize gives the path and the host of the call their one form.
func (c *InboundCall) normalize() error {
	form := identity.NormalizePath
	if c.Protocol == GRPC {
		form = identity.NormalizeMethod
	}
	path, err := form(c.Request.Path)
	if err != nil {
		return err
	}
	if path == "*" && c.Request.Method != "OPTIONS" { //nolint:usestdlibvars // net/http is the adapters' (RFC 9112, 3.2.4)
		return errStar
	}
	authority, err := identity.NormalizeAuthority(c.Request.Authority)
	if err != nil {
		return err
	}
	c.Request.Path, c.Request.Authority = path, authority
	return nil
}

// body reads the beginning of the call's body; nil if it can't be read before the handler does.
func (c *InboundCall) body() func(limit int) ([]byte, error) {
	if c.Incoming == nil {
		return nil
	}
	return c.Incoming.Body
}

// obey does to the request what a service outside says that let it through.
func (c *InboundCall) obey(v *identity.Verdict) {
	if in := c.Incoming; in != nil {
		for _, name := range v.Remove {
			in.Remove(match.Named(name))
		}
		for _, f := range v.Set {
			in.Set(match.Named(f.Name), f.Value)
		}
		for _, f := range v.Append {
			in.Append(match.Named(f.Name), f.Value)
		}
	}
	for _, f := range v.Answer {
		c.header = append(c.header, Field{f.Name, f.Value})
	}
}

// portOf is an address as rules compare it; invalid if it is none.
func portOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case nil:
		return netip.AddrPort{}
	case *net.TCPAddr:
		return addrPort(a)
	}
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return plainAddr(p)
}

var revokedDecision = identity.Decision{Step: "revoked", Reason: "the identity or the certificate is revoked"}

var forwardedCert = resolver.HeaderName{Lower: "x-forwarded-client-cert", Canonical: "X-Forwarded-Client-Cert"}

// Meet finds who calls, and takes from the request what nobody may say of himself: who he is, and, where he is not trusted, how the
// mesh is to treat the call. Adapters call it before they read headers; Serve does if they did not.
func (e *Engine) Meet(c *InboundCall) {
	c.met = true
	c.in = e.inbound(c)
	if c.in != nil {
		c.conn = c.in.connections.of(c.Local)
	}
	cert := ""
	if c.conn != nil {
		cert = c.conn.cert
		if c.Peer = c.conn.Peer; c.Peer != nil && !c.Peer.ID.IsZero() {
			c.Caller = c.Peer.ID.String()
		}
	}
	h := c.Incoming
	if h == nil {
		return
	}
	if !e.trusts(c) {
		h.RemoveSteering()
	}
	if cert != "" {
		h.Set(forwardedCert, cert)
	} else {
		h.Remove(forwardedCert)
	}
}

// trusts reports whether the caller's headers count that steer the mesh.
func (e *Engine) trusts(c *InboundCall) bool {
	if c.in != nil {
		if s := c.in.current.Load(); s.guard.Trusted != nil {
			if c.Caller == "" {
				return false
			}
			for i := range s.trusted {
				if s.trusted[i].Matches(c.Caller) {
					return true
				}
			}
			return false
		}
	}
	// Where nobody can prove who he is nobody can be told from others.
	return e.config.Source == nil || c.conn != nil && c.conn.kin
}
