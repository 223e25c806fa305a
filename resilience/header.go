package resilience

import "github.com/weftmesh/weft/internal/match"

// A Header reads the headers of a request, or the headers and trailers of an answer.
type Header = match.Header

// A HeaderName is a header's name in the forms that the protocols' maps use.
type HeaderName = match.HeaderName

// The headers by which servers, proxies and callers speak of failure and time.
var (
	retryAfter       = HeaderName{Lower: "retry-after", Canonical: "Retry-After"}
	pushback         = HeaderName{Lower: "grpc-retry-pushback-ms", Canonical: "Grpc-Retry-Pushback-Ms"}
	envoyRateLimited = HeaderName{Lower: "x-envoy-ratelimited", Canonical: "X-Envoy-Ratelimited"}
	envoyOverloaded  = HeaderName{Lower: "x-envoy-overloaded", Canonical: "X-Envoy-Overloaded"}
)

// first returns the first value of a header; there may be no Header at all.
func first(h Header, n HeaderName) (value string, ok bool) {
	if h == nil {
		return "", false
	}
	if v := h.Values(n); len(v) > 0 {
		return v[0], true
	}
	return "", false
}
