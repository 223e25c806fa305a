package ratelimit

import (
	"fmt"
	"sync/atomic"
	"testing"

	descriptor "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
)

// BenchmarkDecide is without gRPC: one key that all ask for, and many.
func BenchmarkDecide(b *testing.B) {
	for _, keys := range []int{1, 50_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			s := start(b, Config{}, Limit{Domain: "d", Entries: entries("user"), Requests: 1 << 31, Per: hour})
			requests := make([]*rls.RateLimitRequest, keys)
			for i := range requests {
				requests[i] = &rls.RateLimitRequest{Domain: "d", Descriptors: []*descriptor.RateLimitDescriptor{describe(fmt.Sprintf("user=%d", i))}}
			}
			var next atomic.Uint64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				i := next.Add(1) * 7919
				for pb.Next() {
					i++
					if _, err := s.ShouldRateLimit(b.Context(), requests[i%uint64(keys)]); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
