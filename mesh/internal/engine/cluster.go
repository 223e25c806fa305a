package engine

import (
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A cluster is the value of one plan and what is live of the cluster, which outlives the plan.
type cluster struct {
	resolver.Cluster
	*live
	thresholds [resilience.Priorities]resilience.Thresholds
}

// live is what of a cluster survives a change of configuration.
type live struct {
	hosts balancer.Group
	// calls counts the calls in the cluster. retired is added when no plan names the cluster any more:
	// calls that are in may end there, and who is last closes it.
	calls    atomic.Int64
	inUse    [resilience.Priorities]resilience.InUse
	spending *resilience.Spending

	admissions *resilience.Admissions
	breaker    resilience.Breaker
	guards     atomic.Pointer[guards] // nil if hosts have no breakers
	latencies  *resilience.Latencies  // nil unless a route has asked for them
}

const retired = 1 << 62

func newLive() *live {
	now := time.Now()
	return &live{spending: resilience.NewSpending(now), admissions: resilience.NewAdmissions(now)}
}

func newCluster(c resolver.Cluster, l *live) *cluster {
	out := &cluster{Cluster: c, live: l}
	if c.Thresholds != nil {
		out.thresholds = *c.Thresholds
		return out
	}
	for i := range out.thresholds {
		out.thresholds[i] = resilience.DefaultThresholds()
	}
	return out
}

// enter counts a call in. It fails if the cluster is retired; there is a newer plan then.
func (c *cluster) enter(s *Service, at *moment) bool {
	if c.calls.Add(1) > retired {
		c.live.leave(s)
		return false
	}
	if c.Budget != nil {
		c.spending.Begin(c.Budget, at.now())
	}
	return true
}

// leave counts a call out.
func (c *cluster) leave(s *Service) {
	if c.Budget != nil {
		c.spending.End()
	}
	c.live.leave(s)
}

// begin counts an attempt in, unless the threshold of the priority is reached.
func (c *cluster) begin(p resilience.Priority) bool {
	return c.inUse[p].Requests.Enter(c.thresholds[p].MaxRequests)
}

// end counts an attempt out.
func (c *cluster) end(p resilience.Priority) { c.inUse[p].Requests.Leave() }

// retry counts a retry in, unless the budget, or the threshold where there is none, has no room for it.
func (c *cluster) retry(p resilience.Priority) bool {
	if c.Budget != nil {
		return c.spending.Retry(c.Budget, time.Now())
	}
	return c.inUse[p].Retries.Enter(c.thresholds[p].MaxRetries)
}

// retried counts a retry out.
func (c *cluster) retried(p resilience.Priority) {
	if c.Budget != nil {
		c.spending.Retried()
		return
	}
	c.inUse[p].Retries.Leave()
}

// observes makes sure that latencies are kept, before there is a plan whose calls ask for them.
func (l *live) observes() {
	if l.latencies == nil {
		l.latencies = resilience.NewLatencies(time.Now())
	}
}

// refusing is the share of calls that the cluster's admission control refuses, from 0 to 1.
func (c *cluster) refusing(now time.Time) float64 {
	if c.Admission == nil {
		return 0
	}
	return c.admissions.Refusing(*c.Admission, now)
}

// leave counts a call out; the last one of a retired cluster closes it.
func (l *live) leave(s *Service) {
	if l.calls.Add(-1) == retired {
		s.release(l)
	}
}

// retire marks the cluster as named by no plan and reports whether no call is in it.
func (l *live) retire() (empty bool) { return l.calls.Add(retired) == retired }
