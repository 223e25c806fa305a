package wire

import (
	"slices"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

const (
	// jwtMetadata is where jwt_authn puts what tokens say.
	jwtMetadata = "envoy.filters.http.jwt_authn"
	// anyPayload is the key there that every provider's tokens have (Istio).
	anyPayload = "payload"
)

// claim reads a condition on metadata, which must be what a token says.
func (r *ruler) claim(p *place, m *matcherv3.MetadataMatcher) identity.Condition {
	r.wantsRequest(p, "")
	p.only(m, "filter", "path", "value", "invert")
	if m.GetFilter() != jwtMetadata {
		p.refuse("filter", "%q is not supported; %q is", m.GetFilter(), jwtMetadata)
	}
	c := identity.Condition{Kind: identity.ClaimIs}
	for i, s := range m.GetPath() {
		if s.GetKey() == "" {
			q := p.at("path", i)
			q.refuse("key", "empty")
		}
		c.Path = append(c.Path, s.GetKey())
	}
	if len(c.Path) < 2 {
		p.refuse("path", "%d keys do not lead to a claim", len(c.Path))
		return c
	}
	key := c.Path[0]
	c.Path = c.Path[1:]
	switch {
	case r.claims != nil:
		name, err := r.claims(key)
		if err != nil {
			p.refuse("path", "%w", err)
		}
		c.Name = name
	case key != anyPayload:
		p.refuse("path", "no provider's tokens are at %q", key)
	}
	q := p.in("value")
	c = claimValue(&q, m.GetValue(), c, 0)
	if m.GetInvert() {
		c = identity.Condition{Kind: identity.Not, Of: []identity.Condition{c}}
	}
	return c
}

func (r *ruler) sourced(p *place, m *rbacv3.SourcedMetadata) identity.Condition {
	p.only(m, "metadata_matcher", "metadata_source")
	if s := m.GetMetadataSource(); s != rbacv3.MetadataSource_DYNAMIC {
		p.refuse("metadata_source", "%v is not supported", s)
	}
	q := p.in("metadata_matcher")
	return r.claim(&q, m.GetMetadataMatcher())
}

// claimValue adds what the claim must be.
func claimValue(p *place, m *matcherv3.ValueMatcher, c identity.Condition, depth int) identity.Condition {
	if depth > maxDepth {
		p.refuse("", "more than %d conditions within each other", maxDepth)
		return c
	}
	switch s := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_StringMatch:
		q := p.in("string_match")
		c.Is = decodeString(&q, s.StringMatch)
	case *matcherv3.ValueMatcher_PresentMatch:
		c.Is.Kind = match.Present
		if !s.PresentMatch {
			p.refuse("present_match", "false is not supported")
		}
	case *matcherv3.ValueMatcher_ListMatch:
		if c.InList {
			p.refuse("list_match", "not supported within another")
		}
		c.InList = true
		q := p.in("list_match.one_of")
		return claimValue(&q, s.ListMatch.GetOneOf(), c, depth+1)
	case *matcherv3.ValueMatcher_OrMatch:
		out := identity.Condition{Kind: identity.Any}
		q := p.in("or_match")
		for i, each := range s.OrMatch.GetValueMatchers() {
			in := q.at("value_matchers", i)
			out.Of = append(out.Of, claimValue(&in, each, c, depth+1))
		}
		if len(out.Of) < 2 {
			q.refuse("value_matchers", "%d are less than 2", len(out.Of))
		}
		return out
	case nil:
		p.refuse("match_pattern", "missing")
	default:
		p.refuse("match_pattern", "only string_match, present_match, list_match and or_match are supported")
	}
	return c
}

func encodeClaim(c identity.Condition) *matcherv3.MetadataMatcher {
	key := c.Name
	if key == "" {
		key = anyPayload
	}
	m := &matcherv3.MetadataMatcher{Filter: jwtMetadata, Value: encodeValue(c)}
	for _, k := range append([]string{key}, c.Path...) {
		m.Path = append(m.Path, &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: k}})
	}
	return m
}

// encodeClaims is one condition for several on the same claim, as Istio has it; nil if they are not.
func encodeClaims(list []identity.Condition) *matcherv3.MetadataMatcher {
	if len(list) < 2 {
		return nil
	}
	or := &matcherv3.OrMatcher{}
	for _, c := range list {
		if c.Kind != identity.ClaimIs || c.Name != list[0].Name || !slices.Equal(c.Path, list[0].Path) {
			return nil
		}
		or.ValueMatchers = append(or.ValueMatchers, encodeValue(c))
	}
	m := encodeClaim(list[0])
	m.Value = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{OrMatch: or}}
	return m
}

func encodeValue(c identity.Condition) *matcherv3.ValueMatcher {
	m := &matcherv3.ValueMatcher{}
	switch c.Is.Kind {
	case match.Present:
		m.MatchPattern = &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}
	case match.Range: // has no form
	default:
		m.MatchPattern = &matcherv3.ValueMatcher_StringMatch{StringMatch: encodeString(c.Is)}
	}
	if c.InList {
		m = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{
			MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: m},
		}}}
	}
	return m
}
