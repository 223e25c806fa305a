package wire

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	adaptivev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/resilience"
)

const adaptiveFilter = "envoy.filters.http.adaptive_concurrency"

// What an Adaptive says by 0. Of the times Envoy must be told.
const (
	defaultMin, defaultMax = uint32(3), uint32(1000)

	defaultUpdate    = 100 * time.Millisecond
	defaultRemeasure = 60 * time.Second
)

// negligible stands for a percentage of 0 where 0 means a default.
const negligible = 1e-9

// decodeAdaptive returns nil if the filter is off.
func decodeAdaptive(p *place, m *adaptivev3.AdaptiveConcurrency) *resilience.Adaptive {
	p.ignores(m, "gradient_controller_config", "enabled")
	g := m.GetGradientControllerConfig()
	if g == nil {
		p.refuse("concurrency_controller_config", "missing")
		return nil
	}
	q := p.in("gradient_controller_config")
	q.ignores(g, "sample_aggregate_percentile", "concurrency_limit_params", "min_rtt_calc_params")
	a := resilience.Adaptive{Percentile: q.some("sample_aggregate_percentile", g.GetSampleAggregatePercentile())}
	lp, limit := q.in("concurrency_limit_params"), g.GetConcurrencyLimitParams()
	if limit == nil {
		q.refuse("concurrency_limit_params", "missing")
	}
	a.Max = lp.least("max_concurrency_limit", limit.GetMaxConcurrencyLimit())
	if a.Update = lp.positive("concurrency_update_interval", limit.GetConcurrencyUpdateInterval()); limit.GetConcurrencyUpdateInterval() == nil {
		lp.refuse("concurrency_update_interval", "missing")
	} else if a.Update == defaultUpdate {
		a.Update = 0
	}
	mp, rtt := q.in("min_rtt_calc_params"), g.GetMinRttCalcParams()
	if rtt == nil {
		q.refuse("min_rtt_calc_params", "missing")
	}
	a.Samples = mp.least("request_count", rtt.GetRequestCount())
	a.Min = mp.least("min_concurrency", rtt.GetMinConcurrency())
	a.Jitter, a.Buffer = mp.some("jitter", rtt.GetJitter()), mp.some("buffer", rtt.GetBuffer())
	a.Remeasure = mp.duration("interval", rtt.GetInterval())
	if rtt.GetInterval() != nil && a.Remeasure < time.Millisecond {
		mp.refuse("interval", "%v is less than 1ms", a.Remeasure)
	}
	a.Fixed = mp.positive("fixed_value", rtt.GetFixedValue())
	switch {
	case rtt.GetInterval() == nil && rtt.GetFixedValue() == nil:
		mp.refuse("interval", "missing, and so is fixed_value")
	case rtt.GetInterval() != nil && rtt.GetFixedValue() != nil:
		mp.warn("fixed_value", "has no effect beside interval")
		a.Fixed = 0
	}
	if a.Remeasure == defaultRemeasure {
		a.Remeasure = 0
	}
	if least := lp.least("min_concurrency_limit", limit.GetMinConcurrencyLimit()); least > 0 && least != a.Min {
		lp.warn("min_concurrency_limit", "not supported beside another min_concurrency: that one is the least limit")
	}
	if least, most := standard(a.Min, defaultMin), standard(a.Max, defaultMax); least > most { // Envoy keeps to the former
		lp.warn("max_concurrency_limit", "%d is less than the min_concurrency %d, which holds", most, least)
		a.Max = least
	}
	p.keeps(m)
	if d := m.GetEnabled().GetDefaultValue(); d != nil && !d.GetValue() {
		return nil
	}
	return &a
}

// encodeAdaptive is the reverse of decodeAdaptive. A percentage, count or time that is the default comes back as 0.
func encodeAdaptive(a resilience.Adaptive) *adaptivev3.AdaptiveConcurrency {
	rtt := &adaptivev3.GradientControllerConfig_MinimumRTTCalculationParams{
		RequestCount: count(a.Samples), Jitter: hundred(a.Jitter), MinConcurrency: count(a.Min), Buffer: hundred(a.Buffer),
	}
	if a.Fixed > 0 {
		rtt.FixedValue = durationpb.New(a.Fixed)
	} else {
		rtt.Interval = durationpb.New(standard(a.Remeasure, defaultRemeasure))
	}
	return &adaptivev3.AdaptiveConcurrency{
		ConcurrencyControllerConfig: &adaptivev3.AdaptiveConcurrency_GradientControllerConfig{
			GradientControllerConfig: &adaptivev3.GradientControllerConfig{
				SampleAggregatePercentile: hundred(a.Percentile),
				ConcurrencyLimitParams: &adaptivev3.GradientControllerConfig_ConcurrencyLimitCalculationParams{
					MaxConcurrencyLimit:       count(a.Max),
					ConcurrencyUpdateInterval: durationpb.New(standard(a.Update, defaultUpdate)),
				},
				MinRttCalcParams: rtt,
			},
		},
		Enabled: &corev3.RuntimeFeatureFlag{DefaultValue: wrapperspb.Bool(true), RuntimeKey: "adaptive_concurrency.enabled"},
	}
}

// some reads a percentage of which 0 is the default.
func (p *place) some(field string, m *typev3.Percent) float64 {
	if m == nil {
		return 0
	}
	if m.GetValue() == 0 {
		return negligible
	}
	return p.percent(field, m)
}

// least reads a count that must be more than 0; 0 if there is none.
func (p *place) least(field string, n *wrapperspb.UInt32Value) uint32 {
	if n != nil && n.GetValue() == 0 {
		p.refuse(field, "must be more than 0")
	}
	return n.GetValue()
}

func hundred(v float64) *typev3.Percent {
	if v == 0 {
		return nil
	}
	return &typev3.Percent{Value: v}
}

func count(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		return nil
	}
	return wrapperspb.UInt32(n)
}

// standard is v, or what its 0 stands for.
func standard[T comparable](v, otherwise T) T {
	if v == *new(T) {
		return otherwise
	}
	return v
}
