package publish

import (
	"fmt"
	"slices"
	"strconv"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/resilience"
)

// defaultRetry is what holds where a VirtualService does not speak of retries
// (Istio's default: two retries of what was not processed or not available, and of
// statuses, of which it names none).
var defaultRetry = resilience.Retry{
	Attempts: 2,
	On: resilience.OnConnectFailure | resilience.OnRefusedStream | resilience.OnUnavailable | resilience.OnCancelled |
		resilience.OnRetriableStatusCodes,
}

// policy is what a rule says about time and failure.
func policy(rule *networking.HTTPRoute) resilience.Policy {
	return resilience.Policy{
		Timeout: rule.GetTimeout().AsDuration(),
		Retry:   retry(rule.GetRetries()),
		Fault:   fault(rule.GetFault()),
	}
}

// origins are where the parts of a rule's policy stand, for the index-th rule of an object.
func origins(rule *networking.HTTPRoute, o *catalog.Object, index int) Origins {
	if rule.GetTimeout() == nil && rule.GetRetries() == nil && rule.GetFault() == nil {
		return nil
	}
	from, at := Origins{}, Origin{o, fmt.Sprintf("spec.http[%d]", index)}
	from.put(at, "timeout", rule.GetTimeout() != nil, Timeout)
	from.put(at, "retries", rule.GetRetries() != nil, Retries)
	from.put(at, "fault", rule.GetFault() != nil, Fault)
	return from
}

// retry reads retries. What they leave out is as in defaultRetry; the pause is the
// library's own unless it is given.
func retry(r *networking.HTTPRetry) resilience.Retry {
	out := defaultRetry
	switch {
	case r == nil:
		return out
	case r.GetAttempts() <= 0:
		return resilience.Retry{}
	}
	out.Attempts = uint32(r.GetAttempts())
	out.TryTimeout = r.GetPerTryTimeout().AsDuration()
	out.OtherLocalities = r.GetRetryRemoteLocalities().GetValue()
	out.Base = r.GetBackoff().AsDuration()
	if list := r.GetRetryOn(); list != "" {
		var statuses []int
		out.On, statuses = conditions(list)
		if len(statuses) > 0 {
			out.Answers = &resilience.Answers{Statuses: statuses}
		}
	}
	return out
}

// conditions reads retryOn: names of conditions, and numbers, which are HTTP statuses. The
// catalog has refused all else.
func conditions(list string) (on resilience.Conditions, statuses []int) {
	on, rest := resilience.ParseConditions(list)
	for _, word := range rest {
		code, err := strconv.Atoi(word)
		if err == nil && !slices.Contains(statuses, code) {
			statuses = append(statuses, code)
			on |= resilience.OnRetriableStatusCodes
		}
	}
	return on, statuses
}
