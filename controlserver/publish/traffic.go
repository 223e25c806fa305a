package publish

import (
	"fmt"
	"math"
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/resilience"
)

// ConnectTimeout bounds the making of a connection where a DestinationRule says nothing (Istio).
const ConnectTimeout = 10 * time.Second

// traffic is what the DestinationRule says of one cluster; nil is what it says nothing of.
type traffic struct {
	balance *networking.LoadBalancerSettings
	pool    *networking.ConnectionPoolSettings
	outlier *networking.OutlierDetection
	budget  *networking.TrafficPolicy_RetryBudget
	from    Origins
}

func (v *View) traffic(s *catalog.Service, port catalog.Port, subset string) traffic {
	t := traffic{from: Origins{}}
	rule := v.catalog.DestinationRule(v.client.Namespace, s)
	if rule == nil {
		return t
	}
	all, narrow := stated(rule.Objects, subset)
	t.take(rule.Spec.GetTrafficPolicy(), port.Number, all)
	if sub, ok := rule.Subset(subset); ok {
		t.take(sub.GetTrafficPolicy(), port.Number, narrow)
	}
	return t
}

// stated is where the traffic policies of a DestinationRule stand that is merged of several: the one for all, and that
// of a subset.
func stated(objects []*catalog.Object, subset string) (all, narrow Origin) {
	for _, o := range objects {
		spec, ok := o.Spec.(*networking.DestinationRule)
		if !ok {
			continue
		}
		if all.Object == nil && spec.GetTrafficPolicy() != nil {
			all = Origin{Field: "spec.trafficPolicy", Object: o}
		}
		i := slices.IndexFunc(spec.GetSubsets(), func(s *networking.Subset) bool { return s.GetName() == subset })
		if narrow.Object == nil && i >= 0 {
			narrow = Origin{Field: fmt.Sprintf("spec.subsets[%d].trafficPolicy", i), Object: o}
		}
	}
	return all, narrow
}

// take puts the blocks of p in the place of those there are. Settings of the port
// replace all that can be set by port, also where they leave a block out (Istio).
func (t *traffic) take(p *networking.TrafficPolicy, port uint32, at Origin) {
	if b := p.GetLoadBalancer(); b != nil {
		t.balance = b
		t.takeBalance(at)
	}
	if b := p.GetConnectionPool(); b != nil {
		t.pool = b
		t.takePool(at)
	}
	if b := p.GetOutlierDetection(); b != nil {
		t.outlier = b
		t.from.put(at, "outlierDetection", true, Outlier)
	}
	if b := p.GetRetryBudget(); b != nil {
		t.budget = b
		t.from.put(at, "retryBudget", true, Budget)
	}
	for i, l := range p.GetPortLevelSettings() {
		if l.GetPort().GetNumber() == port {
			at := at.below(fmt.Sprintf("portLevelSettings[%d]", i))
			t.balance, t.pool, t.outlier = l.GetLoadBalancer(), l.GetConnectionPool(), l.GetOutlierDetection()
			t.takeBalance(at)
			t.takePool(at)
			t.from.put(at, "outlierDetection", t.outlier != nil, Outlier)
		}
	}
}

func (t *traffic) takeBalance(at Origin) {
	t.from.put(at, "loadBalancer", t.balance != nil, Balance)
}

func (t *traffic) takePool(at Origin) {
	t.from.put(at, "connectionPool.tcp.connectTimeout", t.pool.GetTcp().GetConnectTimeout() != nil, ConnectTime)
	t.from.put(at, "connectionPool.tcp.maxConnections", t.pool.GetTcp().GetMaxConnections() > 0, MaxConnections)
	t.from.put(at, "connectionPool.http.http1MaxPendingRequests", t.pool.GetHttp().GetHttp1MaxPendingRequests() > 0, MaxPending)
	t.from.put(at, "connectionPool.http.http2MaxRequests", t.pool.GetHttp().GetHttp2MaxRequests() > 0, MaxRequests)
	t.from.put(at, "connectionPool.http.maxRetries", t.pool.GetHttp().GetMaxRetries() > 0, MaxRetries)
}

// unlimited is what holds where nothing is said (Istio).
const unlimited = math.MaxUint32

// thresholds are the same for all priorities: Istio's kinds know none.
func thresholds(p *networking.ConnectionPoolSettings) *[resilience.Priorities]resilience.Thresholds {
	limit := func(n int32) uint32 {
		if n <= 0 {
			return unlimited
		}
		return uint32(n)
	}
	all := resilience.Thresholds{
		MaxConnections: limit(p.GetTcp().GetMaxConnections()),
		MaxPending:     limit(p.GetHttp().GetHttp1MaxPendingRequests()),
		MaxRequests:    limit(p.GetHttp().GetHttp2MaxRequests()),
		MaxRetries:     limit(p.GetHttp().GetMaxRetries()),
	}
	return &[resilience.Priorities]resilience.Thresholds{all, all}
}

func connectTimeout(p *networking.ConnectionPoolSettings) time.Duration {
	if d := p.GetTcp().GetConnectTimeout(); d != nil {
		return d.AsDuration()
	}
	return ConnectTimeout
}

// budget fills up with Envoy's defaults what a retryBudget leaves out. With a budgetInterval the
// retries that begin within it count, and as many as minRetryConcurrency are always allowed in each.
func budget(r *networking.TrafficPolicy_RetryBudget) *resilience.Budget {
	if r == nil {
		return nil
	}
	b := resilience.DefaultBudget()
	if r.GetPercent() != nil {
		b.Percent = r.GetPercent().GetValue()
	}
	if n := r.GetMinRetryConcurrency(); n > 0 {
		b.MinConcurrent = n
	}
	if d := r.GetBudgetInterval().AsDuration(); d > 0 {
		b.Interval, b.MinRate = d, float64(b.MinConcurrent)/d.Seconds()
	}
	return &b
}

// outlier enforces what is counted, and compares no success rates (Istio).
func outlier(o *networking.OutlierDetection) *balancer.Outlier {
	if o == nil {
		return nil
	}
	out := &balancer.Outlier{
		Interval:         o.GetInterval().AsDuration(),
		BaseEjection:     o.GetBaseEjectionTime().AsDuration(),
		SplitLocalOrigin: o.GetSplitExternalLocalOriginErrors(),
		MinHealthPercent: uint32(max(o.GetMinHealthPercent(), 0)),
	}
	if n := o.GetMaxEjectionPercent(); n > 0 {
		out.MaxEjectionPercent = new(uint32(n))
	}
	counted := func(n uint32) (errors, enforcing *uint32) {
		if n == 0 {
			return new(uint32(0)), new(uint32(0))
		}
		return new(n), new(uint32(100))
	}
	all, gateway, local := o.GetConsecutive_5XxErrors(), o.GetConsecutiveGatewayErrors(), o.GetConsecutiveLocalOriginFailures()
	if all != nil {
		out.Consecutive5xx, out.Enforcing5xx = counted(all.GetValue())
	}
	if gateway != nil {
		out.ConsecutiveGateway, out.EnforcingGateway = counted(gateway.GetValue())
	}
	if old := o.GetConsecutiveErrors(); old > 0 && all == nil && gateway == nil {
		out.ConsecutiveGateway, out.EnforcingGateway = counted(uint32(old))
		out.Enforcing5xx = new(uint32(0)) // it counts gateway errors only
	}
	if out.SplitLocalOrigin && local.GetValue() > 0 {
		out.ConsecutiveLocalOrigin, out.EnforcingLocalOrigin = counted(local.GetValue())
	}
	return out
}
