package engine

import (
	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
)

// guards are the breakers of a cluster's hosts. They are not modified: a change of hosts makes new ones.
type guards struct {
	breakers map[*balancer.Host]*resilience.Breaker
}

// guard gives each host of the cluster a breaker, if the cluster wants that. Hosts that stay keep theirs; those that left
// have none any more. changed says that hosts came or left.
func (c *cluster) guard(changed bool) {
	was := c.guards.Load()
	if c.HostBreaker == nil {
		if was != nil {
			c.guards.Store(nil)
		}
		return
	}
	if was != nil && !changed {
		return
	}
	hosts := c.hosts.Hosts()
	next := &guards{make(map[*balancer.Host]*resilience.Breaker, len(hosts))}
	for _, h := range hosts {
		var b *resilience.Breaker
		if was != nil {
			b = was.breakers[h]
		}
		next.breakers[h] = or(b)
	}
	c.guards.Store(next)
}

// allow asks the host's breaker. A host that is newer than g has none yet.
func (g *guards) allow(h *balancer.Host, t resilience.Trip) (resilience.Pass, bool) {
	if b := g.breakers[h]; b != nil {
		return b.Allow(t)
	}
	return resilience.Pass{}, true
}

// closed reports whether the host's breaker lets every call through.
func (g *guards) closed(h *balancer.Host) bool {
	b := g.breakers[h]
	return b == nil || b.State() == closedState
}

const closedState = "closed"
