package identity

import (
	"math/bits"
	"net/netip"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weftmesh/weft/internal/match"
)

// A key is something that a request can have: a text, how one begins or ends, a range that an address is in.
type key struct {
	of   subject
	kind keyKind
	name string // of a header in lower case, or of a claim
	text string
	net  netip.Prefix
}

// A subject is what a key is of.
type subject uint8

const (
	ofPath subject = iota
	ofPeer
	ofAuthority
	ofServerName // in lower case
	ofHeader
	ofClaim
	ofPort // a number as an address, see portAddr
	ofSource
	ofClient
	ofLocal
	subjects
)

// claimSeparator is between the keys that lead to a claim, in its name.
const claimSeparator = "\x00"

type keyKind uint8

const (
	entire keyKind = iota
	beginning
	ending
	segment // between slashes; of peers alone, as who calls chooses how many segments a path has
	inside  // a gram, anywhere
	within  // of addresses
)

// many reports whether the key is of what a request can have any number of.
func (k key) many() bool { return k.of == ofHeader || k.of == ofClaim }

// keys are such that a test holds only where one of them is.
type keys []key

const (
	mostKeys  = 512 // how many keys a policy is worth
	gram      = 3   // bytes of a text that keys are made of which can be anywhere in it
	mostGrams = 32  // of one text
)

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

// keysOfNet are of a range of addresses, and, if it is of IPv6 and has all of IPv4 mapped into it, of those.
func keysOfNet(of subject, net netip.Prefix, mapped bool) []keys {
	ks := keys{{of: of, kind: within, net: net}}
	if mapped {
		ks = append(ks, key{of: of, kind: within, net: netip.PrefixFrom(netip.IPv4Unspecified(), 0)})
	}
	return []keys{ks}
}

// keysOfPorts are of the ranges that ports from low to high fall into, each of which is of a power of two.
func keysOfPorts(low, high uint16) []keys {
	if low > high {
		return nil
	}
	var ks keys
	for port, end := uint32(low), uint32(high)+1; port < end; {
		size := min(bits.TrailingZeros32(port|1<<16), bits.Len32(end-port)-1)
		ks = append(ks, key{of: ofPort, kind: within, net: netip.PrefixFrom(portAddr(uint16(port)), 32-size)})
		port += 1 << size
	}
	return []keys{ks}
}

// portAddr is an address that stands for a port, so that ranges of ports are found as those of addresses are.
func portAddr(port uint16) netip.Addr {
	return netip.AddrFrom4([4]byte{2: byte(port >> 8), 3: byte(port)})
}

// keysOf are the choices there are for a string, the best first. k is what else a key has.
func keysOf(k key, is match.String) (out []keys) {
	if is.IgnoreCase && is.Kind != match.Regex {
		return nil
	}
	k.text = is.Value
	switch is.Kind {
	case match.Exact:
		return []keys{{k}}
	case match.Prefix:
		k.kind = beginning
		return []keys{{k}}
	case match.Suffix:
		k.kind = ending
		return []keys{{k}}
	case match.Contains:
		return append(keysWithin(k.of, is.Value), gramsOf(k, is.Value)...)
	case match.Regex:
		return keysOfRegex(k, is.Value)
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
func keysOfRegex(k key, expr string) (out []keys) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	var grams []keys
	for i, part := range parts {
		if part.Op != syntax.OpLiteral || part.Flags&syntax.FoldCase != 0 || slices.Contains(part.Rune, utf8.RuneError) {
			continue // utf8.RuneError is matched by all bytes that are not of UTF-8
		}
		k.text = string(part.Rune)
		out = append(out, keysWithin(k.of, k.text)...)
		if k.kind = ending; i == len(parts)-1 {
			out = append(out, keys{k})
		}
		if k.kind = beginning; i == 0 {
			out = append(out, keys{k})
		}
		grams = append(grams, gramsOf(k, k.text)...)
	}
	return append(out, grams...)
}

// gramsOf are the last grams of a text, each of which is wherever the text is.
func gramsOf(k key, text string) (out []keys) {
	k.kind = inside
	for end := len(text); end >= gram && len(out) < mostGrams; end-- {
		k.text = text[end-gram : end]
		out = append(out, keys{k})
	}
	return out
}

// certain are keys of a string such that whatever has one of them fulfils it; none if nothing is that simple. k is what else a key has.
func certain(k key, is match.String) keys {
	if is.Kind != match.Exact && is.Kind != match.Prefix && is.Kind != match.Suffix {
		return nil
	}
	for _, only := range keysOf(k, is) {
		return only
	}
	return nil
}
