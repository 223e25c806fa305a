package publish

import (
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// revocations says where it is configured what is not believed any more.
func (v *View) revocations(from Origins) {
	for _, o := range v.catalog.Revocations() {
		if len(o.Revocation.Serials) > 0 {
			from.add(Serials, Origin{o, "spec.serials"})
		}
		if len(o.Revocation.Identities) > 0 {
			from.add(Identities, Origin{o, "spec.identities"})
		}
	}
}

// lists are those by which a proxy knows serial numbers that are not believed any more. It is said if there are none.
func (v *View) lists(from Origins) string {
	if r := v.catalog.Revoked(); v.client.Dialect != Envoy || r == nil || len(r.Serials) == 0 {
		return ""
	}
	if v.config.RevocationLists == "" {
		l := losses{dialect: v.client.Dialect, from: from}
		l.say(Serials, "a proxy knows serial numbers by lists of the authority, which has made none: they are not looked at")
		v.lose(l.all)
	}
	return v.config.RevocationLists
}

// revokedStep denies identities that are not believed any more, to servers that have no list of them.
func revokedStep(r *identity.Revoked) []identity.Step {
	if r == nil || len(r.IDs) == 0 {
		return nil
	}
	p := identity.Policy{Name: "revoked", Permissions: []identity.Condition{always}}
	for _, id := range r.IDs {
		p.Principals = append(p.Principals, identity.Condition{
			Kind: identity.Authentic, Is: match.String{Kind: match.Exact, Value: id.String()},
		})
	}
	return []identity.Step{{Name: "weft.revoked", Rules: &identity.Rules{Action: identity.Deny, Policies: []identity.Policy{p}}}}
}

// unrevoked expects none of the names that are not believed any more, for clients that have no list of them. unlisted says why serial numbers are not looked
// at; empty if they are.
func unrevoked(l *losses, t *identity.ClientTLS, unlisted string) *identity.ClientTLS {
	if t == nil || t.Revoked == nil {
		return t
	}
	out := *t
	out.Revoked = nil
	out.SubjectAltNames = slices.DeleteFunc(slices.Clone(t.SubjectAltNames), func(n identity.SubjectAltName) bool {
		return slices.ContainsFunc(t.Revoked.IDs, func(id spiffeid.ID) bool { return n.Is.Value == id.String() })
	})
	switch {
	case len(t.SubjectAltNames) == 0 && t.Mutual:
		l.say(Identities, "no name is expected of these servers, and nothing but names can be told: one that is revoked is believed")
	case len(out.SubjectAltNames) == 0:
		out.SubjectAltNames = nobody("all of the server's names are revoked")
	}
	l.sayIf(unlisted != "", Serials, unlisted)
	return &out
}
