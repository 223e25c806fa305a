package resolver

import (
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
)

// A text is a StringMatch made ready.
type text struct {
	kind      StringKind
	value     string // in lower case with fold
	fold      bool
	re        *regexp.Regexp
	low, high int64
}

func newText(m StringMatch) (text, error) {
	t := text{kind: m.Kind, value: m.Value, fold: m.IgnoreCase, low: m.Low, high: m.High}
	switch m.Kind {
	case StringExact, StringPrefix, StringSuffix, StringContains:
		if t.fold {
			t.value = toLower(t.value)
		}
	case StringRegex:
		re, err := whole(m.Value)
		t.re = re
		return t, err
	case StringPresent, StringRange:
	default:
		return t, fmt.Errorf("unknown kind %d", m.Kind)
	}
	return t, nil
}

// Holds reports whether s fulfils m; nothing fulfils one that cannot be compiled.
// It makes m ready anew each time: calls are matched by a [Table].
func (m StringMatch) Holds(s string) bool {
	t, err := newText(m)
	return err == nil && t.matches(s)
}

func (t *text) matches(s string) bool {
	switch t.kind {
	case StringExact:
		return len(s) == len(t.value) && hasPrefix(s, t.value, t.fold)
	case StringPrefix:
		return hasPrefix(s, t.value, t.fold)
	case StringSuffix:
		return len(s) >= len(t.value) && hasPrefix(s[len(s)-len(t.value):], t.value, t.fold)
	case StringContains:
		return contains(s, t.value, t.fold)
	case StringRegex:
		return t.re.MatchString(s)
	case StringRange:
		n, ok := integer(s)
		return ok && t.low <= n && n < t.high
	default:
		return true
	}
}

// whole compiles an expression that the whole of a string must match. What goes
// into the brackets is printed from the parsed expression, so that it can't reach out of them.
func whole(expr string) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("regex: %w", err)
	}
	re, err := regexp.Compile(`\A(?:` + parsed.String() + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("regex: %w", err)
	}
	return re, nil
}

// hasPrefix reports whether s begins with p, which is in lower case if fold is set.
func hasPrefix(s, p string, fold bool) bool {
	if !fold || len(s) < len(p) {
		return strings.HasPrefix(s, p)
	}
	for i := range len(p) {
		if lower(s[i]) != p[i] {
			return false
		}
	}
	return true
}

func contains(s, part string, fold bool) bool {
	if !fold {
		return strings.Contains(s, part)
	}
	for i := 0; i+len(part) <= len(s); i++ {
		if hasPrefix(s[i:], part, true) {
			return true
		}
	}
	return false
}

// integer reads a decimal integer. Unlike strconv's it has no error to allocate.
func integer(s string) (n int64, ok bool) {
	negative := strings.HasPrefix(s, "-")
	if negative || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	if s == "" {
		return 0, false
	}
	var u uint64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || u > math.MaxInt64/10 {
			return 0, false
		}
		u = u*10 + uint64(c-'0')
	}
	switch {
	case negative && u <= 1<<63:
		return -int64(u), true
	case !negative && u <= math.MaxInt64:
		return int64(u), true
	}
	return 0, false
}

// lower is for ASCII: names and paths have no other letters that could differ in case.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func isLower(s string) bool {
	for i := range len(s) {
		if lower(s[i]) != s[i] {
			return false
		}
	}
	return true
}

func toLower(s string) string {
	if isLower(s) {
		return s
	}
	return string(appendLower(nil, s))
}

func appendLower(b []byte, s string) []byte {
	for i := range len(s) {
		b = append(b, lower(s[i]))
	}
	return b
}
