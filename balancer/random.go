package balancer

// random takes any host, by weight (Envoy random).
type random struct{ shares }

func (r *random) Pick(w Want) *Host {
	if w.Avoid == nil {
		return r.hosts[r.draw()]
	}
	i, _ := r.drawOther(w.Avoid)
	return r.hosts[i]
}
