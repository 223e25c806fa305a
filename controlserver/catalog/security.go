package catalog

import (
	"cmp"
	"slices"

	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/identity"
)

// protection is what the kinds of security.istio.io say, so that what holds for a workload is found without looking at
// all of it. Each list is of one namespace, the oldest first.
type protection struct {
	mutual  map[string][]*peerAuthentication
	tokens  map[string][]*RequestAuthentication
	rules   map[string][]*AuthorizationPolicy
	revoked *identity.Revoked
	// revocations are what revoked adds up.
	revocations []*Object
}

// A peerAuthentication says whether connections are TLS.
type peerAuthentication struct {
	*Object
	spec *security.PeerAuthentication
}

// An AuthorizationPolicy says which requests workloads take. It is immutable.
type AuthorizationPolicy struct {
	*Object
	// DryRun says that it decides nothing, and that what it would decide is reported (istio.io/dry-run).
	DryRun bool
	Spec   *security.AuthorizationPolicy
}

// A RequestAuthentication says which tokens workloads verify. It is immutable.
type RequestAuthentication struct {
	*Object
	Spec *security.RequestAuthentication
	// Required says of each of Spec.JwtRules whether requests must have its token (presence: REQUIRED).
	Required []bool
}

// MutualTLS returns what PeerAuthentications say of the connections to a port of a workload, the number it listens
// on, and which of them says so. In the order in which they count: that of the workload's namespace with a selector
// that fits, its portLevelMtls before its mtls; that of the namespace without a selector; that of the root
// namespace without one. Of several of a kind the oldest counts alone, and one that says UNSET leaves it to the
// next (Istio). identity.Unset and the zero Origin are returned if nobody says.
func (c *Catalog) MutualTLS(w Workload, port uint32) (identity.Mode, Origin) {
	ns := namespaceOf(w)
	var workload, namespace, mesh *peerAuthentication
	for _, p := range c.protection.mutual[ns] {
		switch {
		case len(p.spec.GetSelector().GetMatchLabels()) == 0:
			namespace = orElse(namespace, p)
		case ns != c.mesh.RootNamespace && selects(p.spec.GetSelector().GetMatchLabels(), w.Labels):
			workload = orElse(workload, p)
		}
	}
	for _, p := range c.protection.mutual[c.mesh.RootNamespace] {
		if len(p.spec.GetSelector().GetMatchLabels()) == 0 {
			mesh = orElse(mesh, p)
		}
	}
	if workload != nil {
		if mode := modes[workload.spec.GetPortLevelMtls()[port].GetMode()]; mode != identity.Unset {
			return mode, workload.Origin()
		}
	}
	for _, p := range [...]*peerAuthentication{workload, namespace, mesh} {
		if p == nil {
			continue
		}
		if mode := modes[p.spec.GetMtls().GetMode()]; mode != identity.Unset {
			return mode, p.Origin()
		}
	}
	return identity.Unset, Origin{}
}

// AutoTLS reports whether a server of a service is to be called by the mesh's mTLS where no DestinationRule says how: it can, and
// no PeerAuthentication has it take plaintext alone (Istio auto mTLS). unsaid is the mode where none says anything. While a server is known
// to take one of both alone it is called by that; but never by plaintext where only mTLS is to be taken, whatever it takes.
func (c *Catalog) AutoTLS(s *Service, e Endpoint, unsaid identity.Mode) bool {
	if s.External || !e.MutualTLS() {
		return false
	}
	mode, _ := c.MutualTLS(Workload{Namespace: s.Namespace, Labels: e.Labels}, e.Port)
	switch mode = cmp.Or(mode, unsaid); {
	case mode == identity.Strict, e.Mode == identity.Strict:
		return true
	default:
		return mode != identity.Disable && e.Mode != identity.Disable
	}
}

// AuthorizationPolicies returns those that hold for a workload: those of the root namespace, then those of its
// own; in each the oldest first, and of one age by name (Istio).
func (c *Catalog) AuthorizationPolicies(w Workload) []*AuthorizationPolicy {
	var out []*AuthorizationPolicy
	namespaces := []string{c.mesh.RootNamespace, namespaceOf(w)}
	for _, ns := range slices.Compact(namespaces) {
		for _, p := range c.protection.rules[ns] {
			if attached(p.Spec, w) {
				out = append(out, p)
			}
		}
	}
	return out
}

// RequestAuthentications returns those that hold for a workload: those of its namespace, then those of the root
// namespace; in each the oldest first, and of one age by name (Istio).
func (c *Catalog) RequestAuthentications(w Workload) []*RequestAuthentication {
	var out []*RequestAuthentication
	namespaces := []string{namespaceOf(w), c.mesh.RootNamespace}
	for _, ns := range slices.Compact(namespaces) {
		for _, p := range c.protection.tokens[ns] {
			if attached(p.Spec, w) {
				out = append(out, p)
			}
		}
	}
	return out
}

// Revoked returns what all Revocations take back; nil if there is nothing.
func (c *Catalog) Revoked() *identity.Revoked { return c.protection.revoked }

// Revocations returns those that hold.
func (c *Catalog) Revocations() []*Object { return c.protection.revocations }

func (c *Catalog) addProtection() {
	p := &c.protection
	p.mutual = map[string][]*peerAuthentication{}
	p.tokens = map[string][]*RequestAuthentication{}
	p.rules = map[string][]*AuthorizationPolicy{}
	for _, o := range c.objects {
		switch spec := o.Spec.(type) {
		case *security.PeerAuthentication:
			p.mutual[o.Namespace] = append(p.mutual[o.Namespace], &peerAuthentication{Object: o, spec: spec})
		case *security.RequestAuthentication:
			ra := &RequestAuthentication{Object: o, Spec: spec, Required: make([]bool, len(spec.GetJwtRules()))}
			for i := range ra.Required {
				ra.Required[i] = slices.Contains(o.required, i)
			}
			p.tokens[o.Namespace] = append(p.tokens[o.Namespace], ra)
		case *security.AuthorizationPolicy:
			p.rules[o.Namespace] = append(p.rules[o.Namespace], &AuthorizationPolicy{Object: o, DryRun: o.dryRun(), Spec: spec})
		}
	}
	for _, o := range c.objects {
		if o.Revocation != nil && o.Namespace == c.mesh.RootNamespace {
			p.revocations = append(p.revocations, o)
		}
	}
	p.revoked = revoked(p.revocations)
}

var modes = map[security.PeerAuthentication_MutualTLS_Mode]identity.Mode{
	security.PeerAuthentication_MutualTLS_DISABLE:    identity.Disable,
	security.PeerAuthentication_MutualTLS_PERMISSIVE: identity.Permissive,
	security.PeerAuthentication_MutualTLS_STRICT:     identity.Strict,
}

func namespaceOf(w Workload) string { return cmp.Or(w.Namespace, DefaultNamespace) }

// orElse returns the first of two that is there.
func orElse[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}
