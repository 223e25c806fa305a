package identity

import (
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// An index leads to the policies that can name a request. A policy that is only for paths, or peers, of which a part is known is found by that
// part; the others are rest. Each list is in the order of the policies.
type index struct {
	by       map[key][]int32
	lengths  [2][3][]int // of beginnings and endings, by subject and kind
	headers  []match.HeaderName
	segments bool // some keys are segments of names
	rest     []int32
	dearest  int // weight of the policies that one request can lead to, at worst
}

// A key is what a string has whenever a test holds for it.
type key struct {
	of   subject
	kind keyKind
	name match.HeaderName // of a header
	text string
}

// A subject is what a key is of.
type subject uint8

const (
	ofPath subject = iota
	ofPeer
	ofHeader // whose keys are entire
)

type keyKind uint8

const (
	entire keyKind = iota
	beginning
	ending
	segment // between slashes; of peers alone, as who calls chooses how many segments a path has
)

// keys are such that a test holds only where one of them is.
type keys []key

// mostKeys is how many keys a policy is worth.
const mostKeys = 512

func indexed(policies []policy) index {
	x := index{by: map[key][]int32{}}
	choices := make([][]keys, len(policies))
	count := map[key]int{}
	for i := range policies {
		choices[i] = slices.Concat(keysOfAny(policies[i].permissions), keysOfAny(policies[i].principals))
		for _, ks := range choices[i] {
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
		if choices[i] = slices.DeleteFunc(choices[i], func(ks keys) bool { return len(ks) > mostKeys }); len(choices[i]) == 0 {
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
		if k.of == ofHeader { // who calls chooses how many values it has
			sum += weight
			if !slices.Contains(x.headers, k.name) {
				x.headers = append(x.headers, k.name)
			}
			continue
		}
		g := group{k.of, k.kind, len(k.text)}
		switch k.kind {
		case segment:
			x.segments = true
			sum += weight
			continue
		case entire:
			g.length = 0
		default:
			if lengths := &x.lengths[k.of][k.kind]; !slices.Contains(*lengths, len(k.text)) {
				*lengths = append(*lengths, len(k.text))
			}
		}
		heaviest[g] = max(heaviest[g], weight)
	}
	for _, weight := range heaviest {
		sum += 2 * weight // a path is looked up with and without parameters
	}
	return sum
}

// lead has the lists tried of the policies that can name the request. It reports whether it could tell which these are.
func (x *index) lead(s *sight, try func([]int32)) bool {
	try(x.rest)
	if len(x.by) == 0 {
		return true
	}
	for _, name := range x.headers {
		n := 0
		for reading := range readings(s.r.Header.Values(name)) {
			if n++; n > mostReadings {
				return false
			}
			try(x.by[key{of: ofHeader, name: name, text: reading}])
		}
	}
	if s.known&aPath != 0 {
		x.lookUp(ofPath, s.r.Path, try)
		if len(s.bare) != len(s.r.Path) {
			x.lookUp(ofPath, s.bare, try)
		}
	}
	if s.authentic {
		x.lookUp(ofPeer, s.name, try)
		for _, name := range s.names {
			x.lookUp(ofPeer, name, try)
		}
	}
	return true
}

func (x *index) lookUp(of subject, text string, try func([]int32)) {
	try(x.by[key{of: of, text: text}])
	for _, n := range x.lengths[of][beginning] {
		if n <= len(text) {
			try(x.by[key{of: of, kind: beginning, text: text[:n]}])
		}
	}
	for _, n := range x.lengths[of][ending] {
		if n <= len(text) {
			try(x.by[key{of: of, kind: ending, text: text[len(text)-n:]}])
		}
	}
	for more := of == ofPeer && x.segments; more; {
		var name string
		name, text, more = strings.Cut(text, "/")
		try(x.by[key{of: of, kind: segment, text: name}])
	}
}

// keysOfAny are the choices there are for tests one of which holds.
func keysOfAny(of []test) []keys {
	var union keys
	for i := range of {
		if len(of[i].keys) == 0 {
			return nil
		}
		union = append(union, of[i].keys[0]...)
	}
	if len(of) == 1 {
		return of[0].keys
	}
	return []keys{union}
}

// keysOfAll are the choices there are for tests all of which hold.
func keysOfAll(of []test) (out []keys) {
	for i := range of {
		out = append(out, of[i].keys...)
	}
	return out
}

func keysOfSet(of subject, set map[string]struct{}) []keys {
	var all keys
	for text := range set {
		all = append(all, key{of: of, text: text})
	}
	return []keys{all}
}

// keysOf are the choices there are for a string, the best first.
func keysOf(of subject, is match.String) (out []keys) {
	if is.IgnoreCase && is.Kind != match.Regex {
		return nil
	}
	switch is.Kind {
	case match.Exact:
		return []keys{{{of: of, text: is.Value}}}
	case match.Prefix:
		return []keys{{{of: of, kind: beginning, text: is.Value}}}
	case match.Suffix:
		return []keys{{{of: of, kind: ending, text: is.Value}}}
	case match.Contains:
		return keysWithin(of, is.Value)
	case match.Regex:
		return keysOfRegex(of, is.Value)
	}
	return nil
}

// keysWithin are the segments that are in text whole.
func keysWithin(of subject, text string) (out []keys) {
	names := strings.Split(text, "/")
	if of != ofPeer || len(names) < 3 {
		return nil
	}
	for _, name := range names[1 : len(names)-1] {
		out = append(out, keys{{of: of, kind: segment, text: name}})
	}
	slices.Reverse(out)
	return out
}

// keysOfRegex are of the text that is in whatever an expression matches.
func keysOfRegex(of subject, expr string) (out []keys) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	for i, part := range parts {
		if part.Op != syntax.OpLiteral || part.Flags&syntax.FoldCase != 0 {
			continue
		}
		text := string(part.Rune)
		out = append(out, keysWithin(of, text)...)
		if i == len(parts)-1 {
			out = append(out, keys{{of: of, kind: ending, text: text}})
		}
		if i == 0 {
			out = append(out, keys{{of: of, kind: beginning, text: text}})
		}
	}
	return out
}
