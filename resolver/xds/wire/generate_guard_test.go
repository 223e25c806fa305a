package wire

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/resolver"
)

// inbound is a server, or an Envoy before it.
func (g gen) inbound(l *Listener) {
	in := &resolver.Inbound{Addr: g.addr(0)}
	l.Inbound = in
	in.TLS.Mode = identity.Mode(g.IntN(4))
	if in.TLS.Mode >= identity.Permissive {
		in.TLS.SubjectAltNames = g.names()
		l.Secrets = Secrets(g.IntN(2))
	}
	if g.chance(3) {
		l.Proxy = &Proxy{Cluster: g.name(), TCP: g.chance(3)}
	}
	if l.Proxy != nil && l.Proxy.TCP {
		in.Guard.Connections = g.steps("c", nil)
		in.Guard.Steps = in.Guard.Connections
	} else {
		in.Serving = g.serving()
		in.Guard = g.guard()
	}
	if g.chance(3) {
		in.Guard.Trusted = append([]match.String{}, list(g, 2, func(int) match.String { return g.text(6) })...)
	}
	if g.chance(3) {
		in.Guard.Revoked = g.revoked()
	}
}

func (g gen) revoked() *identity.Revoked {
	return &identity.Revoked{
		Serials: list(g, 2, func(int) string { return fmt.Sprintf("%x", g.Uint32()) }),
		IDs:     list(g, 2, func(int) spiffeid.ID { return spiffeid.RequireFromString("spiffe://td/ns/" + g.word()) }),
	}
}

// names are those of a type, then those of any.
func (g gen) names() []identity.SubjectAltName {
	typed := list(g, 2, func(int) identity.SubjectAltName {
		return identity.SubjectAltName{Type: identity.NameType(1 + g.IntN(4)), Is: g.sure(5)}
	})
	return append(typed, list(g, 2, func(int) identity.SubjectAltName { return identity.SubjectAltName{Is: g.sure(5)} })...)
}

// sure is a condition that no empty text fulfils.
func (g gen) sure(kinds int) match.String {
	is := g.text(kinds)
	if is.Kind == match.Exact && is.Value == "" {
		is.Value = g.word()
	}
	return is
}

func (g gen) clientTLS(c *Cluster) {
	t := &identity.ClientTLS{SubjectAltNames: g.names()}
	c.TLS = t
	if g.chance(2) {
		t.ServerName = g.word() + ".test"
	}
	if g.chance(3) {
		t.Revoked = g.revoked()
	}
	if g.chance(2) {
		t.Mutual, c.Secrets, c.AutoTLS = true, Secrets(g.IntN(2)), g.chance(2)
		return
	}
	if g.chance(3) {
		t.CertificateFile, t.KeyFile = "/etc/"+g.word(), "/etc/"+g.word()
	}
	switch g.IntN(4) {
	case 0:
		t.RootCAs = testRoot
	case 1:
		t.RootCAFile = "/etc/" + g.word()
	case 2:
		t.Insecure, t.SubjectAltNames = true, nil
		return
	default:
		c.Secrets = Secrets(g.IntN(2))
	}
	if g.chance(3) {
		t.RevocationFile = "/etc/" + g.word()
	}
}

// guard has conditions on claims of all providers, or on those of each.
func (g gen) guard() identity.Guard {
	var out identity.Guard
	var providers []string
	if g.chance(2) {
		out.JWT = g.jwt()
		providers = []string{""}
		if len(out.JWT.Providers) > 0 && g.chance(2) {
			providers = nil
			for _, p := range out.JWT.Providers {
				providers = append(providers, p.Name)
			}
		}
	}
	out.Steps = g.steps("s", providers)
	switch g.IntN(3) {
	case 0:
		out.Connections = connectionSteps(&out)
	case 1:
		out.Connections = g.steps("c", nil)
	}
	return out
}

// steps look at requests if there are providers, whose claims they may ask for, or are of connections.
func (g gen) steps(name string, providers []string) []identity.Step {
	c := conditions{gen: g, connection: name == "c", providers: providers}
	return list(g, 3, func(i int) identity.Step {
		s := identity.Step{Name: fmt.Sprint(name, i, ".", g.word())}
		if !c.connection && g.chance(3) {
			s.Ask = g.authz(c)
			return s
		}
		if !g.chance(4) {
			s.Rules = c.rules()
		}
		if s.Rules == nil || g.chance(3) {
			s.Shadow = c.rules()
		}
		return s
	})
}

// conditions makes rules.
type conditions struct {
	gen
	connection bool
	providers  []string
}

func (g conditions) rules() *identity.Rules {
	if g.chance(4) {
		return &identity.Rules{Tree: g.tree(2)}
	}
	r := &identity.Rules{Action: identity.Action(g.IntN(3))}
	r.Policies = list(g.gen, 3, func(i int) identity.Policy {
		p := identity.Policy{Name: fmt.Sprint("p", i, "-", g.word())}
		for range 1 + g.IntN(2) {
			p.Permissions = append(p.Permissions, g.condition(3, true))
			p.Principals = append(p.Principals, g.condition(3, false))
		}
		return p
	})
	return r
}

func (g conditions) condition(depth int, permission bool) identity.Condition {
	if depth > 0 && g.chance(2) {
		c := identity.Condition{Kind: []identity.ConditionKind{identity.All, identity.Any, identity.Not}[g.IntN(3)]}
		c.Of = []identity.Condition{g.condition(depth-1, permission)}
		if c.Kind != identity.Not && g.chance(2) {
			c.Of = append(c.Of, g.condition(depth-1, permission))
		}
		return c
	}
	kinds := []identity.ConditionKind{identity.Always, identity.Authentic, identity.SourceIn, identity.RemoteIn}
	if permission {
		kinds = []identity.ConditionKind{identity.Always, identity.LocalIn, identity.LocalPort, identity.ServerName}
	}
	if !g.connection {
		kinds = append(kinds, identity.HeaderIs, identity.PathIs)
		if permission {
			kinds = append(kinds, identity.PathFits)
		}
		if g.providers != nil {
			kinds = append(kinds, identity.ClaimIs)
		}
	}
	c := identity.Condition{Kind: kinds[g.IntN(len(kinds))]}
	switch c.Kind {
	case identity.Authentic:
		if g.chance(2) {
			c.Is = g.sure(5)
		}
	case identity.SourceIn, identity.RemoteIn, identity.LocalIn:
		c.Net = g.net()
	case identity.LocalPort:
		c.Low = uint16(g.IntN(65536))
		c.High = max(c.Low, uint16(g.IntN(65536)))
	case identity.ServerName:
		c.Is = g.text(5)
	case identity.PathIs:
		c.Is = g.path(5)
	case identity.PathFits:
		c.Is.Value = "/" + g.word() + []string{"/*", "/**", "/{v" + g.word() + "=*}/x"}[g.IntN(3)]
	case identity.HeaderIs:
		c.Name = []string{":method", ":authority", ":path", "x-" + g.word()}[g.IntN(4)]
		switch c.Name {
		case ":path":
			c.Is = g.path(5)
		case ":method", ":authority":
			if c.Is = g.text(6); c.Name == ":authority" && c.Is.Kind == match.Exact {
				c.Is.Value = g.word() // a host
			}
		default:
			if c.Is = g.text(7); c.Is.Low == c.Is.High && c.Is.Kind == match.Range {
				c.Is.High++
			}
		}
		c.Invert, c.MissingAsEmpty = g.chance(3), g.chance(3)
	case identity.ClaimIs:
		c.Name = g.providers[g.IntN(len(g.providers))]
		c.Path, c.Is, c.InList = []string{"sub", "groups"}[:1+g.IntN(2)], g.text(6), g.chance(2)
	}
	return c
}

// path is a condition that some path in normal form fulfils.
func (g gen) path(kinds int) match.String {
	is := g.text(kinds)
	if is.Kind <= match.Prefix {
		is.Value = "/" + is.Value
	}
	return is
}

func (g gen) net() netip.Prefix {
	if g.chance(2) {
		n := g.Uint32()
		a := netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		return netip.PrefixFrom(a, g.IntN(33)).Masked()
	}
	return netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("fd00::%x", g.IntN(65536))), g.IntN(129)).Masked()
}

func (g conditions) tree(depth int) *identity.Tree {
	branch := func() identity.Branch {
		if depth > 0 && g.chance(3) {
			return identity.Branch{Tree: g.tree(depth - 1)}
		}
		return identity.Branch{Policy: g.word(), Action: identity.Action(g.IntN(3))}
	}
	t := &identity.Tree{Fields: list(g.gen, 2, func(int) identity.Field {
		return identity.Field{If: g.predicate(2), Then: branch(), KeepMatching: !g.modest && g.chance(4)}
	})}
	if g.chance(2) {
		b := branch()
		t.Else = &b
	}
	return t
}

func (g conditions) predicate(depth int) identity.Condition {
	if depth > 0 && g.chance(3) {
		c := identity.Condition{Kind: []identity.ConditionKind{identity.All, identity.Any, identity.Not}[g.IntN(3)], Of: []identity.Condition{g.predicate(depth - 1)}}
		if c.Kind != identity.Not {
			c.Of = append(c.Of, g.predicate(depth-1))
		}
		return c
	}
	switch n := g.IntN(7); {
	case n == 0 && !g.connection:
		return identity.Condition{Kind: identity.HeaderIs, Name: []string{":method", "x-" + g.word()}[g.IntN(2)], Is: g.text(5)}
	case n == 1:
		return identity.Condition{Kind: identity.Authentic, Is: g.sure(5)}
	case n == 2:
		return identity.Condition{Kind: identity.ServerName, Is: g.text(5)}
	case n == 3:
		port := uint16(g.IntN(65536))
		return identity.Condition{Kind: identity.LocalPort, Low: port, High: port}
	}
	return identity.Condition{Kind: []identity.ConditionKind{identity.LocalIn, identity.SourceIn, identity.RemoteIn}[g.IntN(3)], Net: g.net()}
}

func (g gen) jwt() *identity.JWT {
	j := &identity.JWT{}
	j.Providers = list(g, 3, func(i int) identity.Provider { return g.provider(fmt.Sprint(i, g.word())) })
	if len(j.Providers) == 0 {
		return j
	}
	j.Requirements = list(g, 3, func(int) identity.PathRequirement {
		return identity.PathRequirement{Path: g.pathCondition(), Need: g.need(j.Providers, 2)}
	})
	return j
}

func (g gen) provider(name string) identity.Provider {
	p := identity.Provider{
		Name: name, Issuer: g.word(), Forward: g.chance(2),
		Audiences: list(g, 2, func(int) string { return g.word() }),
		Skew:      time.Duration(g.IntN(100)) * time.Second,
		From: append(append(
			list(g, 1, func(int) identity.TokenPlace {
				return identity.TokenPlace{Name: "x-" + g.word(), Prefix: g.word() + " "}
			}),
			list(g, 1, func(int) identity.TokenPlace { return identity.TokenPlace{Kind: identity.InQuery, Name: g.word()} })...),
			list(g, 1, func(int) identity.TokenPlace { return identity.TokenPlace{Kind: identity.InCookie, Name: g.word()} })...),
		ClaimHeaders: list(g, 2, func(i int) identity.ClaimHeader {
			return identity.ClaimHeader{Header: fmt.Sprint("x-claim-", i), Claim: g.word()}
		}),
		SpaceDelimited: list(g, 2, func(int) string { return "c" + g.word() }),
	}
	if g.chance(3) {
		p.Subjects = []match.String{g.text(5)}
	}
	if g.chance(3) {
		p.PayloadHeader = "x-payload"
	}
	if g.chance(3) {
		p.MaxLifetime = time.Hour
	}
	if g.chance(3) {
		p.MaxStale = time.Minute + time.Duration(g.IntN(1e9))
	}
	if g.chance(2) {
		p.JWKS = testKeys
		return p
	}
	p.URI = "https://" + g.word() + ".test/keys"
	if g.chance(2) {
		p.Service = g.word() + ".test:" + fmt.Sprint(1+g.IntN(65535))
	}
	if g.chance(2) {
		p.Timeout = time.Second
	}
	if g.chance(2) {
		p.CacheFor = time.Minute
	}
	return p
}

// pathCondition is one of those that a route's match can say.
func (g gen) pathCondition() identity.Condition {
	path := identity.Condition{Kind: identity.PathIs, Is: match.String{Kind: match.Kind(g.IntN(2)), Value: "/" + g.word(), IgnoreCase: g.chance(3)}}
	switch g.IntN(6) {
	case 0:
		return identity.Condition{}
	case 1:
		path = identity.Condition{Kind: identity.PathFits, Is: match.String{Value: "/" + g.word() + "/*"}}
	case 2:
		path.Is = match.String{Kind: match.Regex, Value: "/.*" + g.word()}
	case 3:
		a, b := path, path
		a.Is.Kind, b.Is.Kind = match.Exact, match.Prefix
		b.Is.Value += "/"
		path = identity.Condition{Kind: identity.Any, Of: []identity.Condition{a, b}}
	case 4:
		return identity.Condition{Kind: identity.HeaderIs, Name: ":method", Is: g.text(5)}
	}
	if g.chance(3) {
		return identity.Condition{Kind: identity.All, Of: []identity.Condition{path, {Kind: identity.HeaderIs, Name: "x-" + g.word(), Is: g.text(7)}}}
	}
	return path
}

func (g gen) need(providers []identity.Provider, depth int) identity.Requirement {
	kinds := 6
	if depth == 0 {
		kinds = 4
	}
	n := identity.Requirement{Kind: []identity.NeedKind{
		identity.NeedNothing, identity.NeedToken, identity.AllowMissing, identity.AllowMissingOrBad, identity.NeedAnyOf, identity.NeedAllOf,
	}[g.IntN(kinds)]}
	switch n.Kind {
	case identity.NeedToken:
		n.Provider = providers[g.IntN(len(providers))].Name
		if g.chance(3) {
			n.Audiences = append([]string{}, list(g, 2, func(int) string { return g.word() })...)
		}
	case identity.NeedAnyOf, identity.NeedAllOf:
		n.Of = []identity.Requirement{g.need(providers, depth-1), g.need(providers, depth-1)}
	}
	return n
}

func (g gen) authz(c conditions) *identity.ExtAuthz {
	header := func(int) match.String { return match.String{Value: "x-" + g.word(), IgnoreCase: g.chance(2)} }
	e := &identity.ExtAuthz{
		Service: g.word() + ".test:" + fmt.Sprint(1+g.IntN(65535)), FailOpen: g.chance(3), PeerCertificate: g.chance(3),
		AddHeaders: list(g, 2, func(int) identity.HeaderField { return identity.HeaderField{Name: "x-" + g.word(), Value: g.word()} }),
	}
	if g.chance(2) {
		e.When = c.rules()
	}
	if g.chance(2) {
		e.Timeout = time.Second
	}
	if g.chance(3) {
		e.StatusOnError = []int{403, 500, 503}[g.IntN(3)]
	}
	if g.chance(3) {
		e.MaxBody, e.PartialBody, e.PackAsBytes = 1+g.Uint32N(math.MaxUint16), g.chance(2), g.chance(2)
	}
	if e.HTTP = g.chance(2); e.HTTP {
		e.PathPrefix = strings.Repeat("/"+g.word(), g.IntN(2))
		e.RequestHeaders, e.UpstreamHeaders, e.AppendHeaders = list(g, 2, header), list(g, 2, header), list(g, 2, header)
		e.DeniedHeaders, e.AllowedHeaders = list(g, 2, header), list(g, 2, header)
	}
	return e
}
