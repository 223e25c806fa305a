package identity

import (
	"fmt"
	"maps"
	"testing"

	"github.com/weftmesh/weft/internal/match"
)

// manyPolicies are n policies of a service mesh as istiod writes them, on the path and the principal that are given for each.
func manyPolicies(n int, of func(i int) (path, principal Condition)) []Policy {
	var out []Policy
	for i := range n {
		p, who := of(i)
		out = append(out, Policy{
			Name:        fmt.Sprintf("ns[shop]-policy[p%d]-rule[0]", i),
			Permissions: []Condition{all(either(header(":method", exact("GET"))), either(p))},
			Principals:  []Condition{all(either(who))},
		})
	}
	return out
}

func sized(n int) map[string][]Policy {
	id := func(i int) string { return fmt.Sprintf("spiffe://cluster.local/ns/shop/sa/client-%d", i) }
	method := func(i int) string { return fmt.Sprintf("/shop.v1.Service%d/Method", i) }
	var principals, ranges []Condition
	for i := range n {
		ranges = append(ranges, in(SourceIn, someRange(i)))
		principals = append(principals, peer(exact(id(i))))
	}
	return map[string][]Policy{
		"exact": manyPolicies(n, func(i int) (Condition, Condition) { return path(exact(method(i))), peer(exact(id(i))) }),
		"exact principals": manyPolicies(n, func(i int) (Condition, Condition) {
			return path(prefix(fmt.Sprintf("/shop.v1.Service%d/", i))), peer(exact(id(i)))
		}),
		"prefixes": manyPolicies(n, func(i int) (Condition, Condition) {
			return path(prefix(fmt.Sprintf("/shop.v1.Service%d/", i))), peer(prefix(fmt.Sprintf("spiffe://cluster.local/ns/shop-%d/", i)))
		}),
		"headers": manyPolicies(n, func(i int) (Condition, Condition) {
			return header("x-tenant", exact(fmt.Sprint("tenant-", i))), peer(match.String{})
		}),
		"namespaces": manyPolicies(n, func(i int) (Condition, Condition) {
			return always, peer(regex(fmt.Sprintf(".*/ns/shop-%d/.*", i)))
		}),
		"header beginnings": manyPolicies(n, func(i int) (Condition, Condition) {
			return header("x-tenant", prefix(fmt.Sprintf("tenant-%d-", i))), peer(match.String{})
		}),
		"hosts": manyPolicies(n, func(i int) (Condition, Condition) {
			return header(":authority", exact(fmt.Sprintf("shop-%d.com", i))), always
		}),
		"server names": manyPolicies(n, func(i int) (Condition, Condition) {
			return Condition{Kind: ServerName, Is: exact(fmt.Sprintf("shop-%d.com", i))}, always
		}),
		"addresses": manyPolicies(n, func(i int) (Condition, Condition) { return always, in(SourceIn, someRange(i)) }),
		"clients":   manyPolicies(n, func(i int) (Condition, Condition) { return always, in(RemoteIn, someRange(i)) }),
		"local addresses": manyPolicies(n, func(i int) (Condition, Condition) {
			return in(LocalIn, someRange(i)), always
		}),
		"ports": manyPolicies(n, func(i int) (Condition, Condition) {
			return Condition{Kind: LocalPort, Low: uint16(10000 + i), High: uint16(10000 + i)}, always
		}),
		"claims": manyPolicies(n, func(i int) (Condition, Condition) {
			return always, Condition{Kind: ClaimIs, Path: []string{"sub"}, Is: exact(fmt.Sprint("user-", i))}
		}),
		"claims in lists": manyPolicies(n, func(i int) (Condition, Condition) {
			return always, Condition{Kind: ClaimIs, Path: []string{"realm", "groups"}, Is: exact(fmt.Sprint("group-", i)), InList: true}
		}),
		"path but not principal": manyPolicies(n, func(i int) (Condition, Condition) {
			return path(prefix(fmt.Sprintf("/shop.v1.Service%d/", i))), not(peer(exact(id(i))))
		}),
		"one policy":                {{Name: "all", Permissions: []Condition{path(prefix("/shop."))}, Principals: principals}},
		"one policy with addresses": {{Name: "all", Permissions: []Condition{always}, Principals: ranges}},
	}
}

// someRange is of a length of its own kind for each i; some hold others.
func someRange(i int) string {
	switch i % 4 {
	case 0:
		return fmt.Sprintf("10.%d.%d.0/24", 10+i/256, i%256)
	case 1:
		return fmt.Sprintf("10.%d.0.0/%d", 10+i/100, 16+i%9)
	case 2:
		return fmt.Sprintf("fd00:%x::/%d", i, 32+i%97)
	default:
		return fmt.Sprintf("10.%d.%d.%d/32", 10+i/256, i%256, i%7)
	}
}

// A decision over 1,000 policies, none of which names the request: each would have to be asked.
func BenchmarkCheck(b *testing.B) {
	for name, policies := range sized(1000) {
		for _, action := range []Action{Allow, Deny} {
			g := gateOf(b, Step{Name: "rbac", Rules: rules(action, policies...)})
			r := stranger()
			b.Run(fmt.Sprintf("%s/%v", name, action), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if g.Check(b.Context(), r, nil, nil).Allowed != (action == Deny) {
						b.Fatal("wrong")
					}
				}
			})
		}
	}
	for name, policies := range unknowable(1000) {
		g := gateOf(b, Step{Rules: rules(Deny, policies...)})
		r := stranger()
		b.Run(name+"/DENY", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !g.Check(b.Context(), r, nil, nil).Allowed {
					b.Fatal("wrong")
				}
			}
		})
	}
	g := gateOf(b, Step{Rules: rules(Deny, policyOf("d", path(exact("/admin"))))}, Step{Rules: rules(Allow, sized(1000)["exact"]...)})
	r := stranger()
	r.Path, r.Peer = "/shop.v1.Service999/Method", svid("spiffe://cluster.local/ns/shop/sa/client-999")
	b.Run("deny, then the last of exact allows", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !g.Check(b.Context(), r, nil, nil).Allowed {
				b.Fatal("wrong")
			}
		}
	})
}

// unknowable are policies that say nothing of what a request has: negations, each of which fails for the stranger, and parts within.
func unknowable(n int) map[string][]Policy {
	except := func(stranger Condition, other func(i int) Condition) []Policy {
		return manyPolicies(n, func(i int) (Condition, Condition) { return not(either(other(i), stranger)), always })
	}
	namespace := func(ns string) Condition { return peer(regex("spiffe://[^/]+/ns/" + ns + "/.+")) }
	sub := func(user string) Condition { return Condition{Kind: ClaimIs, Path: []string{"sub"}, Is: exact(user)} }
	var methods []Policy
	for i := range n {
		methods = append(methods, policyOf(fmt.Sprint("p", i), not(either(header(":method", exact("GET")), header(":method", exact(fmt.Sprint("DO", i)))))))
	}
	return map[string][]Policy{
		"not methods": methods,
		"not ports": manyPolicies(n, func(i int) (Condition, Condition) {
			return not(Condition{Kind: LocalPort, Low: 1, High: uint16(20000 + i)}), always
		}),
		"not addresses": manyPolicies(n, func(i int) (Condition, Condition) {
			return always, not(in(SourceIn, fmt.Sprintf("10.0.0.0/%d", 1+i%8)))
		}),
		"not clients": manyPolicies(n, func(i int) (Condition, Condition) {
			return always, not(either(in(RemoteIn, someRange(i)), in(RemoteIn, fmt.Sprintf("10.0.0.0/%d", 1+i%8))))
		}),
		"not paths": except(path(exact(stranger().Path)), func(i int) Condition { return path(exact(fmt.Sprintf("/shop.v1.Service%d/Method", i))) }),
		"not beginnings of paths": except(path(prefix("/shop.v1.U")), func(i int) Condition {
			return path(prefix(fmt.Sprintf("/shop.v1.Service%d/", i)))
		}),
		"not templates": except(fits("/{*}/Method"), func(i int) Condition { return fits(fmt.Sprintf("/{*}/Method%d", i)) }),
		"not principals": except(peer(exact(stranger().Peer.ID.String())), func(i int) Condition {
			return peer(exact(fmt.Sprintf("spiffe://cluster.local/ns/shop/sa/client-%d", i)))
		}),
		"not anybody":    manyPolicies(n, func(int) (Condition, Condition) { return always, not(peer(match.String{})) }),
		"not namespaces": except(namespace("other"), func(i int) Condition { return namespace(fmt.Sprintf("shop-%d", i)) }),
		"not hosts": except(header(":authority", exact(stranger().Authority)), func(i int) Condition {
			return header(":authority", exact(fmt.Sprintf("shop-%d.com", i)))
		}),
		"not server names": except(Condition{Kind: ServerName, Is: exact("unknown.com")}, func(i int) Condition {
			return Condition{Kind: ServerName, Is: exact(fmt.Sprintf("shop-%d.com", i))}
		}),
		"not headers": except(header("x-tenant", exact("nobody")), func(i int) Condition { return header("x-tenant", exact(fmt.Sprint("tenant-", i))) }),
		"not claims":  except(sub("nobody"), func(i int) Condition { return sub(fmt.Sprint("user-", i)) }),
		"inverted headers": manyPolicies(n, func(i int) (Condition, Condition) {
			return all(inverted("x-tenant", exact("nobody")), inverted("x-tenant", exact(fmt.Sprint("tenant-", i)))), always
		}),
		"path contains":  manyPolicies(n, func(i int) (Condition, Condition) { return path(contains(fmt.Sprint("Service", i))), always }),
		"path has in it": manyPolicies(n, func(i int) (Condition, Condition) { return path(regex(fmt.Sprintf(".*/Service%d/.*", i))), always }),
		"path ends by":   manyPolicies(n, func(i int) (Condition, Condition) { return fits(fmt.Sprintf("/{*}/Method%d", i)), always }),
		"header contains": manyPolicies(n, func(i int) (Condition, Condition) {
			return header("x-tenant", contains(fmt.Sprint("nant-", i))), always
		}),
		"not parts of principals": except(peer(contains("strange")), func(i int) Condition { return peer(contains(fmt.Sprint("client-", i))) }),
		"path contains few letters": manyPolicies(n, func(i int) (Condition, Condition) {
			return path(contains(fmt.Sprintf("%03d", i))), always
		}),
	}
}

func shapes(n int) map[string][]Policy {
	all := sized(n)
	maps.Copy(all, unknowable(n))
	return all
}

func BenchmarkNewGate(b *testing.B) {
	policies := sized(1000)["exact"]
	b.ReportAllocs()
	for b.Loop() {
		gateOf(b, Step{Rules: rules(Allow, policies...)})
	}
}

func stranger() *Request {
	return with(func(r *Request) {
		r.Path, r.Header = "/shop.v1.Unknown/Method", lines{"x-tenant": {"nobody"}}
		r.Peer = svid("spiffe://cluster.local/ns/other/sa/stranger")
		r.Peer.ServerName = "unknown.com"
		r.Claims = []Claims{{Provider: "p", Payload: map[string]any{"sub": "nobody", "realm": map[string]any{"groups": []any{"none", "others"}}}}}
		r.Source = ordinary().Local
	})
}

func TestDecidingDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := stranger()
	for name, policies := range shapes(1000) {
		for _, action := range []Action{Allow, Deny} {
			g := gateOf(t, Step{Name: "rbac", Rules: rules(action, policies...)})
			if n := testing.AllocsPerRun(20, func() { g.Check(t.Context(), r, nil, nil) }); n != 0 {
				t.Errorf("%s, %v: %v allocations", name, action, n)
			}
		}
	}
	tree := gateOf(t, Step{Rules: &Rules{Tree: &Tree{Fields: []Field{{If: not(path(exact("/a"))), Then: Branch{Action: Allow}}}}}})
	if n := testing.AllocsPerRun(20, func() { tree.Check(t.Context(), r, nil, nil) }); n != 0 {
		t.Errorf("tree: %v allocations", n)
	}
}
