package resilience

import "sync/atomic"

// A Gauge counts what is in flight against a limit. The zero Gauge counts nothing
// yet. It takes no lock. Each Enter that succeeded, and each Begin, is followed by one Leave.
type Gauge struct{ n atomic.Int64 }

// Enter counts one in, unless that would make more than limit. A limit of 0 lets nothing in.
func (g *Gauge) Enter(limit uint32) bool {
	for {
		n := g.n.Load()
		if n >= int64(limit) {
			return false
		}
		if g.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Begin counts one in whatever the limit.
func (g *Gauge) Begin() { g.n.Add(1) }

// Leave counts one out.
func (g *Gauge) Leave() { g.n.Add(-1) }

// Count is how many are in flight.
func (g *Gauge) Count() int64 { return g.n.Load() }
