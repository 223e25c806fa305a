package jwt_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/jwt"
	"github.com/weftmesh/weft/internal/match"
)

func TestPlaces(t *testing.T) {
	good, bad := es().sign(usual(nil)), es2().sign(usual(nil))
	in := func(kind identity.PlaceKind, name, prefix string) []identity.TokenPlace {
		return []identity.TokenPlace{{Kind: kind, Name: name, Prefix: prefix}}
	}
	query := func(q string) *identity.Request {
		r := with()
		r.Query = q
		return r
	}
	const fine, missing, refused = "fine", "missing", "refused"
	for _, tc := range []struct {
		what string
		from []identity.TokenPlace
		r    *identity.Request
		want string
	}{
		{"nothing", nil, with(), missing},
		{"no headers at all", nil, &identity.Request{Path: "/"}, missing},
		{"bearer", nil, with("authorization", "Bearer "+good), fine},
		{"the case of a scheme does not count", nil, with("authorization", "bEARER "+good), fine},
		{"nor do spaces", nil, with("authorization", "Bearer \t "+good+" "), fine},
		{"nor does a bad token slip through by these", nil, with("authorization", "bearer  "+bad), refused},
		{"another scheme", nil, with("authorization", "Basic "+good), missing},
		{"a scheme that begins alike", nil, with("authorization", "Bearers "+good), missing},
		{"a scheme alone", nil, with("authorization", "Bearer"), refused},
		{"two lines", nil, with("authorization", "Bearer "+good, "authorization", "Bearer "+good), refused},
		{"two lines, one of another scheme", nil, with("authorization", "Basic x", "authorization", "Bearer "+good), refused},
		{"two lines of other schemes", nil, with("authorization", "Basic x", "authorization", "Basic y"), refused},
		{"two in one line", nil, with("authorization", "Bearer "+good+", Bearer "+good), refused},
		{"default parameter", nil, query("a=b&access_token=" + good), fine},
		{"parameter, written otherwise", nil, query("access%5Ftoken=" + good), fine},
		{"twice the parameter", nil, query("access_token=" + good + "&access_token=" + good), refused},
		{"twice, written otherwise", nil, query("access_token=" + good + "&access%5ftoken=" + bad), refused},
		{"behind ten thousand", nil, query(strings.Repeat("a=b&", 10_001) + "access_token=" + bad), refused},
		{"an empty parameter", nil, query("access_token="), refused},
		{"another parameter", nil, query("access_token2=" + good + "&Access_token=" + good), missing},
		{"both places, one is bad", nil, func() *identity.Request { r := bearer(good); r.Query = "access_token=" + bad; return r }(), refused},
		{"both places, both good", nil, func() *identity.Request { r := bearer(good); r.Query = "access_token=" + good; return r }(), fine},
		{"a header", in(identity.InHeader, "x-token", ""), with("x-token", good), fine},
		{"a header with a prefix", in(identity.InHeader, "x-token", "JWT_"), with("x-token", "JWT_"+good), fine},
		{"a header without its prefix", in(identity.InHeader, "x-token", "JWT_"), with("x-token", good), missing},
		{"only the places that are named", in(identity.InHeader, "x-token", ""), bearer(good), missing},
		{"two lines of a header", in(identity.InHeader, "x-token", ""), with("x-token", good, "x-token", bad), refused},
		{"a cookie", in(identity.InCookie, "session", ""), with("cookie", "a=b; session="+good+"; c=d"), fine},
		{"a cookie in quotes", in(identity.InCookie, "session", ""), with("cookie", `session="`+good+`"`), fine},
		{"a cookie in the second line", in(identity.InCookie, "session", ""), with("cookie", "a=b", "cookie", "session="+good), fine},
		{"two cookies", in(identity.InCookie, "session", ""), with("cookie", "session="+good, "cookie", "session="+bad), refused},
		{"another cookie", in(identity.InCookie, "session", ""), with("cookie", "xsession="+good), missing},
	} {
		p := provider(es())
		p.From = tc.from
		got := verify(t, needs(p), tc.r)
		is := refused
		switch {
		case got.Err == nil && len(got.Claims) == 1:
			is = fine
		case got.Err != nil && got.Missing:
			is = missing
		}
		if is != tc.want {
			t.Errorf("%s: %s, want %s: %+v", tc.what, is, tc.want, got)
		}
	}
}

func TestTokensAreTakenOut(t *testing.T) {
	good := es().sign(usual(nil))
	p := provider(es())
	p.From = []identity.TokenPlace{
		{Kind: identity.InHeader, Name: "x-a"}, {Kind: identity.InHeader, Name: "x-b"},
		{Kind: identity.InQuery, Name: "t"}, {Kind: identity.InCookie, Name: "s"},
	}
	r := with("x-a", good, "cookie", "a=b; s="+good+"; c=d")
	r.Query = "x=1&t=" + good + "&y=%zz"
	got := verify(t, needs(p), r)
	if got.Err != nil || len(got.Claims) != 1 || !slices.Equal(got.Remove, []string{"x-a"}) ||
		!slices.Equal(got.RemoveQuery, []string{"t"}) || !slices.Equal(got.RemoveCookies, []string{"s"}) {
		t.Fatalf("%+v", got)
	}
	if q := jwt.WithoutParameters(r.Query, got.RemoveQuery); q != "x=1&y=%zz" {
		t.Error(q)
	}
	if c := jwt.WithoutCookies("s="+good+"; a=b; s=2;c=d", got.RemoveCookies); c != "a=b;c=d" {
		t.Error(c)
	}
	p.Forward = true
	if got := verify(t, needs(p), r); got.Err != nil || len(got.Remove)+len(got.RemoveQuery)+len(got.RemoveCookies) > 0 {
		t.Errorf("handed on: %+v", got)
	}
}

func TestClaims(t *testing.T) {
	p := provider(es())
	p.PayloadHeader = "x-payload"
	p.SpaceDelimited = []string{"roles"}
	p.ClaimHeaders = []identity.ClaimHeader{
		{Header: "x-sub", Claim: "sub"}, {Header: "x-team", Claim: "org.team.name"}, {Header: "x-level", Claim: "level"},
		{Header: "x-admin", Claim: "admin"}, {Header: "x-groups", Claim: "groups"}, {Header: "x-dots", Claim: "https://a.b/c"},
		{Header: "x-none", Claim: "none"}, {Header: "x-null", Claim: "null"}, {Header: "x-lines", Claim: "lines"}, {Header: "x-scope", Claim: "scope"},
		{Header: "x-big", Claim: "big"},
	}
	c := usual(claims{
		"org": map[string]any{"team": map[string]any{"name": "blue"}}, "level": 3, "admin": true, "groups": []string{"a", "b"},
		"https://a.b/c": "d", "null": nil, "lines": "a\r\nx-role: root", "scope": "read  write", "roles": "x", "note": "a b",
		"big": json.Number("9007199254740993"), "exact": json.Number("9007199254740992"), "part": 0.1,
	})
	c["null"] = nil
	r := bearer(es().sign(c))
	got := verify(t, needs(p), r)
	if got.Err != nil || len(got.Claims) != 1 {
		t.Fatalf("%+v", got)
	}
	is := got.Claims[0]
	if is.Provider != "p" || is.Issuer != issuer || is.Subject != "alice" || !slices.Equal(is.Audience, []string{"shop"}) {
		t.Errorf("%+v", is)
	}
	for name, want := range map[string]any{
		"sub": "alice", "level": 3.0, "admin": true, "groups": []any{"a", "b"}, "null": nil, "note": "a b", "part": 0.1,
		"scope": []any{"read", "write"}, "roles": []any{"x"}, "big": json.Number("9007199254740993"), "exact": 9007199254740992.0,
	} {
		if v, has := is.Payload[name]; !has || !reflect.DeepEqual(v, want) {
			t.Errorf("%s: %#v, want %#v", name, v, want)
		}
	}
	set := map[string]string{}
	for _, f := range got.Set {
		set[f.Name] = f.Value
	}
	payload := strings.Split(strings.TrimPrefix(r.Header.Values(match.Named("authorization"))[0], "Bearer "), ".")[1]
	if want := map[string]string{
		"x-payload": payload, "x-sub": "alice", "x-team": "blue", "x-level": "3", "x-admin": "true", "x-groups": b64(`["a","b"]`),
		"x-dots": "d", "x-scope": "read  write", "x-big": "9007199254740993",
	}; !reflect.DeepEqual(set, want) {
		t.Errorf("%v\nwant %v", set, want)
	}
	// What claims are carried by is taken from everybody (B10), whether or not there is a token, or the path needs one.
	j := needs(p)
	j.Requirements[0].Need.Kind = identity.NeedNothing
	for _, j := range []*identity.JWT{needs(p), j, {Providers: j.Providers}} {
		got := verify(t, j, with("x-sub", "root"))
		if got.Err == nil && (len(got.Set) > 0 || !slices.Contains(got.Remove, "x-sub") || !slices.Contains(got.Remove, "x-payload")) {
			t.Errorf("%+v", got)
		}
	}
	if !slices.Contains(got.Remove, "x-none") || !slices.Contains(got.Remove, "x-lines") || !slices.Contains(got.Remove, "authorization") {
		t.Errorf("%v", got.Remove)
	}
}
