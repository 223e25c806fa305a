package wire

import (
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bandwidthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_limit/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	globalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/resilience"
)

// said is what one level of the routes says to the filters of its listener: a route, its virtual
// host, or the table.
type said struct {
	rate      *resilience.Rate
	fault     *resilience.Fault
	bandwidth resilience.Bandwidths
	global    *globalv3.RateLimitPerRoute
	globalAt  place

	shares bool                // the rate's keys are told by the action's limits
	told   resilience.Switches // what it says something of
	off    resilience.Switches // what it says that there is none of
}

// filterKinds are the kinds of policy by the usual names of their filters.
var filterKinds = map[string]resilience.Switches{
	rateFilter: resilience.NoRates, faultFilter: resilience.NoFaults,
	bandwidthFilter: resilience.NoBandwidths, globalFilter: resilience.NoGlobalRates,
}

// decodeSaid reads typed_per_filter_config. Filters are known by the types of their configuration;
// whether the listener has them does not matter. The limits, of the action, say what the keys of a
// rate's descriptors mean if it does not itself.
func decodeSaid(p *place, configs map[string]*anypb.Any, action *place, limits []*routev3.RateLimit, own *own) *said {
	s := new(said)
	faults, bandwidths := own.in("fault"), own.in("bandwidth")
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		q := p.in("typed_per_filter_config")
		a, disabled, err := unwrapFilter(configs[name])
		if err != nil {
			q.refuse(name, "%w", err)
			continue
		}
		kind := kindOf(a)
		if kind == 0 && disabled && a == nil {
			kind = filterKinds[name]
		}
		switch {
		case kind == 0 && !disabled:
			q.warn("", "%q is not supported yet, has no effect", name)
		case kind == 0:
		case s.told.Off(kind):
			q.warn("", "%q is the second of its kind, has no effect", name)
		default:
			s.told |= kind
			in := q.in(name)
			if a != nil {
				s.read(&in, kind, a, disabled, action, limits, faults, bandwidths)
			}
			if disabled || !s.has(kind) {
				s.off |= kind
			}
		}
	}
	if faults != nil && s.fault == nil && !s.off.Off(resilience.NoFaults) {
		s.fault = decodeFault(p, nil, faults)
	}
	if bandwidths != nil && !s.told.Off(resilience.NoBandwidths) {
		s.bandwidth, _ = decodeOwnBandwidths(bandwidths)
	}
	return s
}

// read takes in what is said to one filter; what is disabled is only looked through.
func (s *said) read(p *place, kind resilience.Switches, a *anypb.Any, disabled bool, action *place, limits []*routev3.RateLimit, faults, bandwidths *own) {
	var at said
	switch kind {
	case resilience.NoRates:
		var m localv3.LocalRateLimit
		if unpackAt(p, a, &m) {
			at.rate = decodeLocalRate(p, &m, action, limits, false)
			at.shares = len(m.GetDescriptors()) > 0 && len(m.GetRateLimits()) == 0
		}
	case resilience.NoFaults:
		var m faultv3.HTTPFault
		if unpackAt(p, a, &m) {
			at.fault = decodeFault(p, &m, faults)
		}
	case resilience.NoBandwidths:
		var m bandwidthv3.BandwidthLimit
		if unpackAt(p, a, &m) {
			at.bandwidth = decodeBandwidth(p, &m, bandwidths, true)
		}
	default:
		var m globalv3.RateLimitPerRoute
		if unpackAt(p, a, &m) {
			at.global, at.globalAt = &m, *p
			p.ignores(&m, "vh_rate_limits", "rate_limits", "domain")
			if v := m.GetVhRateLimits(); v < 0 || v > globalv3.RateLimitPerRoute_IGNORE {
				p.refuse("vh_rate_limits", "unknown value %d", v)
			}
			p.quietly(func(p *place) { decodeLimits(p, m.GetRateLimits(), nil) })
			p.keeps(&m)
		}
	}
	if disabled {
		return
	}
	switch kind {
	case resilience.NoRates:
		s.rate, s.shares = at.rate, at.shares
	case resilience.NoFaults:
		s.fault = at.fault
	case resilience.NoBandwidths:
		s.bandwidth = at.bandwidth
	default:
		s.global, s.globalAt = at.global, at.globalAt
	}
}

func (s *said) has(kind resilience.Switches) bool {
	switch kind {
	case resilience.NoRates:
		return s.rate != nil
	case resilience.NoFaults:
		return s.fault != nil
	case resilience.NoBandwidths:
		return s.bandwidth != resilience.Bandwidths{}
	}
	return s.global != nil
}

// under takes what s does not say from the level above.
func (s *said) under(up *said) *said {
	if !s.told.Off(resilience.NoRates) {
		s.rate, s.shares = up.rate, up.shares
	}
	if !s.told.Off(resilience.NoFaults) && s.fault == nil {
		s.fault = up.fault
	}
	if !s.told.Off(resilience.NoBandwidths) && s.bandwidth == (resilience.Bandwidths{}) {
		s.bandwidth = up.bandwidth
	}
	if !s.told.Off(resilience.NoGlobalRates) {
		s.global, s.globalAt = up.global, up.globalAt
	}
	s.off |= up.off &^ s.told
	s.told |= up.told
	return s
}

// limits are those of all processes together that calls of a route fall under. Those of its
// virtual host count where it has none, unless it is said that all do (Envoy).
func (s *said) limits(p *place, m *routev3.RouteAction, hostAt *place, host *routev3.VirtualHost, own *own) (g *resilience.GlobalRate) {
	o := own.in("global")
	if s.off.Off(resilience.NoGlobalRates) {
		return nil
	}
	if len(s.global.GetRateLimits()) > 0 {
		return decodeGlobal(&s.globalAt, s.global.GetRateLimits(), s.global.GetDomain(), o)
	}
	if s.shares && s.global == nil { // more likely they are not meant for us: nobody is warned
		p.quietly(func(p *place) { g = decodeGlobal(p, m.GetRateLimits(), "", o) })
	} else {
		g = decodeGlobal(p, m.GetRateLimits(), s.global.GetDomain(), o)
	}
	also := m.GetIncludeVhRateLimits().GetValue()
	switch s.global.GetVhRateLimits() {
	case globalv3.RateLimitPerRoute_INCLUDE:
		also = true
	case globalv3.RateLimitPerRoute_IGNORE:
		return g
	}
	if len(host.GetRateLimits()) == 0 || len(m.GetRateLimits()) > 0 && !also {
		return g
	}
	more := decodeLimits(hostAt, host.GetRateLimits(), nil)
	switch {
	case len(more) == 0:
	case g == nil:
		g = &resilience.GlobalRate{Domain: s.global.GetDomain(), Descriptors: more}
	default:
		g.Descriptors = append(g.Descriptors, more...)
	}
	return g
}

// encodeSaid is what a route says to the filters, and the rest. gRPC refuses a filter that it
// does not know unless it is optional.
func encodeSaid(p *resilience.Policy, rest fields) (configs map[string]*anypb.Any, limits []*routev3.RateLimit) {
	say := func(name string, m proto.Message) {
		if configs == nil {
			configs = map[string]*anypb.Any{}
		}
		configs[name] = pack(&routev3.FilterConfig{Config: pack(m), IsOptional: true})
	}
	if m := encodeRate(p.Rate); m != nil {
		say(rateFilter, m)
	}
	if m, more := encodeFault(p.Fault); m != nil {
		say(faultFilter, m)
		rest.some("fault", more)
	}
	if m, more := encodeBandwidth(p.Bandwidth); m != nil {
		say(bandwidthFilter, m)
		rest.some("bandwidth", more)
	}
	limits, m, more := encodeGlobal(p.Global)
	rest.some("global", more)
	if m != nil {
		say(globalFilter, m)
	}
	return configs, limits
}

// unwrapFilter takes the configuration out of what may be around it.
func unwrapFilter(a *anypb.Any) (config *anypb.Any, disabled bool, err error) {
	if !a.MessageIs((*routev3.FilterConfig)(nil)) {
		return a, false, nil
	}
	var c routev3.FilterConfig
	if err := unpack(a, &c); err != nil {
		return nil, false, err
	}
	return c.GetConfig(), c.GetDisabled(), nil
}

func kindOf(a *anypb.Any) resilience.Switches {
	switch {
	case a.MessageIs((*localv3.LocalRateLimit)(nil)):
		return resilience.NoRates
	case a.MessageIs((*faultv3.HTTPFault)(nil)):
		return resilience.NoFaults
	case a.MessageIs((*bandwidthv3.BandwidthLimit)(nil)):
		return resilience.NoBandwidths
	case a.MessageIs((*globalv3.RateLimitPerRoute)(nil)):
		return resilience.NoGlobalRates
	}
	return 0
}

// unpackAt refuses what can't be unpacked.
func unpackAt(p *place, a *anypb.Any, m proto.Message) bool {
	if err := unpack(a, m); err != nil {
		p.refuse("", "%w", err)
		return false
	}
	return true
}
