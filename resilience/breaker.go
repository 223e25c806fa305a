package resilience

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// A Trip says when a Breaker opens, and how it closes again. The zero Trip never opens it.
type Trip struct {
	// Failures opens it after so many failures one after the other; 0 does not.
	Failures uint32
	// Percent opens it when so many of a hundred calls within Window failed, of at least
	// Volume; 0 does not. Window 0 means 10 s, Volume 0 means 20.
	Percent float64
	Volume  uint32
	Window  time.Duration
	// Open is how long it stays open before calls may probe; 0 means 5 s.
	Open time.Duration
	// Probes is how many calls at a time may probe, and how many of them in a row have to
	// succeed; one that fails opens it again. 0 means 1.
	Probes uint32
}

// A Breaker stops calls to a cluster or a host that fails them, for a while (gobreaker's two
// steps). The zero Breaker is closed. Each step takes a lock for some 70 ns.
type Breaker struct{ current atomic.Pointer[breaker] }

type breaker struct {
	trip Trip
	step *gobreaker.TwoStepCircuitBreaker[struct{}]
}

// A Pass is one call's way through a Breaker. The zero Pass went through none.
type Pass struct{ done func(error) }

// Allow reports whether a call may go. If it may, Pass.Done is to be called once: without it a
// breaker that probes would wait for ever. A Trip that differs from the last begins anew, closed.
func (b *Breaker) Allow(t Trip) (Pass, bool) {
	if t.Failures == 0 && t.Percent <= 0 {
		return Pass{}, true
	}
	cur := b.current.Load()
	for cur == nil || cur.trip != t {
		next := newBreaker(t)
		if b.current.CompareAndSwap(cur, next) {
			cur = next
		} else {
			cur = b.current.Load()
		}
	}
	done, err := cur.step.Allow()
	return Pass{done}, err == nil
}

// Done says how the call ended. One that its caller gave up, or that was never sent
// because its host left, says nothing about who was called.
func (p Pass) Done(o Outcome) {
	switch {
	case p.done == nil:
	case o.Cause == Canceled, o.Cause == HostLeft:
		p.done(errSaysNothing)
	case o.OK():
		p.done(nil)
	default:
		p.done(errFailed)
	}
}

// State is "closed", "open", or "half-open" while it probes.
func (b *Breaker) State() string {
	if cur := b.current.Load(); cur != nil {
		return cur.step.State().String()
	}
	return gobreaker.StateClosed.String()
}

var (
	errFailed      = errors.New("failed")
	errSaysNothing = errors.New("says nothing")
)

func newBreaker(t Trip) *breaker {
	filled := t
	if filled.Volume == 0 {
		filled.Volume = 20
	}
	if filled.Window <= 0 {
		filled.Window = 10 * time.Second
	}
	if filled.Open <= 0 {
		filled.Open = 5 * time.Second
	}
	return &breaker{t, gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  filled.Probes,
		Interval:     filled.Window,
		BucketPeriod: max(filled.Window/windowSlots, 1),
		Timeout:      filled.Open,
		ReadyToTrip:  filled.opens,
		IsSuccessful: func(err error) bool { return err == nil },
		IsExcluded:   func(err error) bool { return err == errSaysNothing }, //nolint:errorlint // it is never wrapped
	})}
}

// opens reports whether a closed breaker that has counted c is to open.
func (t Trip) opens(c gobreaker.Counts) bool {
	if t.Failures > 0 && c.ConsecutiveFailures >= t.Failures {
		return true
	}
	n := c.TotalSuccesses + c.TotalFailures
	return t.Percent > 0 && n >= t.Volume && float64(c.TotalFailures)*100 >= t.Percent*float64(n)
}
