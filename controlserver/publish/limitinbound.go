package publish

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resilience"
)

// limitInbound leaves of what a server is told what servers of the dialect can do, and says what else was configured. What they can't do of
// who may call is done by letting in fewer.
func (v *View) limitInbound(in Inbound, w catalog.Workload) (Inbound, []Loss) {
	l := losses{dialect: v.client.Dialect, from: in.From}
	switch {
	case v.client.Dialect == Envoy:
		in = inboundOfEnvoy(&l, in)
		if in.TLS.Mode > identity.Disable {
			in.TLS.SubjectAltNames = v.ofDomains()
		}
	case v.client.Dialect.isGRPC():
		in = inboundOfGRPC(&l, in, w)
	}
	return in, l.all
}

const grpcServer = "gRPC's own server "

// partsOfGRPC are those that are looked at for themselves.
var partsOfGRPC = []Part{TLS, Authorization, RequestTokens, Serials, Identities}

// inboundOfGRPC has RBAC alone, and TLS or plaintext but never both.
func inboundOfGRPC(l *losses, in Inbound, w catalog.Workload) Inbound {
	for part := range in.From {
		if !slices.Contains(partsOfGRPC, part) {
			l.say(part, grpcServer+"takes none of that by xDS")
		}
	}
	in.Serving = resilience.Serving{}
	if in.TLS.Mode == identity.Permissive {
		in.TLS.Mode = identity.Disable
		if (catalog.Endpoint{Labels: w.Labels, ServiceAccount: w.ServiceAccount}).MutualTLS() { // so its callers take it to
			in.TLS.Mode = identity.Strict
		}
		l.say(TLS, fmt.Sprintf("%stakes plaintext or TLS, not both: its mode is %s, by its label security.istio.io/tlsMode, or else its service account", grpcServer, in.TLS.Mode))
	}
	if in.TLS.Mode == identity.Strict {
		l.say(Serials, grpcServer+"has no list of certificates: serial numbers are not looked at")
	}
	steps := revokedStep(in.Guard.Revoked)
	if t := in.Guard.JWT; t != nil {
		l.say(RequestTokens, grpcServer+"verifies no tokens: what policies ask of them is taken as what keeps out")
		if requires(t) {
			l.say(RequestTokens, grpcServer+"lets nobody in: a token must be there, and it verifies none")
			steps = append(steps, denyAll(identity.Step{Name: "istio.authentication"}, "token-required"))
		}
	}
	b := &bounds{phrase: phraseOfGRPC, lost: map[string]bool{}}
	for _, s := range in.Guard.Steps {
		if s.Shadow != nil {
			l.sayOf(in.Policies, s.Shadow, grpcServer+"reports nothing of a policy that is only tried")
		}
		switch {
		case s.Ask != nil:
			l.sayOf(in.Policies, s.Ask.When, grpcServer+"asks nobody: what the policy names is denied")
			when := *s.Ask.When
			when.Action = identity.Deny
			steps = append(steps, identity.Step{Name: s.Name, Rules: b.rules(&when)})
		case s.Rules == nil:
		case s.Rules.Action == identity.Log:
			l.sayOf(in.Policies, s.Rules, grpcServer+"notes nothing")
		default:
			steps = append(steps, identity.Step{Name: s.Name, Rules: b.rules(s.Rules)})
		}
	}
	l.untold(b, in.Policies, grpcServer+"can't tell all of the rule: it lets in fewer")
	in.Guard = identity.Guard{Steps: steps}
	return in
}

// inboundOfEnvoy has all but callers whose headers count. Of what is revoked the identities are denied first of all, and the serial numbers are for its TLS.
func inboundOfEnvoy(l *losses, in Inbound) Inbound {
	b := &bounds{phrase: phraseOfEnvoy, lost: map[string]bool{}}
	phrased := func(steps []identity.Step) (out []identity.Step) {
		for _, s := range steps {
			s.Rules, s.Shadow = b.rules(s.Rules), b.rules(s.Shadow)
			if s.Ask != nil {
				ask := *s.Ask
				ask.When = b.rules(ask.When)
				s.Ask = &ask
			}
			out = append(out, s)
		}
		return out
	}
	revoked := revokedStep(in.Guard.Revoked)
	in.Guard.Steps = slices.Concat(revoked, phrased(in.Guard.Steps))
	in.Guard.Connections = slices.Concat(revoked, phrased(in.Guard.Connections))
	in.Guard.JWT = tokensOfEnvoy(l, in.Guard.JWT)
	if len(in.Guard.Trusted) > 0 {
		l.say(Trusted, "a proxy removes no headers that steer the mesh, whoever sends them")
	}
	in.Guard.Revoked, in.Guard.Trusted = nil, nil
	l.untold(b, in.Policies, "a proxy can't tell all of the rule: it lets in fewer")
	return in
}

// tokensOfEnvoy have keys that are there, or that services of the mesh have.
func tokensOfEnvoy(l *losses, t *identity.JWT) *identity.JWT {
	if t == nil {
		return nil
	}
	out := *t
	out.Providers = slices.Clone(t.Providers)
	for i := range out.Providers {
		p := &out.Providers[i]
		if p.URI != "" && p.Service == "" {
			l.say(RequestTokens, "a proxy fetches keys from services of the mesh alone, by http, and not from "+p.URI+": it refuses the tokens of "+p.Issuer)
			p.URI, p.JWKS = "", noKeys
		}
		if p.URI == "" && !strings.Contains(p.JWKS, `"kty"`) {
			p.JWKS = noKeys
		}
	}
	return &out
}

func denyAll(s identity.Step, policy string) identity.Step {
	s.Rules = &identity.Rules{Action: identity.Deny, Policies: []identity.Policy{{
		Name: policy, Permissions: []identity.Condition{always}, Principals: []identity.Condition{always},
	}}}
	return s
}

// requires reports whether requests without a token are refused.
func requires(t *identity.JWT) bool {
	var missing func(r identity.Requirement) bool
	missing = func(r identity.Requirement) bool {
		switch r.Kind {
		case identity.NeedAnyOf:
			return slices.ContainsFunc(r.Of, missing)
		case identity.NeedAllOf:
			return !slices.ContainsFunc(r.Of, func(r identity.Requirement) bool { return !missing(r) })
		case identity.NeedToken:
			return false
		}
		return true
	}
	return slices.ContainsFunc(t.Requirements, func(r identity.PathRequirement) bool { return !missing(r.Need) })
}

// untold says of the rules of which something could not be told that it was not.
func (l *losses) untold(b *bounds, policies []*catalog.AuthorizationPolicy, what string) {
	for _, name := range sorted(b.lost) {
		l.sayRule(policies, name, what)
	}
}

// sayOf says it of the policies that rules are of.
func (l *losses) sayOf(policies []*catalog.AuthorizationPolicy, r *identity.Rules, what string) {
	for _, p := range r.Policies {
		l.sayRule(policies, p.Name, what)
	}
}

func (l *losses) sayRule(policies []*catalog.AuthorizationPolicy, name, what string) {
	for _, p := range policies {
		for i := range max(1, len(p.Spec.GetRules())) {
			if strings.Contains(name, policyName(p, i)) {
				field := "spec"
				if len(p.Spec.GetRules()) > 0 {
					field = fmt.Sprintf("spec.rules[%d]", i)
				}
				l.all = append(l.all, Loss{l.dialect, Origin{p.Object, field}, Authorization, what})
			}
		}
	}
}
