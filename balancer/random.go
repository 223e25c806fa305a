package balancer

import "math/rand/v2"

// random takes any host with equal chance.
type random struct{ hosts []*Host }

func newRandom(hosts []*Host) *random { return &random{hosts} }

func (r *random) Pick(w Want) *Host {
	n := len(r.hosts)
	start := rand.IntN(n)
	if w.Avoid != nil {
		for i := range n {
			if h := r.hosts[(start+i)%n]; !w.Avoid.Avoid(h) {
				return h
			}
		}
	}
	return r.hosts[start]
}
