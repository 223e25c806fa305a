package httpadapter

import (
	"context"
	"net/http"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// The headers by which a caller says how long it waits.
var (
	expectedTimeout = resolver.HeaderName{Lower: "x-envoy-expected-rq-timeout-ms", Canonical: "X-Envoy-Expected-Rq-Timeout-Ms"}
	grpcTimeout     = resolver.HeaderName{Lower: "grpc-timeout", Canonical: "Grpc-Timeout"}
)

// timeLeft is the value of expectedTimeout for a request that has left until its deadline, unless the
// headers h say less already.
func timeLeft(h http.Header, left time.Duration) (value string, ok bool) {
	if said, ok := timeout(h, expectedTimeout, resilience.ParseTimeoutMillis); ok && said <= left {
		return "", false
	}
	var few [20]byte
	return string(resilience.AppendTimeoutMillis(few[:0], left)), true
}

// withDeadline is ctx with the deadline that the caller of a request with the headers h has, by whatever header is
// strictest. What a header says badly it does not say.
func withDeadline(ctx context.Context, h http.Header) (context.Context, context.CancelFunc) {
	d, ok := timeout(h, expectedTimeout, resilience.ParseTimeoutMillis)
	if other, too := timeout(h, grpcTimeout, resilience.ParseGRPCTimeout); too && (!ok || other < d) {
		d, ok = other, true
	}
	if !ok || upgrades(h) { // a connection that leaves HTTP outlives its request
		return ctx, nil
	}
	return context.WithTimeout(ctx, d)
}

func timeout(h http.Header, n resolver.HeaderName, parse func(string) (time.Duration, bool)) (d time.Duration, ok bool) {
	if v := h[n.Canonical]; len(v) > 0 {
		return parse(v[0])
	}
	return 0, false
}
