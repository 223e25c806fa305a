package match

import (
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
)

// Kind says how a String compares.
type Kind uint8

// The kinds of String.
const (
	Exact Kind = iota
	Prefix
	Suffix
	Contains
	Regex // the whole string matches (RE2 syntax)
	// Present is fulfilled by being there.
	Present
	// Range wants a decimal integer in [Low, High).
	Range
)

// A String is a condition on a string, as a value.
type String struct {
	Kind       Kind
	Value      string
	IgnoreCase bool // not for Regex, Range, Present
	Low, High  int64
}

// Holds reports whether s fulfils m; nothing fulfils one that cannot be compiled.
// It makes m ready anew each time: for calls it is compiled once.
func (m String) Holds(s string) bool {
	t, err := m.Compile()
	return err == nil && t.Matches(s)
}

// A Matcher is a String made ready. Matching does not allocate; it is safe for concurrent use.
type Matcher struct {
	kind      Kind
	value     string // in lower case with fold
	fold      bool
	re        *regexp.Regexp
	low, high int64
}

// Compile makes m ready. It fails for a bad expression and an unknown kind.
func (m String) Compile() (Matcher, error) {
	t := Matcher{kind: m.Kind, value: m.Value, fold: m.IgnoreCase, low: m.Low, high: m.High}
	switch m.Kind {
	case Exact, Prefix, Suffix, Contains:
		if t.fold {
			t.value = ToLower(t.value)
		}
	case Regex:
		re, err := Whole(m.Value)
		t.re = re
		return t, err
	case Present, Range:
	default:
		return t, fmt.Errorf("unknown kind %d", m.Kind)
	}
	return t, nil
}

// Kind says how the condition compares.
func (t *Matcher) Kind() Kind { return t.kind }

// Only is the one string that fulfils the condition, if there is but one.
func (t *Matcher) Only() (string, bool) { return t.value, t.kind == Exact && !t.fold }

// Matches reports whether s fulfils the condition.
func (t *Matcher) Matches(s string) bool {
	switch t.kind {
	case Exact:
		return len(s) == len(t.value) && HasPrefix(s, t.value, t.fold)
	case Prefix:
		return HasPrefix(s, t.value, t.fold)
	case Suffix:
		return len(s) >= len(t.value) && HasPrefix(s[len(s)-len(t.value):], t.value, t.fold)
	case Contains:
		return contains(s, t.value, t.fold)
	case Regex:
		return t.re.MatchString(s)
	case Range:
		n, ok := integer(s)
		return ok && t.low <= n && n < t.high
	default:
		return true
	}
}

// Whole compiles an expression that the whole of a string must match. An expression that stands for itself can't reach out of the brackets it is
// put in, but for "\Q", which quotes what follows: one with that is printed from what was parsed. Printing takes milliseconds for classes
// such as "[^/]".
func Whole(expr string) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("regex: %w", err)
	}
	if strings.Contains(expr, `\Q`) {
		expr = parsed.String()
	}
	re, err := regexp.Compile(`\A(?:` + expr + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("regex: %w", err)
	}
	return re, nil
}

// HasPrefix reports whether s begins with p, which is in lower case if fold is set.
func HasPrefix(s, p string, fold bool) bool {
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
		if HasPrefix(s[i:], part, true) {
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

// IsLower reports whether s has no capital letter of ASCII.
func IsLower(s string) bool {
	for i := range len(s) {
		if lower(s[i]) != s[i] {
			return false
		}
	}
	return true
}

// ToLower is s with the capital letters of ASCII in lower case.
func ToLower(s string) string {
	if IsLower(s) {
		return s
	}
	return string(AppendLower(nil, s))
}

// AppendLower appends ToLower(s) to b.
func AppendLower(b []byte, s string) []byte {
	for i := range len(s) {
		b = append(b, lower(s[i]))
	}
	return b
}
