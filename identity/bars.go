package identity

import (
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/match"
)

// Bars say which policies can't name a request, before these are asked one after the other.
//
// An index knows what a request has if a policy names it. A policy that has but negations in it, or what no key is of, can name any request, so
// that nothing leads to it. Bars know the reverse: that a policy surely does not name a request, because
//   - the request has a key of something that the policy wants not to be (a policy that is not for the path "/health" is out if that is the path), or
//   - a condition fails that several policies want, and that is asked once for all of them.
//
// Bars only spare questions. A policy that is not out is asked in full, and none is out that would name the request if asked: keys are looked
// up only where they decide whatever the request is taken for, and conditions are asked as the policies would ask them.
type bars struct {
	lookup
	wants []want
}

// A want is that a test holds, or fails. The policies are out if it is not fulfilled.
type want struct {
	of       *test
	holds    bool
	policies []uint64 // as in ruledOut
}

// fewestWant is how many policies want the same if it is worth being asked for all of them.
const fewestWant = 8

// A leaf is a Condition without parts, by which it is told whether two are the same.
type leaf struct {
	kind                    ConditionKind
	is                      match.String
	name, path              string
	net                     netip.Prefix
	low, high               uint16
	invert, missing, inList bool
}

// ruledOut are policies by their numbers. Those with numbers beyond are never in it.
type ruledOut [64]uint64

func (r *ruledOut) has(i int32) bool {
	return int(i) < 64*len(r) && r[i/64]&(1<<(i%64)) != 0
}

func (r *ruledOut) add(some []int32) {
	for _, i := range some {
		if int(i) >= 64*len(r) {
			return
		}
		r[i/64] |= 1 << (i % 64)
	}
}

// newBars makes bars for some of the policies, asking for them what at least fewest of them want; nil if there are none.
func newBars(policies []policy, some []int32, fewest int) *bars {
	type wish struct {
		of    leaf
		holds bool
	}
	b := &bars{lookup: lookup{by: map[key][]int32{}}}
	who := map[wish][]int32{}
	for _, i := range some {
		p := &policies[i]
		lists := test{kind: All, of: []test{{kind: Any, of: p.permissions}, {kind: Any, of: p.principals}}}
		ks := lists.settling(false)
		b.add(ks[:min(len(ks), mostKeys)], i)
		lists.wants(true, func(t *test, holds bool) {
			w := wish{*t.leaf, holds}
			if who[w] = append(who[w], i); len(who[w]) == fewest {
				b.wants = append(b.wants, want{of: t, holds: holds})
			}
		})
	}
	for i := range b.wants {
		w := &b.wants[i]
		var out ruledOut
		out.add(who[wish{*w.of.leaf, w.holds}])
		w.policies = slices.Clone(out[:min(len(out), (len(policies)+63)/64)])
	}
	if len(b.by) == 0 && len(b.wants) == 0 {
		return nil
	}
	b.finish()
	return b
}

// rule adds those policies to out that can't name the request.
func (b *bars) rule(s *sight, perhaps bool, out *ruledOut) {
	b.lead(s, true, out.add)
	for i := range b.wants {
		if w := &b.wants[i]; w.of.holds(s, perhaps == w.holds) != w.holds {
			for j, some := range w.policies {
				out[j] |= some
			}
		}
	}
}

// settling are keys one of which is enough for t to hold surely, or, unless it is to hold, for t to fail surely.
func (t *test) settling(holds bool) keys {
	switch t.kind {
	case Not:
		return t.of[0].settling(!holds)
	case All, Any:
		if one := (t.kind == Any) == holds; one {
			var union keys
			for i := range t.of {
				union = append(union, t.of[i].settling(holds)...)
			}
			return union
		}
		return t.settlingAll(holds)
	}
	if inverted := t.kind == HeaderIs && t.header.invert; inverted == holds {
		return nil
	}
	return t.enough
}

// settlingAll are keys each of which settles all parts of t.
func (t *test) settlingAll(holds bool) (all keys) {
	settled := map[key]int{} // how many of the parts so far
	for i := range t.of {
		all = nil
		for _, k := range t.of[i].settling(holds) {
			if settled[k] == i {
				settled[k]++
				all = append(all, k)
			}
		}
	}
	return all
}

// wants yields what is to hold, or to fail, for t to hold, or, unless it is to hold, to fail.
func (t *test) wants(holds bool, yield func(t *test, holds bool)) {
	switch {
	case t.kind == Not:
		t.of[0].wants(!holds, yield)
	case t.kind == All && holds, t.kind == Any && !holds, t.kind == Any && len(t.of) == 1:
		for i := range t.of {
			t.of[i].wants(holds, yield)
		}
	case t.leaf != nil:
		yield(t, holds)
	}
}
