package balancer

import "math/rand/v2"

// leastRequest compares a few hosts drawn at random and takes the one with the
// fewest attempts in flight (power of two choices; Envoy least_request, gRFC A48).
type leastRequest struct {
	hosts   []*Host
	choices int
}

func newLeastRequest(p Policy, hosts []*Host) *leastRequest {
	n := int(min(p.Choices, 10))
	if n < 2 {
		n = 2
	}
	return &leastRequest{hosts, n}
}

func (l *leastRequest) Pick(w Want) *Host {
	var best *Host
	for range l.choices {
		h := l.hosts[rand.IntN(len(l.hosts))]
		if w.Avoid != nil && w.Avoid.Avoid(h) {
			continue
		}
		if best == nil || h.InFlight() < best.InFlight() {
			best = h
		}
	}
	if best != nil {
		return best
	}
	return (&random{l.hosts}).Pick(w)
}
