package wire

import (
	"maps"
	"slices"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/weftmesh/weft/identity"
)

// maxDepth bounds how deep conditions may stand within each other.
const maxDepth = 64

// A claimKey says which provider's tokens a key of jwt_authn's metadata has the claims of.
type claimKey func(key string) (provider string, err error)

// A ruler reads rules.
type ruler struct {
	// claims knows the tokens; nil: no jwt_authn is before the rules.
	claims claimKey
	// connection says that there are no requests to look at.
	connection bool
}

// rules reads the one of two forms that is there; nil if none is.
func (r *ruler) rules(p *place, field string, m *rbacv3.RBAC, treeField string, tree *xdsmatcherv3.Matcher) *identity.Rules {
	switch {
	case m != nil && tree != nil:
		p.refuse(treeField, "not supported beside %s", field)
	case tree != nil:
		q := p.in(treeField)
		return &identity.Rules{Tree: r.tree(&q, tree, 0)}
	case m != nil:
		q := p.in(field)
		return r.policies(&q, m)
	}
	return nil
}

// policies reads a list of policies, whose order is that of their names.
func (r *ruler) policies(p *place, m *rbacv3.RBAC) *identity.Rules {
	p.only(m, "action", "policies", "audit_logging_options")
	if m.GetAuditLoggingOptions() != nil {
		p.warn("audit_logging_options", "not supported yet, has no effect")
	}
	out := &identity.Rules{Action: decodeVerdict(p, m.GetAction())}
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		in := p.in("policies")
		q := in.in(name)
		policy := r.policy(&q, name, m.GetPolicies()[name])
		if out.Action != identity.Log {
			r.settled(&q, out.Action, policy)
		}
		out.Policies = append(out.Policies, policy)
	}
	return out
}

func (r *ruler) policy(p *place, name string, m *rbacv3.Policy) identity.Policy {
	out := identity.Policy{Name: name}
	p.only(m, "permissions", "principals")
	for i, each := range m.GetPermissions() {
		q := p.at("permissions", i)
		out.Permissions = append(out.Permissions, r.permission(&q, each, 0))
	}
	for i, each := range m.GetPrincipals() {
		q := p.at("principals", i)
		out.Principals = append(out.Principals, r.principal(&q, each, 0))
	}
	if out.Permissions == nil {
		p.refuse("permissions", "none")
	}
	if out.Principals == nil {
		p.refuse("principals", "none")
	}
	return out
}

func decodeVerdict(p *place, a rbacv3.RBAC_Action) identity.Action {
	if a < 0 || a > rbacv3.RBAC_LOG {
		p.refuse("action", "unknown value %d", a)
	}
	return identity.Action(a)
}

// settled refuses a policy that lets through, or does not deny, only because nobody verifies tokens: no claim is ever there, which
// whoever wrote the policy can't have meant.
func (r *ruler) settled(p *place, action identity.Action, policy identity.Policy) {
	if r.claims != nil || r.connection {
		return
	}
	all := []identity.Condition{{Kind: identity.Any, Of: policy.Permissions}, {Kind: identity.Any, Of: policy.Principals}}
	plain, negated := claimed(all, false)
	switch {
	case action == identity.Deny && plain:
		p.refuse("", "looks at claims, but no jwt_authn before it verifies tokens, so that it would not deny")
	case action == identity.Allow && negated && mayHold(identity.Condition{Kind: identity.All, Of: all}, true):
		p.refuse("", "looks at claims that must not be there, but no jwt_authn before it verifies tokens, so that it would allow")
	}
}

// claimed reports whether conditions want claims to be there, and not to be there.
func claimed(list []identity.Condition, not bool) (plain, negated bool) {
	for i := range list {
		c := &list[i]
		if c.Kind == identity.ClaimIs {
			plain, negated = plain || !not, negated || not
		}
		a, b := claimed(c.Of, not != (c.Kind == identity.Not))
		plain, negated = plain || a, negated || b
	}
	return plain, negated
}

// mayHold reports whether some request without claims could make the condition be as wanted.
func mayHold(c identity.Condition, want bool) bool {
	some := func(c identity.Condition) bool { return mayHold(c, want) }
	switch c.Kind {
	case identity.ClaimIs:
		return !want
	case identity.Always:
		return want
	case identity.Not:
		return len(c.Of) == 1 && mayHold(c.Of[0], !want)
	case identity.All, identity.Any:
		if (c.Kind == identity.Any) == want {
			return slices.ContainsFunc(c.Of, some)
		}
		return !slices.ContainsFunc(c.Of, func(c identity.Condition) bool { return !some(c) })
	}
	return true
}

// encodeRules is the form that rules have; both are nil if there are none.
func encodeRules(r *identity.Rules) (*rbacv3.RBAC, *xdsmatcherv3.Matcher) {
	switch {
	case r == nil:
		return nil, nil
	case r.Tree != nil:
		return nil, encodeTree(r.Tree)
	}
	m := &rbacv3.RBAC{Action: rbacv3.RBAC_Action(r.Action)}
	for i := range r.Policies {
		p := &r.Policies[i]
		out := &rbacv3.Policy{}
		for _, c := range p.Permissions {
			out.Permissions = append(out.Permissions, encodePermission(c))
		}
		for _, c := range p.Principals {
			out.Principals = append(out.Principals, encodePrincipal(c))
		}
		if m.Policies == nil {
			m.Policies = make(map[string]*rbacv3.Policy, len(r.Policies))
		}
		if m.Policies[p.Name] != nil { // readers refuse, lest one of the two be lost
			out = &rbacv3.Policy{}
		}
		m.Policies[p.Name] = out
	}
	return m, nil
}
