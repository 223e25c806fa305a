package explain

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// A Caller is who makes a request, as far as that can be proved.
type Caller struct {
	// ID is its identity; zero if it has none.
	ID spiffeid.ID
	// Plaintext says that it does not use its identity.
	Plaintext bool
	// Claims are those of the token that it sends, by name: string, []any or map[string]any. nil is no token.
	Claims map[string]any
	// Address is where it calls from; invalid if that is not known.
	Address netip.Addr
}

// An Access says whether servers take a request, and why.
type Access struct {
	Protection publish.Protection
	// ID is who the caller is to the servers; empty if the connection proves nothing.
	ID string
	// Refused says why the request is refused before any policy is asked; empty if it is not.
	Refused string
	// Decision is what the policies say, if they are asked.
	Decision identity.Decision
	// Asked are the services outside that decide, too.
	Asked []string
	Steps []Step
}

// A Step is what the policies of one kind say of a request, each for itself.
type Step struct {
	Name string
	// Kind is the action, as an AuthorizationPolicy has it.
	Kind     string
	Policies []Policy
}

// A Policy is one rule of a policy.
type Policy struct {
	Name string
	// Against are the conditions that do not hold; empty if the rule names the request.
	Against []string
	// Tried says that it is not in force.
	Tried bool
}

// access asks what the servers of a cluster say of a request. tls is what the caller demands of them.
func access(v *publish.View, t *Target, r Request) ([]Access, error) {
	var out []Access
	for _, p := range v.Protections(t.Name) {
		a := Access{Protection: p}
		if err := a.decide(t, r); err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func (a *Access) decide(t *Target, r Request) error {
	req := &identity.Request{}
	if a.Refused = a.connect(req, t, r.Caller); a.Refused != "" {
		return nil
	}
	if a.Refused = fill(req, r); a.Refused != "" {
		return nil
	}
	guard := a.Protection.Guard
	if claims := r.Caller.Claims; guard.JWT != nil {
		a.Refused = admit(guard.JWT, claims, req)
	}
	if a.Refused != "" {
		return nil
	}
	if guard.Revoked != nil && req.Peer != nil && slices.Contains(guard.Revoked.IDs, req.Peer.ID) {
		a.Refused = "the caller's identity is revoked"
		return nil
	}
	gate, err := identity.NewGate(guard)
	if err != nil {
		return fmt.Errorf("policies of %s: %w", t.Name, err)
	}
	a.Decision = gate.Check(context.Background(), req, asker{a}, func(int) ([]byte, error) { return nil, nil })
	for _, s := range guard.Steps {
		if err := a.each(s, req); err != nil {
			return err
		}
	}
	return nil
}

// connect adds what the servers see of the caller, and says why there is no connection; nothing if there is one.
func (a *Access) connect(out *identity.Request, t *Target, c Caller) string {
	if c.Address.IsValid() {
		out.Source, out.Client = netip.AddrPortFrom(c.Address, 1), c.Address
	}
	var endpoint balancer.Endpoint
	if e := a.Protection.Endpoints; len(e) > 0 {
		endpoint = e[0]
		out.Local, _ = netip.ParseAddrPort(endpoint.Addr)
	} else {
		out.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(a.Protection.Port))
		endpoint.MutualTLS = true // who registers has an identity, or could not
	}
	plaintext := plaintext(t, endpoint, c)
	switch mode := a.Protection.TLS.Mode; {
	case plaintext == "" && mode == identity.Disable:
		return "the caller speaks mTLS, and the server takes plaintext alone"
	case plaintext != "" && mode == identity.Strict:
		return "the server takes mTLS alone, and " + plaintext
	case plaintext == "":
		a.ID = c.ID.String()
		out.Peer = &identity.Peer{ID: c.ID, ServerName: t.Cluster.TLS.ServerName}
	}
	return ""
}

// fill adds what is asked over the connection, and says why nobody takes it; nothing if they do.
func fill(out *identity.Request, r Request) string {
	var err error
	if out.Path, err = identity.NormalizePath(cmp.Or(r.URL.EscapedPath(), "/")); err != nil {
		return err.Error() + " (400)"
	}
	if out.Authority, err = identity.NormalizeAuthority(r.URL.Host); err != nil {
		return err.Error() + " (400)"
	}
	out.Method, out.Scheme, out.Query, out.Header = cmp.Or(r.Method, http.MethodGet), "http", r.URL.RawQuery, header(r.Header)
	out.GRPC = strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
	return ""
}

// plaintext says why a caller proves nothing to a server; empty if it does.
func plaintext(t *Target, server balancer.Endpoint, c Caller) string {
	switch tls := t.Cluster.TLS; {
	case c.Plaintext:
		return "the caller does not use its identity"
	case c.ID == spiffeid.ID{}:
		return "the caller has no identity"
	case tls == nil || !tls.Mutual:
		return "no mTLS is configured for the caller"
	case t.Cluster.AutoTLS && !server.MutualTLS:
		return "it does not say that it can: it has neither a service account nor the label security.istio.io/tlsMode=istio"
	}
	return ""
}

// admit says what becomes of a request for its token, which is taken to be a good one of the provider of its issuer, and gives the
// request the claims; empty if it goes on.
func admit(t *identity.JWT, claims map[string]any, r *identity.Request) string {
	provider := ""
	if claims != nil {
		issuer, _ := claims["iss"].(string)
		i := slices.IndexFunc(t.Providers, func(p identity.Provider) bool { return issuer == "" || p.Issuer == issuer || p.Issuer == "" })
		if i < 0 {
			return fmt.Sprintf("the token is of %q, which is no issuer that the server knows (401)", issuer)
		}
		p := t.Providers[i]
		provider = p.Name
		subject, _ := claims["sub"].(string)
		if issuer == "" && p.Issuer != "" {
			claims["iss"] = p.Issuer
		}
		r.Claims = []identity.Claims{{Provider: p.Name, Issuer: p.Issuer, Subject: subject, Payload: claims}}
	}
	for _, q := range t.Requirements {
		if !fulfilled(q.Need, provider) {
			return "the server wants a token (401)"
		}
	}
	return ""
}

// fulfilled reports whether a request with a good token of a provider, or none if that is empty, has what is needed.
func fulfilled(r identity.Requirement, provider string) bool {
	is := func(one identity.Requirement) bool { return fulfilled(one, provider) }
	switch r.Kind {
	case identity.NeedToken:
		return r.Provider == provider
	case identity.NeedAnyOf:
		return slices.ContainsFunc(r.Of, is)
	case identity.NeedAllOf:
		return !slices.ContainsFunc(r.Of, func(one identity.Requirement) bool { return !is(one) })
	case identity.AllowMissing:
		return provider == ""
	}
	return true
}

// asker notes who would be asked.
type asker struct{ *Access }

func (a asker) Ask(_ context.Context, e *identity.ExtAuthz, _ *identity.Request, _ []byte) identity.Verdict {
	a.Asked = append(a.Asked, e.Service)
	return identity.Verdict{Allowed: true}
}

// each asks every rule of a step for itself.
func (a *Access) each(s identity.Step, r *identity.Request) error {
	add := func(rules *identity.Rules, tried bool) error {
		if rules == nil {
			return nil
		}
		step := Step{Name: s.Name, Kind: rules.Action.String()}
		switch {
		case s.Ask != nil:
			step.Kind = "CUSTOM"
		case rules.Action == identity.Log:
			step.Kind = "AUDIT"
		}
		for _, p := range rules.Policies {
			against, err := notNamed(p, rules.Action, r)
			if err != nil {
				return err
			}
			step.Policies = append(step.Policies, Policy{Name: p.Name, Against: against, Tried: tried})
		}
		a.Steps = append(a.Steps, step)
		return nil
	}
	rules := s.Rules
	if s.Ask != nil {
		rules = s.Ask.When
	}
	if err := add(rules, false); err != nil {
		return err
	}
	return add(s.Shadow, true)
}

// notNamed are the conditions for which a policy does not name a request; none if it does. Of several sources or operations, each lacks
// something, and what each lacks is said.
func notNamed(p identity.Policy, action identity.Action, r *identity.Request) ([]string, error) {
	var out []string
	for _, alternatives := range [][]identity.Condition{p.Permissions, p.Principals} {
		var lacks []string
		for _, c := range alternatives {
			parts := []identity.Condition{c}
			if c.Kind == identity.All {
				parts = c.Of
			}
			var missing []string
			for _, part := range parts {
				ok, err := holds(part, action, r)
				if err != nil {
					return nil, err
				}
				if !ok {
					missing = append(missing, Condition(part))
				}
			}
			if len(missing) == 0 {
				lacks = nil
				break
			}
			lacks = append(lacks, strings.Join(missing, " and "))
		}
		if len(lacks) > 0 {
			out = append(out, strings.Join(lacks, ", or "))
		}
	}
	return out, nil
}

// holds asks a condition as a rule of that action would, by the very code that serves calls.
func holds(c identity.Condition, action identity.Action, r *identity.Request) (bool, error) {
	always := []identity.Condition{{Kind: identity.Always}}
	if action == identity.Log {
		action = identity.Deny
	}
	rules := &identity.Rules{Action: action, Policies: []identity.Policy{{Name: "one", Permissions: always, Principals: []identity.Condition{c}}}}
	gate, err := identity.NewGate(identity.Guard{Steps: []identity.Step{{Name: "one", Rules: rules}}})
	if err != nil {
		return false, err
	}
	return gate.Check(context.Background(), r, nil, nil).Allowed == (action == identity.Allow), nil
}

// Condition says a condition of an authorization policy in words.
func Condition(c identity.Condition) string {
	switch c.Kind {
	case identity.Always:
		return "anything"
	case identity.All, identity.Any:
		var parts []string
		for _, one := range c.Of {
			if s := Condition(one); !slices.Contains(parts, s) {
				parts = append(parts, s)
			}
		}
		joint := " or "
		if c.Kind == identity.All {
			joint = " and "
		}
		if len(parts) == 1 {
			return parts[0]
		}
		return "(" + strings.Join(parts, joint) + ")"
	case identity.Not:
		return "not " + Condition(c.Of[0])
	case identity.HeaderIs:
		name := "header " + c.Name
		if n, ok := strings.CutPrefix(c.Name, ":"); ok {
			name = n
		}
		return name + " " + text(c.Is)
	case identity.PathIs:
		return "path " + text(c.Is)
	case identity.PathFits:
		return "path fits " + c.Is.Value
	case identity.Authentic:
		return peer(c.Is)
	case identity.SourceIn:
		return "caller's address in " + c.Net.String()
	case identity.RemoteIn:
		return "client's address in " + c.Net.String()
	case identity.LocalIn:
		return "server's address in " + c.Net.String()
	case identity.LocalPort:
		return fmt.Sprintf("port %d", c.Low)
	case identity.ServerName:
		return "server name " + text(c.Is)
	case identity.ClaimIs:
		return "claim " + strings.Join(c.Path, ".") + " " + text(c.Is)
	}
	return "what is not known"
}

// peer says a condition on an identity, those that stand for namespaces and service accounts by these.
func peer(is match.String) string {
	const anyDomain, account = "spiffe://[^/]+/ns/", "/(?:.+/)?sa/"
	rest, ok := strings.CutPrefix(is.Value, anyDomain)
	switch ns, name, isAccount := strings.Cut(rest, account); {
	case is == match.String{}:
		return "caller with any identity"
	case is.Kind != match.Regex || !ok:
		return "caller's identity " + text(is)
	case isAccount:
		return "caller with service account " + plain(ns) + "/" + plain(strings.TrimSuffix(name, "(?:/.+)?"))
	default:
		return "caller in namespace " + plain(strings.TrimSuffix(ns, "/.+"))
	}
}

func plain(expr string) string {
	return strings.ReplaceAll(strings.ReplaceAll(expr, "[^/]*", "*"), `\`, "")
}
