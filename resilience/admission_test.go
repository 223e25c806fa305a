package resilience

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestAdmissionRefuses(t *testing.T) {
	for _, tc := range []struct {
		name      string
		a         Admission
		ok, calls int
		want      float64
	}{
		{"nothing known", Admission{}, 0, 0, 0},
		{"all well", Admission{}, 1000, 1000, 0},
		{"at the threshold", Admission{}, 950, 1000, 0},
		{"half fail", Admission{}, 500, 1000, (1000 - 500/0.95) / 1001},
		{"half fail, aggressively", Admission{Aggression: 2}, 500, 1000, math.Sqrt((1000 - 500/0.95) / 1001)},
		{"half fail, half is enough", Admission{Threshold: 50}, 500, 1000, 0},
		{"all fail", Admission{}, 0, 1000, 0.8},
		{"all fail, own bound", Admission{MaxPercent: 50}, 0, 1000, 0.5},
		{"too few", Admission{MinRate: 34}, 0, 1000, 0},
		{"not too few", Admission{MinRate: 33}, 0, 1000, 0.8},
	} {
		s := NewAdmissions(start)
		for i := range tc.calls {
			s.Done(tc.a, start, i < tc.ok)
		}
		if got := s.Refusing(tc.a, start); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
		if s.Admit(tc.a, start, tc.want-1e-6) && tc.want > 0 || !s.Admit(tc.a, start, tc.want+1e-6) {
			t.Errorf("%s: Admit does not follow", tc.name)
		}
		if got := s.Refusing(tc.a, start.Add(time.Minute)); got != 0 {
			t.Errorf("%s: %v a minute later", tc.name, got)
		}
	}
}

// A server that can do a fifth of what it is offered gets about twice that (the root of what would be, since calls
// that are refused do not count, as in Envoy), and all of it once it is well.
func TestAdmissionFollowsTheServer(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	a := Admission{Window: 5 * time.Second}
	s := NewAdmissions(start)
	now := start
	run := func(capacity int) (sent int) {
		for range 300 { // tenths of a second
			sent = 0
			for range 100 {
				if s.Admit(a, now, rnd.Float64()) {
					sent++
					s.Done(a, now, sent <= capacity)
				}
			}
			now = now.Add(100 * ms)
		}
		return sent
	}
	if got := run(20); got > 60 {
		t.Errorf("%d of 100 are sent to a server that does 20", got)
	}
	if got := run(100); got != 100 {
		t.Errorf("%d of 100 are sent to a server that is well", got)
	}
}

func TestAdmissionAllocatesNothing(t *testing.T) {
	s := NewAdmissions(start)
	s.Done(Admission{}, start, false)
	ceiling(t, "admission", 0, func() {
		s.Admit(Admission{}, start, 0.5)
		s.Done(Admission{}, start, true)
	})
}
