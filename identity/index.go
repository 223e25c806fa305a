package identity

import "slices"

// An index leads to the policies that can name a request. A policy that is only for paths, or peers, addresses and so on, of which something is
// known is found by that; the others are rest. What it leads to is asked, but for what bars rule out.
type index struct {
	lookup
	rest    []int32
	crowds  []int32 // the policies that come in crowds, so that a request can lead to many of them at once
	dearest int     // weight of the policies that one request can lead to, at worst
}

// fewest crowded policies are worth being looked for otherwise.
const fewestCrowded = 32

// indexed takes the ways to look for policies that cost the least at worst, of those the one that costs the least for most requests: without
// a look into the midst of texts if that is not for many.
func indexed(policies []policy) index {
	choices := choicesOf(policies)
	best := indexedBy(policies, without(choices, func(k key) bool { return k.kind == inside }))
	if len(best.crowds) > 0 {
		if other := indexedBy(policies, choices); len(other.crowds) < len(best.crowds) && other.dearest <= max(mostSteps, best.dearest) {
			best = other
		}
	}
	if best.dearest > mostSteps {
		if other := indexedBy(policies, without(choices, func(k key) bool { return k.kind == inside || k.many() })); other.dearest < best.dearest {
			best = other
		}
	}
	best.finish()
	return best
}

// choicesOf are the keys that each policy can be led to by.
func choicesOf(policies []policy) [][]keys {
	choices := make([][]keys, len(policies))
	for i := range policies {
		all := slices.Concat(keysOfAny(policies[i].permissions), keysOfAny(policies[i].principals))
		choices[i] = slices.DeleteFunc(all, func(ks keys) bool { return len(ks) > mostKeys })
	}
	return choices
}

// without are the choices that have no key of a sort.
func without(choices [][]keys, sort func(key) bool) [][]keys {
	out := make([][]keys, len(choices))
	for i, some := range choices {
		for _, ks := range some {
			if !slices.ContainsFunc(ks, sort) {
				out[i] = append(out[i], ks)
			}
		}
	}
	return out
}

// indexedBy leads to each policy by the one of its choices that leads to the fewest others.
func indexedBy(policies []policy, choices [][]keys) index {
	x := index{lookup: lookup{by: map[key][]int32{}}}
	count := map[key]int{}
	for _, some := range choices {
		for _, ks := range some {
			for _, k := range ks {
				count[k]++
			}
		}
	}
	crowd := func(ks keys) (most int) {
		for _, k := range ks {
			most = max(most, count[k])
		}
		return most
	}
	chosen := make([]keys, len(policies))
	total := 0
	for i := range policies {
		weight := policies[i].weight()
		total += weight
		if len(choices[i]) == 0 {
			x.rest = append(x.rest, int32(i))
			x.dearest += weight
			continue
		}
		chosen[i] = slices.MinFunc(choices[i], func(a, b keys) int { return crowd(a) - crowd(b) })
		x.add(chosen[i], int32(i))
	}
	x.dearest = min(total, x.dearest+x.heaviest(policies))
	many := max(fewestCrowded, len(policies)/4)
	for i, ks := range chosen {
		led := 0
		for _, k := range ks {
			led = max(led, len(x.by[k]))
		}
		if led > many || ks == nil && len(x.rest) > many {
			x.crowds = append(x.crowds, int32(i))
		}
	}
	return x
}

// heaviest is how much weight one request can come upon.
func (x *lookup) heaviest(policies []policy) (sum int) {
	type group struct {
		of     subject
		kind   keyKind
		length int
	}
	heaviest := map[group]int{}
	for k, some := range x.by {
		weight := 0
		for _, i := range some {
			weight += policies[i].weight()
		}
		if k.many() || k.kind == segment || k.kind == inside {
			sum += weight
			continue
		}
		g := group{of: k.of, kind: k.kind}
		if k.kind != entire {
			g.length = len(k.text) + k.net.Bits()
		}
		heaviest[g] = max(heaviest[g], weight)
	}
	for _, weight := range heaviest {
		sum += 2 * weight // a path is looked up with and without parameters
	}
	return sum
}
