package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/identity"
)

// A member is a workload at a port of a service of the mesh. One stands for all that have its labels.
type member struct {
	Workload
	service *Service
	port    Port
	at      uint32 // where it listens
}

// kindsOfMember is how many kinds of workload of a port are told apart; beyond, each stands for itself.
const kindsOfMember = 8

// members are the workloads of the mesh, by namespace.
func (k *checker) members() map[string]*pool[member] {
	if k.pools != nil {
		return k.pools
	}
	k.pools = map[string]*pool[member]{}
	for _, s := range k.services {
		if s.External {
			continue
		}
		for _, p := range s.Ports {
			var seen []Endpoint
			for _, e := range s.Endpoints(p.Number) {
				if slices.ContainsFunc(seen, func(o Endpoint) bool { return o.Port == e.Port && maps.Equal(o.Labels, e.Labels) }) {
					continue
				}
				if len(seen) < kindsOfMember {
					seen = append(seen, e)
				}
				w := Workload{Namespace: s.Namespace, Labels: e.Labels, ServiceAccount: e.ServiceAccount}
				within(k.pools, s.Namespace).add(member{w, s, p, e.Port}, e.Labels)
			}
		}
	}
	return k.pools
}

// selected are the members that a policy is for, and whether there are any that it could be for.
func (k *checker) selected(o *Object, labels map[string]string) (all []member, some bool) {
	pools := k.members()
	if o.Namespace != k.mesh.RootNamespace {
		p := pools[o.Namespace]
		return p.selected(labels), len(p.members()) > 0
	}
	for _, ns := range slices.Sorted(maps.Keys(pools)) {
		all = append(all, pools[ns].selected(labels)...)
	}
	return all, len(pools) > 0
}

// security checks how the kinds of security.istio.io fit each other and the workloads there are.
func (k *checker) security() {
	for _, all := range k.protection.mutual {
		for _, p := range all {
			k.peerAuthentication(p)
		}
	}
	for _, all := range k.protection.tokens {
		for _, p := range all {
			if members, ok := k.audience(p.Object, p.Spec); ok {
				k.requestAuthentication(p, members)
			}
		}
	}
	for _, all := range k.protection.rules {
		for _, p := range all {
			if members, ok := k.audience(p.Object, p.Spec); ok {
				k.authorizationPolicy(p, members)
			}
		}
	}
}

// audience returns the members that a policy is for. It reports false of a policy for gateways and waypoints.
func (k *checker) audience(o *Object, p attachment) ([]member, bool) {
	if p.GetTargetRef() != nil || len(p.GetTargetRefs()) > 0 {
		return nil, false
	}
	return k.choose(o, p.GetSelector().GetMatchLabels()), true
}

// choose returns the members that a selector selects, and warns if it selects none of those there are.
func (k *checker) choose(o *Object, labels map[string]string) []member {
	all, some := k.selected(o, labels)
	if len(all) == 0 && some {
		k.warn(o, "spec.selector", "selects none of the workloads there are")
	}
	return all
}

func (k *checker) peerAuthentication(p *peerAuthentication) {
	labels := p.spec.GetSelector().GetMatchLabels()
	if len(labels) > 0 && p.Namespace == k.mesh.RootNamespace {
		k.warn(p.Object, "spec.selector", "the whole policy is not used: in the root namespace only one without a selector is (Istio)")
		return
	}
	members := k.choose(p.Object, labels)
	for _, other := range k.protection.mutual[p.Namespace] {
		if other == p {
			break
		}
		theirs := other.spec.GetSelector().GetMatchLabels()
		if (len(theirs) == 0) != (len(labels) == 0) {
			continue
		}
		both := slices.IndexFunc(members, func(m member) bool { return selects(theirs, m.Labels) })
		switch {
		case len(labels) == 0:
			k.warn(p.Object, "spec", "%s at %s is older and for the same workloads: this one is not used", other.Key(), other.Position)
		case both >= 0:
			k.warn(p.Object, "spec.selector", "%s at %s is older and for the same workloads of %s: there, this one is not used",
				other.Key(), other.Position, members[both].service.Host)
		}
	}
	for _, port := range slices.Sorted(maps.Keys(p.spec.GetPortLevelMtls())) {
		if len(members) > 0 && !slices.ContainsFunc(members, func(m member) bool { return m.at == port }) {
			k.warn(p.Object, fmt.Sprintf("spec.portLevelMtls[%d]", port), "no workload listens on port %d; it is the workload's, not the service's", port)
		}
	}
}

func (k *checker) requestAuthentication(p *RequestAuthentication, members []member) {
	if len(p.Spec.GetJwtRules()) == 0 || slices.Contains(p.Required, true) {
		return
	}
	const idle = "a token that is there is verified, but none is asked for: "
	if len(members) == 0 && !k.anyPolicy(p.Namespace, wantsTokens) {
		k.warn(p.Object, "spec.jwtRules", idle+"no AuthorizationPolicy has requestPrincipals or request.auth")
	}
	for _, m := range members {
		if !slices.ContainsFunc(k.AuthorizationPolicies(m.Workload), wantsTokens) {
			k.warn(p.Object, "spec.jwtRules", idle+"no AuthorizationPolicy for %s has requestPrincipals or request.auth", m.service.Host)
			return
		}
	}
}

func (k *checker) authorizationPolicy(p *AuthorizationPolicy, members []member) {
	if p.Spec.GetAction() == security.AuthorizationPolicy_CUSTOM {
		k.asked(p)
	}
	k.rawPorts(p, members)
	if !usesTokens(p) {
		return
	}
	const blind = "no request has verified tokens: "
	if len(members) == 0 && len(k.protection.tokens[p.Namespace])+len(k.protection.tokens[k.mesh.RootNamespace]) == 0 {
		k.warn(p.Object, "spec.rules", blind+"there is no RequestAuthentication")
	}
	for _, m := range members {
		if len(k.RequestAuthentications(m.Workload)) == 0 {
			k.warn(p.Object, "spec.rules", blind+"no RequestAuthentication is for %s", m.service.Host)
			return
		}
	}
}

// asked warns of a provider that nobody can ask.
func (k *checker) asked(p *AuthorizationPolicy) {
	name := p.Spec.GetProvider().GetName()
	provider, service, port := k.Provider(name)
	if provider != nil {
		k.asksItself(p, provider, service, port)
	}
	if name == "" || provider != nil {
		return
	}
	var names []string
	for _, e := range k.mesh.ExtensionProviders {
		names = append(names, e.Name)
	}
	hint := ""
	if near := closest(name, names); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	k.warn(p.Object, "spec.provider.name", "MeshConfig has no extensionProvider %q: every request that the rules name is refused%s", name, hint)
}

// rawPorts warns of conditions on requests at ports that have none.
func (k *checker) rawPorts(p *AuthorizationPolicy, members []member) {
	raw := slices.IndexFunc(members, func(m member) bool { return !m.port.Protocol.IsHTTP() })
	action := p.Spec.GetAction()
	if raw < 0 || action != security.AuthorizationPolicy_ALLOW && action != security.AuthorizationPolicy_DENY {
		return
	}
	m := members[raw]
	for i, r := range p.Spec.GetRules() {
		switch at := fmt.Sprintf("spec.rules[%d]", i); {
		case !ofRequests(r) || namesPorts(r):
		case action == security.AuthorizationPolicy_DENY:
			k.warn(p.Object, at, "refuses every connection to port %d of %s, which is %s, where there are no requests to look at (Istio); name the ports it is for",
				m.port.Number, m.service.Host, m.port.Protocol)
		default:
			k.warn(p.Object, at, "lets no connection in to port %d of %s, which is %s, where there are no requests to look at (Istio)",
				m.port.Number, m.service.Host, m.port.Protocol)
		}
	}
}

// anyPolicy reports whether an AuthorizationPolicy of a namespace or of the root namespace is such.
func (k *checker) anyPolicy(namespace string, such func(*AuthorizationPolicy) bool) bool {
	return slices.ContainsFunc(k.protection.rules[namespace], such) || slices.ContainsFunc(k.protection.rules[k.mesh.RootNamespace], such)
}

// wantsTokens reports whether a policy decides by tokens.
func wantsTokens(p *AuthorizationPolicy) bool {
	return usesTokens(p) && !p.DryRun && p.Spec.GetAction() != security.AuthorizationPolicy_AUDIT
}

// usesTokens reports whether a policy looks at tokens.
func usesTokens(p *AuthorizationPolicy) bool {
	return slices.ContainsFunc(p.Spec.GetRules(), func(r *security.Rule) bool {
		return slices.ContainsFunc(r.GetFrom(), fromToken) || slices.ContainsFunc(r.GetWhen(), func(c *security.Condition) bool {
			return strings.HasPrefix(c.GetKey(), "request.auth.")
		})
	})
}

func fromToken(f *security.Rule_From) bool {
	return len(f.GetSource().GetRequestPrincipals())+len(f.GetSource().GetNotRequestPrincipals()) > 0
}

// ofRequests reports whether a rule looks at what only a request has.
func ofRequests(r *security.Rule) bool {
	ofRequest := func(t *security.Rule_To) bool {
		o := t.GetOperation()
		return len(o.GetHosts())+len(o.GetNotHosts())+len(o.GetMethods())+len(o.GetNotMethods())+len(o.GetPaths())+len(o.GetNotPaths()) > 0
	}
	return slices.ContainsFunc(r.GetFrom(), fromToken) || slices.ContainsFunc(r.GetTo(), ofRequest) ||
		slices.ContainsFunc(r.GetWhen(), func(c *security.Condition) bool { return strings.HasPrefix(c.GetKey(), "request.") })
}

// namesPorts reports whether a rule says which ports it is for.
func namesPorts(r *security.Rule) bool {
	return slices.ContainsFunc(r.GetTo(), func(t *security.Rule_To) bool {
		return len(t.GetOperation().GetPorts())+len(t.GetOperation().GetNotPorts()) > 0
	}) || slices.ContainsFunc(r.GetWhen(), func(c *security.Condition) bool { return c.GetKey() == "destination.port" })
}

// meshKinds checks those that there may be one of, or that may stand in one namespace.
func (k *checker) meshKinds() {
	for _, o := range k.objects {
		switch {
		case o.Mesh != nil && o.Namespace != RootNamespace:
			k.misfit(o, nil, "metadata.namespace", "is not used: a MeshConfig stands in %s", RootNamespace)
		case o.Mesh != nil && o != k.meshObject:
			k.misfit(o, []*Object{k.meshObject}, "metadata.name", "is not used: %s at %s is older, and there is one for the mesh", k.meshObject.Key(), k.meshObject.Position)
		case o.Mesh != nil:
			k.providers(o)
		case o.Revocation != nil && o.Namespace != k.mesh.RootNamespace:
			k.misfit(o, nil, "metadata.namespace", "is not used: a Revocation stands in the root namespace, %s", k.mesh.RootNamespace)
		}
	}
}

// providers warns of services that are to be asked and are not there.
func (k *checker) providers(o *Object) {
	for i := range k.mesh.ExtensionProviders {
		e := &k.mesh.ExtensionProviders[i]
		_, s, port := k.Provider(e.Name)
		if s != nil || e.Name == "" {
			continue
		}
		kind := "envoyExtAuthzGrpc"
		if e.HTTP != nil {
			kind = "envoyExtAuthzHttp"
		}
		name, _ := e.address()
		k.warn(o, fmt.Sprintf("spec.extensionProviders[%d].%s.service", i, kind),
			"no service %q with port %d: every request that it is to decide on is refused", name, port)
	}
}

// tls warns of a DestinationRule by which calls are made in a way that the servers refuse.
func (k *checker) tls(o *Object, d *DestinationRule, s *Service) {
	subsets := []string{""}
	for _, sub := range d.Spec.GetSubsets() {
		subsets = append(subsets, sub.GetName())
	}
	for _, subset := range subsets {
		sub, _ := d.Subset(subset)
		for _, p := range s.Ports {
			tls, _, field := d.TLS(subset, p.Number)
			if tls == nil || s.External {
				continue
			}
			for _, e := range s.Endpoints(p.Number) {
				if e.Matches(sub.GetLabels()) && k.clash(o, tls, field+".mode", s, e) {
					break
				}
			}
		}
	}
}

// clash reports whether a server refuses calls that are made so, and warns of it.
func (k *checker) clash(o *Object, tls *networking.ClientTLSSettings, field string, s *Service, e Endpoint) bool {
	mode, origin := k.MutualTLS(Workload{Namespace: s.Namespace, Labels: e.Labels}, e.Port)
	switch mutual := tls.GetMode() == networking.ClientTLSSettings_ISTIO_MUTUAL; {
	case mutual && mode == identity.Disable:
		k.warn(o, field, "ISTIO_MUTUAL fails: by %s, workloads of %s take plaintext alone", origin, s.Host)
	case !mutual && mode == identity.Strict:
		k.warn(o, field, "%s fails: by %s, workloads of %s take the mesh's mTLS alone, which is ISTIO_MUTUAL", tls.GetMode(), origin, s.Host)
	default:
		return false
	}
	return true
}
