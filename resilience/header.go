package resilience

// A Header reads the headers of a request, or the headers and trailers of an
// answer. Reading must not allocate where the protocol's own map does not.
type Header interface {
	// Values returns the values of a header; the result is not modified.
	Values(HeaderName) []string
}

// A HeaderName is a header's name in the forms that the protocols' maps use.
type HeaderName struct {
	Lower     string // as in gRPC metadata and HTTP/2
	Canonical string // as in net/http's Header
}

// The headers by which servers, proxies and callers speak of failure and time.
var (
	retryAfter       = HeaderName{"retry-after", "Retry-After"}
	pushback         = HeaderName{"grpc-retry-pushback-ms", "Grpc-Retry-Pushback-Ms"}
	envoyRateLimited = HeaderName{"x-envoy-ratelimited", "X-Envoy-Ratelimited"}
	envoyOverloaded  = HeaderName{"x-envoy-overloaded", "X-Envoy-Overloaded"}
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
