package resilience

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// The window is held to what a list of events says, but for the rounding to slots.
func TestWindowCountsWhatIsRecent(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	w := newWindow(start, time.Second)
	type event struct {
		at   time.Duration
		a, b uint64
	}
	var events []event
	var now time.Duration
	for range 5000 {
		now += time.Duration(rnd.IntN(60)) * ms
		if rnd.IntN(200) == 0 {
			now += time.Duration(rnd.IntN(100)) * time.Second
		}
		e := event{now, rnd.Uint64N(5), rnd.Uint64N(5)}
		w.add(start.Add(now), e.a, e.b)
		events = append(events, e)
		var a, b uint64
		for _, e := range events {
			if now/(100*ms)-e.at/(100*ms) < 10 {
				a, b = a+e.a, b+e.b
			}
		}
		if x, y := w.sums(start.Add(now)); x != a || y != b {
			t.Fatalf("at %v: %d, %d; want %d, %d", now, x, y, a, b)
		}
	}
}

func TestWindowStopsAtItsLargestCount(t *testing.T) {
	w := newWindow(start, time.Second)
	w.add(start, countMax, 1)
	w.add(start, 5, countMax)
	if a, b := w.sums(start); a != countMax || b != countMax {
		t.Errorf("%d, %d", a, b)
	}
}

func TestWindowIgnoresClocksThatAreFarBehind(t *testing.T) {
	w := newWindow(start, time.Second)
	w.add(start.Add(5*time.Second), 1, 1)
	w.add(start.Add(3*time.Second), 1, 1) // its slot is the other's
	w.add(start.Add(-time.Hour), 1, 1)
	if a, b := w.sums(start.Add(5 * time.Second)); a != 1 || b != 1 {
		t.Errorf("%d, %d", a, b)
	}
}

func TestWindowLosesNothing(t *testing.T) {
	w := newWindow(start, time.Second)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 900 {
				w.add(start.Add(time.Duration(i)*ms), 1, 2)
			}
		})
	}
	wg.Wait()
	if a, b := w.sums(start.Add(999 * ms)); a != 3600 || b != 7200 {
		t.Errorf("%d, %d", a, b)
	}
}

func TestRollingFollowsItsLength(t *testing.T) {
	r := rolling{start: start}
	r.window(time.Second).add(start, 1, 1)
	if a, _ := r.window(time.Second).sums(start); a != 1 {
		t.Errorf("same length: %d", a)
	}
	if a, _ := r.window(2 * time.Second).sums(start); a != 0 {
		t.Errorf("another length: %d", a)
	}
}
