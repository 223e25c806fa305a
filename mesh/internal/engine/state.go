package engine

import (
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// A ClusterState is how the calls to a cluster fare.
type ClusterState struct {
	Name     string
	Off      resilience.Switches
	Calls    int64 // in flight
	InUse    [resilience.Priorities]Usage
	Breaker  string  // "closed", "open" or "half-open"; empty without one
	Refusing float64 // share of the calls that admission control refuses, from 0 to 1
	Hosts    []HostState
}

// Usage is what is in flight to a cluster in one priority, and how much there may be.
type Usage struct {
	Connections, Pending, Requests, Retries int64
	Limits                                  resilience.Thresholds
}

// A HostState is what keeps calls from a host of a cluster.
type HostState struct {
	Addr      string
	Breaker   string // as of a cluster
	Ejected   bool
	Ejections uint64
}

// Clusters tells how the calls of the service fare now, by the cluster's name.
func (s *Service) Clusters() []ClusterState {
	p := s.plan.Load()
	if p == nil {
		return nil
	}
	out := make([]ClusterState, 0, len(p.clusters))
	for name, c := range p.clusters {
		out = append(out, c.state(name))
	}
	slices.SortFunc(out, func(a, b ClusterState) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (c *cluster) state(name string) ClusterState {
	out := ClusterState{Name: name, Off: c.Off, Calls: c.calls.Load(), Refusing: c.refusing(time.Now())}
	if c.Breaker != nil {
		out.Breaker = c.breaker.State()
	}
	for i := range out.InUse {
		u := &c.inUse[i]
		out.InUse[i] = Usage{u.Connections.Count(), u.Pending.Count(), u.Requests.Count(), u.Retries.Count(), c.thresholds[i]}
		if c.Budget != nil {
			_, out.InUse[i].Retries = c.spending.InFlight() // of all priorities together
		}
	}
	g := c.guards.Load()
	for _, h := range c.hosts.Hosts() {
		state := HostState{Addr: h.Addr(), Ejected: h.Ejected(), Ejections: h.Ejections()}
		if g != nil && g.breakers[h] != nil {
			state.Breaker = g.breakers[h].State()
		}
		out.Hosts = append(out.Hosts, state)
	}
	return out
}
