package jwt_test

import (
	"strings"
	"testing"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/jwt"
	"github.com/weftmesh/weft/internal/match"
)

func TestRequirements(t *testing.T) {
	a, b := provider(es()), provider(es2())
	a.Name, b.Name = "a", "b"
	b.Issuer = "https://other.example"
	b.From = []identity.TokenPlace{{Kind: identity.InHeader, Name: "authorization", Prefix: "Bearer "}, {Kind: identity.InHeader, Name: "x-b"}}
	ofA := es().sign(usual(nil))
	ofB := es2().sign(usual(claims{"iss": b.Issuer}))
	stranger := es().sign(usual(claims{"iss": "https://evil.example"}))
	expired := es().sign(usual(claims{"exp": 1}))
	forged := es2().sign(usual(nil))

	missing := identity.Requirement{Kind: identity.AllowMissing}
	either := identity.Requirement{Kind: identity.AllowMissingOrBad}
	needA, needB := token("a"), token("b")
	other := needA
	other.Audiences = []string{"warehouse"}
	none := needA
	none.Audiences = []string{}
	anyOf, allOf := identity.NeedAnyOf, identity.NeedAllOf
	optional := list(anyOf, needA, missing)
	istio := list(anyOf, needA, needB, list(allOf, list(anyOf, needA, missing), list(anyOf, needB, missing)))

	nothing := with()
	onlyA, onlyB, bAside := bearer(ofA), bearer(ofB), with("x-b", ofB)
	both := with("authorization", "Bearer "+ofA, "x-b", ofB)
	badB := with("authorization", "Bearer "+ofA, "x-b", forged)
	for _, tc := range []struct {
		what string
		need identity.Requirement
		r    *identity.Request
		want string // the providers of the claims, or why it is refused
	}{
		{"nothing is needed", identity.Requirement{}, bearer(forged), ""},
		{"one is needed", needA, onlyA, "a"},
		{"one is needed, none is there", needA, nothing, "missing"},
		{"one is needed, another is there", needA, onlyB, "bad"},
		{"one is needed, one is expired", needA, bearer(expired), "bad"},
		{"other audiences", other, onlyA, "bad"},
		{"other audiences, met", other, bearer(es().sign(usual(claims{"aud": "warehouse"}))), "a"},
		{"any audience", none, bearer(es().sign(usual(claims{"aud": "x"}))), "a"},
		{"any: first", list(anyOf, needA, needB), onlyA, "a"},
		{"any: second", list(anyOf, needA, needB), onlyB, "b"},
		{"any: both", list(anyOf, needA, needB), both, "a b"},
		{"any: none", list(anyOf, needA, needB), nothing, "missing"},
		{"any: a good one does not make up for a bad one", list(anyOf, needA, needB), badB, "bad"},
		{"any: a stranger's", list(anyOf, needA, needB), bearer(stranger), "bad"},
		{"any: one audience or another", list(anyOf, other, needA), onlyA, "a"},
		{"all: both", list(allOf, needA, needB), both, "a b"},
		{"all: one is missing", list(allOf, needA, needB), onlyA, "missing"},
		{"all: one is bad", list(allOf, needA, needB), badB, "bad"},
		{"all: none", list(allOf, needA, needB), nothing, "missing"},
		{"missing: none", missing, nothing, ""},
		{"missing: of one", missing, onlyA, "a"},
		{"missing: of another", missing, bAside, "b"},
		{"missing: expired (D10)", missing, bearer(expired), "bad"},
		{"missing: a stranger's (D10)", missing, bearer(stranger), "bad"},
		{"missing: no JWT (D10)", missing, bearer("opaque"), "bad"},
		{"optional: none", optional, nothing, ""},
		{"optional: good", optional, onlyA, "a"},
		{"optional: a stranger's (D10)", optional, bearer(stranger), "bad"},
		{"optional: forged (D10)", optional, bearer(forged), "bad"},
		{"optional: another provider's, which is not asked for (D10)", optional, onlyB, "bad"},
		{"optional: another provider's where nobody looks", optional, bAside, ""},
		{"Istio's two: none", istio, nothing, ""},
		{"Istio's two: first", istio, onlyA, "a"},
		{"Istio's two: second", istio, onlyB, "b"},
		{"Istio's two: both", istio, both, "a b"},
		{"Istio's two: one is bad", istio, badB, "bad"},
		{"Istio's two: a stranger's", istio, bearer(stranger), "bad"},
		{"or bad: none", either, nothing, ""},
		{"or bad: forged", either, bearer(forged), ""},
		{"or bad: good", either, onlyA, "a"},
		{"or bad: one of two", either, badB, "a"},
		{"or bad, beside one that is needed", list(allOf, needA, either), badB, "a"},
		{"or bad, beside one that is needed and bad", list(allOf, needA, either), bearer(forged), "bad"},
		{"or bad, beside one that may be missing", list(allOf, optional, either), nothing, ""},
		{"or bad, beside one that may be missing and is a stranger's", list(allOf, optional, either), bearer(stranger), "bad"},
		{"or bad, in place of one", list(anyOf, needA, either), bearer(forged), ""},
	} {
		j := &identity.JWT{Providers: []identity.Provider{a, b}, Requirements: []identity.PathRequirement{{Need: tc.need}}}
		if faults := jwt.Check(j); len(faults) > 0 {
			t.Errorf("%s: %v", tc.what, faults)
		}
		got := verify(t, j, tc.r)
		var is string
		switch {
		case got.Err != nil && got.Missing:
			is = "missing"
		case got.Err != nil:
			is = "bad"
		default:
			var names []string
			for _, c := range got.Claims {
				names = append(names, c.Provider)
			}
			is = strings.Join(names, " ")
		}
		if is != tc.want {
			t.Errorf("%s: %q, want %q: %v", tc.what, is, tc.want, got.Err)
		}
		if got.Err != nil && (len(got.Claims) > 0 || len(got.Set) > 0) {
			t.Errorf("%s: claims beside an error (D20): %+v", tc.what, got)
		}
		if challenge := got.Challenge(`sh"op`); got.Err != nil && strings.Contains(challenge, "error") == got.Missing || !strings.HasPrefix(challenge, `Bearer realm="shop"`) {
			t.Errorf("%s: %s", tc.what, challenge)
		}
	}
}

func TestPaths(t *testing.T) {
	path := func(kind match.Kind, value string) identity.Condition {
		return identity.Condition{Kind: identity.PathIs, Is: match.String{Kind: kind, Value: value}}
	}
	role := identity.Condition{Kind: identity.HeaderIs, Name: "x-role", Is: match.String{Kind: match.Exact, Value: "a"}}
	get := identity.Condition{Kind: identity.HeaderIs, Name: ":method", Is: match.String{Kind: match.Exact, Value: "GET"}}
	one := func(c identity.Condition, need identity.NeedKind) identity.PathRequirement {
		q := identity.PathRequirement{Path: c, Need: identity.Requirement{Kind: need}}
		if need == identity.NeedToken {
			q.Need.Provider = "p"
		}
		return q
	}
	j := &identity.JWT{Providers: []identity.Provider{provider(es())}, Requirements: []identity.PathRequirement{
		one(path(match.Exact, "/health"), identity.NeedNothing),
		one(identity.Condition{Kind: identity.PathFits, Is: match.String{Value: "/t/*/x"}}, identity.NeedNothing),
		one(identity.Condition{Kind: identity.All, Of: []identity.Condition{path(match.Prefix, "/r/"), role, get}}, identity.NeedNothing),
		one(identity.Condition{Kind: identity.Any, Of: []identity.Condition{path(match.Prefix, "/r/"), path(match.Prefix, "/a/")}}, identity.NeedToken),
		one(identity.Condition{Kind: identity.Not, Of: []identity.Condition{path(match.Prefix, "/open")}}, identity.NeedToken),
	}}
	if faults := jwt.Check(j); len(faults) > 0 {
		t.Fatal(faults)
	}
	at := func(path string, lines ...string) *identity.Request {
		r := with(lines...)
		r.Path = path
		return r
	}
	bad := []string{"authorization", "Bearer x"}
	for _, tc := range []struct {
		r    *identity.Request
		lets bool
	}{
		{at("/health"), true}, {at("/health", bad...), true}, {at("/healthy"), false}, {at("/Health"), false}, {at("/t/1/x"), true}, {at("/t/1/2/x"), false},
		{at("/r/1"), false}, {at("/r/1", "x-role", "a"), true}, {at("/r/1", "x-role", "b"), false}, {at("/r/1", "x-role", "a", "x-role", "b"), false},
		{at("/a/1"), false}, {at("/open/1"), true}, {at("/open/1", bad...), true}, {at("/else"), false},
		{at(""), false}, {&identity.Request{Path: "/r/1"}, false},
	} {
		if got := verify(t, j, tc.r); (got.Err == nil) != tc.lets {
			t.Errorf("%s %v: %v", tc.r.Path, tc.r.Header, got.Err)
		}
	}
	if got := verify(t, j, &identity.Request{Connection: true}); got.Err != nil {
		t.Error("a connection has no tokens: ", got.Err)
	}
	if got := verify(t, nil, bearer("x")); got.Err != nil {
		t.Error(got.Err)
	}
}

// What can't be told is refused when it is configured, and lets nothing through after that.
func TestFaults(t *testing.T) {
	good := bearer(es().sign(usual(nil)))
	for what, change := range map[string]func(*identity.JWT){
		"no such provider":  func(j *identity.JWT) { j.Requirements[0].Need.Provider = "q" },
		"an empty list":     func(j *identity.JWT) { j.Requirements[0].Need = list(identity.NeedAllOf) },
		"a need of no kind": func(j *identity.JWT) { j.Requirements[0].Need.Kind = 99 },
		"a condition on what is not known yet": func(j *identity.JWT) {
			j.Requirements[0].Path = identity.Condition{Kind: identity.ClaimIs, Path: []string{"sub"}}
		},
		"a negated one": func(j *identity.JWT) {
			j.Requirements[0].Path = identity.Condition{Kind: identity.Not, Of: []identity.Condition{{Kind: identity.Authentic}}}
		},
		"a condition of no kind": func(j *identity.JWT) {
			j.Requirements[0].Path = identity.Condition{Kind: identity.Not, Of: []identity.Condition{{}}}
		},
		"a bad expression": func(j *identity.JWT) {
			j.Requirements[0].Path = identity.Condition{Kind: identity.PathIs, Is: match.String{Kind: match.Regex, Value: "("}}
		},
		"a bad subject":      func(j *identity.JWT) { j.Providers[0].Subjects = []match.String{{Kind: match.Regex, Value: "("}} },
		"two of one name":    func(j *identity.JWT) { j.Providers = append(j.Providers, j.Providers[0]) },
		"no name":            func(j *identity.JWT) { j.Providers[0].Name = ""; j.Requirements[0].Need.Provider = "" },
		"a place of no name": func(j *identity.JWT) { j.Providers[0].From = []identity.TokenPlace{{Kind: identity.InCookie}} },
		"a place of no kind": func(j *identity.JWT) { j.Providers[0].From = []identity.TokenPlace{{Kind: 9, Name: "x"}} },
		"claims as host":     func(j *identity.JWT) { j.Providers[0].PayloadHeader = "host" },
		"claims as what the mesh vouches for": func(j *identity.JWT) {
			j.Providers[0].ClaimHeaders = []identity.ClaimHeader{{Header: "x-forwarded-client-cert", Claim: "sub"}}
		},
		"claims as the path":           func(j *identity.JWT) { j.Providers[0].PayloadHeader = ":path" },
		"claims as two lines":          func(j *identity.JWT) { j.Providers[0].PayloadHeader = "x\r\ny" },
		"a negative time":              func(j *identity.JWT) { j.Providers[0].Skew = -1 },
		"bad keys":                     func(j *identity.JWT) { j.Providers[0].JWKS = "<html>" },
		"no keys":                      func(j *identity.JWT) { j.Providers[0].JWKS = `{"keys":[]}` },
		"no place of keys":             func(j *identity.JWT) { j.Providers[0].JWKS = "" },
		"a place of keys that is none": func(j *identity.JWT) { j.Providers[0].JWKS, j.Providers[0].URI = "", "file:///etc/keys" },
	} {
		j := needs(provider(es()))
		if got := verify(t, j, good); got.Err != nil || len(jwt.Check(j)) > 0 {
			t.Fatal("control: ", got.Err, jwt.Check(j))
		}
		j = needs(provider(es()))
		change(j)
		if len(jwt.Check(j)) == 0 {
			t.Errorf("%s: no fault is found", what)
		}
		if got := verify(t, j, good); got.Err == nil {
			t.Errorf("%s: let in", what)
		}
	}
	// Keys that are none are one provider's matter.
	bad := provider(es2())
	bad.Name, bad.JWKS = "q", "x"
	j := needs(provider(es()))
	j.Providers = append(j.Providers, bad)
	if got := verify(t, j, good); got.Err != nil || len(jwt.Check(j)) != 1 {
		t.Error(got.Err, jwt.Check(j))
	}
}
