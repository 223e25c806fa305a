package identity

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/weftmesh/weft/internal/match"
)

// A rule on a method is of what the request can be taken for: DENY of any of it, ALLOW of all of it (A17).
func TestMethodsThatAreTakenForOthers(t *testing.T) {
	is := func(method string, grpc bool, header lines) *Request {
		return with(func(r *Request) { r.Method, r.GRPC, r.Header = method, grpc, header })
	}
	by := func(name string, values ...string) lines { return lines{name: values} }
	remove, post := header(":method", exact("DELETE")), header(":method", exact("POST"))
	for _, tc := range []struct {
		note string
		is   Condition
		r    *Request
		want string
	}{
		{"it", remove, is("DELETE", false, lines{}), holds},
		{"another", remove, is("POST", false, lines{}), fails},
		{"small letters", remove, is("delete", false, lines{}), perhaps},
		{"mixed letters", remove, is("DeLete", false, lines{}), perhaps},
		{"an override", remove, is("POST", false, by("x-http-method-override", "DELETE")), perhaps},
		{"an override in small letters", remove, is("POST", false, by("x-http-method-override", " delete ")), perhaps},
		{"an override on the second line", remove, is("POST", false, by("x-http-method-override", "PUT", "DELETE")), perhaps},
		{"an override in a list", remove, is("POST", false, by("x-http-method", "PUT, DELETE")), perhaps},
		{"an override by an underscore", remove, is("POST", false, by("x_http_method_override", "DELETE")), perhaps},
		{"an override by a third name", remove, is("POST", false, by("x-method-override", `"DELETE"`)), perhaps},
		{"an override to another", remove, is("POST", false, by("x-method-override", "PUT")), fails},
		{"an empty override", post, is("POST", false, by("x-method-override", "")), holds},
		{"what is overridden", post, is("POST", false, by("x-method-override", "PUT")), perhaps},
		{"an override to itself", post, is("POST", false, by("x-method-override", "post")), holds},
		{"an override of gRPC", post, is("POST", true, by("x-http-method-override", "PUT")), holds},
		{"more overrides than are read", remove, is("POST", false, by("x-method-override", slices.Repeat([]string{"PUT"}, mostReadings+1)...)), perhaps},
		{"no header at all", remove, with(func(r *Request) { r.Method, r.Header = "DELETE", nil }), holds},
		{"not it, by an override", inverted(":method", exact("DELETE")), is("POST", false, by("x-http-method-override", "DELETE")), perhaps},
		{"not it", not(remove), is("POST", false, by("x-http-method-override", "DELETE")), perhaps},
	} {
		allows, denies := verdict(t, tc.is, tc.r)
		if allows != (tc.want == holds) || denies != (tc.want != fails) {
			t.Errorf("%s: allows %v, denies %v, want %s", tc.note, allows, denies, tc.want)
		}
	}
}

// A rule on the query is of what handlers read in it, however that is written (A19).
func TestQueriesThatAreWrittenOtherwise(t *testing.T) {
	admin := header(":path", match.String{Kind: match.Regex, Value: `.*\?(.*&)?admin=1(&.*)?`})
	spaced := header(":path", exact("/a?x=b%20c"))
	plus := header(":path", exact("/a?x=b+c"))
	for _, tc := range []struct {
		is          Condition
		query, want string
	}{
		{admin, "admin=1", holds},
		{admin, "a=b&admin=1&c", holds},
		{admin, "admin=0", fails},
		{admin, "%61dmin=1", perhaps},
		{admin, "adm%69n=%31", perhaps},
		{admin, "x;admin=1", perhaps},
		{admin, "admin=1;x", perhaps},
		{admin, "x;%61dmin=1;y", perhaps},
		{admin, "x%3Badmin=1", fails}, // it is no separator
		{admin, "x%26admin=1", fails}, // nor this
		{admin, "x=%26admin%3D1", fails},
		{admin, "next=/q%3Fx%26admin%3D1", fails}, // a value
		{admin, "admin%3D1", fails},               // a name with an "=" in it
		{admin, "%2561dmin=1", fails},
		{admin, "%zz&admin=1", holds},
		{admin, "%zz&%61dmin=1", perhaps},
		{admin, "%6", fails},
		{spaced, "x=b%20c", holds},
		{spaced, "x=b+c", perhaps},
		{plus, "x=b+c", holds},
		{plus, "x=b%20c", perhaps},
		{plus, "x=b%2Bc", fails},
		{not(admin), "%61dmin=1", perhaps},
		{inverted(":path", match.String{Kind: match.Regex, Value: `.*\?(.*&)?admin=1(&.*)?`}), "%61dmin=1", perhaps},
	} {
		r := with(func(r *Request) { r.Query = tc.query })
		allows, denies := verdict(t, tc.is, r)
		if allows != (tc.want == holds) || denies != (tc.want != fails) {
			t.Errorf("%s: allows %v, denies %v, want %s", tc.query, allows, denies, tc.want)
		}
	}
}

// Whatever net/url finds in a query, a rule that denies it finds.
func FuzzQueries(f *testing.F) {
	for _, q := range []string{"admin=1", "%61dmin=%31", "x;admin=1", "a=%3D&admin=1;b", "%zz&ad%6Din=1", "admin=1+", "=&admin=1"} {
		f.Add(q)
	}
	deny := gateOf(f, Step{Rules: rules(Deny, policyOf("p", header(":path", match.String{Kind: match.Regex, Value: `.*[?&]admin=1(&.*)?`})))})
	f.Fuzz(func(t *testing.T, raw string) {
		if strings.ContainsFunc(raw, unicode.IsControl) {
			return // net/http takes no such request
		}
		for _, q := range []string{raw, strings.ReplaceAll(raw, ";", "&")} { // as some read it
			found, _ := url.ParseQuery(q)
			r := with(func(r *Request) { r.Query = raw })
			if slices.Contains(found["admin"], "1") && deny.Check(t.Context(), r, nil, nil).Allowed {
				t.Errorf("%q is let through, and is %v", raw, found)
			}
		}
	})
}
