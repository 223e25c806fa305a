package resilience

import "strings"

// Conditions is a set of reasons to retry (Envoy x-envoy-retry-on, x-envoy-retry-grpc-on).
type Conditions uint32

// The conditions. The names are Envoy's.
const (
	OnConnectFailure          Conditions = 1 << iota
	OnRefusedStream                      // the server said it did not process the call
	OnUnavailable                        // gRPC status UNAVAILABLE
	OnCancelled                          // gRPC status CANCELLED answered by the server
	On5xx                                // any 5xx status, and no answer at all
	OnGatewayError                       // 502, 503, 504, and no answer at all
	OnReset                              // no answer: the connection broke, or the attempt's time was up
	OnResetBeforeRequest                 // no answer, and nothing was sent
	OnEnvoyRateLimited                   // an answer with x-envoy-ratelimited, which else is never repeated
	OnRetriable4xx                       // 409
	OnRetriableStatusCodes               // a status of Answers.Statuses
	OnRetriableHeaders                   // an answer that Answers.Headers match
	OnHTTP3PostConnectFailure            // accepted, and never holds: nothing is sent by HTTP/3
	OnDeadlineExceeded                   // gRPC status DEADLINE_EXCEEDED answered by the server
	OnInternal                           // gRPC status INTERNAL
	OnResourceExhausted                  // gRPC status RESOURCE_EXHAUSTED
)

// conditions are the names of Conditions on the wire, in the order of their bits.
var conditions = [...]string{
	"connect-failure", "refused-stream", "unavailable", "cancelled",
	"5xx", "gateway-error", "reset", "reset-before-request",
	"envoy-ratelimited", "retriable-4xx", "retriable-status-codes", "retriable-headers",
	"http3-post-connect-failure", "deadline-exceeded", "internal", "resource-exhausted",
}

// allConditions are those that have a name.
const allConditions = 1<<len(conditions) - 1

// ParseConditions reads a list as in x-envoy-retry-on: names separated by
// commas. Names it does not know are returned beside those it does.
func ParseConditions(list string) (c Conditions, unknown []string) {
next:
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		for i, known := range conditions {
			if known == name {
				c |= 1 << i
				continue next
			}
		}
		unknown = append(unknown, name)
	}
	return c, unknown
}

// String is what ParseConditions reads.
func (c Conditions) String() string {
	var names []string
	for i, name := range conditions {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}
