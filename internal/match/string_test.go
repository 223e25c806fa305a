package match_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/internal/match"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStrings(t *testing.T) {
	for _, tc := range []struct {
		is   match.String
		yes  string
		no   string
		nay  string
		note string
	}{
		{match.String{Kind: match.Exact, Value: "Ab", IgnoreCase: true}, "aB", "ab ", "a", "letter case"},
		{match.String{Kind: match.Prefix, Value: "ab"}, "abc", "aab", "", "prefix"},
		{match.String{Kind: match.Suffix, Value: "ab"}, "cab", "abc", "", "suffix"},
		{match.String{Kind: match.Contains, Value: "Ab", IgnoreCase: true}, "xABx", "axb", "", "contains"},
		{match.String{Kind: match.Regex, Value: "a|b"}, "b", "xb", "ax", "the whole string, whatever the expression"},
		{match.String{Kind: match.Range, Low: -1, High: 5}, "4", "5", "x", "range"},
	} {
		if !tc.is.Holds(tc.yes) || tc.is.Holds(tc.no) || tc.is.Holds(tc.nay) {
			t.Errorf("%s: %+v", tc.note, tc.is)
		}
	}
	if !(match.String{Kind: match.Present}).Holds("") {
		t.Error("what is there is not present")
	}
	if (match.String{Kind: match.Regex, Value: "("}).Holds("") || (match.String{Kind: 99}).Holds("") {
		t.Error("what can't be compiled holds")
	}
}

func TestNames(t *testing.T) {
	if got := match.Named("X-Role"); got.Lower != "x-role" || got.Canonical != "X-Role" {
		t.Error(got)
	}
}

// The whole of a string is matched, however an expression is written: none reaches out of the brackets that it is put in.
func TestWhole(t *testing.T) {
	for _, tc := range []struct{ expr, yes, no string }{
		{"a|b", "b", "bx"},
		{`\Qa|b`, "a|b", "a"},
		{`\Qa)|(?:`, "a)|(?:", "a"},
		{`\\Q|b`, `\Q`, `\Qb`},
		{`x\Q.\E[^/]`, "x.a", "x./"},
		{"(?i)a|b", "B", "Bb"},
		{"(?s:a.)|b$", "a\n", "b\n"},
		{"", "", "a"},
	} {
		re, err := match.Whole(tc.expr)
		if err != nil || !re.MatchString(tc.yes) || re.MatchString(tc.no) {
			t.Errorf("%s: %v, %v", tc.expr, re, err)
		}
	}
	for _, expr := range []string{"a)|(?:b", "a)", "(a", "[a", `a\`, "(?i", "a)\\z|(?:"} {
		if re, err := match.Whole(expr); err == nil {
			t.Errorf("%s is %v", expr, re)
		}
	}
}
