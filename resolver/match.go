package resolver

import "github.com/weftmesh/weft/internal/match"

// A Match is the condition of a Route: all of its parts must hold. The zero
// Match matches every request (Envoy RouteMatch).
type Match struct {
	Path PathMatch
	// Headers must all match. Names are in lower case; ":method", ":authority",
	// ":scheme" and ":path" name the parts of the request line.
	Headers []HeaderMatch
	// Query parameters must all match; gRPC calls have none.
	Query []QueryMatch
	// Fraction is the share of the otherwise matching requests that match, in
	// millionths; nil means all (Envoy runtime_fraction.default_value).
	Fraction *uint32
}

// PathKind says how a PathMatch compares.
type PathKind uint8

// The kinds of PathMatch.
const (
	PathPrefix        PathKind = iota // begins with Value; the empty Value matches all
	PathExact                         // is Value
	PathSegmentPrefix                 // is Value or begins with Value + "/" (Envoy path_separated_prefix)
	PathRegex                         // the whole path matches Value (RE2 syntax)
)

// A PathMatch is a condition on the path, without the query.
type PathMatch struct {
	Kind       PathKind
	Value      string
	IgnoreCase bool // not for PathRegex
}

// StringKind says how a StringMatch compares.
type StringKind = match.Kind

// The kinds of StringMatch.
const (
	StringExact    = match.Exact
	StringPrefix   = match.Prefix
	StringSuffix   = match.Suffix
	StringContains = match.Contains
	StringRegex    = match.Regex   // the whole string matches (RE2 syntax)
	StringPresent  = match.Present // is fulfilled by being there
	StringRange    = match.Range   // wants a decimal integer in [Low, High)
)

// A StringMatch is a condition on a string.
type StringMatch = match.String

// A HeaderMatch is a condition on a header. Of a header with many values they
// are joined with "," first. An absent header does not match, inverted or not,
// unless MissingAsEmpty, or for StringPresent (Envoy HeaderMatcher).
type HeaderMatch struct {
	Name           string
	Is             StringMatch
	Invert         bool
	MissingAsEmpty bool // Envoy treat_missing_header_as_empty
}

// A QueryMatch is a condition on the first value of a query parameter.
type QueryMatch struct {
	Name string
	Is   StringMatch
}
