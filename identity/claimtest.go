package identity

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// A claimTest is a condition on a claim. What no token has fulfils none (Envoy metadata): its negation holds.
//
// A claim is perhaps what it is written as, be it a number, and what any element of it is. Surely it is a string, or, with InList, an
// element of a list is.
type claimTest struct {
	provider string // empty is any
	path     []string
	inList   bool
	present  bool
	numbers  bool // of a range
	is       match.Matcher
}

func (t *test) readyClaim(c *Condition, f *faults) {
	t.claim = &claimTest{provider: c.Name, path: c.Path, inList: c.InList, present: c.Is.Kind == match.Present, numbers: c.Is.Kind == match.Range}
	if len(c.Path) == 0 || slices.Contains(c.Path, "") {
		f.add("claim: has no path")
	}
	t.readyString(c.Is, nil, f)
	t.claim.is = t.is
	if c.Is.Kind != match.Range && c.Is.Kind != match.Present && !slices.ContainsFunc(c.Path, func(k string) bool { return strings.Contains(k, claimSeparator) }) {
		t.keys = keysOf(key{of: ofClaim, name: strings.Join(c.Path, claimSeparator)}, c.Is)
	}
}

func (c *claimTest) holds(claims []Claims, perhaps bool) bool {
	for i := range claims {
		if c.provider != "" && c.provider != claims[i].Provider {
			continue
		}
		if v, ok := walk(claims[i].Payload, c.path); ok && c.value(v, perhaps) {
			return true
		}
	}
	return false
}

func walk(object map[string]any, path []string) (any, bool) {
	for _, key := range path[:len(path)-1] {
		inner, ok := object[key].(map[string]any)
		if !ok {
			return nil, false
		}
		object = inner
	}
	v, ok := object[path[len(path)-1]]
	return v, ok
}

func (c *claimTest) value(v any, perhaps bool) bool {
	list, isList := v.([]any)
	switch {
	case c.present && !c.inList:
		return v != nil || perhaps
	case !isList:
		return (!c.inList || perhaps) && c.scalar(v, perhaps)
	case !c.inList && !perhaps:
		return false
	}
	for _, element := range list {
		if c.scalar(element, perhaps) {
			return true
		}
	}
	return false
}

func (c *claimTest) scalar(v any, perhaps bool) bool {
	switch v := v.(type) {
	case string:
		return c.is.Matches(v) && (!c.numbers || perhaps)
	case float64, json.Number:
		if !c.numbers && !c.present && !perhaps {
			return false
		}
	case bool:
		if !c.present && !perhaps {
			return false
		}
	default:
		return c.present && (v != nil || perhaps)
	}
	text, _ := written(v)
	return c.is.Matches(text)
}

// written is a string, number or truth value as text.
func written(v any) (text string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
