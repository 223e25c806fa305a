package resilience

import (
	"math"
	"time"
)

// An Admission lets a client refuse its own calls the more of them fail, so that a server that can't
// keep up is not asked in vain (Envoy admission_control, Google SRE client-side
// throttling). The zero Admission is in force with its defaults.
type Admission struct {
	// Window is how far back successes count; 0 means 30 s.
	Window time.Duration
	// Threshold is the success rate in percent below which calls are refused; 0 means 95.
	Threshold float64
	// Aggression is how fast refusals grow as the rate falls: 1 is linear, more is faster; 0 means 1.
	Aggression float64
	// MinRate is how many calls a second there must be for any to be refused; 0 means however few.
	MinRate float64
	// MaxPercent of the calls are refused at most; 0 means 80.
	MaxPercent float64
}

// Admissions is how the calls that an Admission let through ended; those it refused do not
// count (Envoy). It takes no lock.
type Admissions struct{ recent rolling }

// NewAdmissions returns Admissions that have seen no call.
func NewAdmissions(now time.Time) *Admissions { return &Admissions{rolling{start: now}} }

// Admit reports whether a call may go, for a random number in [0, 1). Each that may is followed
// by one Done, unless its end says nothing, as when its caller gave up.
func (s *Admissions) Admit(a Admission, now time.Time, random float64) bool {
	return random >= s.Refusing(a, now)
}

// Refusing is the share of calls that are refused now, from 0 to 1.
func (s *Admissions) Refusing(a Admission, now time.Time) float64 {
	a = a.filled()
	calls, ok := s.recent.window(a.Window).sums(now)
	if float64(ok)*100 >= float64(calls)*a.Threshold || float64(calls) < a.MinRate*a.Window.Seconds() {
		return 0
	}
	share := (float64(calls) - float64(ok)*100/a.Threshold) / float64(calls+1)
	if share <= 0 {
		return 0
	}
	return min(math.Pow(share, 1/a.Aggression), a.MaxPercent/100)
}

// Done counts a call that was let through.
func (s *Admissions) Done(a Admission, now time.Time, ok bool) {
	good := uint64(0)
	if ok {
		good = 1
	}
	s.recent.window(a.filled().Window).add(now, 1, good)
}

func (a Admission) filled() Admission {
	if a.Window <= 0 {
		a.Window = 30 * time.Second
	}
	if a.Threshold <= 0 {
		a.Threshold = 95
	}
	if a.Aggression <= 0 {
		a.Aggression = 1
	}
	if a.MaxPercent <= 0 {
		a.MaxPercent = 80
	}
	return a
}
