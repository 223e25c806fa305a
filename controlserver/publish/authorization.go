package publish

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// The names of the steps that AuthorizationPolicies become (Istio). That of CUSTOM has the provider behind it.
const (
	customStep = "istio.authorization.custom."
	auditStep  = "istio.authorization.audit"
	denyStep   = "istio.authorization.deny"
	allowStep  = "istio.authorization.allow"
)

// An authorizer makes the AuthorizationPolicies of a workload into steps.
type authorizer struct {
	// trustDomains are the mesh's own and its aliases; none if it has none. denied are those that stand for it in what denies.
	trustDomains, denied []string
	// tokens are the providers whose tokens the workload verifies.
	tokens []string
	// provider is the service that a name stands for.
	provider func(name string) (*identity.ExtAuthz, error)
	// connection says that it is for what speaks no HTTP. What only requests have is then passed over by what denies, and no rule
	// that asks for it allows anything (Istio).
	connection bool
}

// steps are in the order in which they are taken (Istio): CUSTOM, AUDIT, DENY, ALLOW.
func (a authorizer) steps(policies []*catalog.AuthorizationPolicy) []identity.Step {
	var custom, audit, deny, allow []*catalog.AuthorizationPolicy
	for _, p := range policies {
		switch p.Spec.GetAction() {
		case security.AuthorizationPolicy_CUSTOM:
			custom = append(custom, p)
		case security.AuthorizationPolicy_AUDIT:
			audit = append(audit, p)
		case security.AuthorizationPolicy_DENY:
			deny = append(deny, p)
		case security.AuthorizationPolicy_ALLOW:
			allow = append(allow, p)
		default: // an action of another time: nobody knows what it would let in
			allow = append(allow, &catalog.AuthorizationPolicy{Object: p.Object, Spec: &security.AuthorizationPolicy{}})
		}
	}
	steps := a.ask(custom)
	for _, s := range [...]struct {
		name     string
		action   identity.Action
		policies []*catalog.AuthorizationPolicy
	}{{auditStep, identity.Log, audit}, {denyStep, identity.Deny, deny}, {allowStep, identity.Allow, allow}} {
		step := identity.Step{Name: s.name, Rules: a.rules(s.action, s.policies, false), Shadow: a.rules(s.action, s.policies, true)}
		if step.Rules != nil || step.Shadow != nil {
			steps = append(steps, step)
		}
	}
	return steps
}

// ask are the steps of CUSTOM, one for each provider. Of a provider that there is not what it would be asked about is denied.
func (a authorizer) ask(policies []*catalog.AuthorizationPolicy) []identity.Step {
	by := map[string][]*catalog.AuthorizationPolicy{}
	for _, p := range policies {
		name := p.Spec.GetProvider().GetName()
		by[name] = append(by[name], p)
	}
	var steps []identity.Step
	for _, name := range sorted(by) {
		step := identity.Step{
			Name:   customStep + name,
			Rules:  a.rules(identity.Deny, by[name], false),
			Shadow: a.rules(identity.Log, by[name], true), // what it would say of them can't be told without asking
		}
		service, err := a.provider(name)
		if err == nil && a.connection && service.HTTP {
			err = errors.New("connections have nothing that could be asked about by HTTP")
		}
		if step.Rules == nil {
			steps = append(steps, step)
			continue
		}
		for i := range step.Rules.Policies {
			p := &step.Rules.Policies[i]
			p.Name = "istio-ext-authz-" + name + "-" + p.Name
			if err != nil {
				p.Name += badCustom
			}
		}
		if err == nil {
			service.When, step.Rules = step.Rules, nil
			step.Ask = service
		}
		steps = append(steps, step)
	}
	return steps
}

// badCustom ends the names of policies that deny for want of a provider (Istio).
const badCustom = "-deny-due-to-bad-CUSTOM-action"

// rules are those of the policies that are in force, or of those that are only tried; nil if there are none of them.
func (a authorizer) rules(action identity.Action, policies []*catalog.AuthorizationPolicy, dryRun bool) *identity.Rules {
	var out *identity.Rules
	for _, p := range policies {
		if p.DryRun != dryRun {
			continue
		}
		if out == nil {
			out = &identity.Rules{Action: action}
		}
		for i, r := range p.Spec.GetRules() {
			if policy, err := a.policy(p, r, action); err == nil {
				policy.Name = policyName(p, i)
				out.Policies = append(out.Policies, policy)
			}
		}
		if len(p.Spec.GetRules()) == 0 {
			out.Policies = append(out.Policies, identity.Policy{
				Name: policyName(p, 0), Permissions: []identity.Condition{never}, Principals: []identity.Condition{never},
			})
		}
	}
	if out != nil {
		slices.SortFunc(out.Policies, func(a, b identity.Policy) int { return strings.Compare(a.Name, b.Name) })
	}
	return out
}

// policyName is Istio's name for a rule of a policy.
func policyName(p *catalog.AuthorizationPolicy, rule int) string {
	return fmt.Sprintf("ns[%s]-policy[%s]-rule[%d]", p.Namespace, p.Name, rule)
}

// policy is a rule. The error says why a rule that allows can never hold.
func (a authorizer) policy(p *catalog.AuthorizationPolicy, r *security.Rule, action identity.Action) (identity.Policy, error) {
	var out identity.Policy
	permissions, principals, err := a.when(p.Namespace, r.GetWhen(), action)
	if err != nil && action == identity.Allow {
		return out, err
	}
	for _, to := range orOne(r.GetTo()) {
		fields := append(operation(to.GetOperation()), permissions...)
		c, err := a.all(fields, action, "")
		if err != nil {
			return out, err
		}
		out.Permissions = append(out.Permissions, c)
	}
	for _, from := range orOne(r.GetFrom()) {
		fields := append(a.source(p.Namespace, from.GetSource(), action), principals...)
		for _, token := range a.each(fields, action) {
			c, err := a.all(fields, action, token)
			if err != nil {
				return out, err
			}
			out.Principals = append(out.Principals, c)
		}
	}
	return out, nil
}

// orOne is a list with one zero element if it is empty: what is not said holds for all.
func orOne[T any](list []*T) []*T {
	if len(list) == 0 {
		return []*T{nil}
	}
	return list
}

// each are the tokens in which all that fields ask for must be found together. "" is any.
func (a authorizer) each(fields []field, action identity.Action) []string {
	asked := slices.ContainsFunc(fields, func(f field) bool { return f.claims && len(f.values) > 0 })
	if action != identity.Allow || !asked || len(a.tokens) < 2 {
		return []string{""}
	}
	return a.tokens
}

// all is the condition to have all of the fields.
func (a authorizer) all(fields []field, action identity.Action, token string) (identity.Condition, error) {
	var of []identity.Condition
	for _, f := range fields {
		cs, err := f.conditions(action, a.connection, a.tokens, token)
		if err != nil {
			return identity.Condition{}, err
		}
		of = append(of, cs...)
	}
	if len(of) == 0 {
		of = append(of, always)
	}
	return eachOf(of...), nil
}

func operation(o *security.Operation) []field {
	return []field{
		{values: o.GetHosts(), not: o.GetNotHosts(), condition: hasAuthority, http: true},
		{values: o.GetMethods(), not: o.GetNotMethods(), condition: hasHeader(":method"), http: true},
		{values: o.GetPaths(), not: o.GetNotPaths(), condition: hasPath, http: true},
		{values: o.GetPorts(), not: o.GetNotPorts(), condition: onPort},
	}
}

func (a authorizer) source(namespace string, s *security.Source, action identity.Action) []field {
	denies, allows := action != identity.Allow, action == identity.Allow
	return []field{
		{values: a.aliased(s.GetPrincipals(), denies), not: a.aliased(s.GetNotPrincipals(), allows), condition: isPrincipal},
		{values: s.GetRequestPrincipals(), not: s.GetNotRequestPrincipals(), condition: hasRequestPrincipal, http: true, bare: true, claims: true},
		{values: s.GetServiceAccounts(), not: s.GetNotServiceAccounts(), condition: hasServiceAccount(namespace)},
		{values: s.GetNamespaces(), not: s.GetNotNamespaces(), condition: inNamespace},
		{values: a.domains(s.GetTrustDomains(), denies), not: a.domains(s.GetNotTrustDomains(), allows), condition: inTrustDomain},
		{values: s.GetRemoteIpBlocks(), not: s.GetNotRemoteIpBlocks(), condition: inNetwork(identity.RemoteIn)},
		{values: s.GetIpBlocks(), not: s.GetNotIpBlocks(), condition: inNetwork(identity.SourceIn)},
	}
}

// when are the conditions of a rule, apart by whether they are on what is done or on who does it. The error names a key that is not
// known, which is left out.
func (a authorizer) when(namespace string, conditions []*security.Condition, action identity.Action) (permissions, principals []field, err error) {
	denies, allows := action != identity.Allow, action == identity.Allow
	for _, c := range conditions {
		f := field{values: c.GetValues(), not: c.GetNotValues()}
		key, names := c.GetKey(), []string(nil)
		if i := strings.IndexByte(key, '['); i >= 0 {
			key, names = key[:i], inBrackets(key[i:])
		}
		permission := false
		switch {
		case key == "destination.ip":
			f.condition, permission = inNetwork(identity.LocalIn), true
		case key == "destination.port":
			f.condition, permission = onPort, true
		case key == "connection.sni":
			f.condition, permission = hasServerName, true
		case key == "source.ip":
			f.condition = inNetwork(identity.SourceIn)
		case key == "remote.ip":
			f.condition = inNetwork(identity.RemoteIn)
		case key == "source.namespace":
			f.condition = inNamespace
		case key == "source.principal":
			f.values, f.not, f.condition = a.aliased(f.values, denies), a.aliased(f.not, allows), isPrincipal
		case key == "source.serviceAccount":
			f.condition = hasServiceAccount(namespace)
		case key == "source.trustDomain":
			f.values, f.not, f.condition = a.domains(f.values, denies), a.domains(f.not, allows), inTrustDomain
		case key == "request.headers" && len(names) == 1:
			f.condition, f.http = hasHeader(names[0]), true
		case key == "request.auth.principal":
			f.condition, f.http, f.bare, f.claims = hasRequestPrincipal, true, true, true
		case key == "request.auth.audiences":
			f.condition, f.http, f.bare, f.claims = hasClaim("aud"), true, true, true
		case key == "request.auth.presenter":
			f.condition, f.http, f.bare, f.claims = hasClaim("azp"), true, true, true
		case key == "request.auth.claims" && len(names) > 0:
			f.condition, f.http, f.bare, f.claims = hasClaim(names...), true, true, true
		default:
			err = fmt.Errorf("condition %q: there is none of that name", c.GetKey())
			continue
		}
		if permission {
			permissions = append(permissions, f)
		} else {
			principals = append(principals, f)
		}
	}
	return permissions, principals, err
}

// localDomain stands in policies for the mesh's own trust domain, whatever that is (Istio).
const localDomain = "cluster.local"

// names are those of the mesh's trust domain, in what denies or in what allows.
func (a authorizer) names(denies bool) []string {
	if denies {
		return a.denied
	}
	return a.trustDomains
}

// aliased are principals, those of the mesh's trust domain under all of its names.
func (a authorizer) aliased(principals []string, denies bool) []string {
	names := a.names(denies)
	if len(names) == 0 {
		return principals
	}
	var out []string
	for _, p := range principals {
		domain, rest, ok := strings.Cut(p, "/")
		if !ok || domain == "*" || !own(names, domain) {
			out = append(out, p)
			continue
		}
		for _, d := range names {
			if strings.HasPrefix(domain, "*") && text(domain).Holds(d) {
				d = domain
			}
			if alias := d + "/" + rest; !slices.Contains(out, alias) {
				out = append(out, alias)
			}
		}
	}
	return out
}

// own reports whether a trust domain, or "*" and the end of one, is one of the mesh's names.
func own(names []string, domain string) bool {
	is := match.String{Kind: match.Exact, Value: domain}
	if strings.HasPrefix(domain, "*") {
		is = text(domain)
	}
	return domain == localDomain || slices.ContainsFunc(names, is.Holds)
}

// domains are trust domains, the mesh's own under all of its names.
func (a authorizer) domains(values []string, denies bool) []string {
	names := a.names(denies)
	var out []string
	for _, v := range values {
		if slices.Contains(names, v) || v == localDomain && len(names) > 0 {
			out = append(out, names...)
		} else {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
