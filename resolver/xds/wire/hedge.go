package wire

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/resilience"
)

// decodeHedge reads when to send a call again before it failed. With hedge_on_per_try_timeout
// the time of an attempt does not end it: it is the hedge's, and retry loses it. One
// that sends nothing is nil.
func decodeHedge(p *place, m *routev3.HedgePolicy, own *own, retry *resilience.Retry) *resilience.Hedge {
	p.ignores(m, "initial_requests", "additional_request_chance", "hedge_on_per_try_timeout")
	var h resilience.Hedge
	if n := m.GetInitialRequests(); n != nil && n.GetValue() == 0 {
		p.refuse("initial_requests", "must be more than 0")
	} else if n.GetValue() > 1 {
		p.warn("initial_requests", "more than one at first is not supported yet, has no effect")
	}
	if f := m.GetAdditionalRequestChance(); f != nil {
		decodeFraction(p, "additional_request_chance", f)
		if f.GetNumerator() > 0 {
			h.Chance = resilience.Fraction{Numerator: f.GetNumerator(), Per: chancePer[f.GetDenominator()]}
		}
	}
	if o := own.in("hedge"); o != nil {
		h.Delay, h.Percentile, h.Max = o.duration("delay"), o.number("percentile"), o.count("max")
		if h.Percentile >= 100 {
			o.refuse("percentile", "%v is not below 100", h.Percentile)
		}
		o.unknown()
	} else if m.GetHedgeOnPerTryTimeout() {
		if retry.Attempts == 0 {
			retry.TryTimeout = 0 // it ends no attempt
		}
		if retry.TryTimeout == 0 {
			p.warn("hedge_on_per_try_timeout", "has no effect without retries and a per_try_timeout")
		} else {
			h.Delay, retry.TryTimeout = retry.TryTimeout, 0
			if retry.Attempts > 1 {
				h.Max = retry.Attempts
			}
		}
	}
	if idle(&h) {
		return nil
	}
	return &h
}

// idle reports whether h never sends anything.
func idle(h *resilience.Hedge) bool {
	return h == nil || h.Delay == 0 && h.Percentile == 0 && h.Chance.Numerator == 0
}

// chancePer are a Fraction's denominators. 0 stands for 100.
var chancePer = map[typev3.FractionalPercent_DenominatorType]uint32{
	typev3.FractionalPercent_HUNDRED:      0,
	typev3.FractionalPercent_TEN_THOUSAND: 10_000,
	typev3.FractionalPercent_MILLION:      1_000_000,
}

// encodeHedge writes the fields that Envoy has.
func encodeHedge(m *routev3.RouteAction, p *resilience.Policy) {
	if idle(p.Hedge) {
		return
	}
	chance, byTimeout := p.Hedge.Chance, hedgesByTimeout(p)
	if chance.Numerator == 0 && !byTimeout {
		return
	}
	m.HedgePolicy = &routev3.HedgePolicy{HedgeOnPerTryTimeout: byTimeout}
	if byTimeout {
		m.RetryPolicy.PerTryTimeout = durationpb.New(p.Hedge.Delay)
	}
	if chance.Numerator > 0 {
		m.HedgePolicy.AdditionalRequestChance = encodeShare(chance)
	}
}

// hedgesByTimeout reports whether Envoy's fields say all: attempts have no time of
// their own, and as many may be added by the hedge as by retries.
func hedgesByTimeout(p *resilience.Policy) bool {
	h, r := p.Hedge, p.Retry
	return h.Delay > 0 && h.Percentile == 0 && r.TryTimeout == 0 && r.Attempts > 0 && r.On != 0 &&
		(h.Max == r.Attempts && h.Max > 1 || h.Max == 0 && r.Attempts == 1)
}

// ownHedge is the rest of what encodeHedge writes; nil if that is all.
func ownHedge(p *resilience.Policy) fields {
	h := p.Hedge
	if idle(h) || hedgesByTimeout(p) || h.Delay == 0 && h.Percentile == 0 && h.Max == 0 {
		return nil
	}
	rest := fields{}
	rest.duration("delay", h.Delay)
	rest.number("percentile", h.Percentile)
	rest.number("max", float64(h.Max))
	return rest
}
