package identity

import (
	"errors"
	"iter"
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
	k := key{of: ofHeader, name: h.name.Lower}
	if h.part == theAuthority {
		k = key{of: ofAuthority}
	}
	if h.part == theMethod || h.part == thePath || h.hop {
		return
	}
	t.enough = certain(k, is)
	if !h.invert && !h.missing {
		t.keys = keysOf(k, is)
	}
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
		return h.onMethod(s, perhaps != h.invert) != h.invert
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
		return h.some(values) != h.invert
	default:
		return h.every(values) != h.invert
	}
}

// mostReadings bounds what one header can cost. A longer list is perhaps anything, and surely nothing.
const mostReadings = 128

func (h *headerTest) some(values []string) bool {
	n := 0
	for reading := range readings(values) {
		if n++; n > mostReadings || h.is.Matches(reading) {
			return true
		}
	}
	return false
}

// readings are what a header can be taken for: its lines, what stands between commas, be it quoted, or between semicolons there, and all lines joined.
func readings(values []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, v := range values {
			if !yield(v) || !pieces(v, ',', yield) {
				return
			}
		}
		if len(values) > 1 {
			yield(strings.Join(values, ","))
		}
	}
}

// pieces yields what stands between separators, but for what is text as it is. It reports whether there is to be more.
func pieces(text string, separator byte, yield func(string) bool) bool {
	for rest, more := text, true; more; {
		var piece string
		i := strings.IndexByte(rest, separator)
		if more = i >= 0; more {
			piece, rest = rest[:i], rest[i+1:]
		} else {
			piece = rest
		}
		piece = strings.Trim(piece, " \t")
		if len(piece) != len(text) && !yield(piece) {
			return false
		}
		if strings.HasPrefix(piece, `"`) && !yield(strings.Trim(piece, `"`)) {
			return false
		}
		if separator == ',' && strings.IndexByte(piece, ';') >= 0 && !pieces(piece, ';', yield) {
			return false
		}
	}
	return true
}

func (h *headerTest) every(values []string) bool {
	n := 0
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
			if n++; n > mostReadings || !h.is.Matches(strings.Trim(element, " \t")) {
				return false
			}
		}
	}
	return true
}

// onTarget looks at the path with the query as Envoy does. It is perhaps what the path is alone, or what is read in the query, and surely what
// both are as they stand.
func (h *headerTest) onTarget(s *sight, perhaps bool) bool {
	target := s.r.Path
	if s.r.Query != "" {
		target += "?" + s.r.Query
	}
	holds := h.is.Matches(target)
	if perhaps {
		return holds || h.is.Matches(s.r.Path) || h.is.Matches(s.bare) || h.onQueries(s)
	}
	return holds && (h.query || h.is.Matches(s.r.Path) && h.is.Matches(s.bare))
}
