package balancer

// A Result is what an attempt says of the host that had it. The zero Result is Answered.
type Result uint8

// The results. What they count as is the matter of an [Outlier].
const (
	Answered      Result = iota // the server did its work; that includes what the caller asked wrongly
	Failed                      // the server answered with a failure of its own: HTTP 5xx and what gRPC has for it
	GatewayFailed               // Failed with 502, 503 or 504; gRPC UNAVAILABLE or DEADLINE_EXCEEDED
	LocalFailed                 // no answer: no connection, a reset, or the attempt's time was up
	Neutral                     // says nothing of the host: canceled by the caller, or the host left
)

var resultNames = [...]string{"ANSWERED", "FAILED", "GATEWAY_FAILED", "LOCAL_FAILED", "NEUTRAL"}

func (r Result) String() string {
	if int(r) < len(resultNames) {
		return resultNames[r]
	}
	return "INVALID"
}
