package resolver

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
)

// web reads headers as net/http keeps them.
type web http.Header

func (h web) Values(n HeaderName) []string { return h[n.Canonical] }

// metadata reads headers as gRPC keeps them.
type metadata map[string][]string

func (h metadata) Values(n HeaderName) []string { return h[n.Lower] }

func table(tb testing.TB, s *Service) *Table {
	tb.Helper()
	tab, err := NewTable(s)
	if err != nil {
		tb.Fatal(err)
	}
	return tab
}

func TestVirtualHostOfAnAuthority(t *testing.T) {
	hosts := func(domains ...string) *Service {
		s := &Service{Name: "Payments"}
		for i, d := range domains {
			s.VirtualHosts = append(s.VirtualHosts, VirtualHost{Name: fmt.Sprint(i), Domains: strings.Fields(d), Routes: []Route{{Name: d}}})
		}
		return s
	}
	for _, tc := range []struct {
		name      string
		domains   []string
		authority string
		want      int
	}{
		{"exact before all", []string{"*", "pay*", "*.shop", "pay.shop"}, "pay.shop", 3},
		{"suffix before prefix", []string{"*", "pay*", "*.shop"}, "pay.shop", 2},
		{"prefix before any", []string{"*", "pay*"}, "pay.shop", 1},
		{"any", []string{"pay*", "*"}, "stock", 1},
		{"longest suffix", []string{"*.shop", "*.eu.shop", "*p"}, "pay.eu.shop", 1},
		{"longest prefix", []string{"pay*", "pay.eu*", "p*"}, "pay.eu.shop", 1},
		{"a star stands for something", []string{"*.shop", "*"}, ".shop", 1},
		{"a star at the end too", []string{"pay.*", "*"}, "pay.", 1},
		{"first of equals", []string{"pay", "pay"}, "pay", 0},
		{"many domains", []string{"stock", "a b pay"}, "pay", 1},
		{"case of the authority", []string{"*", "pay.shop"}, "PAY.Shop", 1},
		{"case of the domain", []string{"*", "PAY.Shop"}, "pay.shop", 1},
		{"case of a suffix", []string{"*", "*.Shop"}, "pay.SHOP", 1},
		{"case of a prefix", []string{"*", "Pay.*"}, "PAY.shop", 1},
		{"port as written", []string{"pay", "pay:80"}, "pay:80", 1},
		{"port left out", []string{"*", "pay"}, "pay:80", 1},
		{"another port", []string{"pay:80", "*"}, "pay:81", 1},
		{"port left out of a suffix", []string{"*", "*.shop"}, "pay.shop:80", 1},
		{"suffix with a port", []string{"*.shop", "*.shop:80"}, "pay.shop:80", 1},
		{"port left out, exact, before a suffix as written", []string{"*:80", "pay"}, "pay:80", 1},
		{"IPv6 with a port", []string{"*", "[::1]"}, "[::1]:80", 1},
		{"IPv6 without", []string{"*", "[::1]"}, "[::1]", 1},
		{"bare IPv6 has no port", []string{"2001:db8:", "2001:db8::80"}, "2001:db8::80", 1},
		{"own name when no domain fits", []string{"stock", "payments"}, "10.0.0.1:80", 1},
		{"no own name either", []string{"stock"}, "10.0.0.1", -1},
		{"nothing", nil, "pay", -1},
		{"longer than any name", []string{"*", strings.Repeat("a", 400)}, strings.Repeat("A", 400), 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tab := table(t, hosts(tc.domains...))
			if got := tab.Match(&Request{Authority: tc.authority, Path: "/"}); got != tc.want {
				t.Errorf("Match(%q) = %d, want %d", tc.authority, got, tc.want)
			}
		})
	}
}

// A virtual host whose routes do not match is not left for another one.
func TestVirtualHostWithoutRoute(t *testing.T) {
	tab := table(t, &Service{Name: "a", VirtualHosts: []VirtualHost{
		{Domains: []string{"a"}, Routes: []Route{{Match: Match{Path: PathMatch{Kind: PathExact, Value: "/x"}}}}},
		{Domains: []string{"*"}, Routes: []Route{{}}},
	}})
	if got := tab.Match(&Request{Authority: "a", Path: "/y"}); got != -1 {
		t.Errorf("Match = %d, want -1", got)
	}
}

func TestPathMatch(t *testing.T) {
	for _, tc := range []struct {
		m         PathMatch
		yes, nope string // paths, separated by blanks
	}{
		{PathMatch{PathPrefix, "", false}, "/ /a /A", ""},
		{PathMatch{PathPrefix, "/a", false}, "/a /ab /a/b", "/ /A /b/a"},
		{PathMatch{PathPrefix, "/A", true}, "/a /AB", "/ /b"},
		{PathMatch{PathExact, "/a", false}, "/a", "/ /a/ /A /ab"},
		{PathMatch{PathExact, "/A", true}, "/a /A", "/ /ab"},
		{PathMatch{PathSegmentPrefix, "/a", false}, "/a /a/ /a/b", "/ /ab /A /b/a"},
		{PathMatch{PathSegmentPrefix, "/A/", true}, "/a /A/b", "/ab /"},
		{PathMatch{PathSegmentPrefix, "/", false}, "/ /a", ""},
		{PathMatch{PathRegex, "/a+", false}, "/a /aa", "/ /ab /b/a /A"},
		{PathMatch{PathRegex, "/a|/b", false}, "/a /b", "/ab /a/b"},
		{PathMatch{PathRegex, "(?i)/a", false}, "/a /A", "/b"},
		{PathMatch{PathRegex, `/\Qa+`, false}, "/a+", "/a /aa"},
	} {
		tab := table(t, &Service{VirtualHosts: []VirtualHost{{Domains: []string{"*"}, Routes: []Route{{Match: Match{Path: tc.m}}}}}})
		for want, paths := range map[int]string{0: tc.yes, -1: tc.nope} {
			for p := range strings.FieldsSeq(paths) {
				if got := tab.Match(&Request{Path: p}); got != want {
					t.Errorf("%+v: Match(%q) = %d, want %d", tc.m, p, got, want)
				}
			}
		}
	}
}

func TestHeaderMatch(t *testing.T) {
	is := func(k StringKind, v string) StringMatch { return StringMatch{Kind: k, Value: v} }
	fold := func(k StringKind, v string) StringMatch { return StringMatch{Kind: k, Value: v, IgnoreCase: true} }
	between := func(low, high int64) StringMatch { return StringMatch{Kind: StringRange, Low: low, High: high} }
	none := []string(nil)
	for _, tc := range []struct {
		name   string
		is     StringMatch
		values []string
		want   bool
	}{
		{"exact", is(StringExact, "a"), []string{"a"}, true},
		{"exact, case", is(StringExact, "a"), []string{"A"}, false},
		{"exact, ignoring case", fold(StringExact, "aB"), []string{"Ab"}, true},
		{"exact, longer", fold(StringExact, "ab"), []string{"abc"}, false},
		{"prefix", is(StringPrefix, "a"), []string{"ab"}, true},
		{"not a prefix", is(StringPrefix, "b"), []string{"ab"}, false},
		{"suffix", is(StringSuffix, "b"), []string{"ab"}, true},
		{"suffix, ignoring case", fold(StringSuffix, "B"), []string{"ab"}, true},
		{"suffix, too short", fold(StringSuffix, "ab"), []string{"b"}, false},
		{"contains", is(StringContains, "b"), []string{"abc"}, true},
		{"contains, ignoring case", fold(StringContains, "BC"), []string{"abc"}, true},
		{"does not contain", fold(StringContains, "d"), []string{"abc"}, false},
		{"regex", is(StringRegex, "a.c"), []string{"abc"}, true},
		{"regex is anchored", is(StringRegex, "a.c"), []string{"xabcx"}, false},
		{"regex with bars is anchored", is(StringRegex, "a|b"), []string{"bx"}, false},
		{"range, low end", between(-1, 3), []string{"-1"}, true},
		{"range, high end", between(-1, 3), []string{"3"}, false},
		{"range, signed", between(0, 3), []string{"+2"}, true},
		{"range, no number", between(0, 3), []string{"2a"}, false},
		{"range, empty", between(0, 3), []string{""}, false},
		{"range, sign only", between(-9, 3), []string{"-"}, false},
		{"range, least", between(-1<<63, 0), []string{"-9223372036854775808"}, true},
		{"range, below the least", between(-1<<63, 1<<63-1), []string{"-9223372036854775809"}, false},
		{"range, beyond the greatest", between(-1<<63, 1<<63-1), []string{"9223372036854775808"}, false},
		{"range, far beyond", between(-1<<63, 1<<63-1), []string{"99999999999999999999999"}, false},
		{"many values are joined", is(StringExact, "a,b"), []string{"a", "b"}, true},
		{"many values are one", is(StringExact, "a"), []string{"a", "b"}, false},
		{"present", is(StringPresent, ""), []string{""}, true},
		{"not present", is(StringPresent, ""), none, false},
		{"empty is there", is(StringExact, ""), []string{""}, true},
		{"absent", is(StringExact, ""), none, false},
		{"absent, any prefix", is(StringPrefix, ""), none, false},
	} {
		for _, h := range []Header{web{"X-Trace": tc.values}, metadata{"x-trace": tc.values}} {
			for _, invert := range []bool{false, true} {
				want := tc.want != invert
				if tc.values == nil && tc.is.Kind != StringPresent {
					want = false // what is not there can't be otherwise
				}
				tab := table(t, headers(HeaderMatch{Name: "x-trace", Is: tc.is, Invert: invert}))
				if got := tab.Match(&Request{Header: h}) == 0; got != want {
					t.Errorf("%s, %T, invert %v: %v, want %v", tc.name, h, invert, got, want)
				}
			}
		}
	}
}

func TestMissingHeaderAsEmpty(t *testing.T) {
	for _, tc := range []struct {
		is     StringMatch
		invert bool
		want   bool
	}{
		{StringMatch{Kind: StringExact, Value: ""}, false, true},
		{StringMatch{Kind: StringExact, Value: "a"}, false, false},
		{StringMatch{Kind: StringExact, Value: "a"}, true, true},
		{StringMatch{Kind: StringRegex, Value: ".*"}, false, true},
		{StringMatch{Kind: StringPresent}, false, false}, // it is treated as empty, not as there
	} {
		tab := table(t, headers(HeaderMatch{Name: "x", Is: tc.is, Invert: tc.invert, MissingAsEmpty: true}))
		for _, h := range []Header{nil, web{}} {
			if got := tab.Match(&Request{Header: h}) == 0; got != tc.want {
				t.Errorf("%+v, invert %v, header %v: %v, want %v", tc.is, tc.invert, h, got, tc.want)
			}
		}
	}
}

func TestRequestLineAsHeaders(t *testing.T) {
	r := &Request{Authority: "pay:80", Scheme: "http", Method: "PUT", Path: "/a", Query: "b=c", Header: web{"Host": {"other"}}}
	for name, value := range map[string]string{
		":authority": "pay:80", "host": "pay:80", "Host": "pay:80", ":scheme": "http", ":method": "PUT", ":path": "/a?b=c",
	} {
		tab := table(t, headers(HeaderMatch{Name: name, Is: StringMatch{Value: value}}))
		if tab.Match(r) != 0 {
			t.Errorf("%s is not %q", name, value)
		}
		if tab.Match(&Request{}) == 0 {
			t.Errorf("%s of an empty request is %q", name, value)
		}
	}
}

func TestHeadersAllMatch(t *testing.T) {
	tab := table(t, headers(HeaderMatch{Name: "a", Is: StringMatch{Value: "1"}}, HeaderMatch{Name: "B", Is: StringMatch{Value: "2"}}))
	if tab.Match(&Request{Header: metadata{"a": {"1"}, "b": {"2"}}}) != 0 {
		t.Error("both there: no match")
	}
	if tab.Match(&Request{Header: metadata{"a": {"1"}}}) == 0 {
		t.Error("one there: match")
	}
}

func TestQueryMatch(t *testing.T) {
	for _, tc := range []struct {
		query string
		want  bool
	}{
		{"v=1", true},
		{"a=2&v=1&b", true},
		{"&&v=1", true},
		{"v=1&v=2", true},
		{"v=2&v=1", false}, // the first counts
		{"%76=%31", true},
		{"v=1%zz", false},
		{"w=1", false},
		{"v", false},
		{"", false},
		{"vv=1", false},
		{"v=1=1", false},
	} {
		tab := table(t, service(Match{Query: []QueryMatch{{Name: "v", Is: StringMatch{Value: "1"}}}}))
		if got := tab.Match(&Request{Query: tc.query}) == 0; got != tc.want {
			t.Errorf("query %q: %v, want %v", tc.query, got, tc.want)
		}
	}
	tab := table(t, service(Match{Query: []QueryMatch{{Name: "v", Is: StringMatch{Kind: StringPresent}}}}))
	if tab.Match(&Request{Query: "v"}) != 0 || tab.Match(&Request{Query: "w=v"}) == 0 {
		t.Error("present does not mean being there")
	}
}

func TestFraction(t *testing.T) {
	for _, tc := range []struct {
		of       *uint32
		low, top int
	}{
		{nil, 20000, 20000},
		{new(uint32(0)), 0, 0}, // grpc-go lets one in a million through
		{new(uint32(1_000_000)), 20000, 20000},
		{new(uint32(4_000_000)), 20000, 20000},
		{new(uint32(250_000)), 4500, 5500}, // within eight standard deviations
	} {
		tab := table(t, service(Match{Fraction: tc.of}))
		n := 0
		for range 20000 {
			if tab.Match(&Request{}) == 0 {
				n++
			}
		}
		if n < tc.low || n > tc.top {
			t.Errorf("fraction %v matched %d of 20000", tc.of, n)
		}
	}
}

// Routes of one exact path are found by it, but the order of the routes stays law.
func TestFirstRouteThatMatches(t *testing.T) {
	exact := func(p string) Match { return Match{Path: PathMatch{Kind: PathExact, Value: p}} }
	prefix := func(p string) Match { return Match{Path: PathMatch{Value: p}} }
	withHeader := exact("/a")
	withHeader.Headers = []HeaderMatch{{Name: "x", Is: StringMatch{Value: "1"}}}
	tab := table(t, service(exact("/b"), prefix("/b"), withHeader, exact("/a"), prefix("/a"), exact("/ab"), prefix("")))
	for _, tc := range []struct {
		path   string
		header metadata
		want   int
	}{
		{"/b", nil, 0},
		{"/bb", nil, 1},
		{"/a", metadata{"x": {"1"}}, 2},
		{"/a", nil, 3},
		{"/ab", nil, 4},
		{"/c", nil, 6},
	} {
		if got := tab.Match(&Request{Path: tc.path, Header: tc.header}); got != tc.want {
			t.Errorf("Match(%q, %v) = %d, want %d", tc.path, tc.header, got, tc.want)
		}
	}
}

func TestNewTableNamesAllThatIsWrong(t *testing.T) {
	_, err := NewTable(&Service{VirtualHosts: []VirtualHost{{Name: "v", Routes: []Route{
		{Name: "good"},
		{Name: "bad", Match: Match{
			Path:    PathMatch{Kind: PathRegex, Value: "a)|(b"},
			Headers: []HeaderMatch{{Name: "x", Is: StringMatch{Kind: 99}}, {Name: ""}, {Name: ":odd"}},
			Query:   []QueryMatch{{Name: "q", Is: StringMatch{Kind: StringRegex, Value: "["}}},
		}},
		{Match: Match{Path: PathMatch{Kind: 99}}},
	}}}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`virtual host "v": route 1 "bad": match.path: regex: `,
		`virtual host "v": route 1 "bad": match.headers[0] "x": unknown kind 99`,
		`virtual host "v": route 1 "bad": match.headers[1] "": no name`,
		`virtual host "v": route 1 "bad": match.headers[2] ":odd": no such part of a request`,
		`virtual host "v": route 1 "bad": match.query[0] "q": regex: `,
		`virtual host "v": route 2 "": match.path: unknown kind 99`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	many := headerRoutes(100)
	regex := service(Match{
		Path:    PathMatch{Kind: PathRegex, Value: "/a/[0-9]+"},
		Headers: []HeaderMatch{{Name: "x", Is: StringMatch{Kind: StringRange, Low: 1, High: 2}, Invert: true}},
		Query:   []QueryMatch{{Name: "v", Is: StringMatch{Value: "1"}}},
	})
	for _, tc := range []struct {
		name string
		s    *Service
		r    Request
		want int
	}{
		{"100 header routes", many, Request{Path: "/", Header: web{"X-Route": {"99"}}}, 99},
		{"upper case authority", many, Request{Authority: "PAYMENTS.Shop.SVC.cluster.LOCAL:9000", Path: "/", Header: web{"X-Route": {"0"}}}, 0},
		{"all kinds", regex, Request{Path: "/a/12", Query: "a=b&v=1", Header: metadata{"x": {"no number"}}}, 0},
	} {
		tab := table(t, tc.s)
		allocs := testing.AllocsPerRun(200, func() {
			if got := tab.Match(&tc.r); got != tc.want {
				t.Fatalf("%s: Match = %d, want %d", tc.name, got, tc.want)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", tc.name, allocs)
		}
	}
}

// BenchmarkMatch100 takes the last of 100 routes that look at a header.
func BenchmarkMatch100(b *testing.B) {
	tab := table(b, headerRoutes(100))
	r := &Request{Authority: "payments", Path: "/", Header: web{"X-Route": {"99"}}}
	b.ReportAllocs()
	for b.Loop() {
		tab.Match(r)
	}
}

func headerRoutes(n int) *Service {
	var m []Match
	for i := range n {
		m = append(m, Match{Headers: []HeaderMatch{{Name: "x-route", Is: StringMatch{Value: fmt.Sprint(i)}}}})
	}
	return service(m...)
}

func headers(h ...HeaderMatch) *Service { return service(Match{Headers: h}) }

// service has one virtual host of all domains with a route for each match.
func service(matches ...Match) *Service {
	v := VirtualHost{Name: "all", Domains: []string{"*"}}
	for i, m := range matches {
		v.Routes = append(v.Routes, Route{Name: fmt.Sprint(i), Match: m})
	}
	return &Service{Name: "payments", VirtualHosts: []VirtualHost{v}}
}

func TestHeaderNamesAreReadyForBothProtocols(t *testing.T) {
	for _, name := range []string{"x-request-id", "X-Request-ID", "te", "etag", "www-authenticate"} {
		h, err := newHeader(HeaderMatch{Name: name})
		if err != nil || h.name.Lower != strings.ToLower(name) || h.name.Canonical != textproto.CanonicalMIMEHeaderKey(name) {
			t.Errorf("%s: %+v, %v", name, h.name, err)
		}
	}
}

func TestStringMatchHolds(t *testing.T) {
	for _, c := range []struct {
		m    StringMatch
		s    string
		want bool
	}{
		{StringMatch{Kind: StringExact, Value: "a"}, "a", true},
		{StringMatch{Kind: StringExact, Value: "A", IgnoreCase: true}, "a", true},
		{StringMatch{Kind: StringExact, Value: "a"}, "", false},
		{StringMatch{Kind: StringRegex, Value: "a+"}, "aab", false},
		{StringMatch{Kind: StringRegex, Value: "("}, "(", false},
		{StringMatch{Kind: StringRange, Low: 1, High: 3}, "2", true},
		{StringMatch{Kind: StringPresent}, "", true},
	} {
		if got := c.m.Holds(c.s); got != c.want {
			t.Errorf("%+v.Holds(%q) = %v", c.m, c.s, got)
		}
	}
}
