package resolver

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/match"
)

// FuzzMatch compares Table.Match with the plainest reading of the rules.
func FuzzMatch(f *testing.F) {
	f.Add([]byte("a service and a request drawn from these bytes"), "a.b:80", "/a/b", "b", "v=1&a")
	f.Add([]byte{2, 1, 0, 3, 0, 0, 1, 1, 2, 1, 0, 5, 4}, "A.B", "/A", "7", "")
	f.Add([]byte{255, 254, 253, 7, 6, 5, 4, 3, 2, 1, 0, 99, 98, 97}, "[::1]:8", "/", "", "%76=%31&v")
	f.Fuzz(func(t *testing.T, script []byte, authority, path, value, query string) {
		d := &draw{script}
		s := d.service()
		r := &Request{Authority: authority, Method: "GET", Path: path, Query: query, Header: metadata{"x": {value}, "y": {value, "b"}}}
		tab, err := NewTable(s)
		if err != nil {
			return
		}
		if got, want := tab.Match(r), plainMatch(s, r); got != want {
			t.Errorf("Match = %d, plainly %d, in %+v of %+v", got, want, r, s)
		}
	})
}

// FuzzCheck shows that no value makes Check or NewTable panic, and that what Check passes compiles.
func FuzzCheck(f *testing.F) {
	f.Add([]byte{1, 2, 3}, "*", "(")
	f.Add([]byte{9, 8, 7, 6, 5}, "a*b", `\Qa`)
	f.Fuzz(func(t *testing.T, script []byte, domain, expr string) {
		d := &draw{script}
		s := d.service()
		s.VirtualHosts = append(s.VirtualHosts, VirtualHost{Domains: []string{domain}, Routes: []Route{{Match: Match{
			Path:    PathMatch{Kind: PathRegex, Value: expr},
			Headers: []HeaderMatch{{Name: domain, Is: StringMatch{Kind: StringKind(d.next(9)), Value: expr}}},
		}}}})
		found := Check(s)
		if _, err := NewTable(s); err != nil && len(found) == 0 {
			t.Errorf("Check passed what NewTable refuses: %v", err)
		}
	})
}

// A draw reads decisions from bytes; at their end all are 0.
type draw struct{ bytes []byte }

func (d *draw) next(n int) int {
	if len(d.bytes) == 0 {
		return 0
	}
	b := d.bytes[0]
	d.bytes = d.bytes[1:]
	return int(b) % n
}

func (d *draw) of(words ...string) string { return words[d.next(len(words))] }

func (d *draw) service() *Service {
	s := &Service{Name: d.of("a", "a.b", "A:80")}
	for range d.next(4) {
		v := VirtualHost{}
		for range 1 + d.next(2) {
			v.Domains = append(v.Domains, d.of("*", "a", "a.b", "A.b:80", "*.b", "*b", "a.*", "a*", "*:80", "[::1]"))
		}
		for range d.next(5) {
			v.Routes = append(v.Routes, Route{Match: d.match()})
		}
		s.VirtualHosts = append(s.VirtualHosts, v)
	}
	return s
}

func (d *draw) match() Match {
	m := Match{Path: PathMatch{
		Kind:       PathKind(d.next(4)),
		Value:      d.of("", "/", "/a", "/A", "/a/b", "/a/", "/a.*", "/a|/b"),
		IgnoreCase: d.next(2) == 1,
	}}
	for range d.next(3) {
		m.Headers = append(m.Headers, HeaderMatch{
			Name: d.of("x", "y", "none", ":method", ":path", "X"), Is: d.string(), Invert: d.next(2) == 1, MissingAsEmpty: d.next(3) == 1,
		})
	}
	for range d.next(2) {
		m.Query = append(m.Query, QueryMatch{Name: d.of("v", "a"), Is: d.string()})
	}
	if d.next(8) == 1 {
		m.Fraction = new(uint32(0))
	}
	return m
}

func (d *draw) string() StringMatch {
	return StringMatch{
		Kind:       StringKind(d.next(7)),
		Value:      d.of("", "a", "B", "b,b", "GET", "1", "a|b", "(a)*", "(?i)b"),
		IgnoreCase: d.next(2) == 1,
		Low:        int64(d.next(8)) - 4,
		High:       int64(d.next(64)) - 4,
	}
}

func plainMatch(s *Service, r *Request) int {
	chosen := plainHost(s, r.Authority)
	if chosen < 0 {
		chosen = plainHost(s, s.Name)
	}
	index := 0
	for i, v := range s.VirtualHosts {
		for _, route := range v.Routes {
			if i == chosen && plainRoute(&route.Match, r) {
				return index
			}
			index++
		}
	}
	return -1
}

// plainHost ranks all domains and takes the best: kind, then as written before without port, then length.
func plainHost(s *Service, authority string) int {
	written := match.ToLower(authority)
	bare := written
	if m := regexp.MustCompile(`^([^:]*|.*\]):([0-9]*)$`).FindStringSubmatch(strings.ReplaceAll(written, "\n", "\x00")); m != nil {
		bare = written[:len(m[1])]
	}
	best, chosen := 0, -1
	for i, v := range s.VirtualHosts {
		for _, d := range v.Domains {
			d = match.ToLower(d)
			rank := 0
			switch {
			case d == "*":
				rank = 1
			case d[0] == '*':
				for bonus, a := range []string{bare, written} {
					if len(a) > len(d)-1 && strings.HasSuffix(a, d[1:]) {
						rank = (3+bonus)*1000 + len(d)
					}
				}
			case d[len(d)-1] == '*':
				if p := d[:len(d)-1]; len(written) > len(p) && strings.HasPrefix(written, p) {
					rank = 2000 + len(d)
				}
			case d == written:
				rank = 6000
			case d == bare:
				rank = 5000
			}
			if rank > best {
				best, chosen = rank, i
			}
		}
	}
	return chosen
}

func plainRoute(m *Match, r *Request) bool {
	path, want := r.Path, m.Path.Value
	if m.Path.IgnoreCase && m.Path.Kind != PathRegex {
		path, want = match.ToLower(path), match.ToLower(want)
	}
	ok := false
	switch m.Path.Kind {
	case PathExact:
		ok = path == want
	case PathPrefix:
		ok = strings.HasPrefix(path, want)
	case PathSegmentPrefix:
		want = strings.TrimSuffix(want, "/")
		ok = path == want || strings.HasPrefix(path, want+"/")
	case PathRegex:
		ok = plainRegex(want, path)
	}
	for _, h := range m.Headers {
		values := map[string][]string{":method": {r.Method}, ":path": {r.Path}}[match.ToLower(h.Name)]
		if r.Query != "" && h.Name == ":path" {
			values = []string{r.Path + "?" + r.Query}
		}
		if h.Name[0] == ':' {
			values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
		} else {
			values = r.Header.Values(HeaderName{Lower: match.ToLower(h.Name)})
		}
		there := len(values) > 0
		switch {
		case h.Is.Kind == StringPresent:
			ok = ok && there != h.Invert
		case !there && !h.MissingAsEmpty:
			ok = false
		default:
			ok = ok && plainString(h.Is, strings.Join(values, ",")) != h.Invert
		}
	}
	for _, q := range m.Query {
		found := false
		for pair := range strings.SplitSeq(r.Query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if n, err := url.QueryUnescape(name); err == nil {
				name = n
			}
			if v, err := url.QueryUnescape(value); err == nil {
				value = v
			}
			if pair != "" && name == q.Name && !found {
				found = true
				ok = ok && plainString(q.Is, value)
			}
		}
		ok = ok && found
	}
	return ok && m.Fraction == nil
}

func plainString(m StringMatch, s string) bool {
	want := m.Value
	if m.IgnoreCase && m.Kind < StringRegex {
		s, want = match.ToLower(s), match.ToLower(want)
	}
	switch m.Kind {
	case StringExact:
		return s == want
	case StringPrefix:
		return strings.HasPrefix(s, want)
	case StringSuffix:
		return strings.HasSuffix(s, want)
	case StringContains:
		return strings.Contains(s, want)
	case StringRegex:
		return plainRegex(want, s)
	case StringRange:
		n, err := strconv.ParseInt(s, 10, 64)
		return err == nil && m.Low <= n && n < m.High
	default:
		return true
	}
}

// plainRegex: if all of s matches, then that is the longest match that begins first.
func plainRegex(expr, s string) bool {
	re := regexp.MustCompile(expr)
	re.Longest()
	loc := re.FindStringIndex(s)
	return loc != nil && loc[0] == 0 && loc[1] == len(s)
}
