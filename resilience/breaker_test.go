package resilience

import (
	"testing"
	"testing/synctest"
	"time"
)

var (
	good   = Outcome{Status: 200}
	bad    = Outcome{Status: 503}
	gaveUp = Outcome{Err: errBroken, Cause: Canceled}
)

func TestBreaker(t *testing.T) {
	type step struct {
		o    Outcome
		n    int           // how many calls end so
		wait time.Duration // before them
		let  int           // how many of them may go
	}
	for _, tc := range []struct {
		name  string
		trip  Trip
		steps []step
		state string
	}{
		{"no trip", Trip{}, []step{{bad, 1000, 0, 1000}}, "closed"},
		{"consecutive failures", Trip{Failures: 3}, []step{{bad, 5, 0, 3}}, "open"},
		{"a success between", Trip{Failures: 3}, []step{{bad, 2, 0, 2}, {good, 1, 0, 1}, {bad, 2, 0, 2}}, "closed"},
		{"who gives up says nothing", Trip{Failures: 3}, []step{{bad, 2, 0, 2}, {gaveUp, 9, 0, 9}, {bad, 2, 0, 1}}, "open"},
		{"a share of failures", Trip{Percent: 50}, []step{{good, 10, 0, 10}, {bad, 9, 0, 9}, {bad, 2, 0, 1}}, "open"},
		{"too few to say", Trip{Percent: 50, Volume: 30}, []step{{bad, 29, 0, 29}}, "closed"},
		{"failures that were long ago", Trip{Percent: 50}, []step{{bad, 15, 0, 15}, {good, 10, 11 * time.Second, 10}, {bad, 9, 0, 9}}, "closed"},
		{"half of the window slides out", Trip{Percent: 50}, []step{{good, 10, 0, 10}, {bad, 9, 6 * time.Second, 9}, {bad, 1, 5 * time.Second, 1}, {bad, 20, 0, 10}}, "open"},
		{"probes that succeed close it", Trip{Failures: 1, Probes: 2}, []step{{bad, 1, 0, 1}, {good, 1, 4 * time.Second, 0}, {good, 2, 2 * time.Second, 2}}, "closed"},
		{"one is not enough", Trip{Failures: 1, Probes: 2}, []step{{bad, 1, 0, 1}, {good, 1, 6 * time.Second, 1}}, "half-open"},
		{"a probe that fails opens it", Trip{Failures: 1, Probes: 2}, []step{{bad, 1, 0, 1}, {good, 1, 6 * time.Second, 1}, {bad, 9, 0, 1}}, "open"},
		{"a probe that is given up leaves room for another", Trip{Failures: 1}, []step{{bad, 1, 0, 1}, {gaveUp, 3, 6 * time.Second, 3}, {good, 1, 0, 1}}, "closed"},
		{"own time", Trip{Failures: 1, Open: time.Minute}, []step{{bad, 1, 0, 1}, {good, 1, 59 * time.Second, 0}, {good, 1, 2 * time.Second, 1}}, "closed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b Breaker
				for i, s := range tc.steps {
					time.Sleep(s.wait)
					let := 0
					for range s.n {
						if pass, ok := b.Allow(tc.trip); ok {
							pass.Done(s.o)
							let++
						}
					}
					if let != s.let {
						t.Errorf("step %d: %d may go, want %d", i, let, s.let)
					}
				}
				if got := b.State(); got != tc.state {
					t.Errorf("%s, want %s", got, tc.state)
				}
			})
		})
	}
}

func TestBreakerLetsOnlyProbesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Breaker
		trip := Trip{Failures: 1, Probes: 2}
		pass, _ := b.Allow(trip)
		pass.Done(bad)
		time.Sleep(6 * time.Second)
		for i, want := range []bool{true, true, false} {
			if _, ok := b.Allow(trip); ok != want {
				t.Errorf("probe %d: %v", i+1, ok)
			}
		}
	})
}

func TestBreakerBeginsAnewWithAnotherTrip(t *testing.T) {
	var b Breaker
	pass, _ := b.Allow(Trip{Failures: 1})
	pass.Done(bad)
	if _, ok := b.Allow(Trip{Failures: 1}); ok {
		t.Fatal("not open")
	}
	if _, ok := b.Allow(Trip{Failures: 2}); !ok {
		t.Error("open under another Trip")
	}
}

// The figures of issue 3 allow 2 allocations for a cluster's breaker and a host's.
func TestTwoBreakersAllocateTwice(t *testing.T) {
	trip := Trip{Failures: 5, Percent: 50}
	var cluster, host Breaker
	ceiling(t, "two breakers", 2, func() {
		a, _ := cluster.Allow(trip)
		b, _ := host.Allow(trip)
		b.Done(good)
		a.Done(good)
	})
	ceiling(t, "a breaker that is not configured", 0, func() {
		a, _ := cluster.Allow(Trip{})
		a.Done(good)
	})
}
