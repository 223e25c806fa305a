package resilience

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram counts durations from a microsecond to two minutes, each within 6 % of
// what it was; what is longer counts as that. It takes no lock. The zero histogram is empty.
type histogram struct {
	n       atomic.Int64
	buckets [histogramBuckets]atomic.Uint32
}

// A bucket is a sixteenth of a power of two, of units of 1024 ns.
const (
	unitBits         = 10
	histogramBuckets = 16 * 24
)

func (h *histogram) observe(d time.Duration) {
	u := uint64(max(d, 0)) >> unitBits
	i := u
	if u >= 16 {
		shift := bits.Len64(u) - 5
		i = uint64(16*shift) + u>>shift
	}
	h.buckets[min(i, histogramBuckets-1)].Add(1)
	h.n.Add(1)
}

func (h *histogram) count() int64 { return h.n.Load() }

func (h *histogram) reset() {
	h.n.Store(0)
	for i := range h.buckets {
		h.buckets[i].Store(0)
	}
}

// quantile is the duration that percent of those in hs do not exceed; 0 if there are none.
func quantile(percent float64, hs ...*histogram) time.Duration {
	var total int64
	for _, h := range hs {
		total += h.count()
	}
	if total == 0 {
		return 0
	}
	rank := int64(float64(total) * percent / 100)
	last := 0
	for i := range histogramBuckets {
		var n int64
		for _, h := range hs {
			n += int64(h.buckets[i].Load())
		}
		if n == 0 {
			continue
		}
		last = i
		if rank -= n; rank < 0 {
			break
		}
	}
	return middle(last)
}

// middle is the duration in the middle of bucket i.
func middle(i int) time.Duration {
	u, width := uint64(i), uint64(1)
	if i >= 16 {
		shift := i/16 - 1
		u, width = uint64(i%16+16)<<shift, 1<<shift
	}
	return time.Duration(u<<unitBits + width<<unitBits/2)
}

// Latencies are how long the answers of a cluster took lately: those of the last
// half to whole minute. It takes no lock.
type Latencies struct {
	start   time.Time
	turn    atomic.Int64
	halves  [2]histogram
	reading atomic.Pointer[reading]
}

// A reading is a percentile as it was at a time, which spares adding it up for every call.
type reading struct {
	percent float64
	until   time.Duration // since start
	value   time.Duration
}

const (
	halfLatencies = 30 * time.Second
	readingHolds  = 100 * time.Millisecond
	fewLatencies  = 100 // below which no percentile is told
)

// NewLatencies returns Latencies that have seen nothing.
func NewLatencies(now time.Time) *Latencies { return &Latencies{start: now} }

// Observe counts an answer that took d and came at now.
func (l *Latencies) Observe(now time.Time, d time.Duration) { l.half(now).observe(d) }

// Percentile is how long percent of the answers took at most; not ok while there
// are too few to say. It is up to 100 ms old.
func (l *Latencies) Percentile(now time.Time, percent float64) (d time.Duration, ok bool) {
	since := now.Sub(l.start)
	r := l.reading.Load()
	if r == nil || r.percent != percent || since >= r.until {
		l.half(now)
		r = &reading{percent: percent, until: since + readingHolds}
		if l.halves[0].count()+l.halves[1].count() >= fewLatencies {
			r.value = quantile(percent, &l.halves[0], &l.halves[1])
		}
		l.reading.Store(r)
	}
	return r.value, r.value > 0
}

// half is the half that now falls into. Who comes first empties what it held before.
func (l *Latencies) half(now time.Time) *histogram {
	turn := int64(now.Sub(l.start) / halfLatencies)
	for {
		old := l.turn.Load()
		if turn <= old {
			return &l.halves[old&1]
		}
		if l.turn.CompareAndSwap(old, turn) {
			if turn > old+1 {
				l.halves[(turn+1)&1].reset()
			}
			l.halves[turn&1].reset()
		}
	}
}
