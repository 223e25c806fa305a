package wire

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// minRate is the name of Budget.MinRate among a cluster's own fields.
const minRate = "retry_budget_min_rate"

// decodeThresholds reads circuit breakers. What they leave out is Envoy's default; of
// two with one priority the first counts (Envoy). The budget is that of the priority
// DEFAULT and holds for both, since a cluster has one.
func decodeThresholds(p *place, m *clusterv3.CircuitBreakers, own *own, c *resolver.Cluster) {
	p.ignores(m, "thresholds")
	all := [resilience.Priorities]resilience.Thresholds{resilience.DefaultThresholds(), resilience.DefaultThresholds()}
	var (
		said    bool
		seen    [resilience.Priorities]bool
		budgets [resilience.Priorities]*clusterv3.CircuitBreakers_Thresholds_RetryBudget
	)
	rate := own.number(minRate)
	for i, t := range m.GetThresholds() {
		q := p.at("thresholds", i)
		q.ignores(t, "priority", "max_connections", "max_pending_requests", "max_requests", "max_retries",
			"retry_budget", "track_remaining")
		bp := q.in("retry_budget")
		budget := decodeBudget(&bp, t.GetRetryBudget())
		priority := decodePriority(&q, t.GetPriority())
		if seen[priority] {
			q.warn("priority", "%v is there already, has no effect", t.GetPriority())
			continue
		}
		seen[priority], budgets[priority] = true, t.GetRetryBudget()
		to := &all[priority]
		for _, f := range []struct {
			from *wrapperspb.UInt32Value
			to   *uint32
		}{
			{t.GetMaxConnections(), &to.MaxConnections}, {t.GetMaxPendingRequests(), &to.MaxPending},
			{t.GetMaxRequests(), &to.MaxRequests}, {t.GetMaxRetries(), &to.MaxRetries},
		} {
			if f.from != nil {
				said, *f.to = true, f.from.GetValue()
			}
		}
		if budget != nil && priority == resilience.DefaultPriority {
			budget.MinRate = rate
			c.Budget = budget
		}
	}
	p.keeps(m)
	if seen[resilience.HighPriority] && !proto.Equal(budgets[resilience.HighPriority], budgets[resilience.DefaultPriority]) {
		p.warn("thresholds", "retry_budget of the priority DEFAULT holds for HIGH, too")
	}
	if rate > 0 && c.Budget == nil {
		own.warn(minRate, "has no effect without a retry_budget")
	}
	if said {
		c.Thresholds = &all
	}
}

func decodeBudget(p *place, m *clusterv3.CircuitBreakers_Thresholds_RetryBudget) *resilience.Budget {
	if m == nil {
		return nil
	}
	p.ignores(m, "budget_percent", "budget_interval", "min_retry_concurrency")
	b := resilience.DefaultBudget()
	if m.GetBudgetPercent() != nil {
		b.Percent = p.percent("budget_percent", m.GetBudgetPercent())
	}
	if m.GetMinRetryConcurrency() != nil {
		b.MinConcurrent = m.GetMinRetryConcurrency().GetValue()
	}
	b.Interval = p.duration("budget_interval", m.GetBudgetInterval())
	return &b
}

// encodeThresholds writes both priorities, and the budget, which is the cluster's, with each.
func encodeThresholds(m *clusterv3.Cluster, c *resolver.Cluster, rest fields) {
	if c.Thresholds == nil && c.Budget == nil {
		return
	}
	m.CircuitBreakers = &clusterv3.CircuitBreakers{}
	for priority := range resilience.Priority(resilience.Priorities) {
		out := &clusterv3.CircuitBreakers_Thresholds{Priority: encodePriority(priority)}
		if c.Thresholds != nil {
			t := c.Thresholds[priority]
			out.MaxConnections = wrapperspb.UInt32(t.MaxConnections)
			out.MaxPendingRequests = wrapperspb.UInt32(t.MaxPending)
			out.MaxRequests = wrapperspb.UInt32(t.MaxRequests)
			out.MaxRetries = wrapperspb.UInt32(t.MaxRetries)
		}
		if b := c.Budget; b != nil {
			out.RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
				BudgetPercent:       &typev3.Percent{Value: b.Percent},
				MinRetryConcurrency: wrapperspb.UInt32(b.MinConcurrent),
			}
			if b.Interval != 0 {
				out.RetryBudget.BudgetInterval = durationpb.New(b.Interval)
			}
		}
		m.CircuitBreakers.Thresholds = append(m.CircuitBreakers.Thresholds, out)
	}
	if c.Budget != nil {
		rest.number(minRate, c.Budget.MinRate)
	}
}
