package balancer

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tallies reads "good/bad" of each host.
func tallies(t *testing.T, text string) (all []tally) {
	t.Helper()
	for i, f := range strings.Fields(text) {
		var x tally
		if _, err := fmt.Sscanf(f, "%d/%d", &x.good, &x.bad); err != nil {
			t.Fatal(err)
		}
		x.host = &Host{addr: fmt.Sprint(i)}
		all = append(all, x)
	}
	return all
}

func TestSuccessRatesFarBelowTheMean(t *testing.T) {
	usual := rate{100, 5, 100, 1900}
	for _, tc := range []struct {
		name, tallies string
		rate          rate
		want          string
	}{
		{"all alike", "100/0 100/0 100/0 100/0 100/0", usual, "[]"},
		{"all alike, under a mean that is rounded up", "99/1 99/1 99/1 99/1 99/1 99/1", rate{100, 5, 100, 500}, "[]"},
		{"one far off", "100/0 100/0 100/0 100/0 50/50", usual, "[4]"},
		// mean 0.9, deviation 0.2: the bound is 0.52
		{"all bad but for the mean", "100/0 100/0 100/0 100/0 53/47", rate{100, 5, 100, 3000}, "[]"},
		{"too few hosts", "100/0 100/0 100/0 0/100", usual, "[]"},
		{"too few hosts with enough calls", "100/0 100/0 100/0 0/100 99/0", usual, "[]"},
		{"who has too few calls is not judged", "100/0 100/0 100/0 100/0 50/50 0/99", usual, "[4]"},
		{"fewer calls suffice if said", "9/1 9/1 9/1 9/1 0/10", rate{100, 5, 10, 1900}, "[4]"},
		{"the worst first", "90/10 20/80 90/10 90/10 0/100 90/10", rate{100, 5, 100, 500}, "[4 1]"},
		{"off", "100/0 100/0 100/0 100/0 50/50", rate{}, "[]"},
		{"nobody was called", "0/0 0/0 0/0 0/0 0/0", newRate(100, 0, 0, 1900), "[]"},
	} {
		var got []string
		for _, h := range tc.rate.below(tallies(t, tc.tallies)) {
			got = append(got, h.addr)
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
	}
}

func TestFailurePercentages(t *testing.T) {
	usual := rate{100, 5, 50, 85}
	for _, tc := range []struct {
		name, tallies string
		rate          rate
		want          string
	}{
		{"at and around the threshold", "15/85 16/84 14/86 100/0 100/0", usual, "[2 0]"},
		{"all", "0/50 0/50 0/50 0/50 0/50", usual, "[0 1 2 3 4]"},
		{"too few hosts", "0/50 0/50 0/50 0/50", usual, "[]"},
		{"too few calls", "0/49 50/0 50/0 50/0 50/0 50/0", usual, "[]"},
		{"off", "0/50 0/50 0/50 0/50 0/50", rate{}, "[]"},
	} {
		var got []string
		for _, h := range tc.rate.above(tallies(t, tc.tallies)) {
			got = append(got, h.addr)
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
	}
}

// rated looks at failure percentages alone.
func rated() Outlier {
	return Outlier{
		Consecutive5xx:    num(0),
		FailurePercentage: &FailurePercentage{Enforcing: num(100), Threshold: num(50), MinimumHosts: num(2), RequestCount: num(10)},
	}
}

func TestRatesEjectAtTheEndOfAnInterval(t *testing.T) {
	success := Outlier{Consecutive5xx: num(0), SuccessRate: &SuccessRate{RequestCount: num(10)}}
	split := rated()
	split.SplitLocalOrigin, split.EnforcingLocalOrigin = true, num(0)
	local := split
	local.FailurePercentage = &FailurePercentage{EnforcingLocalOrigin: num(100), Threshold: num(50), MinimumHosts: num(2), RequestCount: num(10)}
	apart := local
	apart.SplitLocalOrigin = false
	reached := Outlier{Consecutive5xx: num(0), SplitLocalOrigin: true, EnforcingLocalOrigin: num(0),
		SuccessRate: &SuccessRate{Enforcing: num(0), RequestCount: num(10)}}
	unreached := reached
	unreached.SuccessRate = &SuccessRate{Enforcing: num(0), RequestCount: num(10), EnforcingLocalOrigin: num(0)}
	unenforced := rated()
	unenforced.FailurePercentage.Enforcing = nil
	for _, tc := range []struct {
		name    string
		outlier Outlier
		result  Result
		want    bool
	}{
		{"failure percentage", rated(), Failed, true},
		{"failure percentage, gateway", rated(), GatewayFailed, true},
		{"failure percentage, no answer", rated(), LocalFailed, true},
		{"failure percentage, canceled", rated(), Neutral, false},
		{"failure percentage, no answer counts apart", split, LocalFailed, false},
		{"failure percentage of local origin", local, LocalFailed, true},
		{"failure percentage of local origin, failed", local, Failed, false},
		{"failure percentage of local origin, canceled", local, Neutral, false},
		{"failure percentage of local origin that is not apart", apart, LocalFailed, false},
		{"success rate of local origin", reached, LocalFailed, true},
		{"success rate of local origin, failed", reached, GatewayFailed, false},
		{"success rate of local origin, not enforced", unreached, LocalFailed, false},
		{"failure percentage is not enforced by default", unenforced, Failed, false},
		{"success rate", success, Failed, true},
		{"success rate, canceled", success, Neutral, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := detecting(6, tc.outlier)
				for i, h := range g.Hosts() {
					finish(h, 10, Answered)
					if i == 2 {
						finish(h, 10, tc.result)
					}
				}
				time.Sleep(10*time.Second - 1)
				if g.Ejected() != 0 {
					t.Error("ejected before the interval was over")
				}
				time.Sleep(time.Nanosecond)
				if _, err := g.Pick(Want{}); err != nil {
					t.Fatal(err)
				}
				if got := g.Hosts()[2].Ejected(); got != tc.want || g.Ejected() != int(g.Hosts()[2].Ejections()) {
					t.Errorf("ejected %v, %d in all", got, g.Ejected())
				}
			})
		})
	}
}

// An interval's calls do not count in the next one.
func TestRatesAreOfOneInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := detecting(2, rated())
		h := g.Hosts()[0]
		for range 3 {
			finish(h, 9, Failed) // one too few
			finish(g.Hosts()[1], 10, Answered)
			time.Sleep(10 * time.Second)
			wantPicked(t, g, "0", "1")
		}
	})
}

// Who was found failing long ago, with no call since, would be back by now.
func TestAnIntervalIsJudgedAsOfItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := detecting(2, rated())
		h := g.Hosts()[0]
		fail := func() {
			finish(h, 10, Failed)
			finish(g.Hosts()[1], 10, Answered)
		}
		fail()
		time.Sleep(25 * time.Second) // the interval ended at 10 s
		wantPicked(t, g, "1")
		if wait, _ := g.Return(); wait != 15*time.Second {
			t.Errorf("comes back in %v, want 15s", wait)
		}
		time.Sleep(15 * time.Second)
		wantPicked(t, g, "0", "1")
		fail()
		time.Sleep(time.Hour + 7*time.Second)
		wantPicked(t, g, "0", "1")
		if h.Ejections() != 2 {
			t.Errorf("%d ejections, want 2", h.Ejections())
		}
		// The intervals go on as if each had been looked at.
		fail()
		time.Sleep(3 * time.Second)
		wantPicked(t, g, "1")
		if wait, _ := g.Return(); wait != 30*time.Second {
			t.Errorf("comes back in %v, want 30s", wait)
		}
	})
}

// New rules begin an interval; one that was over is judged by the old ones.
func TestDetectEndsAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := detecting(2, rated())
		fail := func() {
			finish(g.Hosts()[0], 10, Failed)
			finish(g.Hosts()[1], 10, Answered)
		}
		fail()
		time.Sleep(9 * time.Second)
		longer := rated()
		longer.BaseEjection = time.Minute
		g.Detect(&longer)
		time.Sleep(10 * time.Second)
		wantPicked(t, g, "0", "1")
		fail()
		time.Sleep(10 * time.Second)
		another := rated()
		another.MinHealthPercent = 10
		g.Detect(&another)
		wantPicked(t, g, "1")
		if wait, _ := g.Return(); wait != time.Minute {
			t.Errorf("comes back in %v, want 1m", wait)
		}
	})
}

// Who is out already does not lower the mean that the others are measured by.
func TestEjectedHostsAreNotCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := detecting(6, Outlier{SuccessRate: &SuccessRate{RequestCount: num(20)}})
		hosts := g.Hosts()
		finish(hosts[0], 20, Failed)
		for range 10 {
			finish(hosts[1], 1, Failed)
			finish(hosts[1], 1, Answered)
		}
		for _, h := range hosts[2:] {
			finish(h, 20, Answered)
		}
		time.Sleep(10 * time.Second)
		wantPicked(t, g, "2", "3", "4", "5")
	})
}

// When only so many may be out, those are the worst.
func TestTheWorstGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := rated()
		o.MaxEjectionPercent = num(1)
		g := detecting(4, o)
		for i, h := range g.Hosts() {
			finish(h, 10+10*i, Failed)
			finish(h, 10, Answered)
		}
		time.Sleep(10 * time.Second)
		wantPicked(t, g, "0", "1", "2")
	})
}
