package publish

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/resolver"
)

// An Inbound is what a server is told of the address it serves, and where that comes from.
type Inbound struct {
	resolver.Inbound
	From Origins
	// Mode says who decided whether connections are TLS; nobody of the default.
	Mode catalog.Origin
	// Policies and Tokens are what holds for the server, in the order in which it was compiled.
	Policies []*catalog.AuthorizationPolicy
	Tokens   []*catalog.RequestAuthentication
}

// inbound is what the process of the client that listens at addr, "ip:port", is told.
func (v *View) inbound(addr string) Inbound {
	serving := v.serving(addr)
	out := Inbound{Inbound: resolver.Inbound{Addr: addr, Serving: serving.Serving}, From: serving.From}
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		// It has no port that anything could be said of, and no policy may be passed over for that.
		at = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	v.protect(&out, v.workload(at), uint32(at.Port()))
	return out
}

// protect adds who may call a port of a workload.
func (v *View) protect(out *Inbound, w catalog.Workload, port uint32) {
	out.Policies = v.catalog.AuthorizationPolicies(w)
	out.Tokens = v.catalog.RequestAuthentications(w)
	out.TLS, out.Mode = v.serverTLS(w, port)
	out.Guard.JWT = v.tokens(out.Tokens)
	out.Guard.Revoked = v.catalog.Revoked()

	a := authorizer{trustDomains: v.trustDomains(), provider: v.provider}
	if out.Guard.JWT != nil {
		for _, p := range out.Guard.JWT.Providers {
			a.tokens = append(a.tokens, p.Name)
		}
	}
	out.Guard.Steps = a.steps(out.Policies)
	a.connection = true
	out.Guard.Connections = a.steps(out.Policies)
	if out.From == nil {
		out.From = Origins{}
	}
	for _, p := range out.Policies {
		out.From.add(Authorization, Origin{p.Object, "spec"})
	}
	for _, p := range out.Tokens {
		out.From.add(RequestTokens, Origin{p.Object, "spec"})
	}
}

// serverTLS is what connections to a port of a workload must be. Without a trust domain nobody is told anything: then the
// process's own identity decides.
func (v *View) serverTLS(w catalog.Workload, port uint32) (identity.ServerTLS, catalog.Origin) {
	mode, origin := v.catalog.MutualTLS(w, port)
	if v.config.TrustDomain == "" {
		return identity.ServerTLS{}, origin
	}
	return identity.ServerTLS{Mode: cmp.Or(mode, v.config.DefaultMode, identity.Permissive)}, origin
}

// trustDomains are the mesh's own, and its aliases; none without identities.
func (v *View) trustDomains() []string {
	mesh := v.catalog.Mesh()
	own := cmp.Or(v.config.TrustDomain, mesh.TrustDomain)
	if own == "" {
		return nil
	}
	out := []string{own}
	for _, alias := range mesh.TrustDomainAliases {
		if !slices.Contains(out, alias) {
			out = append(out, alias)
		}
	}
	return out
}

// ofDomains are the names of everybody in the mesh's trust domain.
func (v *View) ofDomains() []identity.SubjectAltName {
	var out []identity.SubjectAltName
	for _, d := range v.trustDomains() {
		out = append(out, identity.SubjectAltName{Type: identity.URIName, Is: match.String{Kind: match.Prefix, Value: spiffe + d + "/"}})
	}
	return out
}

// workload is the process of the client that listens at an address. Its labels are those that operators have written down for the
// address (Istio), or else those it says it has, or else those of who is registered there.
func (v *View) workload(at netip.AddrPort) catalog.Workload {
	w := catalog.Workload{Namespace: v.client.Namespace, ServiceAccount: v.client.ServiceAccount, Labels: v.client.Labels}
	known := v.where.at(w.Namespace, at)
	for _, ip := range v.client.Addresses {
		if ip, err := netip.ParseAddr(ip); err == nil && known == nil && at.Addr().IsUnspecified() && len(w.Labels) == 0 {
			known = v.where.at(w.Namespace, netip.AddrPortFrom(ip, at.Port()))
		}
	}
	if known != nil && (!known.Registered || len(w.Labels) == 0) {
		w.Labels = known.Labels
	}
	return w
}
