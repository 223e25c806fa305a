package resilience

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestLease(t *testing.T) {
	p := &Lease{Batch: 10, Ahead: 3, Holds: time.Second, Again: time.Second}
	closed := *p
	closed.Closed = true
	type step func(t *testing.T, l *Leased)
	take := func(p *Lease, at time.Duration, n int, want Grant, ask uint32) step {
		return func(t *testing.T, l *Leased) {
			t.Helper()
			var asked uint32
			for i := range n {
				g, a := l.Take(p, start.Add(at))
				if asked += a; g != want {
					t.Errorf("at %v: take %d of %d is %d, want %d", at, i+1, n, g, want)
				}
			}
			if asked != ask {
				t.Errorf("at %v: asked for %d, want %d", at, asked, ask)
			}
		}
	}
	renew := func(at time.Duration, tokens uint32, holds time.Duration) step {
		return func(_ *testing.T, l *Leased) { l.Renew(p, start.Add(at), tokens, holds) }
	}
	fail := func(at time.Duration) step { return func(_ *testing.T, l *Leased) { l.Fail(p, start.Add(at)) } }
	for name, steps := range map[string][]step{
		"the first wait, and one asks":      {take(p, 0, 5, Awaited, 10)},
		"a batch, and more in time":         {take(p, 0, 1, Awaited, 10), renew(0, 10, 0), take(p, 0, 7, Granted, 0), take(p, 0, 3, Granted, 10), take(p, 0, 2, Awaited, 0)},
		"what is left stays good":           {take(p, 0, 1, Awaited, 10), renew(0, 10, 0), take(p, 0, 8, Granted, 10), renew(0, 10, 0), take(p, 0, 9, Granted, 0), take(p, 0, 3, Granted, 10)},
		"tokens expire":                     {take(p, 0, 1, Awaited, 10), renew(0, 10, 0), take(p, time.Second, 1, Awaited, 10)},
		"tokens are good as long as said":   {take(p, 0, 1, Awaited, 10), renew(0, 10, time.Minute), take(p, 59*time.Second, 1, Granted, 0)},
		"denied for a while":                {take(p, 0, 1, Awaited, 10), renew(0, 0, 5*time.Second), take(p, 4*time.Second, 9, Denied, 0), take(p, 5*time.Second, 2, Awaited, 10)},
		"denied, but some are left":         {take(p, 0, 1, Awaited, 10), renew(0, 10, 0), take(p, 0, 8, Granted, 10), renew(0, 0, 0), take(p, 0, 2, Granted, 10), take(p, 0, 1, Awaited, 0)},
		"limiter away, open":                {take(p, 0, 1, Awaited, 10), fail(0), take(p, 0, 99, Granted, 0), take(p, time.Second, 99, Granted, 10)},
		"limiter away, closed":              {take(&closed, 0, 1, Awaited, 10), fail(0), take(&closed, 0, 99, Denied, 0), take(&closed, time.Second, 99, Denied, 10)},
		"limiter away, but some are left":   {take(&closed, 0, 1, Awaited, 10), renew(0, 10, 0), take(&closed, 0, 8, Granted, 10), fail(0), take(&closed, 0, 2, Granted, 10)},
		"limiter back":                      {take(p, 0, 1, Awaited, 10), fail(0), take(p, time.Second, 1, Granted, 10), renew(time.Second, 10, 0), take(p, time.Second, 7, Granted, 0)},
		"limiter away, then away once more": {take(p, 0, 1, Awaited, 10), fail(0), take(p, time.Second, 1, Granted, 10), fail(time.Second), take(p, time.Second, 9, Granted, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			var l Leased
			for _, s := range steps {
				s(t, &l)
			}
		})
	}
}

func TestLeaseNeverGrantsMoreThanWasGiven(t *testing.T) {
	p := &Lease{Batch: 10}
	var l Leased
	var given, granted atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5000 {
				g, ask := l.Take(p, start)
				if ask > 0 {
					given.Add(int64(ask))
					l.Renew(p, start, ask, 0)
				}
				if g == Granted {
					granted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if granted.Load() > given.Load() || granted.Load() == 0 {
		t.Errorf("%d of %d", granted.Load(), given.Load())
	}
}

func TestLeaseAllocatesNothing(t *testing.T) {
	var l Leased
	p := &Lease{}
	l.Renew(p, start, 1<<30, 0)
	ceiling(t, "a lease", 0, func() { l.Take(p, start) })
}

func TestLeasesTellLimitsApart(t *testing.T) {
	l := NewLeases(0)
	seen := map[*Leased]int{}
	for i, entries := range [][]Entry{nil, {{"a", "b"}}, {{"b", "a"}}, {{"a", "c"}}, {{"a", "b"}, {"c", "d"}}, {{"c", "d"}, {"a", "b"}}, {{"ab", ""}}, {{"", "ab"}}} {
		one := l.Of(entries, start)
		if before, twice := seen[one]; twice {
			t.Errorf("%v is the same limit as number %d", entries, before)
		}
		if seen[one] = i; l.Of(entries, start.Add(time.Hour)) != one {
			t.Errorf("%v is another limit an hour later", entries)
		}
	}
	entries := []Entry{{"tenant", "a"}}
	ceiling(t, "finding a lease", 0, func() { l.Of(entries, start) })
}
