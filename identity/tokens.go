package identity

import (
	"time"

	"github.com/weftmesh/weft/internal/match"
)

// A JWT is which tokens a server verifies, and which requests must have one (Envoy jwt_authn, Istio RequestAuthentication). A
// token that is there and can't be verified is refused, unless the request's Requirement says otherwise.
type JWT struct {
	Providers []Provider
	// Requirements: that of the first whose Path fits counts; a request that none fits needs no token, and those it has are not looked at.
	Requirements []PathRequirement
}

// A Provider issues tokens and says where they stand in a request.
type Provider struct {
	Name      string
	Issuer    string   // the claim "iss" must be this; empty means any
	Audiences []string // the claim "aud" must have one of these; empty means any
	Subjects  []match.String
	// JWKS are the keys; empty means that they are fetched from URI, by the mesh's service if Service is not empty.
	JWKS string
	URI  string
	// Service is the name by which the mesh calls the server of URI; empty means that it is called as the URI says.
	Service string
	// Timeout bounds one fetch; 0 means 5 s. CacheFor is how long fetched keys are used before they are fetched anew; 0 means 10 min
	// (Envoy); they stay in use after that while they can't be fetched, for MaxStale at most; 0 means 24 h.
	Timeout, CacheFor, MaxStale time.Duration
	// From are the places that are looked at, all of them; empty means the header authorization with "Bearer " and the query's access_token.
	From []TokenPlace
	// Forward leaves the token in the request for the handler; else it is removed.
	Forward bool
	// PayloadHeader, if not empty, carries the payload to the handler, as base64url.
	PayloadHeader string
	// ClaimHeaders carry single claims to the handler.
	ClaimHeaders []ClaimHeader
	// Skew is by how much the clocks may differ; 0 means 60 s (Envoy).
	Skew time.Duration
	// MaxLifetime refuses tokens that live longer; 0 means any. A token without expiry is always refused.
	MaxLifetime time.Duration
	// SpaceDelimited are claims besides "scope" and "permission" that are lists with spaces between.
	SpaceDelimited []string
}

// check says what is wrong with the conditions and the requirements; keys and places are looked at by who reads tokens.
func (j *JWT) check(f *faults) {
	names := map[string]bool{}
	for i := range j.Providers {
		p := &j.Providers[i]
		f.in("jwt: ", called("provider", p.Name, i), -1)
		if names[p.Name] {
			f.add("there are two of this name")
		}
		names[p.Name] = true
		checkStrings(": subjects", p.Subjects, f)
		f.out()
	}
	for i := range j.Requirements {
		r := &j.Requirements[i]
		f.in("jwt: ", "requirements", i)
		if r.Path.Kind != 0 {
			f.in(": ", "path", -1)
			r.Path.ready(1, f)
			f.out()
		}
		r.Need.check(1, names, f)
		f.out()
	}
}

// headers adds the names of the headers that tokens are in, and those that say what they prove.
func (j *JWT) headers(names map[string]bool) {
	for i := range j.Providers {
		p := &j.Providers[i]
		for _, from := range p.From {
			if from.Kind == InHeader {
				names[match.ToLower(from.Name)] = true
			}
		}
		if p.PayloadHeader != "" {
			names[match.ToLower(p.PayloadHeader)] = true
		}
		for _, c := range p.ClaimHeaders {
			names[match.ToLower(c.Header)] = true
		}
	}
}

func (r *Requirement) check(depth int, providers map[string]bool, f *faults) {
	switch {
	case depth > deepest:
		f.add("is nested deeper than %d", deepest)
		return
	case r.Kind > AllowMissingOrBad:
		f.add("unknown kind of requirement %d", r.Kind)
	case r.Kind == NeedToken && !providers[r.Provider]:
		f.add("provider %q: is not among the providers", r.Provider)
	case (r.Kind == NeedAnyOf || r.Kind == NeedAllOf) && len(r.Of) == 0:
		f.add("is of nothing")
	}
	for i := range r.Of {
		f.in(".", "of", i)
		r.Of[i].check(depth+1, providers, f)
		f.out()
	}
}

// PlaceKind says where a token stands.
type PlaceKind uint8

// The places.
const (
	InHeader PlaceKind = iota
	InQuery
	InCookie
)

// A TokenPlace is where a request may have a token.
type TokenPlace struct {
	Kind   PlaceKind
	Name   string // of the header, in lower case, parameter or cookie
	Prefix string // before the token, in a header
}

// A ClaimHeader carries a claim to the handler. Objects and lists are base64url JSON.
type ClaimHeader struct {
	Header string // in lower case
	Claim  string // nested ones with dots
}

// A PathRequirement is what requests to a path need.
type PathRequirement struct {
	// Path, where it is set, is the condition: PathIs, PathFits, HeaderIs, and All, Any, Not of these. The zero Condition fits all.
	Path Condition
	Need Requirement
}

// NeedKind says what a Requirement wants.
type NeedKind uint8

// The kinds of Requirement.
const (
	NeedNothing       NeedKind = iota // tokens are not looked at
	NeedToken                         // a token of Provider
	NeedAnyOf                         // one of Of
	NeedAllOf                         // each of Of
	AllowMissing                      // no token, or else good ones: one that is there and is bad is refused
	AllowMissingOrBad                 // tokens are looked at, but no request is refused for them; bad ones have no claims
)

// A Requirement is which tokens a request must have, as a tree (Envoy JwtRequirement).
type Requirement struct {
	Kind      NeedKind
	Provider  string
	Audiences []string // in place of the provider's, if not nil
	Of        []Requirement
}
