package resilience

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// An Adaptive bounds how many calls a server has in flight by what they take compared
// with what they take when there are few (Envoy adaptive_concurrency, gradient controller). A
// fixed bound is a Gauge and a number. The zero Adaptive is in force with its defaults.
type Adaptive struct {
	// Percentile of the latencies stands for all of them; 0 means 50.
	Percentile float64
	// Min and Max bound the limit; 0 means 3 and 1000.
	Min, Max uint32
	// Update is how often the limit is computed; 0 means 100 ms.
	Update time.Duration
	// Remeasure is how often the limit goes down to Min to see what calls take then
	// (Envoy min_rtt_calc_params.interval), later by a random share of it up to Jitter percent.
	// 0 means 60 s and 15.
	Remeasure time.Duration
	Jitter    float64
	// Samples is how many calls that takes; 0 means 50.
	Samples uint32
	// Fixed is what a call takes when there are few, if that is known; 0 means to measure it.
	Fixed time.Duration
	// Buffer is the percentage of that by which calls may be slower without harm; 0 means 25.
	Buffer float64
}

// A Gradient is the live side of an Adaptive. Letting a call in or out takes no lock.
type Gradient struct {
	inFlight Gauge
	limit    atomic.Uint32
	samples  histogram
	next     atomic.Int64 // when the limit is due to change, from start; while it measures: when that began
	measures atomic.Bool
	enough   atomic.Uint32 // samples of a measurement
	slow     atomic.Int64  // a call that takes longer is slower than it may be
	start    time.Time

	mu       sync.Mutex // who computes the limit; nobody waits for it
	config   Adaptive   // with its defaults
	least    time.Duration
	before   uint32 // the limit before it measured
	measure  time.Duration
	atBottom int // updates that found the limit at Min
}

// NewGradient returns a Gradient that begins to measure.
func NewGradient(a Adaptive, now time.Time) *Gradient {
	g := &Gradient{start: now}
	g.Set(a, now)
	return g
}

// Set hands over a new Adaptive. What was measured stays; the limit stays within the new bounds.
func (g *Gradient) Set(a Adaptive, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.config
	g.config = a.filled()
	g.enough.Store(g.config.Samples)
	switch since := now.Sub(g.start); {
	case g.config == was:
	case g.config.Fixed > 0:
		g.least = g.config.Fixed
		g.resume(since, max(g.limit.Load(), g.before))
	case g.least == 0 || was.Fixed > 0:
		g.before = g.limit.Load()
		g.begin(since)
	case !g.measures.Load():
		g.limit.Store(g.config.within(float64(g.limit.Load())))
	}
}

// Enter lets a call in, or refuses it. Each that was let in is followed by one Leave, GiveUp or Abandon.
func (g *Gradient) Enter() bool { return g.inFlight.Enter(g.limit.Load()) }

// Leave lets out a call that was answered at now, and took so long.
func (g *Gradient) Leave(now time.Time, took time.Duration) {
	g.inFlight.Leave()
	since := now.Sub(g.start)
	if g.measures.Load() {
		if since-took < time.Duration(g.next.Load()) {
			return // it began when there were more
		}
		g.samples.observe(took)
		if g.samples.count() < int64(g.enough.Load()) {
			return
		}
	} else {
		g.samples.observe(took)
		if since < time.Duration(g.next.Load()) {
			return
		}
	}
	if g.mu.TryLock() {
		g.turn(since)
		g.mu.Unlock()
	}
}

// GiveUp lets out a call that its caller gave up after so long. It counts if it was slow by then: a server
// that is too slow for all its callers answers none, and would never be seen to be.
func (g *Gradient) GiveUp(now time.Time, took time.Duration) {
	if g.measures.Load() || took <= time.Duration(g.slow.Load()) {
		g.Abandon()
		return
	}
	g.Leave(now, took)
}

// Abandon lets out a call whose time says nothing.
func (g *Gradient) Abandon() { g.inFlight.Leave() }

// Limit is how many calls may be in flight now.
func (g *Gradient) Limit() uint32 { return g.limit.Load() }

// InFlight is how many are.
func (g *Gradient) InFlight() int64 { return g.inFlight.Count() }

// turn does what is due. The caller holds mu.
func (g *Gradient) turn(since time.Duration) {
	if g.measures.Load() {
		if g.samples.count() >= int64(g.config.Samples) {
			g.least = max(quantile(g.config.Percentile, &g.samples), 1)
			g.resume(since, g.before)
		}
		return
	}
	if since < time.Duration(g.next.Load()) || g.samples.count() == 0 {
		return
	}
	limit := g.limit.Load()
	now := g.config.next(limit, g.least, quantile(g.config.Percentile, &g.samples))
	if now > limit {
		// A limit that is not reached is not known to be right: it would grow for ever while calls are few, and
		// let in what comes all at once.
		now = max(limit, min(now, max(headroom, 4*uint32(g.InFlight()+1))))
	}
	if now == g.config.Min {
		g.atBottom++
	} else {
		g.atBottom = 0
	}
	// A limit that stays at its lowest may stem from a measurement that is no longer true (Envoy).
	if g.config.Fixed == 0 && (since >= g.measure || g.atBottom >= 5) {
		g.before = now
		g.begin(since)
		return
	}
	g.samples.reset()
	g.limit.Store(now)
	g.next.Store(int64(since + g.config.Update))
}

// headroom is how far the limit grows though there are few calls, so that many at once are no overload yet.
const headroom = 100

// begin lowers the limit to see what calls take then.
func (g *Gradient) begin(since time.Duration) {
	g.atBottom = 0
	g.limit.Store(g.config.Min)
	g.next.Store(int64(since))
	g.samples.reset()
	g.measures.Store(true)
}

// resume ends a measurement.
func (g *Gradient) resume(since time.Duration, limit uint32) {
	later := float64(g.config.Remeasure) * g.config.Jitter / 100 * rand.Float64()
	g.measure = since + g.config.Remeasure + time.Duration(later)
	g.slow.Store(int64(float64(g.least) * (1 + g.config.Buffer/100)))
	g.samples.reset()
	g.limit.Store(g.config.within(float64(limit)))
	g.next.Store(int64(since + g.config.Update))
	g.measures.Store(false)
}

// next is the limit that follows limit, when calls take what least is at best and took so long lately. It
// moves by half to double, and leaves room for a queue of its square root (Envoy).
func (a Adaptive) next(limit uint32, least, took time.Duration) uint32 {
	gradient := float64(least) * (1 + a.Buffer/100) / float64(max(took, 1))
	moved := float64(limit) * min(max(gradient, 0.5), 2)
	return a.within(moved + math.Sqrt(moved))
}

func (a Adaptive) within(limit float64) uint32 {
	return uint32(min(max(limit, float64(a.Min)), float64(a.Max)))
}

func (a Adaptive) filled() Adaptive {
	if a.Percentile <= 0 {
		a.Percentile = 50
	}
	if a.Min == 0 {
		a.Min = 3
	}
	if a.Max == 0 {
		a.Max = max(1000, a.Min)
	}
	if a.Update <= 0 {
		a.Update = 100 * time.Millisecond
	}
	if a.Remeasure <= 0 {
		a.Remeasure = time.Minute
	}
	if a.Jitter <= 0 {
		a.Jitter = 15
	}
	if a.Samples == 0 {
		a.Samples = 50
	}
	if a.Buffer <= 0 {
		a.Buffer = 25
	}
	return a
}
