package resilience

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Whatever the pieces, what goes in a time is the rate, and a fill more at first.
func TestThrottleKeepsTheRate(t *testing.T) {
	for _, tc := range []struct {
		b    Bandwidth
		want int
	}{
		{Bandwidth{BytesPerSecond: 1}, 1},
		{Bandwidth{BytesPerSecond: 1000}, 1},
		{Bandwidth{BytesPerSecond: 1 << 20}, 1},
		{Bandwidth{BytesPerSecond: 1 << 20}, 32 << 10},
		{Bandwidth{BytesPerSecond: 1 << 20, Fill: time.Second}, 1 << 30},
		{Bandwidth{BytesPerSecond: 10 << 30}, 1 << 20},
	} {
		var th Throttle
		now, sent, asked := start, 0, 0
		for now.Before(start.Add(10 * time.Second)) {
			asked++
			n, wait := th.Take(tc.b, now, tc.want)
			if n > tc.want || n < 0 || (n == 0) != (wait > 0) {
				t.Fatalf("%+v: %d of %d, wait %v", tc.b, n, tc.want, wait)
			}
			sent += n
			now = now.Add(wait)
			if sent > 200<<20 { // as much as this test has the patience for
				break
			}
		}
		fill := max(tc.b.Fill, 50*ms).Seconds()
		most := float64(tc.b.BytesPerSecond)*(now.Sub(start).Seconds()+fill) + 2
		if float64(sent) > most || float64(sent) < most*0.9-float64(tc.want)-2 && now.After(start) && sent < 200<<20 {
			t.Errorf("%+v in pieces of %d: %d bytes in %v", tc.b, tc.want, sent, now.Sub(start))
		}
	}
}

func TestThrottleWithoutABound(t *testing.T) {
	var th Throttle
	if n, wait := th.Take(Bandwidth{}, start, 1<<40); n != 1<<40 || wait != 0 {
		t.Errorf("%d, %v", n, wait)
	}
	if n, wait := th.Take(Bandwidth{BytesPerSecond: 1}, start, 0); n != 0 || wait != 0 {
		t.Errorf("nothing: %d, %v", n, wait)
	}
}

func TestThrottleIsShared(t *testing.T) {
	var th Throttle
	var sent atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				n, _ := th.Take(Bandwidth{BytesPerSecond: 1000}, start, 7)
				sent.Add(int64(n))
			}
		})
	}
	wg.Wait()
	if sent.Load() != 50 {
		t.Errorf("%d bytes at once, want a fill: 50", sent.Load())
	}
}

func TestThrottleAllocatesNothing(t *testing.T) {
	var th Throttle
	ceiling(t, "a throttle", 0, func() { th.Take(Bandwidth{BytesPerSecond: 1 << 20}, start, 1000) })
}
