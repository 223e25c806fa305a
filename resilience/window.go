package resilience

import (
	"sync/atomic"
	"time"
)

// A window keeps two counts of what happened lately, in slots that together
// span its length. It takes no lock: a slot is one word, so that a slot that has
// grown old is started anew by whoever comes first, and nothing is lost.
type window struct {
	start time.Time
	slot  time.Duration // how much time a slot stands for
	slots [windowSlots]atomic.Uint64
}

const (
	windowSlots = 10
	countBits   = 24 // a count stops at 16 million a slot
	countMax    = 1<<countBits - 1
)

func newWindow(now time.Time, length time.Duration) *window {
	return &window{start: now, slot: max(length/windowSlots, 1)}
}

// is reports whether the window is as long as that, but for rounding.
func (w *window) is(length time.Duration) bool { return w.slot == max(length/windowSlots, 1) }

// add counts a and b at the time now.
func (w *window) add(now time.Time, a, b uint64) {
	turn := w.turn(now)
	s := &w.slots[turn%windowSlots]
	for {
		old := s.Load()
		x, y := a, b
		if age := uint16(turn) - uint16(old>>(2*countBits)); age == 0 {
			x, y = x+old>>countBits&countMax, y+old&countMax
		} else if int16(age) < 0 {
			return // the caller's clock was read a whole window ago
		}
		if s.CompareAndSwap(old, turn<<(2*countBits)|min(x, countMax)<<countBits|min(y, countMax)) {
			return
		}
	}
}

// sums is what was counted within the window before now.
func (w *window) sums(now time.Time) (a, b uint64) {
	turn := w.turn(now)
	for i := range w.slots {
		v := w.slots[i].Load()
		if uint16(turn)-uint16(v>>(2*countBits)) < windowSlots {
			a += v >> countBits & countMax
			b += v & countMax
		}
	}
	return a, b
}

// turn is the number of the slot that now falls into. It begins far from 0, so that slots never
// written to are old.
func (w *window) turn(now time.Time) uint64 {
	return uint64(max(now.Sub(w.start), 0))/uint64(w.slot) + 2*windowSlots
}

// A rolling is the window of the length that is configured now.
type rolling struct {
	start   time.Time
	current atomic.Pointer[window]
}

// window is the window of that length. Another length than the last begins anew.
func (r *rolling) window(length time.Duration) *window {
	for {
		w := r.current.Load()
		if w != nil && w.is(length) {
			return w
		}
		if next := newWindow(r.start, length); r.current.CompareAndSwap(w, next) {
			return next
		}
	}
}
