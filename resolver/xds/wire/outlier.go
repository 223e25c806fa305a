package wire

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/balancer"
)

// decodeOutlier reads outlier detection. Success rates are compared unless the field
// that enforces it is 0, failure percentages only if theirs is not (gRFC A50).
func decodeOutlier(p *place, m *clusterv3.OutlierDetection) *balancer.Outlier {
	if m == nil {
		return nil
	}
	p.ignores(m, "consecutive_5xx", "interval", "base_ejection_time", "max_ejection_percent", "enforcing_consecutive_5xx",
		"enforcing_success_rate", "success_rate_minimum_hosts", "success_rate_request_volume", "success_rate_stdev_factor",
		"consecutive_gateway_failure", "enforcing_consecutive_gateway_failure", "split_external_local_origin_errors",
		"consecutive_local_origin_failure", "enforcing_consecutive_local_origin_failure", "enforcing_local_origin_success_rate",
		"failure_percentage_threshold", "enforcing_failure_percentage", "enforcing_failure_percentage_local_origin",
		"failure_percentage_minimum_hosts", "failure_percentage_request_volume", "max_ejection_time",
		"max_ejection_time_jitter", "always_eject_one_host", "successful_active_health_check_uneject_host")
	o := &balancer.Outlier{
		Interval:           p.positive("interval", m.GetInterval()),
		BaseEjection:       p.positive("base_ejection_time", m.GetBaseEjectionTime()),
		MaxEjection:        p.positive("max_ejection_time", m.GetMaxEjectionTime()),
		EjectionJitter:     p.duration("max_ejection_time_jitter", m.GetMaxEjectionTimeJitter()),
		MaxEjectionPercent: p.hundred("max_ejection_percent", m.GetMaxEjectionPercent()),

		Consecutive5xx:         optional(m.GetConsecutive_5Xx()),
		ConsecutiveGateway:     optional(m.GetConsecutiveGatewayFailure()),
		ConsecutiveLocalOrigin: optional(m.GetConsecutiveLocalOriginFailure()),
		SplitLocalOrigin:       m.GetSplitExternalLocalOriginErrors(),
		StayOut:                m.GetSuccessfulActiveHealthCheckUnejectHost() != nil && !m.GetSuccessfulActiveHealthCheckUnejectHost().GetValue(),
		Enforcing5xx:           p.hundred("enforcing_consecutive_5xx", m.GetEnforcingConsecutive_5Xx()),
		EnforcingGateway:       p.hundred("enforcing_consecutive_gateway_failure", m.GetEnforcingConsecutiveGatewayFailure()),
		EnforcingLocalOrigin:   p.hundred("enforcing_consecutive_local_origin_failure", m.GetEnforcingConsecutiveLocalOriginFailure()),
	}
	base := o.BaseEjection
	if base == 0 {
		base = 30 * time.Second
	}
	if o.MaxEjection > 0 && o.MaxEjection < base { // Envoy
		p.refuse("max_ejection_time", "%v is less than the base_ejection_time %v", o.MaxEjection, base)
	}
	if o.MaxEjectionPercent != nil && *o.MaxEjectionPercent == 0 && m.GetAlwaysEjectOneHost().GetValue() {
		o.MaxEjectionPercent = new(uint32(1)) // one host, of a hundred
	}
	rate := p.hundred("enforcing_success_rate", m.GetEnforcingSuccessRate())
	local := p.hundred("enforcing_local_origin_success_rate", m.GetEnforcingLocalOriginSuccessRate())
	if !o.SplitLocalOrigin {
		local = new(uint32)
	}
	if rate == nil || *rate > 0 || local == nil || *local > 0 {
		o.SuccessRate = &balancer.SuccessRate{
			Enforcing:    rate,
			MinimumHosts: optional(m.GetSuccessRateMinimumHosts()),
			RequestCount: optional(m.GetSuccessRateRequestVolume()),
			StdevFactor:  optional(m.GetSuccessRateStdevFactor()),
		}
		if o.SplitLocalOrigin {
			o.SuccessRate.EnforcingLocalOrigin = local
		}
	}
	failures := p.hundred("enforcing_failure_percentage", m.GetEnforcingFailurePercentage())
	localFailures := p.hundred("enforcing_failure_percentage_local_origin", m.GetEnforcingFailurePercentageLocalOrigin())
	threshold := p.hundred("failure_percentage_threshold", m.GetFailurePercentageThreshold())
	if !o.SplitLocalOrigin {
		localFailures = nil
	}
	if failures != nil && *failures > 0 || localFailures != nil && *localFailures > 0 {
		o.FailurePercentage = &balancer.FailurePercentage{
			Threshold:    threshold,
			Enforcing:    failures,
			MinimumHosts: optional(m.GetFailurePercentageMinimumHosts()),
			RequestCount: optional(m.GetFailurePercentageRequestVolume()),

			EnforcingLocalOrigin: localFailures,
		}
	}
	p.keeps(m)
	return o
}

// decodeBalancing reads common_lb_config into o, which may be nil. A panic threshold that is
// not said is 0, as to gRPC; Envoy takes it for 50 %.
func decodeBalancing(p *place, m *clusterv3.Cluster_CommonLbConfig, o *balancer.Outlier) {
	p.ignores(m, "healthy_panic_threshold", "locality_weighted_lb_config") // the weights of localities always count
	percent := p.percent("healthy_panic_threshold", m.GetHealthyPanicThreshold())
	switch {
	case o == nil && percent > 0:
		p.warn("healthy_panic_threshold", "has no effect without outlier_detection")
	case o != nil:
		o.MinHealthPercent = uint32(math.Ceil(percent))
		if float64(o.MinHealthPercent) != percent {
			p.warn("healthy_panic_threshold", "%v is rounded up", percent)
		}
	}
}

// encodeOutlier lets Envoy eject one host whatever the share, as hosts are ejected here,
// and never panic but for MinHealthPercent.
func encodeOutlier(m *clusterv3.Cluster, o *balancer.Outlier) {
	if o == nil {
		return
	}
	d := &clusterv3.OutlierDetection{
		Interval:           nonzero(o.Interval),
		BaseEjectionTime:   nonzero(o.BaseEjection),
		MaxEjectionTime:    nonzero(o.MaxEjection),
		MaxEjectionPercent: wrapped(o.MaxEjectionPercent),
		AlwaysEjectOneHost: wrapperspb.Bool(o.MaxEjectionPercent == nil || *o.MaxEjectionPercent > 0),

		MaxEjectionTimeJitter: nonzero(o.EjectionJitter),

		Consecutive_5Xx:                        wrapped(o.Consecutive5xx),
		ConsecutiveGatewayFailure:              wrapped(o.ConsecutiveGateway),
		ConsecutiveLocalOriginFailure:          wrapped(o.ConsecutiveLocalOrigin),
		SplitExternalLocalOriginErrors:         o.SplitLocalOrigin,
		EnforcingConsecutive_5Xx:               wrapped(o.Enforcing5xx),
		EnforcingConsecutiveGatewayFailure:     wrapped(o.EnforcingGateway),
		EnforcingConsecutiveLocalOriginFailure: wrapped(o.EnforcingLocalOrigin),
	}
	if o.StayOut {
		d.SuccessfulActiveHealthCheckUnejectHost = wrapperspb.Bool(false)
	}
	if o.SplitLocalOrigin {
		d.EnforcingLocalOriginSuccessRate = wrapperspb.UInt32(0)
	}
	d.EnforcingSuccessRate = wrapperspb.UInt32(0)
	if s := o.SuccessRate; s != nil {
		d.EnforcingSuccessRate = wrapped(s.Enforcing)
		d.EnforcingLocalOriginSuccessRate = wrapped(s.EnforcingLocalOrigin)
		d.SuccessRateMinimumHosts = wrapped(s.MinimumHosts)
		d.SuccessRateRequestVolume = wrapped(s.RequestCount)
		d.SuccessRateStdevFactor = wrapped(s.StdevFactor)
	}
	if f := o.FailurePercentage; f != nil {
		d.FailurePercentageThreshold = wrapped(f.Threshold)
		d.EnforcingFailurePercentage = wrapped(f.Enforcing)
		d.EnforcingFailurePercentageLocalOrigin = wrapped(f.EnforcingLocalOrigin)
		d.FailurePercentageMinimumHosts = wrapped(f.MinimumHosts)
		d.FailurePercentageRequestVolume = wrapped(f.RequestCount)
	}
	m.OutlierDetection = d
	m.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
		HealthyPanicThreshold: &typev3.Percent{Value: float64(o.MinHealthPercent)},
	}
}

func optional(n *wrapperspb.UInt32Value) *uint32 {
	if n == nil {
		return nil
	}
	v := n.GetValue()
	return &v
}

func wrapped(n *uint32) *wrapperspb.UInt32Value {
	if n == nil {
		return nil
	}
	return wrapperspb.UInt32(*n)
}

// nonzero leaves out what is 0.
func nonzero(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}
