package catalog

import (
	"fmt"
	"slices"
	"strings"

	security "istio.io/api/security/v1beta1"
)

// An Authority is whose identities a control server gives out and believes. The zero Authority has none.
type Authority struct {
	// TrustDomain is the control server's own, and Federated are the others that are believed.
	TrustDomain string
	Federated   []string
}

// CheckAuthority warns of what does not fit the identities there are: a MeshConfig of another trust domain, and workloads that let in everybody
// of the others.
func (c *Catalog) CheckAuthority(a Authority) []Finding {
	k := checker{Catalog: c}
	if o := c.meshObject; o != nil && a.TrustDomain != "" && c.mesh.TrustDomain != "" && c.mesh.TrustDomain != a.TrustDomain {
		k.warn(o, "spec.trustDomain", "%q is not the trust domain of the control server, %q, of which all identities are: rules that allow take neither it nor trustDomainAliases for "+
			"other names of that, and rules that deny do", c.mesh.TrustDomain, a.TrustDomain)
	}
	if o := c.meshObject; o != nil && a.TrustDomain != "" {
		for i, alias := range c.mesh.TrustDomainAliases {
			if alias == a.TrustDomain && c.mesh.TrustDomain != "" {
				k.warn(o, fmt.Sprintf("spec.trustDomainAliases[%d]", i), "%q is the trust domain of the control server, and no alias: write it as trustDomain", alias)
			}
		}
	}
	others := slices.DeleteFunc(slices.Clone(a.Federated), func(d string) bool { return d == a.TrustDomain })
	if len(others) > 0 {
		for _, s := range c.services {
			k.unguarded(s, strings.Join(others, ", "))
		}
	}
	return sortFindings(k.findings)
}

// unguarded warns of a service some of whose workloads ask nobody of another trust domain who he is.
func (k *checker) unguarded(s *Service, others string) {
	if s.External {
		return
	}
	kinds := []map[string]string{}
	for _, p := range s.Ports {
		for _, e := range s.Endpoints(p.Number) {
			kinds = append(kinds, e.Labels)
		}
	}
	if len(kinds) == 0 {
		kinds = append(kinds, s.Selector())
	}
	for _, labels := range kinds {
		if slices.ContainsFunc(k.AuthorizationPolicies(Workload{Namespace: s.Namespace, Labels: labels}), guardsFromOthers) {
			continue
		}
		const why = "no AuthorizationPolicy with ALLOW is for workloads of %s: everybody of %s may call them"
		if s.Born() {
			k.findings = append(k.findings, Finding{Namespace: s.Namespace, Message: fmt.Sprintf(why, s.Host, others), Severity: Warning})
		} else {
			k.warn(s.Objects[0], hostField(s.Objects[0], s), why, s.Host, others)
		}
		return
	}
}

// guardsFromOthers reports whether a policy keeps out those it does not know: it names whom to let in, or denies by trust domains or identities.
func guardsFromOthers(p *AuthorizationPolicy) bool {
	switch {
	case p.DryRun:
		return false
	case p.Spec.GetAction() == security.AuthorizationPolicy_ALLOW:
		return true
	case p.Spec.GetAction() != security.AuthorizationPolicy_DENY:
		return false
	}
	return slices.ContainsFunc(p.Spec.GetRules(), func(r *security.Rule) bool {
		all := len(r.GetFrom())+len(r.GetTo())+len(r.GetWhen()) == 0
		return all || slices.ContainsFunc(r.GetFrom(), func(f *security.Rule_From) bool {
			s := f.GetSource()
			return len(s.GetTrustDomains())+len(s.GetNotTrustDomains())+len(s.GetNotPrincipals()) > 0
		}) || slices.ContainsFunc(r.GetWhen(), func(c *security.Condition) bool {
			return c.GetKey() == "source.trustDomain" || c.GetKey() == "source.principal" && len(c.GetNotValues()) > 0
		})
	})
}
