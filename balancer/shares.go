package balancer

import (
	"math/bits"
	"math/rand/v2"
	"sort"
)

// shares are hosts side by side on a line, each as long as its weight. Weights
// are those of the endpoints at the time the shares were made.
type shares struct {
	hosts []*Host
	ends  []uint64 // where each host's part ends; nil if all weights are equal
}

func newShares(hosts []*Host) shares {
	s := shares{hosts: hosts}
	first := weightOf(hosts[0])
	equal := true
	for _, h := range hosts {
		equal = equal && weightOf(h) == first
	}
	if equal {
		return s
	}
	s.ends = make([]uint64, len(hosts))
	var end uint64
	for i, h := range hosts {
		end += weightOf(h)
		s.ends[i] = end
	}
	return s
}

func weightOf(h *Host) uint64 { return max(1, uint64(h.Endpoint().Weight)) }

// weight is the i-th host's; 1 if all are equal.
func (s *shares) weight(i int) uint64 {
	switch {
	case s.ends == nil:
		return 1
	case i == 0:
		return s.ends[0]
	}
	return s.ends[i] - s.ends[i-1]
}

// at returns the index of the host at a place on the line: 0 is its beginning, 2^64 would be its end.
func (s *shares) at(place uint64) int {
	if s.ends == nil {
		i, _ := bits.Mul64(place, uint64(len(s.hosts)))
		return int(i)
	}
	x, _ := bits.Mul64(place, s.ends[len(s.ends)-1])
	return sort.Search(len(s.ends), func(i int) bool { return x < s.ends[i] })
}

// draw returns the index of a host at random, by weight.
func (s *shares) draw() int { return s.at(rand.Uint64()) }

// draws is how often hosts are drawn before every host is looked at.
const draws = 16

// drawOther is draw among the hosts that are not avoided. ok is false if there are none.
func (s *shares) drawOther(avoid Avoider) (i int, ok bool) {
	for range min(draws, len(s.hosts)) {
		if i = s.draw(); !avoid.Avoid(s.hosts[i]) {
			return i, true
		}
	}
	var total uint64
	for j, h := range s.hosts {
		if avoid.Avoid(h) {
			continue
		}
		weight := s.weight(j)
		total += weight
		if rand.Uint64N(total) < weight {
			i, ok = j, true
		}
	}
	return i, ok
}
