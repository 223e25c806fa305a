package publish

import (
	"fmt"
	"slices"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// limitRoute leaves of a route's policy what clients of the dialect can do, and says what else was configured.
// hasGlobal is whether they can be told where the rate limit service is.
//
// Only a TrafficPolicy, which comes after a VirtualService, says of faults what not everybody can do.
func (d Dialect) limitRoute(p resilience.Policy, from Origins, hasGlobal bool) (resilience.Policy, []Loss) {
	l := losses{dialect: d, from: from}
	switch {
	case d == Weft:
		return p, nil
	case d == Envoy:
		p = turnOff(p)
		p.Fallback = drop(&l, Fallback, p.Fallback, "a proxy has no fallback")
		p.Hedge = hedgeOfEnvoy(&l, p.Hedge, p.Retry)
		p.Fault = faultOfProxy(&l, p.Fault, "a proxy")
		if !hasGlobal {
			p.Global = drop(&l, GlobalRate, p.Global, "the control server tells no address of a rate limit service")
		}
		if g := p.Global; g != nil && (g.Lease.Closed || g.Timeout != 0) {
			l.say(GlobalRate, "a proxy waits 20ms for the rate limit service, and lets calls go that it can't ask for")
		}
		if b := p.Bandwidth; b.Request.BytesPerSecond > 0 && b.Response.BytesPerSecond > 0 && b.Request != b.Response {
			l.say(Bandwidth, "a proxy has one bound for both ways, the greater one")
		}
		return p, l.all
	}
	p = turnOff(p)
	p.Retry = retryOfGRPC(&l, p.Retry)
	p.Hedge = drop(&l, Hedge, p.Hedge, grpcHas+"no hedges by xDS")
	p.Rate = drop(&l, Rate, p.Rate, grpcHas+"no rate limits")
	p.Global = drop(&l, GlobalRate, p.Global, grpcHas+"no rate limits")
	p.Fallback = drop(&l, Fallback, p.Fallback, grpcHas+"no fallback")
	p.Fault = faultOfGRPC(&l, faultOfProxy(&l, p.Fault, "gRPC's own client"))
	if p.Priority != resilience.DefaultPriority {
		l.say(Priority, grpcHas+"one priority")
		p.Priority = resilience.DefaultPriority
	}
	if p.Idle != 0 {
		l.say(Idle, grpcHas+"no idle timeout of a call")
		p.Idle = 0
	}
	if p.Bandwidth != (resilience.Bandwidths{}) {
		l.say(Bandwidth, grpcHas+"no bandwidth limits")
		p.Bandwidth = resilience.Bandwidths{}
	}
	return p, l.all
}

const grpcHas = "gRPC's own client has "

func drop[T any](l *losses, part Part, v *T, what string) *T {
	if v != nil {
		l.say(part, what)
	}
	return nil
}

// turnOff takes away what is turned off: other clients than ours have no switches.
func turnOff(p resilience.Policy) resilience.Policy {
	off := p.Off
	if off.Off(resilience.NoRetries) {
		p.Retry = resilience.Retry{}
	}
	if off.Off(resilience.NoHedges) {
		p.Hedge = nil
	}
	if off.Off(resilience.NoRates) {
		p.Rate = nil
	}
	if off.Off(resilience.NoGlobalRates) {
		p.Global = nil
	}
	if off.Off(resilience.NoFaults) {
		p.Fault = nil
	}
	if off.Off(resilience.NoFallbacks) {
		p.Fallback = nil
	}
	if off.Off(resilience.NoBandwidths) {
		p.Bandwidth = resilience.Bandwidths{}
	}
	p.Off = 0
	return p
}

// hedgeOfEnvoy is a second attempt when the time of the first is up, which Envoy takes from its
// retries. The other ways to hedge stand in its API, and it does nothing about them.
func hedgeOfEnvoy(l *losses, h *resilience.Hedge, r resilience.Retry) *resilience.Hedge {
	switch {
	case h == nil:
		return nil
	case h.Delay == 0:
		l.say(Hedge, "a proxy hedges after a time that is given, and there is none")
		return nil
	case r.Attempts == 0 || r.On == 0:
		l.say(Hedge, "a proxy hedges by its retries, and there are none")
		return nil
	case r.TryTimeout != 0:
		l.say(Hedge, "a proxy hedges when a try's time is up, and retries have a time of their own for that")
		return nil
	}
	out := &resilience.Hedge{Delay: h.Delay}
	if r.Attempts > 1 {
		out.Max = r.Attempts
	}
	if *out != *h {
		l.say(Hedge, fmt.Sprintf("a proxy hedges after %s always, and as often as it retries, %d times", h.Delay, r.Attempts))
	}
	return out
}

// faultOfProxy is what the fault filter has.
func faultOfProxy(l *losses, f *resilience.Fault, who string) *resilience.Fault {
	if f == nil {
		return nil
	}
	out := *f
	if out.Break.Kind != resilience.NoBreak {
		l.sayLast(Fault, who+" does not break connections on purpose")
		out.Break, out.BreakPercent = resilience.Break{}, resilience.Fraction{}
	}
	if out.ByHeader && (out.Delay > 0 || out.Abort != (resilience.Abort{}) || out.BytesPerSecond > 0) {
		l.sayLast(Fault, who+" takes faults from headers or from the configuration, not both: headers are not asked")
		out.ByHeader = false
	}
	return someFault(out)
}

func faultOfGRPC(l *losses, f *resilience.Fault) *resilience.Fault {
	if f == nil {
		return nil
	}
	out := *f
	if out.BytesPerSecond > 0 {
		l.sayLast(Fault, "gRPC's own client does not slow answers down")
		out.BytesPerSecond, out.SlowPercent = 0, resilience.Fraction{}
	}
	if out.MaxActive > 0 {
		l.sayLast(Fault, fmt.Sprintf("gRPC's own client counts %d at a time for all routes of a process together", out.MaxActive))
	}
	return someFault(out)
}

// someFault is nil if nothing is left to be done to calls.
func someFault(f resilience.Fault) *resilience.Fault {
	if f.Delay <= 0 && f.Abort == (resilience.Abort{}) && f.BytesPerSecond == 0 && f.Break.Kind == resilience.NoBreak && !f.ByHeader {
		return nil
	}
	return &f
}

// onGRPC are the conditions that gRPC's clients know (gRFC A44).
const onGRPC = resilience.OnCancelled | resilience.OnDeadlineExceeded | resilience.OnInternal | resilience.OnResourceExhausted | resilience.OnUnavailable

// mostTries is how many attempts gRPC's clients make of a call, whatever they are told (gRFC A6).
const mostTries = 5

// byItself are those on which gRPC's clients try again without being told, since nothing has reached the server.
const byItself = resilience.OnConnectFailure | resilience.OnRefusedStream | resilience.OnResetBeforeRequest | resilience.OnHTTP3PostConnectFailure

// retryOfGRPC only says what is lost: gRPC passes over it.
func retryOfGRPC(l *losses, r resilience.Retry) resilience.Retry {
	if r.Attempts == 0 || r.On == 0 {
		return r
	}
	other := r.On &^ (onGRPC | byItself)
	if r.Answers == nil {
		other &^= resilience.OnRetriableStatusCodes | resilience.OnRetriableHeaders
	}
	if other != 0 {
		l.say(Retries, grpcHas+"no retries on "+other.String())
	}
	if r.TryTimeout > 0 {
		l.say(Retries, grpcHas+"no timeout of a try")
	}
	if r.Attempts >= mostTries {
		l.say(Retries, fmt.Sprintf("gRPC's own client retries %d times at most", mostTries-1))
	}
	return r
}

// limitCluster is as limitRoute, for a cluster.
func (d Dialect) limitCluster(c resolver.Cluster, from Origins) (resolver.Cluster, []Loss) {
	if d == Weft {
		return c, nil
	}
	l := losses{dialect: d, from: from}
	unbounded := c.Off.Off(resilience.NoThresholds)
	c = turnOffCluster(c)
	who := "a proxy has "
	if d.isGRPC() {
		who = grpcHas
	}
	c.Breaker = drop(&l, Breaker, c.Breaker, who+"no breaker of a cluster")
	c.HostBreaker = drop(&l, HostBreaker, c.HostBreaker, who+"no breaker of a host")
	if d == Envoy {
		if b := c.Budget; b != nil && b.MinRate > 0 {
			l.say(Budget, "a proxy has no least rate of retries")
			without := *b
			without.MinRate = 0
			c.Budget = &without
		}
		return c, l.all
	}
	c.Admission = drop(&l, Admission, c.Admission, grpcHas+"no admission control")
	c.Budget = drop(&l, Budget, c.Budget, grpcHas+"no retry budget by xDS")
	l.say(ConnectTime, grpcHas+"no connect timeout by xDS")
	c.ConnectTimeout = 0
	c.Thresholds = thresholdsOfGRPC(&l, c.Thresholds, unbounded)
	c.Outlier = outlierOfGRPC(&l, c.Outlier)
	return c, l.all
}

func turnOffCluster(c resolver.Cluster) resolver.Cluster {
	off := c.Off
	if off.Off(resilience.NoThresholds) {
		c.Thresholds = thresholds(nil)
	}
	if off.Off(resilience.NoBudgets) {
		c.Budget = nil
	}
	if off.Off(resilience.NoOutliers) {
		c.Outlier = nil
	}
	if off.Off(resilience.NoBreakers) {
		c.Breaker, c.HostBreaker = nil, nil
	}
	if off.Off(resilience.NoAdmission) {
		c.Admission = nil
	}
	c.Off = 0
	return c
}

// thresholdsOfGRPC are of the one limit that gRPC knows (gRFC A32); where nobody has said anything of it, its default is
// left to it, as istiod does.
func thresholdsOfGRPC(l *losses, t *[resilience.Priorities]resilience.Thresholds, unbounded bool) *[resilience.Priorities]resilience.Thresholds {
	l.say(MaxConnections, grpcHas+"no limit of connections")
	l.say(MaxPending, grpcHas+"no limit of calls that wait")
	l.say(MaxRetries, grpcHas+"no limit of retries in flight")
	if t == nil || t[resilience.DefaultPriority].MaxRequests == unlimited && !unbounded {
		return nil
	}
	return t
}

// outlierOfGRPC are the two ways to find outliers that gRPC has (gRFC A50).
func outlierOfGRPC(l *losses, o *balancer.Outlier) *balancer.Outlier {
	if o == nil {
		return nil
	}
	if o.SuccessRate == nil && o.FailurePercentage == nil {
		l.say(Outlier, "gRPC's own client ejects hosts for their rate of failures only, not for failures in a row")
		return nil
	}
	consecutive := []*uint32{o.Enforcing5xx, o.EnforcingGateway, o.EnforcingLocalOrigin}
	if slices.ContainsFunc(consecutive, func(n *uint32) bool { return n == nil || *n > 0 }) {
		l.say(Outlier, grpcHas+"no ejection for failures in a row")
	}
	return o
}
