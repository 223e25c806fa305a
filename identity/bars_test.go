package identity

import (
	"fmt"
	"slices"
	"testing"
)

// Sets with many negations in them, alone and beside others, decide by index and bars as they do policy by policy, and as the oracle does.
func TestNegations(t *testing.T) {
	rounds := 400
	if raceEnabled {
		rounds /= 10
	}
	var ruledOut, allowed int
	for seed := range uint64(rounds) {
		d := random(1<<50 + seed)
		steps := []Step{{Name: "s", Rules: rules(one(d, Allow, Deny), d.negations(fewestCrowded+d(40))...)}}
		g, err := NewGate(Guard{Steps: steps})
		if err != nil {
			t.Fatal(err)
		}
		naive, barred := withoutIndex(g), withBars(g)
		ways := map[string]*Gate{"index": g, "bars": barred, "grams": withGrams(g)}
		for range 4 {
			r := d.request()
			if d(8) == 0 {
				d.lose(r)
			}
			want := naive.Check(t.Context(), r, nil, nil)
			if (oracle{strict: true}).allows(steps, r) != want.Allowed {
				t.Fatalf("%+v\n%+v %+v %v\n%+v is not what the oracle says", steps, r, r.Header, r.Peer, want)
			}
			for name, way := range ways {
				if got := way.Check(t.Context(), r, nil, nil); got.Policy != want.Policy || got.Allowed != want.Allowed || got.Reason != want.Reason {
					t.Fatalf("%+v\n%+v %+v %v\nby %s: %+v\nwithout: %+v", steps, r, r.Header, r.Peer, name, got, want)
				}
			}
			ruledOut += outRightly(t, barred, r)
			if want.Allowed {
				allowed++
			}
		}
	}
	if ruledOut < rounds || allowed < rounds/10 || allowed > rounds*39/10 {
		t.Errorf("%d policies are ruled out, %d requests of %d allowed: this proves nothing", ruledOut, allowed, rounds*4)
	}
}

// outRightly demands that no policy that is ruled out would name the request. It says how many are.
func outRightly(t *testing.T, g *Gate, r *Request) (n int) {
	t.Helper()
	s := look(r, g.needs)
	for i := range g.steps {
		rs := g.steps[i].rules
		if rs.bars == nil || rs.needs&^s.known != 0 {
			continue
		}
		for _, perhaps := range []bool{false, true} {
			var out ruledOut
			rs.bars.rule(&s, perhaps, &out)
			for j := range rs.policies {
				if !out.has(int32(j)) {
					continue
				}
				n++
				if rs.policies[j].names(&s, perhaps) {
					t.Fatalf("%+v %+v %v: policy %d is out, and names it, perhaps %v", r, r.Header, r.Peer, j, perhaps)
				}
			}
		}
	}
	return n
}

// negations are policies of which most want something not to be.
func (d dice) negations(n int) (out []Policy) {
	shared := d.conditions(1)
	unless := func() Condition {
		c := not(either(slices.Concat(d.conditions(1), shared[:d(len(shared)+1)])...))
		switch d(6) {
		case 0:
			return all(c, d.condition(2))
		case 1:
			return not(either(not(c), d.condition(1)))
		case 2:
			return either(c, not(one(d, shared...)))
		}
		return c
	}
	for i := range n {
		p := Policy{Name: fmt.Sprint("p", i), Permissions: []Condition{unless()}, Principals: []Condition{always}}
		switch d(5) {
		case 0:
			p.Principals = []Condition{unless()}
		case 1:
			p.Permissions = append(p.Permissions, unless())
		case 2:
			p.Permissions, p.Principals = p.Principals, p.Permissions
		}
		out = append(out, p)
	}
	return out
}

// Policies beyond those that there is room for are asked.
func TestBarsAreBounded(t *testing.T) {
	const n = 64*len(ruledOut{}) + 100
	policies := manyPolicies(n, func(int) (Condition, Condition) { return not(path(exact(stranger().Path))), always })
	g := gateOf(t, Step{Rules: rules(Deny, policies...)})
	if d := g.Check(t.Context(), stranger(), nil, nil); !d.Allowed {
		t.Error(d)
	}
	policies[n-1].Permissions = []Condition{always}
	g = gateOf(t, Step{Rules: rules(Deny, policies...)})
	if d := g.Check(t.Context(), stranger(), nil, nil); d.Allowed || d.Policy != policies[n-1].Name {
		t.Error(d)
	}
}

// The ranges that keys of ports are of hold these ports and no others.
func TestKeysOfPorts(t *testing.T) {
	d := random(1)
	few := func() uint16 {
		return one(d, 0, 1, 2, 3, 4, 80, 1023, 1024, 32767, 32768, 65534, 65535, uint16(d(1<<16)))
	}
	for range 1_000 {
		low, high := few(), few()
		for _, port := range []uint16{low - 1, low, low + 1, high - 1, high, high + 1, few()} {
			n := 0
			for _, ks := range keysOfPorts(low, high) {
				for _, k := range ks {
					if k.net != k.net.Masked() {
						t.Fatalf("[%d, %d]: %v", low, high, k.net)
					}
					if k.net.Contains(portAddr(port)) {
						n++
					}
				}
			}
			if in := low <= port && port <= high; n > 1 || in != (n == 1) {
				t.Fatalf("%d is in %d ranges of [%d, %d]", port, n, low, high)
			}
		}
	}
}
