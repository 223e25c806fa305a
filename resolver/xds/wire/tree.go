package wire

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	sslv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/ssl/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/resolver"
)

type (
	predicate  = xdsmatcherv3.Matcher_MatcherList_Predicate
	predicates = xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList
	single     = xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate
)

// tree reads a unified matcher. Its maps become lists, longest prefix first.
func (r *ruler) tree(p *place, m *xdsmatcherv3.Matcher, depth int) *identity.Tree {
	t := new(identity.Tree)
	if depth > maxDepth {
		p.refuse("", "more than %d conditions within each other", maxDepth)
		return t
	}
	p.only(m, "matcher_list", "matcher_tree", "on_no_match")
	switch s := m.GetMatcherType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_:
		q := p.in("matcher_list")
		if len(s.MatcherList.GetMatchers()) == 0 {
			q.refuse("matchers", "none")
		}
		for i, f := range s.MatcherList.GetMatchers() {
			in := q.at("matchers", i)
			pp, op := in.in("predicate"), in.in("on_match")
			t.Fields = append(t.Fields, identity.Field{
				If: r.predicate(&pp, f.GetPredicate(), depth+1), Then: r.branch(&op, f.GetOnMatch(), depth+1), KeepMatching: f.GetOnMatch().GetKeepMatching(),
			})
		}
	case *xdsmatcherv3.Matcher_MatcherTree_:
		q := p.in("matcher_tree")
		t.Fields = r.lookup(&q, s.MatcherTree, depth)
	}
	if m.GetOnNoMatch() != nil {
		q := p.in("on_no_match")
		if m.GetOnNoMatch().GetKeepMatching() {
			q.refuse("keep_matching", "not supported here")
		}
		b := r.branch(&q, m.GetOnNoMatch(), depth+1)
		t.Else = &b
	}
	return t
}

// lookup reads a map as the fields that it is the short form of.
func (r *ruler) lookup(p *place, m *xdsmatcherv3.Matcher_MatcherTree, depth int) (out []identity.Field) {
	var (
		kind match.Kind
		name string
		keys map[string]*xdsmatcherv3.Matcher_OnMatch
	)
	switch s := m.GetTreeType().(type) {
	case *xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap:
		kind, name, keys = match.Exact, "exact_match_map", s.ExactMatchMap.GetMap()
	case *xdsmatcherv3.Matcher_MatcherTree_PrefixMatchMap:
		kind, name, keys = match.Prefix, "prefix_match_map", s.PrefixMatchMap.GetMap()
	default:
		p.refuse("tree_type", "only exact_match_map and prefix_match_map are supported")
		return nil
	}
	if len(keys) == 0 {
		p.refuse(name, "empty")
	}
	order := func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) }
	for _, key := range slices.SortedFunc(maps.Keys(keys), order) {
		in := p.in(name)
		q := in.in(key)
		if key == "" && kind == match.Prefix {
			in.refuse("", "an empty prefix is not supported")
		}
		out = append(out, identity.Field{
			If:   r.input(p, m.GetInput(), match.String{Kind: kind, Value: key}),
			Then: r.branch(&q, keys[key], depth+1), KeepMatching: keys[key].GetKeepMatching(),
		})
	}
	return out
}

func (r *ruler) branch(p *place, m *xdsmatcherv3.Matcher_OnMatch, depth int) (b identity.Branch) {
	p.only(m, "matcher", "action", "keep_matching")
	switch s := m.GetOnMatch().(type) {
	case *xdsmatcherv3.Matcher_OnMatch_Matcher:
		q := p.in("matcher")
		b.Tree = r.tree(&q, s.Matcher, depth)
	case *xdsmatcherv3.Matcher_OnMatch_Action:
		q := p.in("action.typed_config")
		var a rbacv3.Action
		if unpackAt(&q, s.Action.GetTypedConfig(), &a) {
			q.only(&a, "name", "action")
			if b.Policy = a.GetName(); b.Policy == "" {
				q.refuse("name", "empty")
			}
			b.Action = decodeVerdict(&q, a.GetAction())
		}
	default:
		p.refuse("on_match", "missing")
	}
	return b
}

func (r *ruler) predicate(p *place, m *predicate, depth int) (c identity.Condition) {
	if depth > maxDepth {
		p.refuse("", "more than %d conditions within each other", maxDepth)
		return c
	}
	below := func(kind identity.ConditionKind, field string, list []*predicate) identity.Condition {
		q := p.in(field)
		out := identity.Condition{Kind: kind}
		for i, each := range list {
			in := q.at("predicate", i)
			out.Of = append(out.Of, r.predicate(&in, each, depth+1))
		}
		if len(list) < 2 {
			q.refuse("predicate", "%d are less than 2", len(list))
		}
		return out
	}
	switch s := m.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		return below(identity.Any, "or_matcher", s.OrMatcher.GetPredicate())
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		return below(identity.All, "and_matcher", s.AndMatcher.GetPredicate())
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		q := p.in("not_matcher")
		return identity.Condition{Kind: identity.Not, Of: []identity.Condition{r.predicate(&q, s.NotMatcher, depth+1)}}
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		q := p.in("single_predicate")
		return r.single(&q, s.SinglePredicate)
	}
	p.refuse("match_type", "missing")
	return c
}

func (r *ruler) single(p *place, m *single) (c identity.Condition) {
	switch s := m.GetMatcher().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch:
		q := p.in("value_match")
		return r.input(p, m.GetInput(), decodeXDSString(&q, s.ValueMatch))
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch:
		q := p.in("custom_match.typed_config")
		var ip ipv3.Ip
		kind := addressInput(m.GetInput().GetTypedConfig())
		if !unpackAt(&q, s.CustomMatch.GetTypedConfig(), &ip) {
			return c
		}
		if kind == 0 {
			p.refuse("input", "%s is not supported with ranges of addresses", m.GetInput().GetTypedConfig().MessageName())
		}
		out := identity.Condition{Kind: identity.Any}
		for i, n := range ip.GetCidrRanges() {
			out.Of = append(out.Of, identity.Condition{Kind: kind, Net: decodeNet(q.at("cidr_ranges", i), n)})
		}
		switch len(out.Of) {
		case 0:
			q.refuse("cidr_ranges", "none")
		case 1:
			return out.Of[0]
		}
		return out
	}
	p.refuse("matcher", "missing")
	return c
}

// addressInput is the kind of condition that an input of addresses is for; 0 if it is none.
func addressInput(a *anypb.Any) identity.ConditionKind {
	switch {
	case a.MessageIs((*networkv3.DestinationIPInput)(nil)):
		return identity.LocalIn
	case a.MessageIs((*networkv3.DirectSourceIPInput)(nil)):
		return identity.SourceIn
	case a.MessageIs((*networkv3.SourceIPInput)(nil)):
		return identity.RemoteIn
	}
	return 0
}

// input is the condition that what is looked at be as said.
func (r *ruler) input(p *place, m *xdscorev3.TypedExtensionConfig, is match.String) (c identity.Condition) {
	a := m.GetTypedConfig()
	in := p.in("input")
	q := in.in("typed_config")
	whole := is.Kind == match.Exact && !is.IgnoreCase
	switch kind := addressInput(a); {
	case kind != 0:
		addr, err := netip.ParseAddr(is.Value)
		if !whole || err != nil || addr.Zone() != "" {
			p.refuse("value_match", "%.80q is no IP address", is.Value)
			return c
		}
		addr = addr.Unmap()
		return identity.Condition{Kind: kind, Net: netip.PrefixFrom(addr, addr.BitLen())}
	case a.MessageIs((*networkv3.DestinationPortInput)(nil)):
		n, err := strconv.ParseUint(is.Value, 10, 16)
		if !whole || err != nil {
			p.refuse("value_match", "%.80q is no port", is.Value)
		}
		return identity.Condition{Kind: identity.LocalPort, Low: uint16(n), High: uint16(n)}
	case a.MessageIs((*networkv3.ServerNameInput)(nil)):
		return identity.Condition{Kind: identity.ServerName, Is: is}
	case a.MessageIs((*sslv3.UriSanInput)(nil)):
		if is.Value == "" {
			p.refuse("value_match", "an empty name is not supported")
		}
		return identity.Condition{Kind: identity.Authentic, Is: is}
	case a.MessageIs((*matcherv3.HttpRequestHeaderMatchInput)(nil)):
		var h matcherv3.HttpRequestHeaderMatchInput
		if !unpackAt(&q, a, &h) {
			return c
		}
		c = r.header(&q, encodeHeader(resolver.HeaderMatch{Name: h.GetHeaderName(), Is: is}))
		return c
	}
	q.refuse("", "%s is not supported", a.MessageName())
	return c
}

func decodeXDSString(p *place, m *xdsmatcherv3.StringMatcher) match.String {
	out := &matcherv3.StringMatcher{IgnoreCase: m.GetIgnoreCase()}
	switch s := m.GetMatchPattern().(type) {
	case *xdsmatcherv3.StringMatcher_Exact:
		out.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: s.Exact}
	case *xdsmatcherv3.StringMatcher_Prefix:
		out.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: s.Prefix}
	case *xdsmatcherv3.StringMatcher_Suffix:
		out.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: s.Suffix}
	case *xdsmatcherv3.StringMatcher_Contains:
		out.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: s.Contains}
	case *xdsmatcherv3.StringMatcher_SafeRegex:
		out.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: s.SafeRegex.GetRegex()}}
	case *xdsmatcherv3.StringMatcher_Custom:
		p.refuse("custom", "not supported")
		return match.String{}
	}
	return decodeString(p, out)
}

// encodeTree is the reverse of tree, by lists alone.
func encodeTree(t *identity.Tree) *xdsmatcherv3.Matcher {
	m := &xdsmatcherv3.Matcher{}
	if len(t.Fields) > 0 {
		list := &xdsmatcherv3.Matcher_MatcherList{}
		for i := range t.Fields {
			f := &t.Fields[i]
			on := encodeBranch(&f.Then)
			on.KeepMatching = f.KeepMatching
			list.Matchers = append(list.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{Predicate: encodePredicate(f.If), OnMatch: on})
		}
		m.MatcherType = &xdsmatcherv3.Matcher_MatcherList_{MatcherList: list}
	}
	if t.Else != nil {
		m.OnNoMatch = encodeBranch(t.Else)
	}
	return m
}

func encodeBranch(b *identity.Branch) *xdsmatcherv3.Matcher_OnMatch {
	if b.Tree != nil {
		return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Matcher{Matcher: encodeTree(b.Tree)}}
	}
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
		Action: extension("action", &rbacv3.Action{Name: b.Policy, Action: rbacv3.RBAC_Action(b.Action)}),
	}}
}

// encodePredicate writes what no input can say as nothing, which readers refuse.
func encodePredicate(c identity.Condition) *predicate {
	below := func() *predicates {
		list := &predicates{}
		for _, each := range c.Of {
			list.Predicate = append(list.Predicate, encodePredicate(each))
		}
		return list
	}
	switch c.Kind {
	case identity.Any:
		return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{OrMatcher: below()}}
	case identity.All:
		return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{AndMatcher: below()}}
	case identity.Not:
		if len(c.Of) == 1 {
			return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: encodePredicate(c.Of[0])}}
		}
	case identity.HeaderIs:
		if !c.Invert && !c.MissingAsEmpty {
			return valueMatch("header", &matcherv3.HttpRequestHeaderMatchInput{HeaderName: c.Name}, c.Is)
		}
	case identity.Authentic:
		return valueMatch("uri-san", &sslv3.UriSanInput{}, c.Is)
	case identity.ServerName:
		return valueMatch("server-name", &networkv3.ServerNameInput{}, c.Is)
	case identity.LocalPort:
		if c.Low == c.High {
			return valueMatch("port", &networkv3.DestinationPortInput{}, match.String{Value: strconv.Itoa(int(c.Low))})
		}
	case identity.LocalIn:
		return netMatch(&networkv3.DestinationIPInput{}, c.Net)
	case identity.SourceIn:
		return netMatch(&networkv3.DirectSourceIPInput{}, c.Net)
	case identity.RemoteIn:
		return netMatch(&networkv3.SourceIPInput{}, c.Net)
	}
	return &predicate{}
}

func valueMatch(name string, input proto.Message, is match.String) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{SinglePredicate: &single{
		Input:   extension(name, input),
		Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: encodeXDSString(is)},
	}}}
}

func netMatch(input proto.Message, n netip.Prefix) *predicate {
	ip := &ipv3.Ip{StatPrefix: "rbac"}
	ip.CidrRanges = append(ip.CidrRanges, encodeNet(n))
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{SinglePredicate: &single{
		Input:   extension("address", input),
		Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch{CustomMatch: extension("envoy.matching.matchers.ip", ip)},
	}}}
}

func extension(name string, m proto.Message) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: pack(m)}
}

func encodeXDSString(is match.String) *xdsmatcherv3.StringMatcher {
	m := &xdsmatcherv3.StringMatcher{IgnoreCase: is.IgnoreCase}
	switch is.Kind {
	case match.Exact:
		m.MatchPattern = &xdsmatcherv3.StringMatcher_Exact{Exact: is.Value}
	case match.Prefix:
		m.MatchPattern = &xdsmatcherv3.StringMatcher_Prefix{Prefix: is.Value}
	case match.Suffix:
		m.MatchPattern = &xdsmatcherv3.StringMatcher_Suffix{Suffix: is.Value}
	case match.Contains:
		m.MatchPattern = &xdsmatcherv3.StringMatcher_Contains{Contains: is.Value}
	case match.Regex:
		m.IgnoreCase = false
		m.MatchPattern = &xdsmatcherv3.StringMatcher_SafeRegex{SafeRegex: &xdsmatcherv3.RegexMatcher{
			EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}}, Regex: is.Value,
		}}
	}
	return m
}
