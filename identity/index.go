package identity

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// An index leads to the policies that can name a request. A policy that is only for paths, or peers, addresses and so on, of which something is
// known is found by that; the others are rest. Each list is in the order of the policies.
type index struct {
	by       map[key][]int32
	nets     [subjects]networks
	lengths  [subjects][2][]int // of beginnings and endings
	headers  []match.HeaderName
	claims   []claimPath
	segments bool // some keys are segments of names
	servers  bool // some are of server names
	rest     []int32
	dearest  int // weight of the policies that one request can lead to, at worst
}

// A claimPath leads to a claim.
type claimPath struct {
	name string
	path []string
}

func indexed(policies []policy) index {
	choices := make([][]keys, len(policies))
	for i := range policies {
		all := slices.Concat(keysOfAny(policies[i].permissions), keysOfAny(policies[i].principals))
		choices[i] = slices.DeleteFunc(all, func(ks keys) bool { return len(ks) > mostKeys })
	}
	x := indexedBy(policies, choices)
	if x.dearest <= mostSteps {
		return x
	}
	for i := range choices {
		choices[i] = slices.DeleteFunc(choices[i], func(ks keys) bool { return slices.ContainsFunc(ks, key.many) })
	}
	if bounded := indexedBy(policies, choices); bounded.dearest < x.dearest {
		return bounded
	}
	return x
}

// indexedBy leads to each policy by the one of its choices that leads to the fewest others.
func indexedBy(policies []policy, choices [][]keys) index {
	x := index{by: map[key][]int32{}}
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
	weights, total := map[key]int{}, 0
	for i := range policies {
		weight := policies[i].weight()
		total += weight
		if len(choices[i]) == 0 {
			x.rest = append(x.rest, int32(i))
			x.dearest += weight
			continue
		}
		best := slices.MinFunc(choices[i], func(a, b keys) int { return crowd(a) - crowd(b) })
		for _, k := range best {
			if some := x.by[k]; len(some) == 0 || some[len(some)-1] != int32(i) {
				x.by[k] = append(some, int32(i))
				weights[k] += weight
			}
		}
	}
	x.dearest = min(total, x.dearest+x.measure(weights))
	x.spread()
	return x
}

// measure notes what lengths keys have, and says how much weight one request can come upon.
func (x *index) measure(weights map[key]int) (sum int) {
	type group struct {
		of     subject
		kind   keyKind
		length int
	}
	heaviest := map[group]int{}
	for k, weight := range weights {
		x.note(k)
		switch {
		case k.many() || k.kind == segment:
			sum += weight
			continue
		case k.kind == entire:
			heaviest[group{of: k.of}] = max(heaviest[group{of: k.of}], weight)
		default:
			g := group{k.of, k.kind, len(k.text) + k.net.Bits()}
			heaviest[g] = max(heaviest[g], weight)
		}
	}
	for _, weight := range heaviest {
		sum += 2 * weight // a path is looked up with and without parameters
	}
	return sum
}

// note has k looked up.
func (x *index) note(k key) {
	switch k.of {
	case ofServerName:
		x.servers = true
	case ofHeader:
		if is := match.Named(k.name); !slices.Contains(x.headers, is) {
			x.headers = append(x.headers, is)
		}
	case ofClaim:
		if !slices.ContainsFunc(x.claims, func(c claimPath) bool { return c.name == k.name }) {
			x.claims = append(x.claims, claimPath{k.name, strings.Split(k.name, claimSeparator)})
		}
	}
	switch k.kind {
	case segment:
		x.segments = true
	case beginning, ending:
		if lengths := &x.lengths[k.of][k.kind-beginning]; !slices.Contains(*lengths, len(k.text)) {
			*lengths = append(*lengths, len(k.text))
		}
	}
}

// spread moves what is of ranges to where addresses lead to it.
func (x *index) spread() {
	var of [subjects]map[netip.Prefix][]int32
	for k, some := range x.by {
		if k.kind != within {
			continue
		}
		if of[k.of] == nil {
			of[k.of] = map[netip.Prefix][]int32{}
		}
		of[k.of][k.net] = some
		delete(x.by, k)
	}
	for i := range of {
		x.nets[i] = newNetworks(of[i])
	}
}

// lead has the lists tried of the policies that can name the request. It reports whether it could tell which these are.
func (x *index) lead(s *sight, try func([]int32)) bool {
	try(x.rest)
	if s.known&aSource != 0 {
		x.nets[ofSource].lead(s.source, try)
		x.nets[ofClient].lead(s.client, try)
	}
	if s.known&aLocal != 0 {
		x.nets[ofLocal].lead(s.local, try)
	}
	if len(x.by) == 0 {
		return true
	}
	for _, name := range x.headers {
		n := 0
		for reading := range readings(s.r.Header.Values(name)) {
			if n++; n > mostReadings {
				return false
			}
			x.lookUp(key{of: ofHeader, name: name.Lower}, reading, try)
		}
	}
	for _, c := range x.claims {
		x.onClaim(c, s.r.Claims, try)
	}
	if s.known&aLocal != 0 {
		try(x.by[key{of: ofPort, port: s.r.Local.Port()}])
	}
	if s.known&aPath != 0 {
		x.lookUp(key{of: ofPath}, s.r.Path, try)
		if len(s.bare) != len(s.r.Path) {
			x.lookUp(key{of: ofPath}, s.bare, try)
		}
	}
	if s.known&anAuthority != 0 {
		x.lookUp(key{of: ofAuthority}, s.r.Authority, try)
	}
	if name := s.serverName(); x.servers {
		x.lookUp(key{of: ofServerName}, match.ToLower(name), try)
	}
	if s.authentic {
		x.onPeer(s.name, try)
		for _, name := range s.names {
			x.onPeer(name, try)
		}
	}
	return true
}

func (x *index) onPeer(name string, try func([]int32)) {
	x.lookUp(key{of: ofPeer}, name, try)
	for more := x.segments; more; {
		var one string
		one, name, more = strings.Cut(name, "/")
		try(x.by[key{of: ofPeer, kind: segment, text: one}])
	}
}

// onClaim looks up all that a claim can be taken for.
func (x *index) onClaim(c claimPath, claims []Claims, try func([]int32)) {
	for i := range claims {
		v, ok := walk(claims[i].Payload, c.path)
		if !ok {
			continue
		}
		list, isList := v.([]any)
		if !isList {
			x.onScalar(c.name, v, try)
		}
		for _, element := range list {
			x.onScalar(c.name, element, try)
		}
	}
}

func (x *index) onScalar(name string, v any, try func([]int32)) {
	if text, ok := written(v); ok {
		x.lookUp(key{of: ofClaim, name: name}, text, try)
	}
}

// lookUp looks up a text and how it begins and ends. k is what else a key has.
func (x *index) lookUp(k key, text string, try func([]int32)) {
	k.text = text
	try(x.by[k])
	k.kind = beginning
	for _, n := range x.lengths[k.of][0] {
		if n <= len(text) {
			k.text = text[:n]
			try(x.by[k])
		}
	}
	k.kind = ending
	for _, n := range x.lengths[k.of][1] {
		if n <= len(text) {
			k.text = text[len(text)-n:]
			try(x.by[k])
		}
	}
}
