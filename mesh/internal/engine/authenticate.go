package engine

import (
	"errors"
	"slices"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/jwt"
	"github.com/weftmesh/weft/internal/match"
)

var cookie = match.HeaderName{Lower: "cookie", Canonical: "Cookie"}

var errNoTokens = errors.New("tokens are asked for, and nothing here verifies them")

// authenticate verifies the tokens of the call. What they prove is the caller's from then on.
func (s *serving) authenticate(c *InboundCall, t *trial) *Refusal {
	if s.engine.config.Tokens == nil {
		return s.deny(c, identity.Decision{Step: "jwt", Reason: errNoTokens.Error()})
	}
	r := s.engine.config.Tokens.Verify(c.ctx, s.guard.JWT, &t.request)
	if r.Err != nil {
		t.decision = identity.Decision{Step: "jwt", Reason: r.Err.Error()}
		s.engine.denials.note(s.port, &t.request, &t.decision)
		return &Refusal{Kind: Denied, Status: 401, Code: 16, Text: r.Text(), Header: []Field{{"www-authenticate", r.Challenge(c.Request.Authority)}}} // UNAUTHENTICATED
	}
	if in := c.Incoming; in != nil {
		for _, name := range r.Remove {
			in.Remove(match.Named(name))
		}
		for _, f := range r.Set {
			in.Set(match.Named(f.Name), f.Value)
		}
		if len(r.RemoveCookies) > 0 {
			values := c.Request.Header.Values(cookie)
			in.Remove(cookie)
			for _, v := range values {
				if v = jwt.WithoutCookies(v, r.RemoveCookies); v != "" {
					in.Append(cookie, v)
				}
			}
		}
	}
	if len(r.RemoveQuery) > 0 {
		c.Request.Query = jwt.WithoutParameters(c.Request.Query, r.RemoveQuery)
		t.request.Query = c.Request.Query
	}
	if len(r.Claims) > 0 {
		t.request.Claims = r.Claims
		peer := identity.Peer{}
		if c.Peer != nil {
			peer = *c.Peer
		}
		peer.Claims = slices.Clip(r.Claims)
		c.Peer = &peer
	}
	return nil
}
