package jwt

import (
	"slices"

	"github.com/weftmesh/weft/identity"
)

// A Result is what the tokens of a request prove.
type Result struct {
	// Claims are those of the tokens that were verified. There are none beside an Err.
	Claims []identity.Claims
	// Err tells operators why the request is to be refused (401); nil if it is not. It has nothing of a token in it.
	Err error
	// Missing says that it is refused for want of a token, and not for a bad one.
	Missing bool
	// Remove are headers, in lower case, that are removed from the request: those that carry claims, whoever sent them, and tokens that
	// are not handed on. Set is put into it after that.
	Remove []string
	Set    []identity.HeaderField
	// RemoveQuery and RemoveCookies are parameters and cookies with tokens that are not handed on; see WithoutParameters and WithoutCookies.
	RemoveQuery, RemoveCookies []string
}

func refused(err error) Result { return Result{Err: err} }

// add adds what a good token says.
func (r *Result) add(v *verified) {
	r.Claims = append(r.Claims, v.claims)
	for _, f := range v.set {
		if !slices.ContainsFunc(r.Set, func(o identity.HeaderField) bool { return o.Name == f.Name }) {
			r.Set = append(r.Set, f)
		}
	}
}

// hide has the token at a place removed.
func (r *Result) hide(at *place) {
	to, name := &r.RemoveQuery, at.Name
	switch at.Kind {
	case identity.InHeader:
		to, name = &r.Remove, at.header.Lower
	case identity.InCookie:
		to = &r.RemoveCookies
	}
	if !slices.Contains(*to, name) {
		*to = append(slices.Clip(*to), name) // what was there is the configuration's
	}
}

// Text is what the caller of a refused request is told.
func (r *Result) Text() string {
	if r.Missing {
		return "Jwt is missing" // Envoy's words
	}
	return "Jwt verification fails"
}

// Challenge is the header www-authenticate of the answer to a refused request to the authority (RFC 6750, 3).
func (r *Result) Challenge(authority string) string {
	realm := make([]byte, 0, len(authority))
	for _, c := range []byte(authority) {
		if c > ' ' && c < 0x7f && c != '"' && c != '\\' {
			realm = append(realm, c)
		}
	}
	challenge := `Bearer realm="` + string(realm) + `"`
	if !r.Missing {
		challenge += `, error="invalid_token"`
	}
	return challenge
}
