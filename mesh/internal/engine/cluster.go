package engine

import (
	"sync/atomic"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resolver"
)

// A cluster is the value of one plan and what is live of the cluster, which outlives the plan.
type cluster struct {
	resolver.Cluster
	*live
}

// live is what of a cluster survives a change of configuration.
type live struct {
	hosts balancer.Group
	// calls counts the calls in the cluster. retired is added when no plan names the cluster any more:
	// calls that are in may end there, and who is last closes it.
	calls atomic.Int64
}

const retired = 1 << 62

// enter counts a call in. It fails if the cluster is retired; there is a newer plan then.
func (l *live) enter(s *Service) bool {
	if l.calls.Add(1) > retired {
		l.leave(s)
		return false
	}
	return true
}

// leave counts a call out; the last one of a retired cluster closes it.
func (l *live) leave(s *Service) {
	if l.calls.Add(-1) == retired {
		s.release(l)
	}
}

// retire marks the cluster as named by no plan and reports whether no call is in it.
func (l *live) retire() (empty bool) { return l.calls.Add(retired) == retired }
