package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"

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
}

// A target is a cluster and the end of its share of the total.
type target struct {
	cluster *cluster
	end     uint64
}

// newPlan makes the plan of a service. Clusters that stay keep what is live of them.
func newPlan(v *resolver.Service, old *plan) (*plan, error) {
	table, err := resolver.NewTable(v)
	if err != nil {
		return nil, err
	}
	p := &plan{service: v, table: table, clusters: make(map[string]*cluster, len(v.Clusters))}
	for name, c := range v.Clusters {
		l := new(live)
		if old != nil && old.clusters[name] != nil {
			l = old.clusters[name].live
		}
		p.clusters[name] = &cluster{Cluster: c, live: l}
	}
	p.routes = make([]route, len(table.Routes()))
	for i := range p.routes {
		p.routes[i] = p.route(&table.Routes()[i])
	}
	return p, nil
}

func (p *plan) route(r *resolver.Route) route {
	rt := route{Route: r}
	for _, t := range r.To {
		c := p.clusters[t.Cluster]
		if c == nil {
			rt.refuse = fmt.Errorf("route %q: cluster %q is not known", r.Name, t.Cluster)
			return rt
		}
		weight := uint64(t.Weight)
		if len(r.To) == 1 {
			weight = 1
		}
		if weight == 0 {
			continue
		}
		rt.total += weight
		rt.targets = append(rt.targets, target{c, rt.total})
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

// choose takes a target by weight.
func (r *route) choose() *cluster {
	if len(r.targets) == 1 {
		return r.targets[0].cluster
	}
	n := rand.Uint64N(r.total)
	for i := range r.targets {
		if n < r.targets[i].end {
			return r.targets[i].cluster
		}
	}
	panic("engine: weight beyond the total")
}
