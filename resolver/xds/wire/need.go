package wire

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// decodeRequirement reads which requests need which tokens.
func decodeRequirement(p *place, m *jwtv3.RequirementRule, all *jwtv3.JwtAuthentication) identity.PathRequirement {
	p.only(m, "match", "requires", "requirement_name")
	q := p.in("match")
	out := identity.PathRequirement{Path: decodePathCondition(&q, m.GetMatch())}
	switch s := m.GetRequirementType().(type) {
	case *jwtv3.RequirementRule_Requires:
		in := p.in("requires")
		out.Need = decodeNeed(&in, s.Requires, all, 0)
	case *jwtv3.RequirementRule_RequirementName:
		named, ok := all.GetRequirementMap()[s.RequirementName]
		if !ok {
			p.refuse("requirement_name", "%q is not in requirement_map", s.RequirementName)
			return out
		}
		in := p.in("requirement_name")
		out.Need = decodeNeed(&in, named, all, 0)
	}
	return out
}

func decodeNeed(p *place, m *jwtv3.JwtRequirement, all *jwtv3.JwtAuthentication, depth int) (n identity.Requirement) {
	if depth > maxDepth {
		p.refuse("", "more than %d requirements within each other", maxDepth)
		return n
	}
	known := func(field, provider string) string {
		if all.GetProviders()[provider] == nil {
			p.refuse(field, "there is no provider %q", provider)
		}
		return provider
	}
	list := func(kind identity.NeedKind, field string, of []*jwtv3.JwtRequirement) identity.Requirement {
		q := p.in(field)
		out := identity.Requirement{Kind: kind}
		for i, each := range of {
			in := q.at("requirements", i)
			out.Of = append(out.Of, decodeNeed(&in, each, all, depth+1))
		}
		if len(of) < 2 {
			q.refuse("requirements", "%d are less than 2", len(of))
		}
		return out
	}
	p.only(m, "provider_name", "provider_and_audiences", "requires_any", "requires_all", "allow_missing_or_failed", "allow_missing")
	switch s := m.GetRequiresType().(type) {
	case *jwtv3.JwtRequirement_ProviderName:
		n = identity.Requirement{Kind: identity.NeedToken, Provider: known("provider_name", s.ProviderName)}
	case *jwtv3.JwtRequirement_ProviderAndAudiences:
		n = identity.Requirement{
			Kind: identity.NeedToken, Provider: known("provider_and_audiences.provider_name", s.ProviderAndAudiences.GetProviderName()),
			Audiences: append([]string{}, s.ProviderAndAudiences.GetAudiences()...),
		}
	case *jwtv3.JwtRequirement_RequiresAny:
		n = list(identity.NeedAnyOf, "requires_any", s.RequiresAny.GetRequirements())
	case *jwtv3.JwtRequirement_RequiresAll:
		n = list(identity.NeedAllOf, "requires_all", s.RequiresAll.GetRequirements())
	case *jwtv3.JwtRequirement_AllowMissing:
		n.Kind = identity.AllowMissing
	case *jwtv3.JwtRequirement_AllowMissingOrFailed:
		n.Kind = identity.AllowMissingOrBad
	}
	return n
}

// decodePathCondition reads a route's match as a condition; the zero Condition fits all requests.
func decodePathCondition(p *place, m *routev3.RouteMatch) identity.Condition {
	p.only(m, "prefix", "path", "safe_regex", "path_separated_prefix", "path_match_policy", "case_sensitive", "headers")
	fold := m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()
	is := func(kind match.Kind, value string) identity.Condition {
		return identity.Condition{Kind: identity.PathIs, Is: match.String{Kind: kind, Value: value, IgnoreCase: fold}}
	}
	var all []identity.Condition
	switch s := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		if s.Prefix != "" && s.Prefix != "/" {
			all = append(all, is(match.Prefix, s.Prefix))
		}
	case *routev3.RouteMatch_Path:
		all = append(all, is(match.Exact, s.Path))
	case *routev3.RouteMatch_PathSeparatedPrefix:
		v := s.PathSeparatedPrefix
		if len(v) < 2 || strings.HasSuffix(v, "/") || strings.ContainsAny(v, "?#") {
			p.refuse("path_separated_prefix", "%q: want a path that does not end with / and has no ? or #", v)
		}
		all = append(all, identity.Condition{Kind: identity.Any, Of: []identity.Condition{is(match.Exact, v), is(match.Prefix, v+"/")}})
	case *routev3.RouteMatch_SafeRegex:
		fold = false
		all = append(all, is(match.Regex, decodeRegex(p, "safe_regex", s.SafeRegex)))
	case *routev3.RouteMatch_PathMatchPolicy:
		all = append(all, identity.Condition{Kind: identity.PathFits, Is: match.String{Value: decodeTemplate(p, "path_match_policy", s.PathMatchPolicy)}})
	default:
		p.refuse("path_specifier", "missing")
	}
	var r ruler
	for i, h := range m.GetHeaders() {
		q := p.at("headers", i)
		all = append(all, r.header(&q, h))
	}
	switch len(all) {
	case 0:
		return identity.Condition{}
	case 1:
		return all[0]
	}
	return identity.Condition{Kind: identity.All, Of: all}
}

func encodeRequirement(r identity.PathRequirement) *jwtv3.RequirementRule {
	m := &jwtv3.RequirementRule{Match: encodePathCondition(r.Path)}
	if r.Need.Kind != identity.NeedNothing {
		m.RequirementType = &jwtv3.RequirementRule_Requires{Requires: encodeNeed(r.Need)}
	}
	return m
}

func encodeNeed(n identity.Requirement) *jwtv3.JwtRequirement {
	m := &jwtv3.JwtRequirement{}
	var of []*jwtv3.JwtRequirement
	for _, each := range n.Of {
		of = append(of, encodeNeed(each))
	}
	switch n.Kind {
	case identity.NeedNothing:
	case identity.NeedToken:
		if n.Audiences == nil {
			m.RequiresType = &jwtv3.JwtRequirement_ProviderName{ProviderName: n.Provider}
			break
		}
		m.RequiresType = &jwtv3.JwtRequirement_ProviderAndAudiences{
			ProviderAndAudiences: &jwtv3.ProviderWithAudiences{ProviderName: n.Provider, Audiences: n.Audiences},
		}
	case identity.NeedAnyOf:
		m.RequiresType = &jwtv3.JwtRequirement_RequiresAny{RequiresAny: &jwtv3.JwtRequirementOrList{Requirements: of}}
	case identity.NeedAllOf:
		m.RequiresType = &jwtv3.JwtRequirement_RequiresAll{RequiresAll: &jwtv3.JwtRequirementAndList{Requirements: of}}
	case identity.AllowMissing:
		m.RequiresType = &jwtv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}}
	case identity.AllowMissingOrBad:
		m.RequiresType = &jwtv3.JwtRequirement_AllowMissingOrFailed{AllowMissingOrFailed: &emptypb.Empty{}}
	default: // readers refuse
		m.RequiresType = &jwtv3.JwtRequirement_ProviderName{}
	}
	return m
}

// encodePathCondition writes what no route's match can say without a path, which readers refuse.
func encodePathCondition(c identity.Condition) *routev3.RouteMatch {
	m := &routev3.RouteMatch{}
	parts := c.Of
	switch c.Kind {
	case 0:
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
		return m
	case identity.All:
	default:
		parts = []identity.Condition{c}
	}
	for i, each := range parts {
		switch {
		case each.Kind == identity.HeaderIs:
			m.Headers = append(m.Headers, encodeHeaderIs(each))
		case i > 0 || !encodePathPart(m, each):
			return &routev3.RouteMatch{}
		}
	}
	if m.PathSpecifier == nil && len(m.Headers) > 0 {
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	}
	return m
}

// encodePathPart sets the condition on the path, and reports whether there is a form for it.
func encodePathPart(m *routev3.RouteMatch, c identity.Condition) bool {
	switch c.Kind {
	case identity.PathFits:
		m.PathSpecifier = &routev3.RouteMatch_PathMatchPolicy{PathMatchPolicy: encodeTemplate(c.Is.Value)}
		return true
	case identity.Any:
		a, b := pathPair(c.Of)
		if b == "" || a+"/" != b {
			return false
		}
		m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: a}
		c = c.Of[0]
	case identity.PathIs:
		switch c.Is.Kind {
		case match.Exact:
			m.PathSpecifier = &routev3.RouteMatch_Path{Path: c.Is.Value}
		case match.Prefix:
			m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: c.Is.Value}
		case match.Regex:
			m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: c.Is.Value}}
			return true
		default:
			return false
		}
	default:
		return false
	}
	if c.Is.IgnoreCase {
		m.CaseSensitive = wrapperspb.Bool(false)
	}
	return true
}

// pathPair is the path and the prefix that make a prefix of whole segments; empty if they do not.
func pathPair(of []identity.Condition) (path, prefix string) {
	if len(of) != 2 || of[0].Kind != identity.PathIs || of[1].Kind != identity.PathIs || of[0].Is.Kind != match.Exact ||
		of[1].Is.Kind != match.Prefix || of[0].Is.IgnoreCase != of[1].Is.IgnoreCase {
		return "", ""
	}
	return of[0].Is.Value, of[1].Is.Value
}
