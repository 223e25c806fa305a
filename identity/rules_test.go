package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/internal/match"
)

// lines is a header.
type lines map[string][]string

func (l lines) Values(name match.HeaderName) []string { return l[name.Lower] }

func exact(s string) match.String    { return match.String{Kind: match.Exact, Value: s} }
func prefix(s string) match.String   { return match.String{Kind: match.Prefix, Value: s} }
func suffix(s string) match.String   { return match.String{Kind: match.Suffix, Value: s} }
func contains(s string) match.String { return match.String{Kind: match.Contains, Value: s} }
func regex(s string) match.String    { return match.String{Kind: match.Regex, Value: s} }

var present = match.String{Kind: match.Present}

func path(is match.String) Condition { return Condition{Kind: PathIs, Is: is} }
func fits(t string) Condition        { return Condition{Kind: PathFits, Is: exact(t)} }
func peer(is match.String) Condition { return Condition{Kind: Authentic, Is: is} }
func not(c Condition) Condition      { return Condition{Kind: Not, Of: []Condition{c}} }
func all(c ...Condition) Condition   { return Condition{Kind: All, Of: c} }
func either(c ...Condition) Condition {
	return Condition{Kind: Any, Of: c}
}

func header(name string, is match.String) Condition {
	return Condition{Kind: HeaderIs, Name: name, Is: is}
}

func inverted(name string, is match.String) Condition {
	return Condition{Kind: HeaderIs, Name: name, Is: is, Invert: true}
}

func in(kind ConditionKind, net string) Condition {
	return Condition{Kind: kind, Net: netip.MustParsePrefix(net)}
}

var always = Condition{Kind: Always}

func policyOf(name string, c ...Condition) Policy {
	return Policy{Name: name, Permissions: []Condition{all(c...)}, Principals: []Condition{always}}
}

func rules(action Action, p ...Policy) *Rules { return &Rules{Action: action, Policies: p} }

func gateOf(t testing.TB, steps ...Step) *Gate {
	t.Helper()
	g, err := NewGate(Guard{Steps: steps})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// named is a peer with an X509-SVID.
func svid(id string) *Peer {
	i := spiffeid.RequireFromString(id)
	return &Peer{ID: i, Certificates: []*x509.Certificate{{URIs: []*url.URL{i.URL()}}}}
}

// ordinary is a request that lacks nothing.
func ordinary() Request {
	return Request{
		Method: "GET", Scheme: "https", Authority: "secret.com", Path: "/a", Header: lines{},
		Peer: svid("spiffe://prod/ns/shop/sa/web"), Source: netip.MustParseAddrPort("10.1.2.3:4567"), Local: netip.MustParseAddrPort("10.9.9.9:8080"),
	}
}

func with(change func(*Request)) *Request {
	r := ordinary()
	change(&r)
	return &r
}

// A verdict is what a condition makes of a request, as the only one of an ALLOW policy and of a DENY policy.
func verdict(t testing.TB, c Condition, r *Request) (allows, denies bool) {
	t.Helper()
	allow := gateOf(t, Step{Rules: rules(Allow, policyOf("p", c))})
	deny := gateOf(t, Step{Rules: rules(Deny, policyOf("p", c))})
	return allow.Check(t.Context(), r, nil, nil).Allowed, !deny.Check(t.Context(), r, nil, nil).Allowed
}

const (
	holds   = "holds"   // for sure
	fails   = "fails"   // for sure
	perhaps = "perhaps" // it denies and does not allow
)

func TestConditions(t *testing.T) {
	at := func(p string) *Request { return with(func(r *Request) { r.Path = p }) }
	host := func(a string) *Request { return with(func(r *Request) { r.Authority = a }) }
	has := func(name string, values ...string) *Request {
		return with(func(r *Request) { r.Header = lines{name: values} })
	}
	grpc := func(name string, values ...string) *Request {
		return with(func(r *Request) { r.GRPC, r.Header = true, lines{name: values} })
	}
	from := func(p *Peer) *Request { return with(func(r *Request) { r.Peer = p }) }
	id := func(s string) *Request { return from(svid(s)) }
	source := func(a string) *Request {
		return with(func(r *Request) { r.Source = netip.AddrPortFrom(netip.MustParseAddr(a), 1) })
	}
	client := func(a string) *Request {
		return with(func(r *Request) { r.Client = netip.MustParseAddr(a) })
	}
	claims := func(payload map[string]any) *Request {
		return with(func(r *Request) { r.Claims = []Claims{{Provider: "idp", Payload: payload}} })
	}
	claim := func(is match.String, path ...string) Condition { return Condition{Kind: ClaimIs, Path: path, Is: is} }
	leaf := func(c x509.Certificate) *Request { return from(&Peer{Certificates: []*x509.Certificate{&c}}) }
	port := func(low, high uint16) Condition { return Condition{Kind: LocalPort, Low: low, High: high} }
	sni := func(is match.String) Condition { return Condition{Kind: ServerName, Is: is} }
	asEmpty := func(is match.String, invert bool) Condition {
		return Condition{Kind: HeaderIs, Name: "x-a", Is: is, MissingAsEmpty: true, Invert: invert}
	}
	wholePath := func(is match.String) Condition { return header(":path", is) }
	asked := with(func(r *Request) { r.Query = "b=c" })
	noNames := with(func(r *Request) { r.Source, r.Local = netip.AddrPort{}, netip.AddrPort{} })

	for _, tc := range []struct {
		note string
		is   Condition
		r    *Request
		want string
	}{
		{"always", always, at("/a"), holds},
		{"not always", not(always), at("/a"), fails},
		{"all", all(always, not(always)), at("/a"), fails},
		{"any", either(not(always), always), at("/a"), holds},

		// Paths.
		{"exact", path(exact("/a")), at("/a"), holds},
		{"exact, a slash at the end (A7)", path(exact("/a")), at("/a/"), fails},
		{"exact, letter case (A7)", path(exact("/a")), at("/A"), fails},
		{"exact, letter case that does not count", path(match.String{Value: "/A", IgnoreCase: true}), at("/a"), holds},
		{"a path that the author wrote otherwise", path(exact("//a/%62/./c")), at("/a/b/c"), holds},
		{"a path that the author wrote unescaped", path(exact("/a b/é")), at("/a%20b/%C3%A9"), holds},
		{"a beginning that the author wrote unescaped", path(prefix("/a b")), at("/a%20bc"), holds},
		{"parameters (A4)", path(exact("/a")), at("/a;v=1"), perhaps},
		{"parameters (A4), not", not(path(exact("/a"))), at("/a;v=1"), perhaps},
		{"parameters in the beginning", path(prefix("/a/")), at("/a;v=1/b"), perhaps},
		{"parameters behind the beginning", path(prefix("/a/")), at("/a/b;v=1"), holds},
		{"parameters that were asked for", path(exact("/a;v=1")), at("/a;v=1"), holds},
		{"parameters, of many exact", either(path(exact("/a")), path(exact("/b")), path(exact("/c")), path(exact("/d"))), at("/a;v=1"), perhaps},
		{"many exact", either(path(exact("/a")), path(exact("/b")), path(exact("/c")), path(exact("/d"))), at("/d"), holds},
		{"many exact, none", either(path(exact("/a")), path(exact("/b")), path(exact("/c")), path(exact("/d"))), at("/e"), fails},
		{"prefix", path(prefix("/a/")), at("/a/b"), holds},
		{"suffix", path(suffix("/b")), at("/a/b"), holds},
		{"contains", path(contains("/b/")), at("/a/b/c"), holds},
		{"regex is of the whole path (C4)", path(regex("/match")), at("/never/match"), fails},
		{"regex is of the whole path (C4)", path(regex("/match")), at("/match/x"), fails},
		{"regex is of the whole path (C4)", path(regex("/a|/b")), at("/ax"), fails},
		{"a query does not count", path(exact("/a")), asked, holds},
		{"exact with a query", wholePath(exact("/a?b=c")), asked, holds},
		{"exact without a query", wholePath(exact("/a")), asked, perhaps},
		{"the end of a query", wholePath(suffix("=c")), asked, perhaps},
		{"prefix with a query", wholePath(prefix("/a")), asked, holds},
		{"path as a header, without query", wholePath(exact("/a")), at("/a"), holds},

		// Hosts.
		{"host", header("host", exact("secret.com")), host("secret.com"), holds},
		{"authority (B5)", header(":authority", exact("secret.com")), host("secret.com"), holds},
		{"Host (B4, B5)", header("Host", exact("Secret.com:8443")), host("secret.com"), holds},
		{"host, nested (B5)", not(all(either(not(header("host", exact("secret.com")))))), host("secret.com"), holds},
		{"a port alone (ISTIO-2021-008)", header("host", prefix("secret.com:")), host("secret.com"), holds},
		{"a port at the end", header("host", suffix(".com:80")), host("secret.com"), holds},
		{"a port is no part of a name", header("host", prefix("secret.com:")), host("secret.com.evil"), fails},
		{"regex in capitals", header("host", regex(`Secret\.com(:\d+)?`)), host("secret.com"), holds},
		{"host, not", inverted("host", exact("Secret.com")), host("secret.com"), fails},

		// Methods.
		{"method", header(":method", exact("GET")), at("/a"), holds},
		{"method, not", inverted(":method", exact("POST")), at("/a"), holds},

		// Headers (gRFC A41; B1, B2, B4, B20).
		{"capitals in the rule (B4)", header("X-Role", exact("admin")), has("x-role", "admin"), holds},
		{"one line", header("x-role", exact("admin")), has("x-role", "user"), fails},
		{"two lines (B1)", header("x-role", exact("admin")), has("x-role", "user", "admin"), perhaps},
		{"two lines, not (B1)", not(header("x-role", exact("admin"))), has("x-role", "user", "admin"), perhaps},
		{"two lines, inverted (B1)", inverted("x-role", exact("admin")), has("x-role", "user", "admin"), perhaps},
		{"two lines, not inverted (B1)", not(inverted("x-role", exact("admin"))), has("x-role", "user", "admin"), perhaps},
		{"two lines alike", header("x-role", exact("admin")), has("x-role", "admin", "admin"), holds},
		{"joined (A41)", header("x-role", exact("user,admin")), has("x-role", "user", "admin"), perhaps},
		{"commas (B2)", header("x-role", exact("admin")), has("x-role", "user,admin"), perhaps},
		{"commas and spaces (B2)", header("x-role", exact("admin")), has("x-role", "admin, user"), perhaps},
		{"semicolons (B2)", header("x-role", exact("admin")), has("x-role", "user;admin"), perhaps},
		{"semicolons between commas", header("x-role", exact("admin;a")), has("x-role", "user, admin;a,b"), perhaps},
		{"more than is read", header("x-role", exact("admin")), has("x-role", strings.Repeat("user,", mostReadings)), perhaps},
		{"more than is read, indexed by", header("x-role", exact("admin")), has("x-role", strings.Repeat("user,", mostReadings)+"admin"), perhaps},
		{"more than is read, for sure", header("x-role", prefix("u")), has("x-role", strings.Repeat("user,", mostReadings)+"user"), perhaps},
		{"quotes", header("x-role", exact("admin")), has("x-role", `"admin"`), perhaps},
		{"commas behind a beginning (B2)", header("x-role", prefix("user")), has("x-role", "user,admin"), perhaps},
		{"commas before an end (B2)", header("x-role", suffix("user")), has("x-role", "admin,user"), perhaps},
		{"commas that were asked for", header("x-role", exact("user,admin")), has("x-role", "user,admin"), holds},
		{"commas in what is no list", header("user-agent", prefix("Mozilla/")), has("user-agent", "Mozilla/5.0 (KHTML, like Gecko)"), holds},
		{"semicolons in what is no list", header("cookie", contains("tier=gold")), has("cookie", "a=b; tier=gold"), holds},
		{"many exact headers", either(header("x-a", exact("1")), header("x-a", exact("2")), header("x-a", exact("3")), header("x-a", exact("4"))), has("x-a", "4"), holds},
		{"range", header("x-n", match.String{Kind: match.Range, Low: 1, High: 5}), has("x-n", "4"), holds},
		{"range, above", header("x-n", match.String{Kind: match.Range, Low: 1, High: 5}), has("x-n", "5"), fails},
		{"present", header("x-a", present), has("x-a", ""), holds},
		{"present, absent", header("x-a", present), has("x-b", "1"), fails},
		{"absent, present", inverted("x-a", present), has("x-a", ""), fails},
		{"absent", inverted("x-a", present), has("x-b", ""), holds},
		{"exact, absent", header("x-a", exact("")), has("x-b", ""), fails},
		{"inverted, absent", inverted("x-a", exact("1")), has("x-b", ""), fails},
		{"inverted, present", inverted("x-a", exact("1")), has("x-a", "2"), holds},
		{"inverted, empty", inverted("x-a", exact("1")), has("x-a", ""), holds},
		{"empty", header("x-a", exact("")), has("x-a", ""), holds},
		{"not, absent", not(header("x-a", exact("1"))), has("x-b", ""), holds},
		{"as empty", asEmpty(exact(""), false), has("x-b"), holds},
		{"as empty, inverted", asEmpty(exact("1"), true), has("x-b"), holds},
		{"as empty, present", asEmpty(present, false), has("x-b"), holds},
		{"of the connection, HTTP", header("te", exact("trailers")), has("te", "trailers"), holds},
		{"of the connection, gRPC (A41)", header("te", exact("trailers")), grpc("te", "trailers"), fails},

		{"what is not UTF-8", header("x-a", regex("a\ufffd.*")), has("x-a", "a\xffb"), holds},

		// Peers.
		{"whoever", peer(match.String{}), id("spiffe://prod/a"), holds},
		{"whoever, plaintext", peer(match.String{}), from(nil), fails},
		{"not whoever, plaintext", not(peer(match.String{})), from(nil), holds},
		{"TLS without a certificate", peer(regex(".*")), from(&Peer{ServerName: "a"}), fails},
		{"an ID", peer(exact("spiffe://prod/ns/a/sa/b")), id("spiffe://prod/ns/a/sa/b"), holds},
		{"a dot is a dot (C5)", peer(exact("spiffe://prod/a.b/sa")), id("spiffe://prod/aXb/sa"), fails},
		{"a dot is a dot at the end (C5)", peer(suffix("/a.b/sa")), id("spiffe://prod/aXb/sa"), fails},
		{"the end of an ID (C7)", peer(suffix("/ns/ns1/sa/foo")), id("spiffe://any/ns/ns1/sa/foo"), holds},
		{"Istio's end of an ID (C7)", peer(regex("spiffe://.*/sa/foo")), id("spiffe://any/ns/ns1/sa/foo"), holds},
		{"a beginning", peer(prefix("spiffe://prod/ns/a/")), id("spiffe://prod/ns/a/sa/b"), holds},
		{"a trust domain (C17)", peer(prefix("spiffe://prod")), id("spiffe://prod/a"), holds},
		{"another trust domain (C17)", peer(prefix("spiffe://prod")), id("spiffe://prod.evil.com/a"), perhaps},
		{"not another trust domain (C17)", not(peer(prefix("spiffe://prod"))), id("spiffe://prod.evil.com/a"), perhaps},
		{"many", either(peer(exact("spiffe://p/a")), peer(exact("spiffe://p/b")), peer(exact("spiffe://p/c")), peer(exact("spiffe://p/d"))), id("spiffe://p/d"), holds},
		{"many, none", either(peer(exact("spiffe://p/a")), peer(exact("spiffe://p/b")), peer(exact("spiffe://p/c")), peer(exact("spiffe://p/d"))), id("spiffe://p/e"), fails},
		{"any URI", peer(exact("spiffe://p/b")), leaf(x509.Certificate{URIs: uris("spiffe://p/a", "spiffe://p/b")}), holds},
		{"no DNS name beside a URI", peer(exact("a.com")), leaf(x509.Certificate{URIs: uris("spiffe://p/a"), DNSNames: []string{"a.com"}}), fails},
		{"a DNS name", peer(exact("b.com")), leaf(x509.Certificate{DNSNames: []string{"a.com", "b.com"}}), holds},
		{"no subject beside a DNS name", peer(exact("CN=a")), leaf(x509.Certificate{DNSNames: []string{"a.com"}, Subject: pkix.Name{CommonName: "a"}}), fails},
		{"a subject", peer(exact("CN=a")), leaf(x509.Certificate{Subject: pkix.Name{CommonName: "a"}}), holds},
		{"the name asked for", sni(exact("A.com")), from(&Peer{ServerName: "a.com"}), holds},
		{"the name asked for, plaintext", sni(exact("a.com")), from(nil), fails},

		// Addresses (A20).
		{"a range", in(SourceIn, "10.0.0.0/8"), source("10.1.2.3"), holds},
		{"a range that was not masked", in(SourceIn, "10.9.9.9/8"), source("10.1.2.3"), holds},
		{"outside", in(SourceIn, "10.0.0.0/8"), source("11.1.2.3"), fails},
		{"IPv4 as IPv6", in(SourceIn, "10.0.0.0/8"), source("::ffff:10.1.2.3"), holds},
		{"a range as IPv6", in(SourceIn, "::ffff:10.0.0.0/104"), source("10.1.2.3"), holds},
		{"a zone", in(SourceIn, "fe80::/10"), source("fe80::1%eth0"), holds},
		{"all of IPv6 and an IPv4 address", in(SourceIn, "::/0"), source("10.1.2.3"), perhaps},
		{"not known", in(SourceIn, "10.0.0.0/8"), noNames, perhaps},
		{"not known, not", not(in(SourceIn, "10.0.0.0/8")), noNames, perhaps},
		{"not known, negated twice", not(not(in(SourceIn, "10.0.0.0/8"))), noNames, perhaps},
		{"not known, beside what holds", either(always, in(SourceIn, "10.0.0.0/8")), noNames, perhaps},
		{"not known, beside what fails", all(not(always), in(SourceIn, "10.0.0.0/8")), noNames, perhaps},
		{"the client", in(RemoteIn, "192.168.0.0/16"), client("192.168.1.1"), holds},
		{"the client is the peer", in(RemoteIn, "10.0.0.0/8"), source("10.1.2.3"), holds},
		{"the peer is not the client", in(SourceIn, "192.168.0.0/16"), client("192.168.1.1"), fails},
		{"local", in(LocalIn, "10.9.9.9/32"), at("/a"), holds},
		{"local, not known", in(LocalIn, "10.9.9.9/32"), noNames, perhaps},
		{"port", port(8080, 8080), at("/a"), holds},
		{"ports", port(0, 8079), at("/a"), fails},
		{"port, not known", not(port(1, 2)), noNames, perhaps},

		// Claims.
		{"no token", claim(exact("a"), "sub"), at("/a"), fails},
		{"no token, not", not(claim(exact("a"), "sub")), at("/a"), holds},
		{"a claim", claim(exact("a"), "sub"), claims(map[string]any{"sub": "a"}), holds},
		{"a claim in a claim", claim(exact("x"), "a", "b"), claims(map[string]any{"a": map[string]any{"b": "x"}}), holds},
		{"a claim in no claim", claim(exact("x"), "a", "b"), claims(map[string]any{"a": "x"}), fails},
		{"of another provider", Condition{Kind: ClaimIs, Name: "other", Path: []string{"sub"}, Is: exact("a")}, claims(map[string]any{"sub": "a"}), fails},
		{"in a list", Condition{Kind: ClaimIs, Path: []string{"g"}, Is: exact("b"), InList: true}, claims(map[string]any{"g": []any{"a", "b"}}), holds},
		{"a list", claim(exact("b"), "g"), claims(map[string]any{"g": []any{"a", "b"}}), perhaps},
		{"no list", Condition{Kind: ClaimIs, Path: []string{"g"}, Is: exact("b"), InList: true}, claims(map[string]any{"g": "b"}), perhaps},
		{"a boolean", claim(exact("true"), "admin"), claims(map[string]any{"admin": true}), perhaps},
		{"a number", claim(exact("5"), "n"), claims(map[string]any{"n": 5.0}), perhaps},
		{"a number in a range", claim(match.String{Kind: match.Range, Low: 1, High: 9}, "n"), claims(map[string]any{"n": 5.0}), holds},
		{"a claim that is there", claim(present, "n"), claims(map[string]any{"n": map[string]any{}}), holds},
		{"null", claim(present, "n"), claims(map[string]any{"n": nil}), perhaps},
	} {
		allows, denies := verdict(t, tc.is, tc.r)
		got := map[[2]bool]string{{true, true}: holds, {false, false}: fails, {false, true}: perhaps}[[2]bool{allows, denies}]
		if got != tc.want {
			t.Errorf("%s: allows %v, denies %v: %q, want %q", tc.note, allows, denies, got, tc.want)
		}
	}
}

func TestTemplates(t *testing.T) {
	for _, tc := range []struct{ template, yes, no string }{
		{"/t/*/x", "/t/a/x /t/a.b/x", "/t//x /t/x /t/a/b/x /t/a/xx /t/a/x/ /tt/a/x"},
		{"/u/**", "/u/ /u/a /u/a/b", "/u /v/a"},
		{"/**", "/ /a /a/b", ""},
		{"/a/{*}/b/{**}", "/a/x/b/ /a/x/b/c/d", "/a/b/c /a/x/b /a/x/y/b/"},
		{"/a/{id}/c", "/a/1/c", "/a//c /a/1/2/c"},
		{"/v/{rest=x/**}", "/v/x/ /v/x/y/z", "/v/y /v/x"},
		{"/m/*.m4s", "/m/a.m4s /m/a.b.m4s", "/m/.m4s /m/a.m4 /m/a/b.m4s"},
		{"/m/**.mpd", "/m/a/b.mpd /m/.mpd", "/m/a.mp"},
		{"/a/**/z", "/a//z /a/b/z /a/b/c/z", "/a/z /a/b/zz"},
		{"/*/*", "/a/b", "/a /a/ /a/b/c //b"},
		{"/a%62", "/ab", "/a%62"},
		{"/plain", "/plain", "/plain/ /plai"},
	} {
		ready, err := readyTemplate(tc.template)
		if err != nil {
			t.Errorf("%s: %v", tc.template, err)
			continue
		}
		for p := range strings.FieldsSeq(tc.yes) {
			if !ready.fits(p) {
				t.Errorf("%s: %s does not fit", tc.template, p)
			}
		}
		for p := range strings.FieldsSeq(tc.no) {
			if ready.fits(p) {
				t.Errorf("%s: %s fits", tc.template, p)
			}
		}
	}
	for _, bad := range []string{
		"", "a", "/**/*", "/**/**", "/***", "/a*", "/*a/b", "/{", "/{}", "/{a", "/{1a}", "/{a=}", "/{a=b=c}", "/{{a}}", "/a}", "//a", "/a/../b", "/a/..", "/a/./*", "/a?b", "/a#b", "/%2f", "/**/{a}",
	} {
		if _, err := readyTemplate(bad); err == nil {
			t.Errorf("%s is a template", bad)
		}
	}
}

func uris(all ...string) (out []*url.URL) {
	for _, s := range all {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		out = append(out, u)
	}
	return out
}
