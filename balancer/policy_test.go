package balancer

import (
	"fmt"
	"testing"
)

func live(weights ...uint32) (hosts []*Host) {
	for i, w := range weights {
		hosts = append(hosts, newHost(new(Group), &Endpoint{Addr: fmt.Sprint(i), Weight: w}))
	}
	return hosts
}

// With equal weights the turns are exact, whatever the weights are.
func TestRoundRobinIsARotation(t *testing.T) {
	for _, weight := range []uint32{0, 1, 9} {
		hosts := live(weight, weight, weight)
		p := newPicker(Policy{}, hosts)
		last := p.Pick(Want{})
		for range 30 {
			h := p.Pick(Want{})
			for i := range hosts {
				if hosts[i] == last && hosts[(i+1)%3] != h {
					t.Fatalf("after %s came %s", last.Addr(), h.Addr())
				}
			}
			last = h
		}
	}
}

// Who comes after an avoided host gets no more than its turns.
func TestRoundRobinAroundAnAvoidedHost(t *testing.T) {
	hosts := live(0, 0, 0)
	p := newPicker(Policy{}, hosts)
	got := map[*Host]int{}
	for range 300 {
		got[p.Pick(Want{Avoid: only{hosts[1]}})]++
	}
	if got[hosts[0]] != 150 || got[hosts[2]] != 150 {
		t.Errorf("the hosts left got %d and %d of 300", got[hosts[0]], got[hosts[2]])
	}
}

type only struct{ host *Host }

func (o only) Avoid(h *Host) bool { return h == o.host }

// Weighted turns are near to their share in every stretch, not only in the long run.
func TestWeightedRoundRobinIsSmooth(t *testing.T) {
	hosts := live(5, 1, 1, 3)
	p := newPicker(Policy{}, hosts)
	for stretch := range 50 {
		got := map[*Host]int{}
		for range 100 {
			got[p.Pick(Want{})]++
		}
		for i, want := range []int{50, 10, 10, 30} {
			if n := got[hosts[i]]; n < want-3 || n > want+3 {
				t.Errorf("stretch %d: host %d got %d of 100, want %d", stretch, i, n, want)
			}
		}
	}
}

func TestLeastRequest(t *testing.T) {
	for _, tc := range []struct {
		name    string
		choices uint32
		weights []uint32
		busy    []int
		want    int // index that is always picked
	}{
		{"the idle one of two", 2, []uint32{1, 1}, []int{3, 0}, 1},
		{"the less busy one of two", 0, []uint32{1, 1}, []int{3, 4}, 0},
		{"the idle one of ten", 10, make([]uint32, 10), []int{1, 1, 1, 1, 1, 1, 0, 1, 1, 1}, 6},
		{"busy for its weight", 2, []uint32{1, 10}, []int{1, 9}, 1},
		{"busier than its weight", 2, []uint32{1, 10}, []int{1, 11}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hosts := live(tc.weights...)
			for i, n := range tc.busy {
				for range n {
					hosts[i].Begin()
				}
			}
			p := newPicker(Policy{Kind: LeastRequest, Choices: tc.choices}, hosts)
			for range 50 {
				if h := p.Pick(Want{}); h != hosts[tc.want] {
					t.Fatalf("picked host %s, want %d", h.Addr(), tc.want)
				}
			}
		})
	}
}

// When all are avoided, as before the first connection, the load still counts.
func TestLeastRequestWhenAllAreAvoided(t *testing.T) {
	hosts := live(1, 1)
	hosts[0].Begin()
	p := newPicker(Policy{Kind: LeastRequest}, hosts)
	for range 50 {
		if h := p.Pick(Want{Avoid: everyone{}}); h != hosts[1] {
			t.Fatal("picked the busy one")
		}
	}
}

type everyone struct{}

func (everyone) Avoid(*Host) bool { return true }

// Of two draws the less busy one is taken: among many the busiest is rarely picked.
func TestLeastRequestOfTwoChoices(t *testing.T) {
	hosts := live(make([]uint32, 20)...)
	for i, h := range hosts {
		for range i {
			h.Begin()
		}
	}
	p := newPicker(Policy{Kind: LeastRequest}, hosts)
	got := 0
	for range 4000 {
		if p.Pick(Want{}) == hosts[19] {
			got++ // only if drawn twice: 1 in 400, 10 of 4000
		}
	}
	if got > 40 {
		t.Errorf("the busiest of 20 was picked %d times of 4000", got)
	}
}

func TestUpdateWithTheSameSliceCostsNothing(t *testing.T) {
	es := make([]Endpoint, 100)
	for i := range es {
		es[i].Addr = fmt.Sprint(i)
	}
	var g Group
	g.Update(Policy{}, es)
	before := g.picker.Load()
	if allocs := testing.AllocsPerRun(10, func() { g.Update(Policy{}, es) }); allocs != 0 || g.picker.Load() != before {
		t.Errorf("%v allocations, new picker %v", allocs, g.picker.Load() != before)
	}
	g.Update(Policy{Kind: Random}, es)
	if g.picker.Load() == before {
		t.Error("another policy, but the same picker")
	}
}

func TestFirstOfEndpointsWithOneAddressCounts(t *testing.T) {
	var g Group
	g.Update(Policy{}, []Endpoint{{Addr: "a", Weight: 1}, {Addr: "a", Weight: 2}})
	if hosts := g.Hosts(); len(hosts) != 1 || hosts[0].Endpoint().Weight != 1 {
		t.Errorf("hosts %v", hosts)
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		LeastRequest.String(): "LEAST_REQUEST", Kind(9).String(): "INVALID", Draining.String(): "DRAINING", Health(9).String(): "INVALID",
		GatewayFailed.String(): "GATEWAY_FAILED", Result(9).String(): "INVALID",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
