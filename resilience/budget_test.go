package resilience

import (
	"sync"
	"testing"
	"time"
)

func TestBudgetOfWhatIsInFlight(t *testing.T) {
	for _, tc := range []struct {
		name  string
		b     Budget
		calls int
		want  int // retries at a time
	}{
		{"default, quiet", DefaultBudget(), 1, 3},
		{"default, busy", DefaultBudget(), 100, 20},
		{"rounded down", DefaultBudget(), 99, 19},
		{"none", Budget{}, 100, 0},
		{"all", Budget{Percent: 100}, 7, 7},
		{"no calls", Budget{Percent: 100}, 0, 0},
	} {
		s := NewSpending(start)
		for range tc.calls {
			s.Begin(&tc.b, start)
		}
		got := 0
		for s.Retry(&tc.b, start) {
			got++
		}
		if got != tc.want {
			t.Errorf("%s: %d retries, want %d", tc.name, got, tc.want)
		}
		if got > 0 {
			s.Retried()
			if !s.Retry(&tc.b, start) || s.Retry(&tc.b, start) {
				t.Errorf("%s: what was given back is not there again, once", tc.name)
			}
		}
	}
}

func TestBudgetOfAnInterval(t *testing.T) {
	b := &Budget{Percent: 20, Interval: 10 * time.Second, MinRate: 1}
	s := NewSpending(start)
	now, retries := start, 0
	// Every call fails at once, so that nothing is ever in flight together.
	for range 10_000 {
		now = now.Add(10 * ms)
		s.Begin(b, now)
		if s.Retry(b, now) {
			retries++
			s.Retried()
		}
		s.End()
	}
	if retries < 1900 || retries > 2020 {
		t.Errorf("%d retries to 10000 calls", retries)
	}
	// A call a minute may be repeated all the same.
	if now = now.Add(time.Minute); !s.Retry(b, now) {
		t.Error("a quiet cluster may not retry")
	}
}

func TestBudgetOfAnIntervalIsExact(t *testing.T) {
	for _, tc := range []struct{ calls, want int }{{0, 0}, {1, 0}, {2, 1}, {4, 2}, {5, 2}} {
		b := &Budget{Percent: 50, Interval: time.Second, MinConcurrent: 9}
		s := NewSpending(start)
		for range tc.calls {
			s.Begin(b, start)
			s.End()
		}
		got := 0
		for s.Retry(b, start) {
			s.Retried()
			got++
		}
		if got != tc.want {
			t.Errorf("%d calls: %d retries, want %d", tc.calls, got, tc.want)
		}
	}
}

func TestMillionCallsLeaveNothing(t *testing.T) {
	b := DefaultBudget()
	s := NewSpending(start)
	var use InUse
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 250_000 {
				s.Begin(&b, start)
				if s.Retry(&b, start) {
					s.Retried()
				}
				if use.Requests.Enter(2) {
					use.Requests.Leave()
				}
				s.End()
			}
		})
	}
	wg.Wait()
	if calls, retries := s.InFlight(); calls != 0 || retries != 0 || use.Requests.Count() != 0 {
		t.Errorf("%d calls, %d retries, %d requests are left", calls, retries, use.Requests.Count())
	}
}

func TestGaugeNeverExceedsItsLimit(t *testing.T) {
	for _, limit := range []uint32{0, 1, 3} {
		var g Gauge
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 2000 {
					if g.Enter(limit) {
						if n := g.Count(); n > int64(limit) {
							t.Errorf("%d of %d", n, limit)
						}
						g.Leave()
					}
				}
			})
		}
		wg.Wait()
		for i := range limit {
			if !g.Enter(limit) {
				t.Errorf("limit %d refuses number %d", limit, i+1)
			}
		}
		if g.Enter(limit) {
			t.Errorf("limit %d lets one more in", limit)
		}
	}
}

func TestBudgetAllocatesNothing(t *testing.T) {
	for _, b := range []Budget{DefaultBudget(), {Percent: 20, Interval: time.Second}} {
		s := NewSpending(start)
		s.Begin(&b, start)
		ceiling(t, "a budget", 0, func() {
			s.Begin(&b, start)
			if s.Retry(&b, start) {
				s.Retried()
			}
			s.End()
		})
	}
}
