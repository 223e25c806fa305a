package identity

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// A lookup leads from what a request has to policies, by their numbers, in their order.
type lookup struct {
	by       map[key][]int32
	nets     [subjects]networks
	lengths  [subjects][2][]int // of beginnings and endings
	headers  []match.HeaderName
	claims   []claimPath
	grams    [subjects]bool
	inside   []int32 // all that grams lead to
	segments bool    // some keys are segments of names
	servers  bool    // some are of server names
}

// A claimPath leads to a claim.
type claimPath struct {
	name string
	path []string
}

// longestText is how much of a text is looked up by its grams. To a longer one all of them lead.
const longestText = 1 << 8

// add leads from each of ks to the i-th policy. Policies are added in their order.
func (x *lookup) add(ks keys, i int32) {
	for _, k := range ks {
		if some := x.by[k]; len(some) == 0 || some[len(some)-1] != i {
			x.by[k] = append(some, i)
		}
	}
}

// finish is called when all is added.
func (x *lookup) finish() {
	var nets [subjects]map[netip.Prefix][]int32
	for k, some := range x.by {
		x.note(k)
		switch k.kind {
		case inside:
			x.inside = append(x.inside, some...)
		case within:
			if nets[k.of] == nil {
				nets[k.of] = map[netip.Prefix][]int32{}
			}
			nets[k.of][k.net] = some
			delete(x.by, k)
		}
	}
	slices.Sort(x.inside)
	x.inside = slices.Compact(x.inside)
	for i := range nets {
		x.nets[i] = newNetworks(nets[i])
	}
}

// note has k looked up.
func (x *lookup) note(k key) {
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
	case inside:
		x.grams[k.of] = true
	case beginning, ending:
		if lengths := &x.lengths[k.of][k.kind-beginning]; !slices.Contains(*lengths, len(k.text)) {
			*lengths = append(*lengths, len(k.text))
		}
	}
}

// lead has the lists tried that a request leads to: of all keys that it perhaps has, or, if sure, of those that it has whatever it is taken for,
// as far as that is simple. It reports whether it could tell which these are.
func (x *lookup) lead(s *sight, sure bool, try func([]int32)) bool {
	if s.known&aSource != 0 {
		x.nets[ofSource].lead(s.source, try)
		x.nets[ofClient].lead(s.client, try)
	}
	if s.known&aLocal != 0 {
		x.nets[ofLocal].lead(s.local, try)
		x.nets[ofPort].lead(portAddr(s.r.Local.Port()), try)
	}
	if len(x.by) == 0 {
		return true
	}
	for _, name := range x.headers {
		if !x.onHeader(name, s.r.Header.Values(name), sure, try) {
			return false
		}
	}
	for _, c := range x.claims {
		x.onClaim(c, s.r.Claims, try)
	}
	if simple := len(s.bare) == len(s.r.Path); s.known&aPath != 0 && (simple || !sure) {
		x.lookUp(key{of: ofPath}, s.r.Path, try)
		if !simple {
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

func (x *lookup) onHeader(name match.HeaderName, values []string, sure bool, try func([]int32)) bool {
	n := 0
	if sure {
		for range readings(values) {
			if n++; n > 1 {
				return true // it is several things, none of them for sure
			}
		}
	}
	n = 0
	for reading := range readings(values) {
		if n++; n > mostReadings {
			return false
		}
		x.lookUp(key{of: ofHeader, name: name.Lower}, reading, try)
	}
	return true
}

func (x *lookup) onPeer(name string, try func([]int32)) {
	x.lookUp(key{of: ofPeer}, name, try)
	for more := x.segments; more; {
		var one string
		one, name, more = strings.Cut(name, "/")
		try(x.by[key{of: ofPeer, kind: segment, text: one}])
	}
}

// onClaim looks up all that a claim can be taken for.
func (x *lookup) onClaim(c claimPath, claims []Claims, try func([]int32)) {
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

func (x *lookup) onScalar(name string, v any, try func([]int32)) {
	if text, ok := written(v); ok {
		x.lookUp(key{of: ofClaim, name: name}, text, try)
	}
}

// lookUp looks up a text, how it begins and ends, and what is in it. k is what else a key has.
func (x *lookup) lookUp(k key, text string, try func([]int32)) {
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
	switch {
	case !x.grams[k.of]:
	case len(text) > longestText:
		try(x.inside)
	default:
		k.kind = inside
		for i := range len(text) - gram + 1 {
			k.text = text[i : i+gram]
			try(x.by[k])
		}
	}
}
