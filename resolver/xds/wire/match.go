package wire

import (
	"regexp/syntax"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/resolver"
)

// maxRegex is how long a regular expression may be, in bytes.
const maxRegex = 1024

// decodeMatch reads a match. Conditions that are not known are refused, since
// without them the route would take calls that are not its own. The second result
// says why what matches can't be served.
func decodeMatch(p *place, m *routev3.RouteMatch) (resolver.Match, string) {
	var (
		out resolver.Match
		why string
	)
	if m == nil {
		p.refuse("", "missing")
		return out, ""
	}
	p.only(m, "prefix", "path", "safe_regex", "path_separated_prefix", "connect_matcher", "path_match_policy",
		"case_sensitive", "headers", "query_parameters", "runtime_fraction", "grpc")
	out.Path = decodePath(p, m)
	for i, h := range m.GetHeaders() {
		q := p.at("headers", i)
		out.Headers = append(out.Headers, decodeHeader(&q, h))
	}
	for i, q := range m.GetQueryParameters() {
		qp := p.at("query_parameters", i)
		out.Query = append(out.Query, decodeQuery(&qp, q))
	}
	if f := m.GetRuntimeFraction(); f != nil {
		q := p.in("runtime_fraction")
		if f.GetDefaultValue() == nil {
			q.refuse("default_value", "missing")
		}
		n := decodeFraction(&q, "default_value", f.GetDefaultValue())
		out.Fraction = &n
	}
	if m.GetGrpc() != nil {
		out.Headers = append(out.Headers, grpcOnly)
	}
	if m.GetConnectMatcher() != nil {
		out.Headers = append(out.Headers, resolver.HeaderMatch{Name: ":method", Is: resolver.StringMatch{Value: "CONNECT"}})
		why = "connect_matcher is not supported"
	}
	return out, why
}

// grpcOnly is what the match's field grpc means.
var grpcOnly = resolver.HeaderMatch{
	Name: "content-type",
	Is:   resolver.StringMatch{Kind: resolver.StringPrefix, Value: "application/grpc"},
}

func decodePath(p *place, m *routev3.RouteMatch) resolver.PathMatch {
	out := resolver.PathMatch{IgnoreCase: m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()}
	switch s := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		out.Kind, out.Value = resolver.PathPrefix, s.Prefix
	case *routev3.RouteMatch_Path:
		out.Kind, out.Value = resolver.PathExact, s.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		out.Kind, out.Value = resolver.PathSegmentPrefix, s.PathSeparatedPrefix
		if v := out.Value; len(v) < 2 || strings.HasSuffix(v, "/") || strings.ContainsAny(v, "?#") {
			p.refuse("path_separated_prefix", "%q: want a path that does not end with / and has no ? or #", v)
		}
	case *routev3.RouteMatch_SafeRegex:
		out.Kind, out.IgnoreCase = resolver.PathRegex, false
		out.Value = decodeRegex(p, "safe_regex", s.SafeRegex)
	case *routev3.RouteMatch_ConnectMatcher_:
		out.IgnoreCase = false
	case *routev3.RouteMatch_PathMatchPolicy:
		p.refuse("path_match_policy", "%q is not supported", s.PathMatchPolicy.GetName())
	default:
		p.refuse("path_specifier", "missing")
	}
	return out
}

func decodeHeader(p *place, m *routev3.HeaderMatcher) resolver.HeaderMatch {
	p.only(m, "name", "invert_match", "treat_missing_header_as_empty", "exact_match", "safe_regex_match",
		"range_match", "present_match", "prefix_match", "suffix_match", "contains_match", "string_match")
	out := resolver.HeaderMatch{
		Name:           strings.ToLower(m.GetName()),
		Invert:         m.GetInvertMatch(),
		MissingAsEmpty: m.GetTreatMissingHeaderAsEmpty(),
	}
	if out.Name == "" {
		p.refuse("name", "empty")
	}
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_StringMatch:
		q := p.in("string_match")
		out.Is = decodeString(&q, s.StringMatch)
	case *routev3.HeaderMatcher_ExactMatch:
		out.Is.Value = s.ExactMatch
	case *routev3.HeaderMatcher_PrefixMatch:
		out.Is = some(p, "prefix_match", resolver.StringPrefix, s.PrefixMatch)
	case *routev3.HeaderMatcher_SuffixMatch:
		out.Is = some(p, "suffix_match", resolver.StringSuffix, s.SuffixMatch)
	case *routev3.HeaderMatcher_ContainsMatch:
		out.Is = some(p, "contains_match", resolver.StringContains, s.ContainsMatch)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		out.Is.Kind = resolver.StringRegex
		out.Is.Value = decodeRegex(p, "safe_regex_match", s.SafeRegexMatch)
	case *routev3.HeaderMatcher_PresentMatch:
		out.Is.Kind = resolver.StringPresent
		out.Invert = out.Invert == s.PresentMatch
	case *routev3.HeaderMatcher_RangeMatch:
		out.Is = resolver.StringMatch{Kind: resolver.StringRange, Low: s.RangeMatch.GetStart(), High: s.RangeMatch.GetEnd()}
		if out.Is.Low > out.Is.High {
			p.refuse("range_match", "start %d is after end %d", out.Is.Low, out.Is.High)
		}
	default:
		p.refuse("header_match_specifier", "missing")
	}
	return out
}

func decodeQuery(p *place, m *routev3.QueryParameterMatcher) resolver.QueryMatch {
	out := resolver.QueryMatch{Name: m.GetName()}
	if out.Name == "" {
		p.refuse("name", "empty")
	}
	switch s := m.GetQueryParameterMatchSpecifier().(type) {
	case *routev3.QueryParameterMatcher_StringMatch:
		q := p.in("string_match")
		out.Is = decodeString(&q, s.StringMatch)
	case *routev3.QueryParameterMatcher_PresentMatch:
		out.Is.Kind = resolver.StringPresent
		if !s.PresentMatch {
			p.refuse("present_match", "false is not supported")
		}
	default:
		p.refuse("query_parameter_match_specifier", "missing")
	}
	return out
}

func decodeString(p *place, m *matcherv3.StringMatcher) resolver.StringMatch {
	var out resolver.StringMatch
	switch s := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		out.Value = s.Exact
	case *matcherv3.StringMatcher_Prefix:
		out = some(p, "prefix", resolver.StringPrefix, s.Prefix)
	case *matcherv3.StringMatcher_Suffix:
		out = some(p, "suffix", resolver.StringSuffix, s.Suffix)
	case *matcherv3.StringMatcher_Contains:
		out = some(p, "contains", resolver.StringContains, s.Contains)
	case *matcherv3.StringMatcher_SafeRegex:
		return resolver.StringMatch{Kind: resolver.StringRegex, Value: decodeRegex(p, "safe_regex", s.SafeRegex)}
	case *matcherv3.StringMatcher_Custom:
		p.refuse("custom", "not supported")
	default:
		p.refuse("match_pattern", "missing")
	}
	out.IgnoreCase = m.GetIgnoreCase()
	return out
}

// some is a match on a part of a string, which must not be empty (Envoy StringMatcher).
func some(p *place, field string, kind resolver.StringKind, value string) resolver.StringMatch {
	if value == "" {
		p.refuse(field, "empty")
	}
	return resolver.StringMatch{Kind: kind, Value: value}
}

func decodeRegex(p *place, field string, m *matcherv3.RegexMatcher) string {
	expr := m.GetRegex()
	if expr == "" {
		p.refuse(field, "empty")
	} else if len(expr) > maxRegex {
		p.refuse(field, "%d bytes are more than %d", len(expr), maxRegex)
	} else if _, err := syntax.Parse(expr, syntax.Perl); err != nil {
		p.refuse(field, "%w", err)
	}
	return expr
}

// encodeMatch leaves out what no field can express, so that the match is refused.
func encodeMatch(m *resolver.Match) *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	switch v := m.Path.Value; m.Path.Kind {
	case resolver.PathPrefix:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: v}
	case resolver.PathExact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: v}
	case resolver.PathSegmentPrefix:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: v}
	case resolver.PathRegex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: v}}
	}
	if m.Path.IgnoreCase && m.Path.Kind != resolver.PathRegex {
		out.CaseSensitive = wrapperspb.Bool(false)
	}
	headers := m.Headers
	if n := len(headers); n > 0 && headers[n-1] == grpcOnly {
		out.Grpc, headers = &routev3.RouteMatch_GrpcRouteMatchOptions{}, headers[:n-1]
	}
	for _, h := range headers {
		out.Headers = append(out.Headers, encodeHeader(h))
	}
	for _, q := range m.Query {
		out.QueryParameters = append(out.QueryParameters, encodeQuery(q))
	}
	if m.Fraction != nil {
		out.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
			Numerator: *m.Fraction, Denominator: typev3.FractionalPercent_MILLION,
		}}
	}
	return out
}

func encodeHeader(h resolver.HeaderMatch) *routev3.HeaderMatcher {
	out := &routev3.HeaderMatcher{Name: h.Name, InvertMatch: h.Invert, TreatMissingHeaderAsEmpty: h.MissingAsEmpty}
	switch h.Is.Kind {
	case resolver.StringPresent:
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
	case resolver.StringRange:
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{Start: h.Is.Low, End: h.Is.High}}
	default:
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: encodeString(h.Is)}
	}
	return out
}

func encodeQuery(q resolver.QueryMatch) *routev3.QueryParameterMatcher {
	out := &routev3.QueryParameterMatcher{Name: q.Name}
	if q.Is.Kind == resolver.StringPresent {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
	} else {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: encodeString(q.Is)}
	}
	return out
}

func encodeString(s resolver.StringMatch) *matcherv3.StringMatcher {
	out := &matcherv3.StringMatcher{IgnoreCase: s.IgnoreCase}
	switch s.Kind {
	case resolver.StringExact:
		out.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: s.Value}
	case resolver.StringPrefix:
		out.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: s.Value}
	case resolver.StringSuffix:
		out.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: s.Value}
	case resolver.StringContains:
		out.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: s.Value}
	case resolver.StringRegex:
		out.IgnoreCase = false
		out.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: s.Value}}
	}
	return out
}
