// Package balancertest checks that a policy of package balancer keeps what every
// picker promises.
//
//nolint:thelper // its checks are the tests themselves: their lines are to be seen
package balancertest

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/weftmesh/weft/balancer"
)

// Run checks the policy, each promise as a subtest. It sees only what a
// [balancer.Group] shows, and starts no goroutine that outlives it.
func Run(t *testing.T, p balancer.Policy) {
	for _, c := range []struct {
		name  string
		check func(*testing.T, balancer.Policy)
	}{
		{"no host", noHost},
		{"single host", singleHost},
		{"equal shares", equalShares},
		{"shares by weight", sharesByWeight},
		{"extreme weights", extremeWeights},
		{"new weights count at once", newWeights},
		{"no host starves", noStarvation},
		{"avoided hosts are passed over", avoided},
		{"avoided with weights", avoidedWithWeights},
		{"all avoided", allAvoided},
		{"only serving hosts", onlyServing},
		{"lowest priority first", lowestPriority},
		{"hosts outlive updates", hostsOutlive},
		{"ejected hosts get nothing", ejected},
		{"no allocation", noAllocation},
		{"concurrent picks and updates", concurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t, p) })
	}
}

func noHost(t *testing.T, p balancer.Policy) {
	var g balancer.Group
	wantNone(t, &g)
	g.Update(p, nil)
	wantNone(t, &g)
	g.Update(p, endpoints(2))
	g.Close()
	wantNone(t, &g)
}

func wantNone(t *testing.T, g *balancer.Group) {
	t.Helper()
	if h, err := g.Pick(balancer.Want{}); h != nil || !errors.Is(err, balancer.ErrNoHost) {
		t.Errorf("Pick = %v, %v; want ErrNoHost", h, err)
	}
}

func singleHost(t *testing.T, p balancer.Policy) {
	g := group(p, endpoints(1))
	for range 20 {
		if h := pick(t, g, nil); h.Addr() != addr(0) {
			t.Fatalf("picked %s", h.Addr())
		}
		pick(t, g, avoid{addr(0): true})
	}
}

func equalShares(t *testing.T, p balancer.Policy) {
	for _, n := range []int{2, 7, 30} {
		wantShares(t, group(p, endpoints(n)), nil, endpoints(n))
	}
}

func sharesByWeight(t *testing.T, p balancer.Policy) {
	for _, weights := range [][]uint32{{1, 2}, {0, 3}, {5, 1, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, {100, 100, 1, 100}} {
		es := weighted(weights...)
		wantShares(t, group(p, es), nil, es)
	}
}

func extremeWeights(t *testing.T, p balancer.Policy) {
	const most = 1<<32 - 1
	es := weighted(most, most, most)
	wantShares(t, group(p, es), nil, es)
	got := count(t, group(p, weighted(most, 1)), nil, 1000)
	if got[addr(0)] < 990 {
		t.Errorf("of 1000 picks the host with nearly all weight got %d", got[addr(0)])
	}
}

func newWeights(t *testing.T, p balancer.Policy) {
	g := group(p, weighted(1, 4))
	es := weighted(4, 1)
	g.Update(p, es)
	wantShares(t, g, nil, es)
}

func noStarvation(t *testing.T, p balancer.Policy) {
	es := endpoints(100)
	es[17].Weight = 3 // so that the weights are not equal
	if got := count(t, group(p, es), nil, 4000); len(got) != 100 {
		t.Errorf("of 100 hosts %d were picked in 4000 picks", len(got))
	}
}

func avoided(t *testing.T, p balancer.Policy) {
	for _, n := range []int{2, 3, 10, 100} {
		es := endpoints(n)
		g := group(p, es)
		// Neighbours: what falls to them must not all go to who comes next.
		pass, left := avoid{}, []balancer.Endpoint{}
		for i, e := range es {
			if i < n/2 {
				pass[e.Addr] = true
			} else {
				left = append(left, e)
			}
		}
		wantShares(t, g, pass, left)
		for _, e := range es[:n-1] {
			pass[e.Addr] = true
		}
		wantShares(t, g, pass, es[n-1:])
	}
}

func avoidedWithWeights(t *testing.T, p balancer.Policy) {
	es := weighted(5, 1, 2, 4)
	wantShares(t, group(p, es), avoid{addr(0): true}, es[1:])
}

func allAvoided(t *testing.T, p balancer.Policy) {
	es := endpoints(5)
	pass := avoid{}
	for _, e := range es {
		pass[e.Addr] = true
	}
	wantShares(t, group(p, es), pass, es)
}

func onlyServing(t *testing.T, p balancer.Policy) {
	es := endpoints(6)
	for i, h := range []balancer.Health{
		balancer.HealthUnknown, balancer.Healthy, balancer.Unhealthy, balancer.Draining, balancer.HealthTimeout, balancer.Degraded,
	} {
		es[i].Health = h
	}
	g := group(p, es)
	wantShares(t, g, nil, es[:2])
	wantShares(t, g, avoid{addr(0): true, addr(1): true}, es[:2])

	changed := endpoints(6)
	for i := range 5 {
		changed[i].Health = balancer.Draining
	}
	if g.Update(p, changed) {
		t.Error("Update says that a host came or left, where only healths changed")
	}
	wantShares(t, g, nil, changed[5:])
}

func lowestPriority(t *testing.T, p balancer.Policy) {
	es := endpoints(6)
	for i := range es {
		es[i].Priority = uint32(i / 2)
	}
	es[0].Health, es[1].Health = balancer.Unhealthy, balancer.Unhealthy
	g := group(p, es)
	wantShares(t, g, nil, es[2:4])
	back := append([]balancer.Endpoint(nil), es...)
	back[1].Health = balancer.Healthy
	g.Update(p, back)
	wantShares(t, g, nil, back[1:2])
}

func hostsOutlive(t *testing.T, p balancer.Policy) {
	g := group(p, endpoints(3))
	before := g.Hosts()
	before[1].Begin()
	next := endpoints(4)[1:]
	if !g.Update(p, next) {
		t.Error("Update does not say that a host came and one left")
	}
	after := g.Hosts()
	if len(after) != 3 || after[0] != before[1] || after[1] != before[2] || after[0].InFlight() != 1 {
		t.Errorf("hosts %v after %v", after, before)
	}
	if !before[0].Left() || before[1].Left() || after[2].Left() {
		t.Error("Gone is not closed of the host that left, and of it alone")
	}
	before[1].Finish(balancer.Answered, 0)
	g.Update(p, endpoints(1))
	if h := pick(t, g, nil); h == before[0] || h.Left() {
		t.Error("an address that returns is not a new host")
	}
}

func ejected(t *testing.T, p balancer.Policy) {
	es := weighted(5, 1, 2, 4)
	g := group(p, es)
	g.Detect(&balancer.Outlier{})
	for range 5 {
		fail(g.Hosts()[0])
	}
	wantShares(t, g, nil, es[1:])
	wantShares(t, g, avoid{addr(0): true, addr(3): true}, es[1:3])
	g.Update(p, es[:1])
	wantNone(t, g)
	g.Detect(nil)
	wantShares(t, g, nil, es[:1])
}

func fail(h *balancer.Host) {
	h.Begin()
	h.Finish(balancer.Failed, 0)
}

func noAllocation(t *testing.T, p balancer.Policy) {
	if raced {
		t.Skip("the race detector allocates")
	}
	es := endpoints(40)
	es[3].Weight = 7
	g := group(p, es)
	pass := avoid{}
	for _, e := range es[:30] {
		pass[e.Addr] = true
	}
	for name, w := range map[string]balancer.Want{"any": {}, "most avoided": {Avoid: pass}} {
		allocs := testing.AllocsPerRun(500, func() {
			if h, err := g.Pick(w); h == nil || err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations a pick", name, allocs)
		}
	}
}

func concurrent(t *testing.T, p balancer.Policy) {
	a, b := endpoints(5), endpoints(9)[4:]
	b[0].Weight = 9
	g := group(p, a)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		pass := avoid{addr(i): true}
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				h, err := g.Pick(balancer.Want{Avoid: pass})
				if err != nil {
					t.Error(err)
					return
				}
				h.Begin()
				h.Finish(balancer.Answered, 0)
			}
		})
	}
	for i := range 400 {
		g.Update(p, [][]balancer.Endpoint{b, a}[i%2])
	}
	close(done)
	wg.Wait()
	for _, h := range g.Hosts() {
		if h.InFlight() != 0 {
			t.Errorf("%s: %d attempts in flight after all have ended", h.Addr(), h.InFlight())
		}
	}
}

// wantShares picks a few thousand times, each attempt ended before the next, and
// wants every host to get its share by weight. The bounds are six standard
// deviations of a random choice: a test that is right fails once in many million runs.
func wantShares(t *testing.T, g *balancer.Group, w avoid, of []balancer.Endpoint) {
	t.Helper()
	const picks = 6000
	got := count(t, g, w, picks)
	var total float64
	for _, e := range of {
		total += float64(max(1, e.Weight))
	}
	for _, e := range of {
		share := float64(max(1, e.Weight)) / total
		want, slack := picks*share, 6*math.Sqrt(picks*share*(1-share))+1
		if n := float64(got[e.Addr]); n < want-slack || n > want+slack {
			t.Errorf("%s got %v of %d picks, want %.0f", e.Addr, n, picks, want)
		}
		delete(got, e.Addr)
	}
	if len(got) > 0 {
		t.Errorf("picked hosts that must not be: %v", got)
	}
}

func count(t *testing.T, g *balancer.Group, w avoid, picks int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range picks {
		h := pick(t, g, w)
		h.Begin()
		got[h.Addr()]++
		h.Finish(balancer.Answered, 0)
	}
	return got
}

func pick(t *testing.T, g *balancer.Group, w avoid) *balancer.Host {
	t.Helper()
	var want balancer.Want
	if w != nil {
		want.Avoid = w
	}
	h, err := g.Pick(want)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// avoid is a set of addresses.
type avoid map[string]bool

func (a avoid) Avoid(h *balancer.Host) bool { return a[h.Addr()] }

func group(p balancer.Policy, es []balancer.Endpoint) *balancer.Group {
	g := new(balancer.Group)
	g.Update(p, es)
	return g
}

func endpoints(n int) []balancer.Endpoint { return weighted(make([]uint32, n)...) }

func weighted(weights ...uint32) []balancer.Endpoint {
	es := make([]balancer.Endpoint, len(weights))
	for i, w := range weights {
		es[i] = balancer.Endpoint{Addr: addr(i), Weight: w}
	}
	return es
}

func addr(i int) string { return fmt.Sprintf("10.0.0.%d:80", i) }
