package ratelimit

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// BenchmarkTake is one question over loopback, which a call would wait for that knows nothing of its limit.
func BenchmarkTake(b *testing.B) {
	addr, _ := serve(b, "", service(b, 1<<31))
	l, _ := limiter(b, addr)
	entries := user("a")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := l.Take(b.Context(), "d", entries, 100); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLease is what a call pays that draws on a lease. Batches are so large that calls, which do nothing
// else here, wait for none; of the default's, every hundredth call asks what BenchmarkTake measures, beside itself.
func BenchmarkLease(b *testing.B) {
	addr, _ := serve(b, "", service(b, 1<<31))
	l, _ := limiter(b, addr)
	lease := &resilience.Lease{Batch: 1 << 22}
	leases := resilience.NewLeases(0)
	entries := user("a")
	var questions atomic.Int64
	var asking sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			for {
				now := time.Now()
				limit := leases.Of(entries, now)
				grant, tokens := limit.Take(lease, now)
				if tokens > 0 {
					asking.Go(func() {
						questions.Add(1)
						granted, holds, err := l.Take(b.Context(), "d", entries, tokens)
						if err != nil {
							b.Error(err)
							limit.Fail(lease, time.Now())
							return
						}
						limit.Renew(lease, time.Now(), granted, holds)
					})
				}
				if grant != resilience.Awaited {
					break
				}
				runtime.Gosched()
			}
		}
	})
	asking.Wait()
	b.ReportMetric(float64(questions.Load())/float64(b.N), "questions/op")
}
