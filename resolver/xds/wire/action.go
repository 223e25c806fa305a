package wire

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// decodeAction reads where a route leads and under which policy. The virtual host's
// policies of retries and hedges count where the route has none.
func decodeAction(p *place, m *routev3.RouteAction, host *routev3.VirtualHost, own *own, r *resolver.Route) (policy resilience.Policy) {
	p.ignores(m, "cluster", "weighted_clusters", "cluster_header", "cluster_specifier_plugin", "inline_cluster_specifier_plugin",
		"timeout", "max_stream_duration", "max_grpc_timeout", "grpc_timeout_offset", "retry_policy", "hedge_policy", "priority",
		"rate_limits", "include_vh_rate_limits", "idle_timeout", "cluster_not_found_response_code")
	policy.Timeout = decodeTimeout(p, m)
	policy.Priority = decodePriority(p, m.GetPriority())
	retry, hedge := m.GetRetryPolicy(), m.GetHedgePolicy()
	if retry == nil {
		retry = host.GetRetryPolicy()
	}
	if hedge == nil {
		hedge = host.GetHedgePolicy()
	}
	q := p.in("retry_policy")
	policy.Retry = decodeRetry(&q, retry)
	q.keeps(retry)
	unguarded := own.bool("unguarded")
	policy.Retry.Unguarded = unguarded && policy.Retry.Attempts > 0
	q = p.in("hedge_policy")
	policy.Hedge = decodeHedge(&q, hedge, own, &policy.Retry)
	q.keeps(hedge)
	policy.Idle = p.duration("idle_timeout", m.GetIdleTimeout())
	policy.Fallback = decodeFallback(own.in("fallback"))
	r.To, r.Unsupported = decodeTargets(p, m)
	return policy
}

func decodePriority(p *place, m corev3.RoutingPriority) resilience.Priority {
	switch m {
	case corev3.RoutingPriority_DEFAULT:
	case corev3.RoutingPriority_HIGH:
		return resilience.HighPriority
	default:
		p.refuse("priority", "unknown value %d", m)
	}
	return resilience.DefaultPriority
}

// encodePriority gives the field's numbers, which are those of Priority.
func encodePriority(p resilience.Priority) corev3.RoutingPriority { return corev3.RoutingPriority(p) }

// decodeTimeout prefers max_stream_duration to timeout (gRFC A31). 0, as well as none
// at all, is no limit: the 15 s that Envoy assumes are Envoy's.
func decodeTimeout(p *place, m *routev3.RouteAction) time.Duration {
	q := p.in("max_stream_duration")
	d := m.GetMaxStreamDuration()
	q.ignores(d, "max_stream_duration", "grpc_timeout_header_max")
	timeout := p.duration("timeout", m.GetTimeout())
	whole := q.duration("max_stream_duration", d.GetMaxStreamDuration())
	header := q.duration("grpc_timeout_header_max", d.GetGrpcTimeoutHeaderMax())
	switch {
	case d.GetGrpcTimeoutHeaderMax() != nil:
		return header
	case d.GetMaxStreamDuration() != nil:
		return whole
	}
	return timeout
}

// encodeAction writes the timeout twice, since gRPC reads one field and Envoy the
// other, and a 0 too, since Envoy's default is 15 s.
func encodeAction(r *resolver.Route) *routev3.RouteAction {
	timeout := durationpb.New(r.Policy.Timeout)
	m := &routev3.RouteAction{
		Timeout:           timeout,
		MaxStreamDuration: &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: timeout},
		RetryPolicy:       encodeRetry(r.Policy.Retry),
		Priority:          encodePriority(r.Policy.Priority),
		IdleTimeout:       nonzero(r.Policy.Idle),
	}
	encodeHedge(m, &r.Policy)
	encodeTargets(m, r.To)
	return m
}
