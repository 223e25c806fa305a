package resolver

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// A matcher is a Match made ready.
type matcher struct {
	path     path
	headers  []header
	query    []parameter
	some     bool // only a fraction matches
	fraction uint32
}

func newMatcher(m *Match) (out matcher, errs []error) {
	var err error
	if out.path, err = newPath(m.Path); err != nil {
		errs = append(errs, fmt.Errorf("match.path: %w", err))
	}
	for i, h := range m.Headers {
		c, err := newHeader(h)
		if err != nil {
			errs = append(errs, fmt.Errorf("match.headers[%d] %q: %w", i, h.Name, err))
		}
		out.headers = append(out.headers, c)
	}
	for i, q := range m.Query {
		is, err := q.Is.Compile()
		if err != nil {
			errs = append(errs, fmt.Errorf("match.query[%d] %q: %w", i, q.Name, err))
		}
		out.query = append(out.query, parameter{q.Name, is})
	}
	if m.Fraction != nil && *m.Fraction < 1_000_000 {
		out.some, out.fraction = true, *m.Fraction
	}
	return out, errs
}

// matches draws lots last, so that the fraction is one of the requests that match otherwise.
func (m *matcher) matches(r *reading) bool {
	if !m.path.matches(r.Path) {
		return false
	}
	for i := range m.headers {
		if !m.headers[i].matches(r) {
			return false
		}
	}
	for i := range m.query {
		if !m.query[i].matches(r.Query) {
			return false
		}
	}
	return !m.some || drawn(m.fraction)
}

type path struct {
	kind  PathKind
	value string // in lower case with fold
	fold  bool
	re    *regexp.Regexp
}

func newPath(p PathMatch) (path, error) {
	c := path{kind: p.Kind, value: p.Value, fold: p.IgnoreCase}
	switch p.Kind {
	case PathPrefix, PathExact:
	case PathSegmentPrefix:
		c.value = strings.TrimSuffix(c.value, "/") // "/" is the prefix of all
	case PathRegex:
		re, err := match.Whole(p.Value)
		c.re = re
		return c, err
	default:
		return c, fmt.Errorf("unknown kind %d", p.Kind)
	}
	if c.fold {
		c.value = match.ToLower(c.value)
	}
	return c, nil
}

func (p *path) matches(s string) bool {
	switch p.kind {
	case PathPrefix:
		return match.HasPrefix(s, p.value, p.fold)
	case PathExact:
		return len(s) == len(p.value) && match.HasPrefix(s, p.value, p.fold)
	case PathSegmentPrefix:
		n := len(p.value)
		return match.HasPrefix(s, p.value, p.fold) && (len(s) == n || s[n] == '/')
	default:
		return p.re.MatchString(s)
	}
}

// A part is what of a request a HeaderMatch names.
type part uint8

const (
	partHeader part = iota
	partMethod
	partAuthority
	partScheme
	partPath
)

type header struct {
	part
	name           HeaderName
	is             match.Matcher
	invert         bool
	missingAsEmpty bool
}

func newHeader(h HeaderMatch) (header, error) {
	lower := match.ToLower(h.Name)
	c := header{
		name:           match.Named(lower),
		invert:         h.Invert,
		missingAsEmpty: h.MissingAsEmpty,
	}
	switch lower {
	case "":
		return c, errors.New("no name")
	case ":method":
		c.part = partMethod
	case ":authority", "host": // one and the same (gRFC A41)
		c.part = partAuthority
	case ":scheme":
		c.part = partScheme
	case ":path":
		c.part = partPath
	default:
		if lower[0] == ':' {
			return c, errors.New("no such part of a request")
		}
	}
	var err error
	c.is, err = h.Is.Compile()
	return c, err
}

func (h *header) matches(r *reading) bool {
	if r.last == nil || r.last.name.Lower != h.name.Lower {
		r.value, r.there = h.read(r.Request)
		r.last = h
	}
	if h.is.Kind() == StringPresent {
		return r.there != h.invert
	}
	if !r.there && !h.missingAsEmpty {
		return false
	}
	return h.is.Matches(r.value) != h.invert
}

// A reading is a request and the header that was read of it last: routes that
// follow each other often ask for the same one.
type reading struct {
	*Request
	last  *header
	value string
	there bool
}

func (h *header) read(r *Request) (value string, there bool) {
	switch h.part {
	case partMethod:
		value = r.Method
	case partAuthority:
		value = r.Authority
	case partScheme:
		value = r.Scheme
	case partPath:
		value = r.Path
		if r.Query != "" {
			value += "?" + r.Query
		}
	default:
		if r.Header == nil {
			return "", false
		}
		switch values := r.Header.Values(h.name); len(values) {
		case 0:
			return "", false
		case 1:
			return values[0], true
		default:
			return strings.Join(values, ","), true
		}
	}
	return value, value != ""
}
