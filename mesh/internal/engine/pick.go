package engine

import (
	"slices"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
)

// pick chooses the host of the next attempt, which is sent by t, and asks the host's breaker.
func (c *Call) pick(t Transport) (*balancer.Host, resilience.Pass, error) {
	host, err := c.choose(t, nil)
	guards := c.cluster.guards.Load()
	if err != nil || guards == nil || c.cluster.HostBreaker == nil {
		return host, resilience.Pass{}, err
	}
	if pass, ok := guards.allow(host, *c.cluster.HostBreaker); ok {
		return host, pass, nil
	}
	// Asked after the pick, since nearly always it lets the call through; and once more, passing over all that are not closed: those
	// which probe have had their probes.
	if host, err = c.choose(t, guards); err != nil {
		return nil, resilience.Pass{}, err
	}
	pass, _ := guards.allow(host, *c.cluster.HostBreaker)
	// Where every host's breaker is open, it is as where all hosts were tried: one of them is better than
	// none. To refuse the calls is for the cluster's breaker.
	return host, pass, nil
}

// choose picks a host, of those that guards lets calls through to if it is not nil.
func (c *Call) choose(t Transport, guards *guards) (*balancer.Host, error) {
	if c.avoided > 0 && c.route.Policy.Retry.OtherLocalities {
		far := &elsewhere{guarded{c, t, guards}}
		if host, err := c.cluster.hosts.Pick(balancer.Want{Avoid: far}); err != nil || !far.Avoid(host) {
			return host, err
		}
		// All localities that can be sent to were tried: now hosts are told apart.
	}
	if guards != nil {
		host, err := c.cluster.hosts.Pick(balancer.Want{Avoid: &guarded{c, t, guards}})
		if err != nil || guards.closed(host) {
			return host, err
		}
	}
	if t != c.transport {
		return c.cluster.hosts.Pick(balancer.Want{Avoid: &guarded{c, t, nil}})
	}
	host, err := c.cluster.hosts.Pick(balancer.Want{Avoid: (*preference)(c)})
	if err == nil && c.avoided > 0 && (*preference)(c).Avoid(host) {
		// All connected hosts were tried: one that still connects is better than one
		// that has not answered.
		host, err = c.cluster.hosts.Pick(balancer.Want{Avoid: (*untried)(c)})
	}
	return host, err
}

// avoid makes the call pass over the host from now on, or until it has passed over others since.
func (c *Call) avoid(h *balancer.Host) {
	if !(*untried)(c).Avoid(h) {
		c.tried[int(c.avoided)%len(c.tried)] = h
		c.avoided++
	}
}

// preference is a Call that passes over hosts that did not answer it or are not connected.
type preference Call

func (p *preference) Avoid(h *balancer.Host) bool {
	return (*untried)(p).Avoid(h) || !p.transport.Connected(h)
}

// untried is a Call that passes over hosts that did not answer it.
type untried Call

func (u *untried) Avoid(h *balancer.Host) bool { return slices.Contains(u.tried[:], h) }

// guarded is a Call that passes over hosts whose breaker is not closed, too.
type guarded struct {
	call      *Call
	transport Transport
	guards    *guards // nil if no host has a breaker
}

func (g *guarded) Avoid(h *balancer.Host) bool {
	return (*untried)(g.call).Avoid(h) || !g.transport.Connected(h) || g.guards != nil && !g.guards.closed(h)
}

// elsewhere is a Call that passes over hosts in the localities of those that did not answer it, too.
type elsewhere struct{ guarded }

func (e *elsewhere) Avoid(h *balancer.Host) bool {
	at := h.Endpoint().Locality
	near := func(tried *balancer.Host) bool { return tried != nil && tried.Endpoint().Locality == at }
	return e.guarded.Avoid(h) || slices.ContainsFunc(e.call.tried[:], near)
}

// awaitHost waits until the call's cluster has a host that may serve, or it takes a route
// to one that has.
func (c *Call) awaitHost() *Error {
	changed := make(chan struct{}, 1)
	stop := c.service.OnChange(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer stop()
	for {
		var at moment
		// The cluster may be one that was removed, which gets no hosts any more.
		c.withdraw()
		if err := c.enter(&at); err != nil {
			return err
		}
		if _, err := c.cluster.hosts.Pick(balancer.Want{}); err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-c.hostReturns():
		case <-c.ctx.Done():
			err := c.service.late(c.ctx)
			err.Cluster, err.Attempts = c.cluster.Name, c.asked()
			return err
		}
	}
}

// hostReturns is ready when an ejected host of the cluster comes back, of which nobody else
// is told; nil if none is ejected.
func (c *Call) hostReturns() <-chan time.Time {
	if wait, ok := c.cluster.hosts.Return(); ok {
		return time.After(wait)
	}
	return nil
}
