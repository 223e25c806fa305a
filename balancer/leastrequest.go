package balancer

// leastRequest draws a few hosts by weight and takes the one with the fewest
// attempts in flight for its weight; of equals the first drawn (power of two
// choices; Envoy least_request, gRFC A48). So idle hosts are taken in proportion
// to their weights, and busy ones are filled in proportion to them.
type leastRequest struct {
	shares
	choices int
}

func newLeastRequest(p Policy, s shares) *leastRequest {
	return &leastRequest{s, int(min(max(p.Choices, 2), 10))}
}

func (l *leastRequest) Pick(w Want) *Host {
	var first int
	if w.Avoid == nil {
		first = l.draw()
	} else {
		var ok bool
		if first, ok = l.drawOther(w.Avoid); !ok {
			w.Avoid = nil
		}
	}
	n := len(l.hosts)
	rivals := l.choices - 1
	all := l.choices >= n // no need to draw, then
	if all {
		rivals = n - 1
	}
	best, busy := first, l.hosts[first].InFlight()
	for i := 1; i <= rivals && busy > 0; i++ {
		next := (first + i) % n
		if !all {
			next = l.draw()
		}
		h := l.hosts[next]
		if w.Avoid != nil && w.Avoid.Avoid(h) {
			continue
		}
		if k := h.InFlight(); float64(k)*float64(l.weight(best)) < float64(busy)*float64(l.weight(next)) {
			best, busy = next, k
		}
	}
	return l.hosts[best]
}
