package engine

import (
	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
)

// resultOf is what an outcome says of its host. Of gRPC's codes those count that say
// the server failed, and not the caller or the call (gRFC A50, Envoy).
func resultOf(o resilience.Outcome) balancer.Result {
	switch o.Cause {
	case resilience.HostLeft, resilience.Canceled, resilience.Stale:
		return balancer.Neutral
	case resilience.Timeout, resilience.TryTimeout, resilience.ConnectFailure, resilience.Refused, resilience.Reset:
		return balancer.LocalFailed
	case resilience.Unsent:
		return balancer.Neutral // something here kept it from being sent
	}
	if o.GRPC {
		switch o.Code {
		case 2, 13, 15: // UNKNOWN, INTERNAL, DATA_LOSS
			return balancer.Failed
		case 4, 14: // DEADLINE_EXCEEDED, UNAVAILABLE
			return balancer.GatewayFailed
		}
		return balancer.Answered
	}
	switch {
	case o.Status >= 502 && o.Status <= 504:
		return balancer.GatewayFailed
	case o.Status >= 500:
		return balancer.Failed
	}
	return balancer.Answered
}
