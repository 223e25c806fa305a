package balancer

import (
	"math/rand/v2"
	"sync/atomic"
)

// roundRobin takes the hosts in turn.
type roundRobin struct {
	hosts []*Host
	next  atomic.Uint32
}

func newRoundRobin(hosts []*Host) *roundRobin {
	r := &roundRobin{hosts: hosts}
	r.next.Store(rand.Uint32()) // so that many clients do not all begin at the first host
	return r
}

func (r *roundRobin) Pick(w Want) *Host {
	n := uint32(len(r.hosts))
	start := r.next.Add(1)
	if w.Avoid != nil {
		for i := range n {
			if h := r.hosts[(start+i)%n]; !w.Avoid.Avoid(h) {
				return h
			}
		}
	}
	return r.hosts[start%n]
}
