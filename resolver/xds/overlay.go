package xds

import (
	"slices"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// An overlay is what a listener's filters say for all routes, wherever these come from.
type overlay struct {
	wire.Default
	global *wire.GlobalFilter
}

// overlayOf is nil if the filters say nothing.
func overlayOf(l *wire.Listener) *overlay {
	if l.Global == nil && l.Default == (wire.Default{}) {
		return nil
	}
	return &overlay{l.Default, l.Global}
}

// incomplete reports whether a route leaves something for its listener to say.
func incomplete(hosts []resolver.VirtualHost) bool {
	for i := range hosts {
		for j := range hosts[i].Routes {
			if g := hosts[i].Routes[j].Policy.Global; g != nil && g.Domain == "" {
				return true
			}
		}
	}
	return false
}

// apply returns the routes with what they leave unsaid. Limits of all processes that no filter
// asks for have no effect (Envoy). o may be nil; hosts stay as they are.
func (o *overlay) apply(hosts []resolver.VirtualHost) []resolver.VirtualHost {
	out := slices.Clone(hosts)
	for i := range out {
		out[i].Routes = slices.Clone(out[i].Routes)
		for j := range out[i].Routes {
			if r := &out[i].Routes[j]; r.Unsupported == "" {
				o.complete(&r.Policy)
			}
		}
	}
	return out
}

func (o *overlay) complete(p *resilience.Policy) {
	if o == nil {
		if p.Global != nil && p.Global.Domain == "" {
			p.Global = nil
		}
		return
	}
	if p.Rate == nil && !p.Off.Off(resilience.NoRates) {
		p.Rate = o.Rate
	}
	if p.Fault == nil && !p.Off.Off(resilience.NoFaults) {
		p.Fault = o.Fault
	}
	if p.Bandwidth == (resilience.Bandwidths{}) && !p.Off.Off(resilience.NoBandwidths) {
		p.Bandwidth = o.Bandwidth
	}
	switch {
	case p.Off.Off(resilience.NoGlobalRates):
	case p.Global == nil && o.global != nil && len(o.global.Descriptors) > 0:
		p.Global = &o.global.GlobalRate
	case p.Global == nil:
	case o.global != nil:
		p.Global = merged(*p.Global, &o.global.GlobalRate)
	case p.Global.Domain == "":
		p.Global = nil
	}
}

// merged is what a route says, and of the filter the rest.
func merged(g resilience.GlobalRate, filter *resilience.GlobalRate) *resilience.GlobalRate {
	if g.Domain == "" {
		g.Domain = filter.Domain
	}
	if g.Timeout == 0 {
		g.Timeout = filter.Timeout
	}
	closed := g.Lease.Closed || filter.Lease.Closed
	if g.Lease.Closed = false; g.Lease == (resilience.Lease{}) {
		g.Lease = filter.Lease
	}
	g.Lease.Closed = closed
	return &g
}

// admit is the admission of a cluster that says nothing of it. o may be nil.
func (o *overlay) admit(c *resolver.Cluster) {
	if o != nil && c.Admission == nil {
		c.Admission = o.Admission
	}
}
