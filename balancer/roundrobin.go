package balancer

import (
	"math/rand/v2"
	"sync/atomic"
)

// roundRobin takes the hosts in turn, those with more weight more often (Envoy round_robin).
//
// With equal weights the turns are a plain rotation. Otherwise the n-th turn is
// at the place n·φ of the line of shares, the fractional part counted: places
// that follow each other so are spread evenly over the line however many there are, so
// that each host comes at nearly even intervals. Unlike a queue of deadlines this needs no lock, and
// unlike a static stride (gRFC A58) no host is passed over to wait for its turn.
type roundRobin struct {
	shares
	turn atomic.Uint64
}

func newRoundRobin(s shares) *roundRobin {
	r := &roundRobin{shares: s}
	r.turn.Store(uint64(rand.Uint32())) // so that many clients do not all begin at the first host
	return r
}

// Pick takes a turn for each host it passes over: if it went to the neighbour
// instead, that would carry the load of two.
func (r *roundRobin) Pick(w Want) *Host {
	if w.Avoid == nil {
		return r.next()
	}
	for range min(draws, len(r.hosts)) {
		if h := r.next(); !w.Avoid.Avoid(h) {
			return h
		}
	}
	i, _ := r.drawOther(w.Avoid)
	return r.hosts[i]
}

func (r *roundRobin) next() *Host {
	turn := r.turn.Add(1)
	if r.ends == nil {
		return r.hosts[turn%uint64(len(r.hosts))]
	}
	const golden = 0x9e3779b97f4a7c15 // 2^64 / φ
	return r.hosts[r.at(turn*golden)]
}
