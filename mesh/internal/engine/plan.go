package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A plan is a resolver.Service made ready for calls. It is immutable but for the
// hosts of its clusters, which follow the newest endpoints.
type plan struct {
	service  *resolver.Service
	table    *resolver.Table
	routes   []route // parallel to table.Routes()
	clusters map[string]*cluster
}

type route struct {
	*resolver.Route
	targets []target
	total   uint64
	refuse  error // why calls of this route fail; nil if they need not

	rate   rate                 // of no limiter without a limit
	fault  *resilience.Fault    // what is done to calls, but for breaks; nil if nothing is
	breaks *resilience.Fault    // the breaks, which are done to attempts; nil if there are none
	active *resilience.Gauge    // calls and attempts that something is done to; nil without a fault
	kept   *resilience.LastGood // nil unless the fallback keeps answers
	paces  *throttles           // nil without a bandwidth
}

// A target is a cluster and the end of its share of the total.
type target struct {
	name    string
	cluster *cluster // nil if it is not known: then calls that are to go there fail, and only they
	end     uint64
	missing string // why cluster is nil, if the configuration says
}

func (t *target) unknown(r *route) error {
	if t.missing != "" {
		return fmt.Errorf("route %q: cluster %q is not to be had: %s", r.Name, t.name, t.missing)
	}
	return fmt.Errorf("route %q: cluster %q is not known", r.Name, t.name)
}

// newPlan makes the plan of a service. Clusters that stay keep what is live of
// them, and routes that stay are not compiled again.
func newPlan(v *resolver.Service, old *plan) (*plan, error) {
	var table *resolver.Table
	if old != nil && sameRoutes(v, old.service) {
		table = old.table
	} else {
		var err error
		if table, err = resolver.NewTable(v); err != nil {
			return nil, err
		}
	}
	p := &plan{service: v, table: table, clusters: make(map[string]*cluster, len(v.Clusters))}
	for name, c := range v.Clusters {
		var l *live
		if old != nil && old.clusters[name] != nil {
			l = old.clusters[name].live
		} else {
			l = newLive()
		}
		p.clusters[name] = newCluster(c.InForce(), l)
	}
	p.routes = make([]route, len(table.Routes()))
	for i := range p.routes {
		p.routes[i] = p.route(&table.Routes()[i])
	}
	p.inherit(old)
	return p, nil
}

// sameRoutes reports whether a and b hold the very same virtual hosts.
func sameRoutes(a, b *resolver.Service) bool {
	x, y := a.VirtualHosts, b.VirtualHosts
	return a.Name == b.Name && len(x) == len(y) && (len(x) == 0 || &x[0] == &y[0])
}

func (p *plan) route(r *resolver.Route) route {
	rt := route{Route: routeWithout(r)}
	for _, t := range r.To {
		weight := uint64(t.Weight)
		if len(r.To) == 1 {
			weight = 1
		}
		if weight == 0 {
			continue
		}
		rt.total += weight
		rt.targets = append(rt.targets, target{t.Cluster, p.clusters[t.Cluster], rt.total, p.service.Missing[t.Cluster]})
	}
	if rt.timed() {
		for _, t := range rt.targets {
			if t.cluster != nil {
				t.cluster.observes()
			}
		}
	}
	switch {
	case r.Unsupported != "":
		rt.refuse = fmt.Errorf("route %q: %s", r.Name, r.Unsupported)
	case len(rt.targets) == 0:
		rt.refuse = fmt.Errorf("route %q leads to no cluster", r.Name)
	}
	return rt
}

func (p *plan) match(r *resolver.Request) *route {
	if i := p.table.Match(r); i >= 0 {
		return &p.routes[i]
	}
	return nil
}

func (p *plan) noRoute(r *resolver.Request) error {
	if len(p.routes) == 0 {
		return errors.New("the service has no routes")
	}
	return fmt.Errorf("none of %d routes matches %s %s", len(p.routes), r.Method, r.Path)
}

// timed reports whether the route wants to know how long its attempts take.
func (r *route) timed() bool { return r.Policy.Hedge != nil && r.Policy.Hedge.Percentile > 0 }

// priority is which thresholds hold for the route.
func (r *route) priority() resilience.Priority {
	return min(r.Policy.Priority, resilience.Priorities-1)
}

// choose takes a target by weight.
func (r *route) choose() *target {
	if len(r.targets) == 1 {
		return &r.targets[0]
	}
	n := rand.Uint64N(r.total)
	for i := range r.targets {
		if n < r.targets[i].end {
			return &r.targets[i]
		}
	}
	panic("engine: weight beyond the total")
}
