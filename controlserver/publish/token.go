package publish

import (
	"fmt"
	"net/url"
	"slices"

	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// tokens is what the RequestAuthentications of a workload ask of requests; nil if there are none. A request without a token is let
// through, and one with a token must have a good one, of any of the rules (Istio). Where rules say REQUIRED, it must have a good token of
// one of these, and bad ones of others are passed over.
func (v *View) tokens(policies []*catalog.RequestAuthentication) *identity.JWT {
	out := &identity.JWT{}
	var required []identity.Requirement
	for _, p := range policies {
		for i, r := range p.Spec.GetJwtRules() {
			one := v.tokenProvider(r)
			one.Name = fmt.Sprintf("ns[%s]-policy[%s]-rule[%d]", p.Namespace, p.Name, i)
			out.Providers = append(out.Providers, one)
			if i < len(p.Required) && p.Required[i] {
				required = append(required, identity.Requirement{Kind: identity.NeedToken, Provider: one.Name})
			}
		}
	}
	if len(out.Providers) == 0 {
		return nil
	}
	need := optional(out.Providers)
	if len(required) > 0 {
		need = identity.Requirement{Kind: identity.NeedAnyOf, Of: required}
		if len(required) == 1 {
			need = required[0]
		}
		if len(required) < len(out.Providers) {
			others := identity.Requirement{Kind: identity.AllowMissingOrBad}
			need = identity.Requirement{Kind: identity.NeedAllOf, Of: []identity.Requirement{need, others}}
		}
	}
	out.Requirements = []identity.PathRequirement{{Need: need}}
	return out
}

// optional lets through what has no token, or a good one. With several providers one good token is enough, since to the others,
// who look into the same place, it is a bad one (Istio).
func optional(providers []identity.Provider) identity.Requirement {
	var one, each []identity.Requirement
	for _, p := range providers {
		token := identity.Requirement{Kind: identity.NeedToken, Provider: p.Name}
		one = append(one, token)
		each = append(each, identity.Requirement{Kind: identity.NeedAnyOf, Of: []identity.Requirement{token, {Kind: identity.AllowMissing}}})
	}
	if len(each) == 1 {
		return each[0]
	}
	one = append(one, identity.Requirement{Kind: identity.NeedAllOf, Of: each})
	return identity.Requirement{Kind: identity.NeedAnyOf, Of: one}
}

// noKeys verify no token, where nobody says which do; Envoy refuses a set without any. The number x of the key is the SHA-256 of "Of this
// key nobody has the private half. 8", so that nobody can have it.
const noKeys = `{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"nobody",` +
	`"x":"Vg1qLPTJkL0ECcK-uM3A8_HPO5olXwYIGRaB12MHBJo","y":"QW2dnPm1OUQM78mugjPuK4jwNzSO74lwTSLosNCUkFg"}]}`

func (v *View) tokenProvider(r *security.JWTRule) identity.Provider {
	out := identity.Provider{
		Issuer: r.GetIssuer(), Audiences: slices.Clone(r.GetAudiences()),
		JWKS: r.GetJwks(), Timeout: r.GetTimeout().AsDuration(),
		Forward: r.GetForwardOriginalToken(), PayloadHeader: match.ToLower(r.GetOutputPayloadToHeader()),
		SpaceDelimited: slices.Clone(r.GetSpaceDelimitedClaims()),
	}
	switch u, err := url.Parse(r.GetJwksUri()); {
	case out.JWKS != "":
	case r.GetJwksUri() == "" || err != nil:
		out.JWKS = noKeys
	default:
		out.URI, out.Service = r.GetJwksUri(), v.fetched(u.Scheme, u.Hostname(), u.Port())
	}
	for _, h := range r.GetFromHeaders() {
		out.From = append(out.From, identity.TokenPlace{Kind: identity.InHeader, Name: match.ToLower(h.GetName()), Prefix: h.GetPrefix()})
	}
	for _, name := range r.GetFromParams() {
		out.From = append(out.From, identity.TokenPlace{Kind: identity.InQuery, Name: name})
	}
	for _, name := range r.GetFromCookies() {
		out.From = append(out.From, identity.TokenPlace{Kind: identity.InCookie, Name: name})
	}
	for _, c := range r.GetOutputClaimToHeaders() {
		out.ClaimHeaders = append(out.ClaimHeaders, identity.ClaimHeader{Header: match.ToLower(c.GetHeader()), Claim: c.GetClaim()})
	}
	return out
}
