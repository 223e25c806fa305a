package engine

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// routeWithout is r without the policies that are turned off, so that they cost its calls nothing.
func routeWithout(r *resolver.Route) *resolver.Route {
	if r.Policy.Off == 0 {
		return r
	}
	out := *r
	out.Policy = r.Policy.InForce()
	return &out
}

// A Switched is a route or a cluster of which kinds of policy are turned off.
type Switched struct {
	Route   string // empty for a cluster
	Cluster string
	Off     resilience.Switches
}

// Switched lists the routes, in order, and the clusters, by name, of which policies are turned off.
func (s *Service) Switched() []Switched { return s.plan.Load().switched() }

func (p *plan) switched() (out []Switched) {
	if p == nil {
		return nil
	}
	for _, v := range p.service.VirtualHosts {
		for i := range v.Routes {
			if r := &v.Routes[i]; r.Policy.Off != 0 {
				out = append(out, Switched{Route: r.Name, Off: r.Policy.Off})
			}
		}
	}
	routes := len(out)
	for name, c := range p.service.Clusters {
		if c.Off != 0 {
			out = append(out, Switched{Cluster: name, Off: c.Off})
		}
	}
	slices.SortFunc(out[routes:], func(a, b Switched) int { return strings.Compare(a.Cluster, b.Cluster) })
	return out
}

// noteSwitches says in the log what is turned off or on now that was not before.
func (s *Service) noteSwitches(old, next *plan) {
	was, is := old.switched(), next.switched()
	log := s.engine.config.Logger
	for _, x := range is {
		if !slices.Contains(was, x) {
			log.Warn("policies are turned off", "service", s.name, "route", x.Route, "cluster", x.Cluster, "off", x.Off.String())
		}
	}
	for _, x := range was {
		if !slices.ContainsFunc(is, func(y Switched) bool { return x.Route == y.Route && x.Cluster == y.Cluster }) {
			log.Info("policies are on again", "service", s.name, "route", x.Route, "cluster", x.Cluster)
		}
	}
}
