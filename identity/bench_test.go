package identity

import (
	"fmt"
	"math/rand/v2"
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
	var principals []Condition
	for i := range n {
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
		"addresses": manyPolicies(n, func(i int) (Condition, Condition) {
			return always, in(SourceIn, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
		}),
		"one policy": {{Name: "all", Permissions: []Condition{path(prefix("/shop."))}, Principals: principals}},
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
		r.Source = ordinary().Local
	})
}

func TestDecidingDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := stranger()
	for name, policies := range sized(1000) {
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

// What the index leads to is what asking all policies leads to.
func TestIndex(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 1))
	var mixed []Policy
	for _, policies := range sized(100) {
		mixed = append(mixed, policies...)
	}
	for range 3 {
		dice.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		for _, action := range []Action{Allow, Deny} {
			g := gateOf(t, Step{Name: "rbac", Rules: rules(action, mixed...)})
			naive := withoutIndex(g)
			found := 0
			for i := range 110 {
				r := stranger()
				if dice.IntN(2) == 0 {
					r.Path = fmt.Sprintf("/shop.v1.Service%d/Method", i)
				}
				if dice.IntN(4) == 0 {
					r.Path += ";v=1"
				}
				if dice.IntN(2) == 0 {
					r.Peer = svid(fmt.Sprintf("spiffe://cluster.local/ns/shop/sa/client-%d", i))
				}
				if dice.IntN(8) == 0 {
					r.Peer = nil
				}
				got, want := g.Check(t.Context(), r, nil, nil), naive.Check(t.Context(), r, nil, nil)
				if got.Policy != want.Policy || got.Allowed != want.Allowed {
					t.Fatalf("%s by %v: by index %+v, without %+v", r.Path, r.Peer, got, want)
				}
				if got.Policy != "" {
					found++
				}
			}
			if found == 0 {
				t.Error("no policy ever names the request")
			}
		}
	}
}
