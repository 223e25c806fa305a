package resilience

import (
	"math"
	"sync/atomic"
	"time"
)

// A Bandwidth bounds how fast bytes go one way (Envoy bandwidth_limit). The zero Bandwidth does not.
type Bandwidth struct {
	// BytesPerSecond is the bound; 0 means none. Envoy counts in KiB.
	BytesPerSecond uint64
	// Fill is how much time's worth of bytes may go at once; 0 means 50 ms (Envoy fill_interval).
	Fill time.Duration
}

// A Throttle is the live side of a Bandwidth. The zero Throttle has let nothing through. It takes no lock.
type Throttle struct {
	// paid is the time, in UnixNano, by which all bytes that went will have had their time.
	paid atomic.Int64
}

// Take reports how many of want bytes may go now, and, if that is none, how long to
// wait before asking again. Bytes that may go count as gone.
func (t *Throttle) Take(b Bandwidth, now time.Time, want int) (n int, wait time.Duration) {
	if b.BytesPerSecond == 0 || want <= 0 {
		return want, 0
	}
	fill := b.Fill
	if fill <= 0 {
		fill = 50 * time.Millisecond
	}
	perByte := float64(time.Second) / float64(b.BytesPerSecond)
	fill = max(fill, time.Duration(perByte)+1) // one byte has to fit
	for {
		at, paid := now.UnixNano(), t.paid.Load()
		from := max(paid, at-int64(fill)) // what was not used is kept for one fill
		room := int(min(float64(at-from)/perByte, float64(want)))
		if room <= 0 {
			// Wait for a whole piece, lest bytes go one by one.
			piece := min(time.Duration(float64(want)*perByte)+1, fill)
			return 0, max(time.Duration(from-at)+piece, 1)
		}
		if t.paid.CompareAndSwap(paid, from+int64(math.Ceil(float64(room)*perByte))) {
			return room, 0
		}
	}
}
