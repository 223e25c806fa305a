package publish

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/trafficpolicy"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/resolver"
)

// An Inbound is what a server is told of the address it serves, and where that comes from.
type Inbound struct {
	resolver.Inbound
	From Origins
	// Policies and Tokens are what holds for the server, in the order in which it was compiled.
	Policies []*catalog.AuthorizationPolicy
	Tokens   []*catalog.RequestAuthentication
}

// inbound is what the process of the client that listens at addr, "ip:port", is told.
func (v *View) inbound(addr string) (Inbound, catalog.Workload) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		// It has no port that anything could be said of, and no policy may be passed over for that.
		at = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	w := v.workload(at)
	return v.protected(addr, v.serving(addr), w, uint32(at.Port())), w
}

// protected is what the server of a port of a workload is told.
func (v *View) protected(addr string, serving Serving, w catalog.Workload, port uint32) Inbound {
	out := Inbound{
		Inbound:  resolver.Inbound{Addr: addr, Serving: serving.Serving},
		From:     maps.Clone(serving.From),
		Policies: v.catalog.AuthorizationPolicies(w), Tokens: v.catalog.RequestAuthentications(w),
	}
	if out.From == nil {
		out.From = Origins{}
	}
	mode, origin := v.catalog.MutualTLS(w, port)
	if o := v.policies[origin.String()]; o != nil {
		out.From.add(TLS, Origin{o, "spec"})
	}
	if v.config.TrustDomain != "" {
		out.TLS.Mode = cmp.Or(mode, v.config.DefaultMode, identity.Permissive)
	} else if mode == identity.Strict {
		v.plain(out.From)
	}
	for _, p := range out.Policies {
		out.From.add(Authorization, Origin{p.Object, "spec"})
	}
	for _, p := range out.Tokens {
		out.From.add(RequestTokens, Origin{p.Object, "spec"})
	}

	v.revocations(out.From)
	out.Guard = identity.Guard{JWT: v.tokens(out.Tokens), Revoked: v.catalog.Revoked()}
	a := authorizer{trustDomains: v.trustDomains(), denied: v.deniedDomains(), provider: v.provider}
	if out.Guard.JWT != nil {
		for _, p := range out.Guard.JWT.Providers {
			a.tokens = append(a.tokens, p.Name)
		}
	}
	out.Guard.Steps = a.steps(out.Policies)
	out.Guard.Trusted = a.trusted(serving.Trusted)
	a.connection = true
	out.Guard.Connections = a.steps(out.Policies)
	return out
}

// A Protection is what some servers of a cluster are told of who may call them.
type Protection struct {
	Inbound
	Workload  catalog.Workload
	Port      uint32
	Endpoints []balancer.Endpoint // of these servers; none if there are none yet
}

// Protections are what the servers of a cluster are told, if they are the mesh's library's: one for all of whom the same holds. Where none
// are known, it is what those will be told that have the labels of the service's selector and nothing else.
func (v *View) Protections(cluster string) []Protection {
	s, port, subset, ok := v.parse(cluster)
	if !ok {
		return nil
	}
	var out []Protection
	for _, e := range v.endpoints(s, port, subset) {
		at, err := netip.ParseAddrPort(e.Addr)
		if err != nil {
			continue
		}
		w := catalog.Workload{Namespace: s.Namespace, Labels: e.Labels}
		one := Protection{Workload: w, Port: uint32(at.Port()), Inbound: v.protected(e.Addr, Serving{}, w, uint32(at.Port()))}
		i := slices.IndexFunc(out, func(p Protection) bool {
			return p.Port == one.Port && p.TLS.Mode == one.TLS.Mode && slices.Equal(p.Policies, one.Policies) && slices.Equal(p.Tokens, one.Tokens)
		})
		if i < 0 {
			i, out = len(out), append(out, one)
		}
		out[i].Endpoints = append(out[i].Endpoints, e)
	}
	if len(out) == 0 {
		w := catalog.Workload{Namespace: s.Namespace, Labels: s.Selector()}
		number := cmp.Or(port.TargetPort, port.Number)
		out = append(out, Protection{Workload: w, Port: number, Inbound: v.protected("", Serving{}, w, number)})
	}
	return out
}

// Accounts are the service accounts of the servers that a name stands for, and their namespace, as far as they are written down.
func (v *View) Accounts(name string) (namespace string, accounts []string) {
	s, _ := v.catalog.Service(v.client.Namespace, name)
	if s == nil {
		return v.client.Namespace, nil
	}
	for _, p := range s.Ports {
		for _, e := range s.Endpoints(p.Number) {
			if e.ServiceAccount != "" {
				accounts = append(accounts, e.ServiceAccount)
			}
		}
	}
	slices.Sort(accounts)
	return s.Namespace, slices.Compact(accounts)
}

// TrustDomain is that of the mesh's identities; empty if there are none.
func (v *View) TrustDomain() string { return v.config.TrustDomain }

// trustDomains are the mesh's own, and its aliases; none without identities. What a MeshConfig says of another trust domain than the control server's makes
// nobody one of the mesh's.
func (v *View) trustDomains() []string {
	if v.config.TrustDomain != "" && v.elsewhere() {
		return []string{v.config.TrustDomain}
	}
	return v.deniedDomains()
}

// elsewhere reports whether the MeshConfig is of another trust domain than the control server.
func (v *View) elsewhere() bool {
	said := v.catalog.Mesh().TrustDomain
	return said != "" && said != v.config.TrustDomain
}

// deniedDomains are all that may be meant by the mesh's own in what denies.
func (v *View) deniedDomains() []string {
	mesh := v.catalog.Mesh()
	own := cmp.Or(v.config.TrustDomain, mesh.TrustDomain)
	if own == "" {
		return nil
	}
	out := []string{own}
	if v.elsewhere() {
		out = append(out, mesh.TrustDomain)
	}
	out = slices.Compact(out)
	for _, alias := range mesh.TrustDomainAliases {
		if !slices.Contains(out, alias) {
			out = append(out, alias)
		}
	}
	return out
}

// trusted are callers by their identities. None is nil if nobody says, and else nobody.
func (a authorizer) trusted(callers []trafficpolicy.Principal) []match.String {
	if callers == nil {
		return nil
	}
	out := []match.String{}
	var names []string
	for _, c := range callers {
		names = append(names, string(c))
	}
	for _, name := range a.aliased(names, false) {
		c, _ := isPrincipal(name, true) // never fails
		if c.Is == (match.String{}) {
			c.Is = match.String{Kind: match.Prefix, Value: spiffe}
		}
		out = append(out, c.Is)
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
