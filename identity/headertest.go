package identity

import (
	"errors"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// A part is what of a request a headerTest looks at.
type part uint8

const (
	aLine part = iota // of the header
	theMethod
	theAuthority
	thePath // with the query
)

// A headerTest is a condition on a header.
//
// A header is perhaps what any of its lines is, or these joined by commas (gRFC A41), or what stands between commas or semicolons. It is surely
// what all its lines are, and all that stands between commas. Where a condition is exact, or has a comma itself, or is on
// a header that is no list, a line is one thing for sure.
type headerTest struct {
	part    part
	name    match.HeaderName
	is      match.Matcher
	present bool
	invert  bool
	missing bool // an absent header is empty
	hop     bool // the header is of a connection: gRPC has none such (gRFC A41)
	whole   bool // a line is one thing
	query   bool // is says itself what a path has besides the path
}

func (t *test) readyHeader(c *Condition, f *faults) {
	h := &headerTest{}
	t.header = h
	h.name = match.Named(c.Name)
	h.present, h.invert, h.missing = c.Is.Kind == match.Present, c.Invert, c.MissingAsEmpty
	f.in(" ", "header "+c.Name, -1)
	defer f.out()
	is, err := c.Is, error(nil)
	switch name := h.name.Lower; {
	case name == ":method":
		h.part, t.needs = theMethod, aMethod
	case name == ":authority" || name == "host":
		h.part, t.needs = theAuthority, anAuthority
		is, err = authorityString(is)
	case name == ":path":
		h.part, t.needs = thePath, aPath
		is, err = targetString(is)
		h.query = is.Kind == match.Exact || is.Kind == match.Prefix || strings.Contains(is.Value, `\?`) || is.Kind != match.Regex && strings.Contains(is.Value, "?")
	case strings.HasPrefix(name, "grpc-") || name == ":scheme":
		err = errors.New("is none that conditions may look at (gRFC A41)")
	case !isToken(name):
		err = errors.New("is no name of a header")
	default:
		t.needs = aHeader
		h.hop = hopByHop[name]
		h.whole = is.Kind == match.Exact || strings.Contains(is.Value, ",") || unlisted[name]
	}
	t.readyString(is, err, f)
	h.is = t.is
}

// targetString is a condition on a path with a query, with the path in normal form.
func targetString(is match.String) (match.String, error) {
	if path, query, found := strings.Cut(is.Value, "?"); found && (is.Kind == match.Exact || is.Kind == match.Prefix) {
		p, err := pathString(match.String{Kind: match.Exact, Value: path})
		is.Value = p.Value + "?" + query
		return is, err
	}
	if is.Kind == match.Exact || is.Kind == match.Prefix {
		return pathString(is)
	}
	return is, noRange(is)
}

func isToken(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isAlphanumeric(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return name != ""
}

// hopByHop are the headers of a connection (RFC 9110 section 7.6.1).
var hopByHop = map[string]bool{
	"connection": true, "keep-alive": true, "proxy-connection": true, "te": true, "transfer-encoding": true, "upgrade": true,
}

// unlisted are headers that are no lists: a comma in them separates nothing.
var unlisted = map[string]bool{
	"authorization": true, "content-length": true, "content-type": true, "cookie": true, "date": true, "from": true, "if-modified-since": true,
	"if-unmodified-since": true, "last-modified": true, "location": true, "proxy-authorization": true, "referer": true, "user-agent": true,
}

func (h *headerTest) holds(s *sight, perhaps bool) bool {
	switch h.part {
	case theMethod:
		return h.is.Matches(s.r.Method) != h.invert
	case theAuthority:
		return h.is.Matches(s.r.Authority) != h.invert
	case thePath:
		return h.onTarget(s, perhaps != h.invert) != h.invert
	}
	values := s.r.Header.Values(h.name)
	if h.hop && s.r.GRPC {
		values = nil
	}
	switch {
	case len(values) == 0 && h.missing:
		return h.is.Matches("") != h.invert
	case len(values) == 0:
		return h.present && h.invert
	case h.present:
		return !h.invert
	case perhaps != h.invert:
		return (h.some(values) || h.every(values)) != h.invert
	default:
		return h.every(values) != h.invert
	}
}

func (h *headerTest) some(values []string) bool {
	for _, v := range values {
		if h.is.Matches(v) {
			return true
		}
		for rest := v; rest != ""; {
			i := strings.IndexAny(rest, ",;")
			if i < 0 {
				i = len(rest)
			}
			if h.is.Matches(strings.Trim(rest[:i], " \t\"")) {
				return true
			}
			rest = rest[min(i+1, len(rest)):]
		}
	}
	return len(values) > 1 && h.is.Matches(strings.Join(values, ","))
}

func (h *headerTest) every(values []string) bool {
	for _, v := range values {
		if h.whole {
			if !h.is.Matches(v) {
				return false
			}
			continue
		}
		for more := true; more; {
			var element string
			element, v, more = strings.Cut(v, ",")
			if !h.is.Matches(strings.Trim(element, " \t")) {
				return false
			}
		}
	}
	return true
}

// onTarget looks at the path with the query as Envoy does. It is perhaps what the path is alone, and surely what both are.
func (h *headerTest) onTarget(s *sight, perhaps bool) bool {
	target := s.r.Path
	if s.r.Query != "" {
		target += "?" + s.r.Query
	}
	holds := h.is.Matches(target)
	if perhaps {
		return holds || h.is.Matches(s.r.Path) || h.is.Matches(s.bare)
	}
	return holds && (h.query || h.is.Matches(s.r.Path) && h.is.Matches(s.bare))
}
