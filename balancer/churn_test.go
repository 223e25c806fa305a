package balancer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever comes, leaves, fails and changes, in any order: who counts as ejected is
// present, no pick goes there, no more are ejected than may be, and all come back.
func TestEjectionsUnderChurn(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				churn(t, rand.New(rand.NewPCG(seed, 1)), time.Sleep)
			})
		})
	}
}

func churn(t *testing.T, r *rand.Rand, pass func(time.Duration)) {
	t.Helper()
	rules := []*Outlier{
		{MaxEjectionPercent: num(30)},
		{MaxEjectionPercent: num(30), Consecutive5xx: num(2), EjectionJitter: time.Second},
		{MaxEjectionPercent: num(30), SuccessRate: &SuccessRate{RequestCount: num(2), MinimumHosts: num(2), StdevFactor: num(500)}},
	}
	all := numbered(20)
	var g Group
	var departed []*Host
	g.Detect(rules[0])
	for range 400 {
		before := g.Ejected()
		left := false
		switch r.IntN(8) {
		case 0:
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			es := append([]Endpoint(nil), all[:r.IntN(len(all)+1)]...)
			for i := range es {
				es[i].Priority, es[i].Health = r.Uint32N(2), Health(r.Uint32N(3))
			}
			departed = append(departed, g.Hosts()...)
			g.Update(Policy{Kind: Kind(r.IntN(3))}, es)
			left = true
		case 1:
			pass(time.Duration(r.IntN(40)) * time.Second)
		case 2:
			g.Detect(rules[r.IntN(len(rules))])
		case 3:
			if len(departed) > 0 {
				finish(departed[r.IntN(len(departed))], 6, Result(r.IntN(5)))
			}
		default:
			if hosts := g.Hosts(); len(hosts) > 0 {
				finish(hosts[r.IntN(len(hosts))], 1+r.IntN(8), Result(r.IntN(5)))
			}
		}
		n, out := g.Ejected(), 0
		present := map[*Host]bool{}
		serving := false
		for _, h := range g.Hosts() {
			present[h] = true
			if h.Ejected() {
				out++
			} else {
				serving = serving || h.Endpoint().Serves()
			}
		}
		if n != out {
			t.Fatalf("%d ejected, but %d hosts are", n, out)
		}
		for _, h := range departed {
			if h.Ejected() && !present[h] {
				t.Fatal("a host that left is ejected")
			}
		}
		if most := max(1, len(present)*30/100); n > before && !left && n > most {
			t.Fatalf("%d of %d hosts ejected", n, len(present))
		}
		switch h, err := g.Pick(Want{}); {
		case errors.Is(err, ErrNoHost) == serving:
			t.Fatalf("somebody serves: %v, but Pick: %v", serving, err)
		case err == nil && (h.Ejected() || !present[h]):
			t.Fatalf("picked a host that is ejected (%v) or left (%v)", h.Ejected(), !present[h])
		}
	}
	pass(time.Hour)
	if n := g.Ejected(); n != 0 {
		t.Fatalf("%d ejected after an hour", n)
	}
}

func TestEjectionsAreSafeForConcurrentUse(t *testing.T) {
	rules := []*Outlier{
		{BaseEjection: time.Microsecond, MaxEjectionPercent: num(50), MinHealthPercent: 10},
		{BaseEjection: time.Microsecond, Interval: 1, FailurePercentage: &FailurePercentage{Enforcing: num(100), RequestCount: num(1), MinimumHosts: num(1)}},
		nil,
	}
	var g Group
	g.Detect(rules[0])
	g.Update(Policy{}, numbered(10))
	var callers, others sync.WaitGroup
	done := make(chan struct{})
	for i := range 4 {
		callers.Go(func() {
			for n := range 5000 {
				h, err := g.Pick(Want{})
				if err != nil {
					continue
				}
				h.Begin()
				h.Finish(Result((n+i)/7%5), 0)
			}
		})
	}
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			g.Update(Policy{}, numbered(5+i%10))
			if i%5 == 0 {
				g.Detect(rules[i/5%len(rules)])
			}
			g.Ejected()
			g.Return()
			for _, h := range g.Hosts() {
				h.Ejected()
			}
		}
	})
	callers.Wait()
	close(done)
	others.Wait()
	g.Detect(nil)
	if g.Ejected() != 0 || len(picked(t, &g)) != len(g.Hosts()) {
		t.Errorf("%d ejected with detection off", g.Ejected())
	}
	for _, h := range g.Hosts() {
		if h.InFlight() != 0 {
			t.Errorf("%s: %d in flight", h.Addr(), h.InFlight())
		}
	}
}

func TestDetectionDoesNotAllocate(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	o := rated()
	o.Consecutive5xx = nil
	g := detecting(5, o)
	turn := 0
	allocs := testing.AllocsPerRun(1000, func() {
		turn++
		h, err := g.Pick(Want{})
		if err != nil {
			t.Fatal(err)
		}
		h.Begin()
		h.Finish(Result(turn%4), 0)
		g.Detect(&o)
	})
	if allocs != 0 {
		t.Errorf("%v allocations a call", allocs)
	}
	if g.Ejected() != 0 {
		t.Error("the test ejects, which allocates")
	}
}
