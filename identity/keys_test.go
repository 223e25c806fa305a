package identity

import (
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/match"
)

// Whatever fulfils a condition on a string has a key of each of its choices, and whatever has a key that is enough fulfils it.
func TestKeysOfStrings(t *testing.T) {
	conditions := []match.String{
		exact("/a/b"), prefix("/a/b"), suffix("/a/b"), contains("/a/b"), contains("ab"), exact(""), {Kind: match.Contains, Value: "/A/B", IgnoreCase: true}, {Value: "/A/B", IgnoreCase: true},
		regex("/a/b"), regex("/a/b.*"), regex(".*/a/b"), regex(".*/a/b.*"), regex("(/a/b)?"), regex("(/a/b)+"), regex("/a/b|/b"), regex("/a/(b|c)/d"), regex("(?i)/a/b"), regex("/a(?i:/b)/c"),
		regex("^/a/b$"), regex("/a/b{2}"), regex("[/]a/b"), regex("/a/b*"), regex(`/a/\x{fffd}/b`), regex("\ufffd{3}abc"), regex("/é/ab.*"), regex("(?s)./a/b."), regex(`\Q/a/b\E.`), regex("/a/b(?:)"),
	}
	pieces := []string{"/a/b", "/A/B", "/a", "/b", "b", "a", "/", "c", "/c", "/d", "é", "\xff", "\ufffd", "\n", "abc", "/ab", "/a/\xff/b", "\xff\xff\xffabc"}
	d := random(1)
	var held, certainly int
	for range 20_000 {
		is, text := one(d, conditions...), ""
		for range d(5) {
			text += one(d, pieces...)
		}
		for _, of := range []subject{ofPath, ofPeer} {
			k := key{of: of}
			has := func(k key) bool { return hasKey(text, k) }
			if is.Holds(text) {
				held++
				for _, ks := range keysOf(k, is) {
					if !slices.ContainsFunc(ks, has) {
						t.Fatalf("%q fulfils %+v, and has none of %+v", text, is, ks)
					}
				}
			}
			if slices.ContainsFunc(certain(k, is), has) {
				certainly++
				if !is.Holds(text) {
					t.Fatalf("%q has one of %+v, and does not fulfil %+v", text, certain(k, is), is)
				}
			}
		}
	}
	if held < 500 || certainly < 100 {
		t.Errorf("%d held, %d for sure: this proves nothing", held, certainly)
	}
}

func hasKey(text string, k key) bool {
	switch k.kind {
	case entire:
		return text == k.text
	case beginning:
		return strings.HasPrefix(text, k.text)
	case ending:
		return strings.HasSuffix(text, k.text)
	case segment:
		return slices.Contains(strings.Split(text, "/"), k.text)
	default:
		return strings.Contains(text, k.text)
	}
}
