package resilience

import (
	"sync"
	"testing"
	"time"
)

// A server does capacity calls at once in base; more share it.
type server struct {
	capacity int
	base     time.Duration
}

func (s server) takes(inFlight int) time.Duration {
	return max(s.base, s.base*time.Duration(inFlight)/time.Duration(s.capacity))
}

// flood keeps the server as full as g lets it for d, and returns the time then.
func (s server) flood(g *Gradient, now time.Time, d time.Duration) time.Time {
	for end := now.Add(d); now.Before(end); {
		n := 0
		for g.Enter() {
			n++
		}
		took := s.takes(n)
		now = now.Add(took)
		for range n {
			g.Leave(now, took)
		}
	}
	return now
}

func TestGradientFindsWhatTheServerCanDo(t *testing.T) {
	for _, capacity := range []int{10, 40, 200} {
		s := server{capacity, 10 * ms}
		g := NewGradient(Adaptive{}, start)
		s.flood(g, start, 30*time.Second)
		// The buffer of a quarter, and a queue of the square root.
		if got := int(g.Limit()); got < capacity || got > capacity*3/2+10 {
			t.Errorf("capacity %d: limit %d", capacity, got)
		}
		if g.InFlight() != 0 {
			t.Errorf("%d in flight at the end", g.InFlight())
		}
	}
}

func TestGradientFollowsAServerThatSlowsDown(t *testing.T) {
	g := NewGradient(Adaptive{Fixed: 10 * ms}, start)
	now := server{100, 10 * ms}.flood(g, start, 10*time.Second)
	before := g.Limit()
	now = server{20, 10 * ms}.flood(g, now, 5*time.Second)
	after := g.Limit()
	if before < 100 || after > 40 {
		t.Errorf("from %d to %d", before, after)
	}
	server{100, 10 * ms}.flood(g, now, 5*time.Second)
	if g.Limit() < 100 {
		t.Errorf("back at %d", g.Limit())
	}
}

// What calls take at best is measured again when it is due, or when the limit stays at its lowest.
func TestGradientMeasuresAgain(t *testing.T) {
	g := NewGradient(Adaptive{Remeasure: time.Hour}, start)
	now := server{100, ms}.flood(g, start, 5*time.Second)
	server{100, 20 * ms}.flood(g, now, 10*time.Second) // it is slow now, however few there are
	if got := g.Limit(); got < 50 {
		t.Errorf("limit %d: it is held to what the server once could", got)
	}
	g = NewGradient(Adaptive{Remeasure: 10 * time.Second, Jitter: 1}, start)
	lowest := uint32(1000)
	now = server{100, ms}.flood(g, start, 5*time.Second)
	for range 1500 {
		now = server{100, ms}.flood(g, now, 5*ms)
		lowest = min(lowest, g.Limit())
	}
	if lowest != 3 || g.Limit() < 100 {
		t.Errorf("went down to %d, and up to %d again", lowest, g.Limit())
	}
}

func TestGradientIgnoresCallsFromBeforeAMeasurement(t *testing.T) {
	g := NewGradient(Adaptive{Samples: 1}, start)
	g.Enter()
	g.Leave(start.Add(ms), time.Second)
	if g.Limit() != 3 || g.least != 0 {
		t.Errorf("measured %v", g.least)
	}
	g.Enter()
	if g.Leave(start.Add(ms), ms); g.least == 0 {
		t.Error("not measured")
	}
}

// A server that is too slow for all its callers answers none of them.
func TestGradientCountsSlowCallsThatWereGivenUp(t *testing.T) {
	g := NewGradient(Adaptive{Fixed: 10 * ms, Min: 20, Max: 1000}, start)
	now := server{1000, 10 * ms}.flood(g, start, 3*time.Second)
	giveUp := func(after time.Duration) {
		for range 20 {
			now = now.Add(50 * ms)
			g.Enter()
			g.GiveUp(now, after)
		}
	}
	before := g.Limit()
	if giveUp(ms); g.Limit() != before || before < 500 {
		t.Errorf("from %d to %d by calls that were given up at once", before, g.Limit())
	}
	if giveUp(time.Second); g.Limit() != 20 {
		t.Errorf("%d though all calls are given up", g.Limit())
	}
	if g.InFlight() != 0 {
		t.Errorf("%d in flight", g.InFlight())
	}
}

func TestGradientDoesNotMeasureByCallsThatWereGivenUp(t *testing.T) {
	g := NewGradient(Adaptive{Samples: 1}, start)
	g.Enter()
	if g.GiveUp(start.Add(ms), ms); g.least != 0 {
		t.Errorf("measured %v", g.least)
	}
}

// A limit that nobody reaches must not grow until it lets anything in.
func TestGradientLeavesHeadroomToFewCalls(t *testing.T) {
	g, now := NewGradient(Adaptive{Fixed: 10 * ms}, start), start
	for range 100 {
		now = now.Add(100 * ms)
		g.Enter()
		g.Leave(now, 10*ms)
	}
	if g.Limit() != headroom {
		t.Errorf("limit %d", g.Limit())
	}
	server{1000, 10 * ms}.flood(g, now, 3*time.Second)
	if g.Limit() != 1000 {
		t.Errorf("limit %d where it is needed", g.Limit())
	}
}

func TestAdaptiveNext(t *testing.T) {
	a := Adaptive{Min: 5, Max: 100}.filled()
	for _, tc := range []struct {
		limit uint32
		least time.Duration
		took  time.Duration
		want  uint32
	}{
		{16, 10 * ms, 10 * ms, 20 + 4},       // a quarter's buffer, and the root of 20
		{16, 10 * ms, 12500 * ms / 1000, 20}, // as slow as the buffer allows
		{16, 10 * ms, time.Hour, 10},         // by half at most
		{16, time.Hour, ms, 37},              // to double at most
		{6, ms, time.Hour, 5},                // bounded below
		{100, time.Hour, 0, 100},             // and above
	} {
		if got := a.next(tc.limit, tc.least, tc.took); got != tc.want {
			t.Errorf("from %d at %v of %v: %d, want %d", tc.limit, tc.took, tc.least, got, tc.want)
		}
	}
}

func TestGradientTakesNewBounds(t *testing.T) {
	g := NewGradient(Adaptive{Fixed: 10 * ms}, start)
	now := server{100, 10 * ms}.flood(g, start, 10*time.Second)
	g.Set(Adaptive{Fixed: 10 * ms, Max: 20}, now)
	if g.Limit() != 20 {
		t.Errorf("limit %d", g.Limit())
	}
	g.Set(Adaptive{Max: 20}, now)
	if g.Limit() != 3 {
		t.Errorf("limit %d while it measures", g.Limit())
	}
	server{100, 10 * ms}.flood(g, now, 10*time.Second)
	if g.Limit() != 20 {
		t.Errorf("limit %d", g.Limit())
	}
}

func TestGradientUnderContention(t *testing.T) {
	g := NewGradient(Adaptive{Samples: 5, Update: ms, Remeasure: 20 * ms}, start)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 5000 {
				if g.Enter() {
					if i%7 == 0 {
						g.Abandon()
					} else {
						g.Leave(start.Add(time.Duration(i)*100*time.Microsecond), time.Duration(i%5)*ms)
					}
				}
			}
		})
	}
	wg.Wait()
	if g.InFlight() != 0 {
		t.Errorf("%d in flight", g.InFlight())
	}
}

func TestGradientAllocatesNothing(t *testing.T) {
	g := NewGradient(Adaptive{Update: time.Nanosecond, Samples: 1}, start)
	now := start
	ceiling(t, "adaptive concurrency", 0, func() {
		now = now.Add(ms)
		g.Enter()
		g.Leave(now, ms)
	})
}
