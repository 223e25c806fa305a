package identity

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/match"
)

// size is how many policies there are of a shape: enough for a crowd.
const size = fewestCrowded + 8

// What the index leads to is what asking all policies leads to.
func TestIndex(t *testing.T) {
	d := dice(rand.New(rand.NewPCG(1, 1)).IntN)
	found := map[string]int{}
	for shape, policies := range shapes(size) {
		mixed := slices.Concat(policies, d.crossing(policies))
		for range 2 {
			for i := range mixed {
				j := i + d(len(mixed)-i)
				mixed[i], mixed[j] = mixed[j], mixed[i]
			}
			compareWithNaive(t, d, shape, mixed, found)
		}
	}
	for few := range slices.Chunk(d.odd(), 3) {
		compareWithNaive(t, d, "odd", few, found)
	}
	var every []Policy
	for _, policies := range shapes(size) {
		every = append(every, policies...)
	}
	every = append(every, d.odd()...)
	for range 2 {
		for i := range every {
			j := i + d(len(every)-i)
			every[i], every[j] = every[j], every[i]
		}
		compareWithNaive(t, d, "every", every, found)
	}
	for shape := range shapes(1) {
		if found[shape] == 0 {
			t.Errorf("%s: no policy ever names the request", shape)
		}
	}
}

func compareWithNaive(t *testing.T, d dice, shape string, policies []Policy, found map[string]int) {
	t.Helper()
	for _, action := range []Action{Allow, Deny} {
		g := gateOf(t, Step{Name: "rbac", Rules: rules(action, policies...)})
		naive, ways := withoutIndex(g), map[string]*Gate{"index": g, "bars": withBars(g), "grams": withGrams(g)}
		for i := range size + 5 {
			r := d.shopper(i)
			want := naive.Check(t.Context(), r, nil, nil)
			for name, way := range ways {
				got := way.Check(t.Context(), r, nil, nil)
				if got.Policy != want.Policy || got.Allowed != want.Allowed || got.Reason != want.Reason {
					t.Fatalf("%s, %v: %+v by %v: by %s %+v, without %+v", shape, action, r, r.Peer, name, got, want)
				}
			}
			if want.Policy != "" {
				found[shape]++
			}
		}
	}
}

// shopper is a request that now and then is what the i-th of sized is about.
func (d dice) shopper(i int) *Request {
	r := stranger()
	sometimes := func(change func()) {
		if d(3) == 0 {
			change()
		}
	}
	sometimes(func() { r.Path = fmt.Sprintf("/shop.v1.Service%d/Method", i) })
	sometimes(func() {
		r.Path = one(d, fmt.Sprintf("/shop/Service%d/Method", i), fmt.Sprintf("/shop.v1.Service/%03d", i), fmt.Sprintf("/a/Method%d", i))
	})
	sometimes(func() { r.Method = one(d, "POST", fmt.Sprint("DO", i)) })
	sometimes(func() { r.Path += one(d, ";v=1", ";v=1", strings.Repeat("x", longestText)) })
	sometimes(func() { r.Authority = fmt.Sprintf("shop-%d.com", i) })
	sometimes(func() {
		r.Peer = svid(one(d, fmt.Sprintf("spiffe://cluster.local/ns/shop/sa/client-%d", i), fmt.Sprintf("spiffe://cluster.local/ns/shop-%d/sa/x", i)))
	})
	sometimes(func() { r.Peer.ServerName = one(d, "", fmt.Sprintf("shop-%d.com", i), fmt.Sprintf("SHOP-%d.com", i)) })
	if d(8) == 0 {
		r.Peer = nil
	}
	sometimes(func() { r.Source = netip.AddrPortFrom(d.near(i), 1) })
	sometimes(func() { r.Client = d.near(i) })
	sometimes(func() {
		r.Local = netip.AddrPortFrom(d.near(i), one(d, uint16(10000+i), 80, 443, 65000, uint16(20000+i-1+d(4))))
	})
	h := lines{"x-tenant": nil}
	for range d(3) {
		h["x-tenant"] = append(h["x-tenant"], one(d, "nobody", fmt.Sprint("tenant-", i), fmt.Sprintf("a, tenant-%d-x", i), fmt.Sprintf("tenant-%d-x;q=1", i), ""))
	}
	if d(20) == 0 {
		for range mostReadings {
			h["x-tenant"] = append(h["x-tenant"], fmt.Sprint("tenant-", i))
		}
	}
	if d(2) == 0 {
		h["te"], r.GRPC = []string{"trailers"}, d(2) == 0
	}
	sometimes(func() { r.Header = h })
	user, group := any(fmt.Sprint("user-", i)), any(fmt.Sprint("group-", i))
	sometimes(func() { r.Claims = nil })
	r.Claims = append(r.Claims, Claims{Provider: "q", Payload: map[string]any{
		"sub":    one[any](d, user, []any{"x", user}, float64(i), true, "nobody", nil),
		"realm":  one[any](d, "x", map[string]any{"groups": one[any](d, group, []any{group, "y"}, []any{[]any{group}}, map[string]any{})}),
		"a\x00b": "c",
	}})
	if d(20) == 0 {
		d.lose(r)
	}
	return r
}

// near is an address in one of someRange, or just beside it.
func (d dice) near(i int) netip.Addr {
	p := netip.MustParsePrefix(someRange(i))
	a := p.Masked().Addr()
	switch d(5) {
	case 0:
		return a.Prev()
	case 1:
		return a.Next()
	case 2:
		return netip.AddrFrom16(a.As16())
	case 3:
		return netip.AddrFrom4([4]byte{10, byte(10 + d(3)), byte(i), byte(d(8))})
	}
	return a
}

// crossing are policies of the principals of some and the permissions of others, or not of some.
func (d dice) crossing(policies []Policy) (out []Policy) {
	for i := range 20 {
		a, b := one(d, policies...), one(d, policies...)
		p := Policy{Name: fmt.Sprint("crossing-", i), Permissions: slices.Concat(a.Permissions, b.Permissions), Principals: b.Principals}
		switch d(3) {
		case 0:
			p.Principals = []Condition{not(a.Principals[0]), b.Principals[0]}
		case 1:
			p.Principals = []Condition{all(not(a.Principals[0]), b.Principals[0])}
		}
		out = append(out, p)
	}
	return out
}

// odd are policies that an index could get wrong.
func (d dice) odd() (out []Policy) {
	claim := func(c Condition) Condition {
		c.Kind = ClaimIs
		return c
	}
	for i, c := range []Condition{
		in(SourceIn, "0.0.0.0/0"), in(SourceIn, "::/0"), in(SourceIn, "::ffff:0:0/90"), in(SourceIn, "::ffff:10.20.0.0/112"), in(LocalIn, "::/1"), in(RemoteIn, "10.0.0.0/7"),
		not(in(SourceIn, "::/0")), not(in(RemoteIn, "10.0.0.0/8")), either(in(SourceIn, "::/0"), in(SourceIn, "fd00::/8")),
		{Kind: LocalPort, Low: 10000, High: 10063}, {Kind: LocalPort, Low: 10000, High: 10064}, {Kind: LocalPort, Low: 0, High: 65535}, {Kind: LocalPort, Low: 65500, High: 65535},
		header("host", suffix(".com")), header("host", prefix("shop-1")), inverted("host", prefix("shop-")), header("host", regex("shop-[0-9].com")),
		{Kind: ServerName, Is: match.String{Kind: match.Suffix, Value: "-1.COM"}}, {Kind: ServerName, Is: regex("SHOP-2.com")}, {Kind: ServerName, Is: exact("")},
		claim(Condition{Path: []string{"sub"}, Is: exact("7")}), claim(Condition{Path: []string{"sub"}, Is: prefix("user-1"), InList: true}), claim(Condition{Path: []string{"sub"}, Is: exact("true")}),
		claim(Condition{Path: []string{"a\x00b"}, Is: exact("c")}), claim(Condition{Path: []string{"a", "b"}, Is: exact("c")}), claim(Condition{Path: []string{"realm"}, Is: regex("x.*")}),
		claim(Condition{Path: []string{"sub"}, Name: "p", Is: suffix("body")}), claim(Condition{Path: []string{"sub"}, Is: match.String{Kind: match.Range, Low: 3, High: 9}}),
		not(header("x-tenant", suffix("-x"))), not(inverted("x-tenant", prefix("tenant-"))), not(Condition{Kind: HeaderIs, Name: "x-tenant", Is: exact(""), MissingAsEmpty: true}),
		not(header("te", exact("trailers"))), not(path(prefix("/shop."))), not(path(exact("/shop.v1.Unknown/Method"))), not(path(suffix("/Method;v=1"))), not(peer(match.String{})),
		not(peer(prefix("spiffe://cluster.local"))), not(peer(prefix("spiffe://cluster"))), not(either(peer(suffix("/sa/x")), path(suffix("/Method")))), not(all(path(suffix("Method")), peer(suffix("/sa/x")))),
		not(not(path(contains("Service1")))), not(path(regex(".*Service1.*"))), path(regex(".*[0-9]/Meth(od)?")), path(contains("od;v")), fits("/{*}/Method"), not(fits("/{*}/Method")), fits("/{**}/Method"),
		not(Condition{Kind: ServerName, Is: suffix("-1.COM")}), not(header("host", exact("shop-1.com"))), not(claim(Condition{Path: []string{"sub"}, Is: prefix("user-")})),
		header("x-tenant", contains("nant-1")), header("x-tenant", regex(".*nant-1.*")), not(header("x-tenant", contains("nant-1"))),
		header("x-tenant", suffix("-x")), header("x-tenant", regex("tenant-1.*")), header("x-tenant", exact("")), inverted("x-tenant", prefix("tenant-")),
		{Kind: HeaderIs, Name: "x-tenant", Is: exact(""), MissingAsEmpty: true},
	} {
		for j, permission := range []Condition{c, all(c, path(prefix(fmt.Sprintf("/shop.v1.Service%d/", d(size))))), all(c, peer(prefix("spiffe://cluster.local/ns/shop")), in(SourceIn, someRange(d(size))))} {
			out = append(out, Policy{Name: fmt.Sprintf("odd-%d-%d", i, j), Permissions: []Condition{permission}, Principals: []Condition{always}})
		}
	}
	return out
}
