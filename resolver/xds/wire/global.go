package wire

import (
	"math"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	limitsv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	globalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/resilience"
)

const globalFilter = "envoy.filters.http.ratelimit"

// limitsCluster is where an Envoy would find the rate limit service that a server asks.
const limitsCluster = "ratelimit"

// The facts that a server knows of its caller.
const (
	addressFact = "remote_address"
	callerFact  = "caller"
)

// nameKey is the key of an entry that is no fact but names the limit: every call has it (Envoy generic_key).
const nameKey = "generic_key"

// lastStage is the last number of a stage (Envoy).
const lastStage = 10

// A GlobalFilter says where a listener's clients ask for the limits of all processes together
// (Envoy ratelimit), for the routes that have such a limit.
type GlobalFilter struct {
	// GlobalRate holds where a route leaves something unsaid, and of a route that names no limits
	// all of it, if there are Descriptors.
	resilience.GlobalRate
	// Cluster leads an Envoy to the rate limit service.
	Cluster string
}

// decodeGlobalFilter returns nil if the filter limits nobody.
func decodeGlobalFilter(p *place, m *globalv3.RateLimit, own *own) *GlobalFilter {
	p.ignores(m, "domain", "stage", "timeout", "failure_mode_deny", "rate_limited_as_resource_exhausted", "rate_limit_service",
		"stat_prefix", "filter_enabled", "filter_enforced", "rate_limits", "metadata_namespace", "request_type")
	g := &GlobalFilter{}
	if g.Domain = m.GetDomain(); g.Domain == "" {
		p.refuse("domain", "empty")
	}
	if m.GetStage() > lastStage {
		p.refuse("stage", "%d is more than %d", m.GetStage(), lastStage)
	}
	switch m.GetRequestType() {
	case "", "both", "internal", "external":
	default:
		p.refuse("request_type", "%q is not internal, external or both", m.GetRequestType())
	}
	g.Timeout = p.duration("timeout", m.GetTimeout())
	if m.GetTimeout() != nil && g.Timeout == 0 { // no bound (Envoy)
		g.Timeout = math.MaxInt64
	}
	g.Lease = decodeLease(own)
	g.Lease.Closed = m.GetFailureModeDeny()
	g.Descriptors = decodeLimits(p, m.GetRateLimits(), own)
	own.unknown()
	enabled := decodeAll(p, "filter_enabled", m.GetFilterEnabled(), true)
	enforced := decodeAll(p, "filter_enforced", m.GetFilterEnforced(), true)
	q := p.in("rate_limit_service")
	service := m.GetRateLimitService().GetGrpcService()
	switch t := service.GetTargetSpecifier().(type) {
	case *corev3.GrpcService_EnvoyGrpc_:
		if g.Cluster = t.EnvoyGrpc.GetClusterName(); g.Cluster == "" {
			q.refuse("grpc_service.envoy_grpc.cluster_name", "empty")
		}
	case nil:
		if service == nil {
			q.refuse("grpc_service", "missing")
		} else {
			q.refuse("grpc_service.target_specifier", "missing")
		}
	default:
		q.warn("grpc_service", "only a cluster is supported: the filter has no effect")
	}
	p.keeps(m)
	if g.Cluster == "" {
		return nil
	}
	if m.GetStage() != 0 || m.GetRequestType() == "internal" || m.GetRequestType() == "external" {
		p.warn("", "limits of a stage or of a type of requests are not supported yet, have no effect")
		return nil
	}
	if !enabled || !enforced {
		return nil
	}
	return g
}

// encodeGlobalFilter is the reverse of decodeGlobalFilter, and what no field says.
func encodeGlobalFilter(g *GlobalFilter) (*globalv3.RateLimit, fields) {
	m := &globalv3.RateLimit{
		Domain: g.Domain, FailureModeDeny: g.Lease.Closed, RateLimitedAsResourceExhausted: true,
		RateLimitService: &limitsv3.RateLimitServiceConfig{
			GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: g.Cluster},
			}},
			TransportApiVersion: corev3.ApiVersion_V3,
		},
	}
	switch {
	case g.Timeout == math.MaxInt64:
		m.Timeout = durationpb.New(0)
	case g.Timeout != 0:
		m.Timeout = durationpb.New(g.Timeout)
	}
	rest := fields{}
	encodeLease(&g.Lease, rest)
	m.RateLimits = encodeLimits(g.Descriptors, rest)
	return m, rest
}

// decodeGlobal reads which limits of all processes together the calls of a route fall under; nil
// if none. Where to ask is its listener's to say, unless the domain is said here.
func decodeGlobal(p *place, limits []*routev3.RateLimit, domain string, own *own) *resilience.GlobalRate {
	g := resilience.GlobalRate{Domain: domain, Timeout: own.duration("timeout"), Lease: decodeLease(own)}
	g.Lease.Closed = own.bool("closed")
	g.Descriptors = decodeLimits(p, limits, own)
	own.unknown()
	if len(g.Descriptors) == 0 {
		return nil
	}
	return &g
}

// encodeGlobal is the limits of a route's action, what the route says to the filter, if anything, and the rest.
func encodeGlobal(g *resilience.GlobalRate) ([]*routev3.RateLimit, *globalv3.RateLimitPerRoute, fields) {
	if g == nil || len(g.Descriptors) == 0 {
		return nil, nil, nil
	}
	rest := fields{}
	encodeLease(&g.Lease, rest)
	rest.duration("timeout", g.Timeout)
	rest.bool("closed", g.Lease.Closed)
	limits := encodeLimits(g.Descriptors, rest)
	if g.Domain == "" {
		return limits, nil, rest
	}
	return limits, &globalv3.RateLimitPerRoute{Domain: g.Domain}, rest
}

func decodeLease(o *own) resilience.Lease {
	l := resilience.Lease{Batch: o.count("batch"), Ahead: o.count("ahead"), Holds: o.duration("holds"), Again: o.duration("again")}
	o.sound(l.Check())
	return l
}

func encodeLease(l *resilience.Lease, to fields) {
	to.number("batch", float64(l.Batch))
	to.number("ahead", float64(l.Ahead))
	to.duration("holds", l.Holds)
	to.duration("again", l.Again)
}

// decodeLimits reads the entries that name limits. A limit with an action that gives no entry
// of ours is left out.
func decodeLimits(p *place, limits []*routev3.RateLimit, own *own) (out [][]resilience.Entry) {
	for i, l := range limits {
		q := p.at("rate_limits", i)
		q.ignores(l, "actions", "disable_key", "stage", "apply_on_stream_done")
		if len(l.GetActions()) == 0 {
			q.refuse("actions", "none")
		}
		if l.GetStage().GetValue() > lastStage {
			q.refuse("stage", "%d is more than %d", l.GetStage().GetValue(), lastStage)
		}
		var entries []resilience.Entry
		for j, a := range l.GetActions() {
			qa := q.at("actions", j)
			if e, ok := decodeEntry(&qa, a); ok {
				entries = append(entries, e)
			}
		}
		switch {
		case l.GetStage().GetValue() != 0, l.GetApplyOnStreamDone():
			q.warn("", "a limit of a later stage is not supported yet, has no effect")
		case len(entries) > 0 && len(entries) == len(l.GetActions()):
			out = append(out, entries)
		}
	}
	if exact := own.all("descriptors"); exact != nil {
		out = nil
		for _, o := range exact {
			var entries []resilience.Entry
			for _, e := range o.all("entries") {
				entry := resilience.Entry{Key: e.text("key"), Value: e.text("value")}
				if entry.Key == "" {
					e.refuse("key", "empty")
				}
				e.unknown()
				entries = append(entries, entry)
			}
			if len(entries) == 0 {
				o.refuse("entries", "none")
			}
			o.unknown()
			out = append(out, entries)
		}
	}
	return out
}

// limitsKeep refuses limits that Envoy's rules refuse, whether or not they have an effect.
func (p *place) limitsKeep(limits []*routev3.RateLimit) {
	for i, l := range limits {
		q := p.at("rate_limits", i)
		q.keeps(l)
	}
}

// decodeEntry reports, too, whether the action gives an entry whose key is the name of a fact: a
// limit is asked for by the names of the facts that it turns on.
func decodeEntry(p *place, m *routev3.RateLimit_Action) (e resilience.Entry, ok bool) {
	const other = "%q is not the name of a fact (%q): the limit has no effect"
	switch a := m.GetActionSpecifier().(type) {
	case *routev3.RateLimit_Action_RemoteAddress_:
		return resilience.Entry{Key: addressFact}, true
	case *routev3.RateLimit_Action_GenericKey_:
		q := p.in("generic_key")
		q.ignores(a.GenericKey, "descriptor_value", "descriptor_key")
		if a.GenericKey.GetDescriptorValue() == "" {
			q.refuse("descriptor_value", "empty")
		}
		if key := a.GenericKey.GetDescriptorKey(); key != "" && key != nameKey {
			q.warn("descriptor_key", other, key, nameKey)
			return e, false
		}
		return resilience.Entry{Key: nameKey, Value: a.GenericKey.GetDescriptorValue()}, true
	case *routev3.RateLimit_Action_RequestHeaders_:
		q := p.in("request_headers")
		h := a.RequestHeaders
		q.ignores(h, "header_name", "descriptor_key")
		if h.GetHeaderName() == "" {
			q.refuse("header_name", "empty")
		}
		if h.GetDescriptorKey() == "" {
			q.refuse("descriptor_key", "empty")
		}
		if e.Key = factOf(h.GetHeaderName()); e.Key != h.GetDescriptorKey() {
			q.warn("descriptor_key", other, h.GetDescriptorKey(), e.Key)
			return e, false
		}
		return e, true
	case *routev3.RateLimit_Action_HeaderValueMatch_:
		q := p.in("header_value_match")
		h := a.HeaderValueMatch
		if h.GetDescriptorValue() == "" {
			q.refuse("descriptor_value", "empty")
		}
		if len(h.GetHeaders()) == 0 {
			q.refuse("headers", "none")
			return e, false
		}
		key, value := factOf(h.GetHeaders()[0].GetName()), h.GetHeaders()[0].GetStringMatch().GetExact()
		e = resilience.Entry{Key: h.GetDescriptorKey(), Value: h.GetDescriptorValue()}
		if !sameMatch(h, e) {
			q.warn("", other, h.GetDescriptorKey()+"="+h.GetDescriptorValue(), key+"="+value)
			return e, false
		}
		return e, true
	}
	p.warn("", "an action of this kind is not supported yet: the limit has no effect")
	return e, false
}

// encodeLimits tells Envoy where the entries come from. If it can't be told of all of them, the rest has them.
func encodeLimits(descriptors [][]resilience.Entry, rest fields) (limits []*routev3.RateLimit) {
	var all []fields
	for _, d := range descriptors {
		l := &routev3.RateLimit{}
		var entries []fields
		for _, e := range d {
			if a := actionOf(e); a != nil {
				l.Actions = append(l.Actions, a)
			}
			in := fields{}
			in.text("key", e.Key)
			in.text("value", e.Value)
			entries = append(entries, in)
		}
		o := fields{}
		o.all("entries", entries)
		all = append(all, o)
		if len(d) > 0 && len(l.GetActions()) == len(d) {
			limits = append(limits, l)
		}
	}
	if len(limits) < len(descriptors) {
		rest.all("descriptors", all)
	}
	return limits
}

// actionOf is what gives an Envoy the entry; nil if it can't have it.
func actionOf(e resilience.Entry) *routev3.RateLimit_Action {
	if e.Key == nameKey && e.Value != "" {
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{
			GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorValue: e.Value},
		}}
	}
	if e.Key == addressFact && e.Value == "" {
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddress_{RemoteAddress: &routev3.RateLimit_Action_RemoteAddress{}}}
	}
	header := headerOf(e.Key)
	if header == "" {
		return nil
	}
	if e.Value == "" {
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RequestHeaders_{
			RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{HeaderName: header, DescriptorKey: e.Key},
		}}
	}
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_HeaderValueMatch_{
		HeaderValueMatch: matchOf(header, e),
	}}
}

// matchOf gives an entry to the calls that have its value.
func matchOf(header string, e resilience.Entry) *routev3.RateLimit_Action_HeaderValueMatch {
	return &routev3.RateLimit_Action_HeaderValueMatch{
		DescriptorKey: e.Key, DescriptorValue: e.Value,
		Headers: []*routev3.HeaderMatcher{{Name: header, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
			StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: e.Value}},
		}}},
	}
}

// sameMatch reports whether m gives e to those calls that have its value, and to no others.
func sameMatch(m *routev3.RateLimit_Action_HeaderValueMatch, e resilience.Entry) bool {
	header := headerOf(e.Key)
	if header == "" || !m.GetExpectMatch().GetValue() && m.GetExpectMatch() != nil {
		return false
	}
	said := proto.CloneOf(m)
	said.ExpectMatch = nil
	return proto.Equal(said, matchOf(header, e))
}
