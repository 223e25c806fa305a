package resilience

import (
	"math"
	"strings"
	"sync/atomic"
	"time"
)

// A Shedding says how long calls may queue at a server before it refuses some. While even the
// luckiest call of an Interval waited longer than Target, there is a queue that does not drain
// (CoDel), and patience falls to what the call's Criticality deserves. The zero Shedding is in force with its defaults.
type Shedding struct {
	// Target is what a call may wait while the server can't keep up; 0 means 5 ms.
	Target time.Duration
	// Interval is what a call may wait else, and how long a queue must stand to count; 0 means 100 ms.
	Interval time.Duration
}

// A Criticality is how much a call matters (Google SRE). It is handed on from a call to those it causes.
type Criticality int8

// The criticalities, by how much of Target they may wait under overload.
const (
	Sheddable     Criticality = iota - 2 // a quarter: retries later will do
	SheddablePlus                        // half: a user will not see it
	Critical                             // all of it; what a call is that says nothing
	CriticalPlus                         // as long as without overload
	Health                               // for ever: health checks are never shed
)

var criticalities = [...]string{"sheddable", "sheddable-plus", "critical", "critical-plus"}

// ParseCriticality reads a criticality's name, in any case. Health has none: no
// caller may claim it.
func ParseCriticality(name string) (c Criticality, ok bool) {
	for i, known := range criticalities {
		if strings.EqualFold(known, name) {
			return Criticality(i) + Sheddable, true
		}
	}
	return Critical, false
}

func (c Criticality) String() string {
	if c >= Sheddable && c <= CriticalPlus {
		return criticalities[c-Sheddable]
	}
	return "health"
}

// A Shedder knows whether the calls of a server queue. It takes no lock.
type Shedder struct {
	start    time.Time
	interval atomic.Int64 // number of the interval
	shortest atomic.Int64 // wait in it
	overload atomic.Bool  // there was a queue that did not drain
	calm     atomic.Int32 // intervals since then
}

// calm is how many intervals that follow an overload are counted to it: one whose queue is short, since calls are
// refused, drains by chance.
const calm = 2

// NewShedder returns a Shedder that has seen no call.
func NewShedder(now time.Time) *Shedder {
	s := &Shedder{start: now}
	s.shortest.Store(math.MaxInt64)
	return s
}

// Admit reports whether a call that has waited so long, and whose turn it is now, is to be served.
func (s *Shedder) Admit(p Shedding, c Criticality, now time.Time, waited time.Duration) bool {
	s.Observe(p, now, waited)
	return waited <= s.Patience(p, c)
}

// Observe counts a call whose turn it is when the one that came first has waited so long: where others are let past
// it, its wait is what the queue is like, and Patience says the rest. An interval without calls had no queue.
func (s *Shedder) Observe(p Shedding, now time.Time, waited time.Duration) {
	p = p.filled()
	interval := int64(now.Sub(s.start) / p.Interval)
	if last := s.interval.Load(); interval > last && s.interval.CompareAndSwap(last, interval) {
		shortest := s.shortest.Swap(int64(waited))
		limit := p.Target
		if s.overload.Load() {
			limit /= 8 // less than anybody's patience: what keeps the queue short is that calls are refused
		}
		switch {
		case interval > last+1:
			s.overload.Store(false)
		case shortest != math.MaxInt64 && time.Duration(shortest) > limit:
			s.calm.Store(0)
			s.overload.Store(true)
		case s.calm.Add(1) > calm:
			s.overload.Store(false)
		}
		return
	}
	for {
		shortest := s.shortest.Load()
		if int64(waited) >= shortest || s.shortest.CompareAndSwap(shortest, int64(waited)) {
			return
		}
	}
}

// Patience is how long a call may wait at most, as things stand: a queue need not keep it longer.
func (s *Shedder) Patience(p Shedding, c Criticality) time.Duration { return s.patience(p.filled(), c) }

// Overloaded reports whether calls queue faster than they are served.
func (s *Shedder) Overloaded() bool { return s.overload.Load() }

func (s *Shedder) patience(p Shedding, c Criticality) time.Duration {
	switch {
	case c >= Health:
		return math.MaxInt64
	case c == CriticalPlus || !s.overload.Load():
		return p.Interval
	case c == SheddablePlus:
		return p.Target / 2
	case c == Sheddable:
		return p.Target / 4
	}
	return p.Target
}

func (p Shedding) filled() Shedding {
	if p.Target <= 0 {
		p.Target = 5 * time.Millisecond
	}
	if p.Interval <= 0 {
		p.Interval = 100 * time.Millisecond
	}
	return p
}
