package wire

import (
	"fmt"
	"slices"
	"strings"

	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/identity"
)

const (
	rbacFilter    = "envoy.filters.http.rbac"
	tcpRBACFilter = "envoy.filters.network.rbac"
	// tcpStats is the prefix of the statistics of filters on connections (Istio).
	tcpStats = "tcp."
	// askStats is the prefix of what shadow rules note by which ext_authz knows whether it is asked (Istio CUSTOM).
	askStats  = "istio_ext_authz_"
	effective = "shadow_effective_policy_id" // what they note
)

// A guarding gathers who is let in, as the filters of a listener say it one after the other.
type guarding struct {
	ruler
	guard  identity.Guard
	steps  []identity.Step
	shadow map[string]*noted // by the prefix of their notes
	names  []string          // of the filters
}

// A noted is a step whose shadow rules may be there for an ext_authz after it.
type noted struct {
	step int
	used bool
}

// httpFilter takes in a filter that guards requests, and reports whether it is one.
func (g *guarding) httpFilter(p *place, name string, a *anypb.Any, own *own) bool {
	q := p.in("typed_config")
	var (
		rbac  rbacfilterv3.RBAC
		jwt   jwtv3.JwtAuthentication
		authz authzv3.ExtAuthz
	)
	switch {
	case a.MessageIs(&rbac):
		if unpackAt(&q, a, &rbac) {
			q.only(&rbac, "rules", "rules_stat_prefix", "matcher", "shadow_rules", "shadow_matcher", "shadow_rules_stat_prefix", "track_per_rule_stats")
			g.step(name, rbac.GetShadowRulesStatPrefix(), identity.Step{
				Rules:  g.rules(&q, "rules", rbac.GetRules(), "matcher", rbac.GetMatcher()),
				Shadow: g.rules(&q, "shadow_rules", rbac.GetShadowRules(), "shadow_matcher", rbac.GetShadowMatcher()),
			})
		}
	case a.MessageIs(&jwt):
		if unpackAt(&q, a, &jwt) {
			switch {
			case g.claims != nil:
				q.refuse("", "only one filter that verifies tokens is supported")
			case len(g.steps) > 0:
				q.refuse("", "not supported after filters that look at what it verifies")
			}
			g.guard.JWT, g.claims = decodeJWT(&q, &jwt, own.in("jwt"))
		}
	case a.MessageIs(&authz):
		if unpackAt(&q, a, &authz) {
			e := decodeAuthz(&q, &authz)
			g.ask(&q, name, e, authz.GetFilterEnabledMetadata())
		}
	default:
		return false
	}
	g.names = append(g.names, name)
	return true
}

// networkFilter takes in a filter that guards connections, and reports whether it is one.
func (g *guarding) networkFilter(p *place, name string, a *anypb.Any) bool {
	var rbac netrbacv3.RBAC
	if !a.MessageIs(&rbac) {
		return false
	}
	q := p.in("typed_config")
	if unpackAt(&q, a, &rbac) {
		q.only(&rbac, "rules", "matcher", "shadow_rules", "shadow_matcher", "shadow_rules_stat_prefix", "stat_prefix", "enforcement_type", "delay_deny")
		g.step(name, rbac.GetShadowRulesStatPrefix(), identity.Step{
			Rules:  g.rules(&q, "rules", rbac.GetRules(), "matcher", rbac.GetMatcher()),
			Shadow: g.rules(&q, "shadow_rules", rbac.GetShadowRules(), "shadow_matcher", rbac.GetShadowMatcher()),
		})
	}
	if name == "" {
		p.refuse("name", "empty")
	}
	return true
}

// step adds a step that decides something.
func (g *guarding) step(name, prefix string, s identity.Step) {
	if s.Rules == nil && s.Shadow == nil {
		return
	}
	if s.Name = name; s.Shadow != nil {
		if g.shadow == nil {
			g.shadow = map[string]*noted{}
		}
		g.shadow[prefix] = &noted{step: len(g.steps)}
	}
	g.steps = append(g.steps, s)
}

// ask adds the step of a service outside. when looks at what shadow rules before it have noted, which says on which requests it is
// asked (Istio CUSTOM).
func (g *guarding) ask(p *place, name string, e *identity.ExtAuthz, when *matcherv3.MetadataMatcher) {
	if when != nil {
		q := p.in("filter_enabled_metadata")
		q.only(when, "filter", "path", "value")
		key := ""
		if len(when.GetPath()) == 1 {
			key = when.GetPath()[0].GetKey()
		}
		prefix, ok := strings.CutSuffix(key, effective)
		n := g.shadow[prefix]
		switch {
		case when.GetFilter() != rbacFilter:
			q.refuse("filter", "%q is not supported; %q is", when.GetFilter(), rbacFilter)
		case !ok || n == nil:
			q.refuse("path", "no shadow rules before it note %q", key)
		default:
			n.used = true
			in := q.in("value")
			e.When = namedBy(&in, g.steps[n.step].Shadow, when.GetValue())
		}
	}
	g.steps = append(g.steps, identity.Step{Name: name, Ask: e})
}

// namedBy are the shadow rules as far as their policies' names are asked for.
func namedBy(p *place, shadow *identity.Rules, m *matcherv3.ValueMatcher) *identity.Rules {
	c := claimValue(p, m, identity.Condition{}, 0)
	if c.Kind != 0 || c.InList {
		p.refuse("match_pattern", "only string_match and present_match are supported")
		return nil
	}
	out := *shadow
	if out.Tree != nil {
		if m.GetPresentMatch() {
			return &out
		}
		p.refuse("match_pattern", "only present_match is supported with a matcher")
		return nil
	}
	is, err := c.Is.Compile()
	if err != nil {
		return nil // it has been refused
	}
	out.Policies = slices.DeleteFunc(slices.Clone(out.Policies), func(p identity.Policy) bool { return !is.Matches(p.Name) })
	if len(out.Policies) == 0 {
		out.Policies = nil
	}
	return &out
}

// finish returns the steps, without shadow rules that are only there to say when others ask.
func (g *guarding) finish() []identity.Step {
	gone := map[int]bool{}
	for _, n := range g.shadow {
		if n.used {
			g.steps[n.step].Shadow = nil
			gone[n.step] = g.steps[n.step].Rules == nil
		}
	}
	var out []identity.Step
	for i, s := range g.steps {
		if !gone[i] {
			out = append(out, s)
		}
	}
	g.steps = distinct(out)
	return g.steps
}

// distinct gives steps of one name names of their own.
func distinct(steps []identity.Step) []identity.Step {
	names, used := stepNames(steps), taken{}
	for i := range steps {
		if used[steps[i].Name] {
			steps[i].Name = names.free(steps[i].Name)
		}
		used[steps[i].Name] = true
	}
	return steps
}

// DecodeGuard reads what the filters of an HTTP connection manager that guard requests say, and passes over the others. In findings
// name stands for their listener.
func DecodeGuard(name string, filters []*hcmv3.HttpFilter) (*identity.Guard, error) {
	r := &report{what: "listener", name: name}
	root := r.root()
	var g guarding
	for i, f := range filters {
		q := root.at("http_filters", i)
		g.httpFilter(&q, f.GetName(), f.GetTypedConfig(), nil)
	}
	g.guard.Steps = g.finish()
	if err := r.err(); err != nil {
		return nil, err
	}
	return &g.guard, nil
}

// A named is a filter to be.
type named struct {
	name string
	m    proto.Message
}

// encodeGuard lists the filters that guard requests, and the rest.
func encodeGuard(g *identity.Guard, rest fields) (out []named) {
	if g.JWT != nil {
		m, more := encodeJWT(g.JWT, providersNamed(g))
		rest.some("jwt", more)
		out = append(out, named{stepNames(g.Steps).free(jwtFilter), m})
	}
	rest.matches("trusted", g.Trusted)
	rest.revoked("revoked", g.Revoked)
	return append(out, encodeSteps(g.Steps, false)...)
}

// taken are the names that filters have, or are to have.
type taken map[string]bool

func stepNames(steps []identity.Step) taken {
	t := taken{"": true}
	for i := range steps {
		t[steps[i].Name] = true
	}
	return t
}

// free is the name, or one like it that nobody has, who has it from now on.
func (t taken) free(name string) string {
	out := name
	for i := 2; t[out]; i++ {
		out = fmt.Sprintf("%s.%d", name, i)
	}
	t[out] = true
	return out
}

// encodeSteps lists the filters of steps. Steps without a name of their own get one.
func encodeSteps(steps []identity.Step, connections bool) (out []named) {
	names, used := stepNames(steps), taken{"": true}
	rbac, asks := rbacFilter, 0
	if connections {
		rbac = tcpRBACFilter
	}
	own := func(name, kind string) string {
		if used[name] {
			return names.free(kind)
		}
		used[name] = true
		return name
	}
	for i := range steps {
		s := &steps[i]
		if s.Rules != nil || s.Shadow != nil {
			out = append(out, named{own(s.Name, rbac), encodeRBAC(s.Rules, s.Shadow, dryRun(s.Shadow), connections)})
		}
		switch {
		case s.Ask == nil:
		case connections: // which have no request to ask about: none is let in
			out = append(out, named{own(s.Name, rbac), encodeRBAC(&identity.Rules{}, nil, "", true)})
		case s.Ask.When == nil:
			out = append(out, named{own(s.Name, authzFilter), encodeAuthz(s.Ask, nil)})
		default:
			prefix := askStats
			if asks++; asks > 1 {
				prefix = fmt.Sprintf("%s%d_", askStats, asks)
			}
			out = append(out, named{names.free(rbac), encodeRBAC(nil, s.Ask.When, prefix, false)}, named{own(s.Name, authzFilter), encodeAuthz(s.Ask, effectiveNote(prefix))})
		}
	}
	return out
}

// effectiveNote is the condition that shadow rules have noted something.
func effectiveNote(prefix string) *matcherv3.MetadataMatcher {
	return &matcherv3.MetadataMatcher{
		Filter: rbacFilter,
		Path:   []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: prefix + effective}}},
		Value:  &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}},
	}
}

// dryRun is the prefix of what rules note that are only tried (Istio).
func dryRun(r *identity.Rules) string {
	switch {
	case r == nil:
		return ""
	case r.Action == identity.Deny:
		return "istio_dry_run_deny_"
	}
	return "istio_dry_run_allow_"
}

func encodeRBAC(rules, shadow *identity.Rules, prefix string, connections bool) proto.Message {
	list, tree := encodeRules(rules)
	shadowList, shadowTree := encodeRules(shadow)
	if connections {
		return &netrbacv3.RBAC{
			Rules: list, Matcher: tree, ShadowRules: shadowList, ShadowMatcher: shadowTree, ShadowRulesStatPrefix: prefix, StatPrefix: tcpStats,
		}
	}
	return &rbacfilterv3.RBAC{Rules: list, Matcher: tree, ShadowRules: shadowList, ShadowMatcher: shadowTree, ShadowRulesStatPrefix: prefix}
}

// providersNamed are the providers whose claims some condition wants.
func providersNamed(g *identity.Guard) map[string]bool {
	out := map[string]bool{}
	var look func([]identity.Condition)
	look = func(list []identity.Condition) {
		for i := range list {
			if c := &list[i]; c.Kind == identity.ClaimIs && c.Name != "" {
				out[c.Name] = true
			}
			look(list[i].Of)
		}
	}
	rules := func(r *identity.Rules) {
		if r == nil {
			return
		}
		for i := range r.Policies {
			look(r.Policies[i].Permissions)
			look(r.Policies[i].Principals)
		}
	}
	for i := range g.Steps {
		rules(g.Steps[i].Rules)
		rules(g.Steps[i].Shadow)
		if g.Steps[i].Ask != nil {
			rules(g.Steps[i].Ask.When)
		}
	}
	return out
}
