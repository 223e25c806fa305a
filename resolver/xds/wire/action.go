package wire

import (
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// decodeAction reads where a route leads and under which policy. The virtual host's
// retry policy counts where the route has none.
func decodeAction(p *place, m *routev3.RouteAction, retry *routev3.RetryPolicy, r *resolver.Route) {
	p.ignores(m, "cluster", "weighted_clusters", "cluster_header", "cluster_specifier_plugin", "inline_cluster_specifier_plugin",
		"timeout", "max_stream_duration", "max_grpc_timeout", "grpc_timeout_offset", "retry_policy",
		"cluster_not_found_response_code")
	var policy resilience.Policy
	policy.Timeout = decodeTimeout(p, m)
	if m.GetRetryPolicy() != nil {
		retry = m.GetRetryPolicy()
	}
	q := p.in("retry_policy")
	policy.Retry = decodeRetry(&q, retry)
	if r.To, r.Unsupported = decodeTargets(p, m); r.Unsupported == "" {
		r.Policy = policy
	}
}

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

// servedConditions are the conditions that take effect. The others wait for the rest of the policy: their lists, and per_try_timeout.
const servedConditions = resilience.OnConnectFailure | resilience.OnRefusedStream | resilience.OnUnavailable | resilience.OnCancelled

// decodeRetry reads a retry policy. One that repeats nothing, be it for want of
// attempts or of conditions that are known, is none.
func decodeRetry(p *place, m *routev3.RetryPolicy) resilience.Retry {
	if m == nil {
		return resilience.Retry{}
	}
	p.ignores(m, "retry_on", "num_retries", "retry_back_off", "retry_host_predicate",
		"host_selection_retry_max_attempts", "retriable_status_codes")
	on, unknown := resilience.ParseConditions(m.GetRetryOn())
	if later := on &^ servedConditions; later != 0 {
		on &= servedConditions
		unknown = append(unknown, strings.Split(later.String(), ",")...)
	}
	for _, name := range slices.Compact(unknown) {
		if name == "retriable-status-codes" && len(m.GetRetriableStatusCodes()) == 0 {
			continue
		}
		p.warn("retry_on", "%q is not supported yet, has no effect", name)
	}
	for _, h := range m.GetRetryHostPredicate() {
		if !h.GetTypedConfig().MessageIs((*hostsv3.PreviousHostsPredicate)(nil)) { // what retries do anyway
			p.warn("retry_host_predicate", "%q is not supported yet, has no effect", h.GetName())
		}
	}
	attempts := uint32(1)
	if n := m.GetNumRetries(); n != nil {
		attempts = n.GetValue()
	}
	r := resilience.Retry{Attempts: attempts, On: on}
	if b := m.GetRetryBackOff(); b != nil {
		q := p.in("retry_back_off")
		r.Base = q.duration("base_interval", b.GetBaseInterval())
		r.Max = q.duration("max_interval", b.GetMaxInterval())
		if r.Base == 0 {
			q.refuse("base_interval", "must be more than 0")
		}
		if b.GetMaxInterval() != nil && r.Max < r.Base {
			q.refuse("max_interval", "%v is less than the base_interval %v", r.Max, r.Base)
		}
	}
	if r.Attempts == 0 || r.On == 0 {
		return resilience.Retry{}
	}
	return r
}

// encodeAction writes the timeout twice, since gRPC reads one field and Envoy the
// other, and a 0 too, since Envoy's default is 15 s.
func encodeAction(r *resolver.Route) *routev3.RouteAction {
	timeout := durationpb.New(r.Policy.Timeout)
	m := &routev3.RouteAction{
		Timeout:           timeout,
		MaxStreamDuration: &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: timeout},
		RetryPolicy:       encodeRetry(r.Policy.Retry),
	}
	encodeTargets(m, r.To)
	return m
}

// encodeRetry asks Envoy to try another host, as retries here do. Pauses without
// a Base get the default one, without which gRPC and Envoy refuse them.
func encodeRetry(r resilience.Retry) *routev3.RetryPolicy {
	if r.Attempts == 0 || r.On == 0 {
		return nil
	}
	m := &routev3.RetryPolicy{
		RetryOn:    r.On.String(),
		NumRetries: wrapperspb.UInt32(r.Attempts),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: pack(&hostsv3.PreviousHostsPredicate{}),
			},
		}},
		HostSelectionRetryMaxAttempts: 5,
	}
	if r.Base != 0 || r.Max != 0 {
		base := r.Base
		if base == 0 {
			base = min(25*time.Millisecond, r.Max)
		}
		m.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(base)}
		if r.Max != 0 {
			m.RetryBackOff.MaxInterval = durationpb.New(r.Max)
		}
	}
	return m
}
