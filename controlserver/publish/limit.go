package publish

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// limitRoute leaves of a route's policy what clients of the dialect can do, and says what else was configured.
// asked is how they ask the rate limit service; nil if they can't be told where it is.
func (d Dialect) limitRoute(p resilience.Policy, from Origins, asked *resilience.GlobalRate) (resilience.Policy, []Loss) {
	l := losses{dialect: d, from: from}
	switch d {
	case Weft:
	case Envoy:
		p = routeOfEnvoy(&l, turnOff(p), asked)
	case GRPC, GRPCLeast:
		p = routeOfGRPC(&l, turnOff(p))
	}
	return p, l.all
}

func routeOfEnvoy(l *losses, p resilience.Policy, asked *resilience.GlobalRate) resilience.Policy {
	l.sayIf(p.Fallback != nil, Fallback, "a proxy has no fallback")
	p.Fallback = nil
	l.sayIf(p.Retry.OtherLocalities && p.Retry.Attempts > 0, Retries, "a proxy's retries avoid priorities, and all localities have one")
	p.Hedge = hedgeOfEnvoy(l, p.Hedge, p.Retry)
	p.Fault = faultOfProxy(l, p.Fault, "a proxy")
	p.Rate = rateOfProxy(l, p.Rate)
	if asked == nil {
		l.sayIf(p.Global != nil, GlobalRate, "the control server tells no address of a rate limit service")
		p.Global = nil
	}
	if g := p.Global; g != nil {
		l.sayIf(g.Lease.Closed && !asked.Lease.Closed, GlobalRate, "a proxy lets calls go that it can't ask for, as long as one limit of the mesh says so")
		l.sayIf(cmp.Or(g.Timeout, askTimeout) != cmp.Or(asked.Timeout, askTimeout), GlobalRate, "a proxy waits "+asked.Timeout.String()+" for an answer, the longest time of all limits of the mesh")
		l.sayIf(slices.ContainsFunc(g.Descriptors, asksPath), GlobalRate, pathOfProxy)
	}
	b := p.Bandwidth
	l.sayIf(b.Request.BytesPerSecond > 0 && b.Response.BytesPerSecond > 0 && b.Request != b.Response,
		Bandwidth, "a proxy has one bound for both ways, the greater one")
	return p
}

func routeOfGRPC(l *losses, p resilience.Policy) resilience.Policy {
	l.retriesOfGRPC(p.Retry)
	l.sayIf(p.Hedge != nil, Hedge, grpcHas+"no hedges by xDS")
	l.sayIf(p.Priority != resilience.DefaultPriority, Priority, grpcHas+"one priority")
	l.sayIf(p.Rate != nil, Rate, grpcHas+"no rate limits")
	l.sayIf(p.Global != nil, GlobalRate, grpcHas+"no rate limits")
	l.sayIf(p.Idle != 0, Idle, grpcHas+"no idle timeout of a call")
	l.sayIf(p.Fallback != nil, Fallback, grpcHas+"no fallback")
	l.sayIf(p.Bandwidth != resilience.Bandwidths{}, Bandwidth, grpcHas+"no bandwidth limits")
	return resilience.Policy{
		Timeout: p.Timeout,
		Retry:   p.Retry,
		Fault:   faultOfGRPC(l, faultOfProxy(l, p.Fault, "gRPC's own client")),
	}
}

const grpcHas = "gRPC's own client has "

// turnOff takes away what is turned off: other clients than ours have no switches.
func turnOff(p resilience.Policy) resilience.Policy {
	off := p.Off
	p = p.InForce()
	if off.Off(resilience.NoRetries) {
		p.Retry = resilience.Retry{} // their time of a try is one of retries
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
		l.sayFault(who + " does not break connections on purpose")
		out.Break, out.BreakPercent = resilience.Break{}, resilience.Fraction{}
	}
	if out.ByHeader && (out.Delay > 0 || out.Abort != (resilience.Abort{}) || out.BytesPerSecond > 0) {
		l.sayFault(who + " takes faults from headers or from the configuration, not both: headers are not asked")
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
		l.sayFault("gRPC's own client does not slow answers down")
		out.BytesPerSecond, out.SlowPercent = 0, resilience.Fraction{}
	}
	if out.MaxActive > 0 {
		l.sayFault(fmt.Sprintf("gRPC's own client counts %d at a time for all routes of a process together", out.MaxActive))
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

// retriesOfGRPC says what gRPC's clients pass over of retries.
func (l *losses) retriesOfGRPC(r resilience.Retry) {
	if r.Attempts == 0 || r.On == 0 {
		return
	}
	other := r.On &^ (onGRPC | byItself)
	if r.Answers == nil {
		other &^= resilience.OnRetriableStatusCodes | resilience.OnRetriableHeaders
	}
	l.sayIf(other != 0, Retries, grpcHas+"no retries on "+other.String())
	l.sayIf(r.TryTimeout > 0, Retries, grpcHas+"no timeout of a try")
	l.sayIf(r.OtherLocalities, Retries, grpcHas+"no localities that retries avoid")
	l.sayIf(r.Attempts >= mostTries, Retries, fmt.Sprintf("gRPC's own client retries %d times at most", mostTries-1))
}

// limitCluster is as limitRoute, for a cluster.
func (d Dialect) limitCluster(c resolver.Cluster, from Origins) (resolver.Cluster, []Loss) {
	l := losses{dialect: d, from: from}
	switch d {
	case Weft:
	case Envoy:
		c = clusterOfEnvoy(&l, turnOffCluster(c))
	case GRPC, GRPCLeast:
		c = clusterOfGRPC(&l, turnOffCluster(c), c.Off.Off(resilience.NoThresholds))
	}
	return c, l.all
}

func clusterOfEnvoy(l *losses, c resolver.Cluster) resolver.Cluster {
	l.sayIf(c.Breaker != nil, Breaker, "a proxy has no breaker of a cluster")
	l.sayIf(c.HostBreaker != nil, HostBreaker, "a proxy has no breaker of a host")
	c.Breaker, c.HostBreaker = nil, nil
	unlisted := ""
	if c.TLS != nil && !c.TLS.Mutual {
		unlisted = "a proxy has lists of the mesh's own certificates alone: serial numbers of these servers' are not looked at"
	}
	c.TLS = unrevoked(l, c.TLS, unlisted)
	if b := c.Budget; b != nil && b.MinRate > 0 {
		l.say(Budget, "a proxy has no least rate of retries")
		without := *b
		without.MinRate = 0
		c.Budget = &without
	}
	return c
}

// clusterOfGRPC is of a cluster whose thresholds are unbounded because they are turned off, or not.
func clusterOfGRPC(l *losses, c resolver.Cluster, unbounded bool) resolver.Cluster {
	l.sayIf(c.Breaker != nil, Breaker, grpcHas+"no breaker of a cluster")
	l.sayIf(c.HostBreaker != nil, HostBreaker, grpcHas+"no breaker of a host")
	l.sayIf(c.Admission != nil, Admission, grpcHas+"no admission control")
	l.sayIf(c.Budget != nil, Budget, grpcHas+"no retry budget by xDS")
	l.say(ConnectTime, grpcHas+"no connect timeout by xDS")
	c.Breaker, c.HostBreaker, c.Admission, c.Budget, c.ConnectTimeout = nil, nil, nil, nil, 0
	// Clusters with what a client lacks are refused; over many calls round robin, which all have, shares alike.
	if k := c.Balance.Kind; k == balancer.Random || k == balancer.LeastRequest && l.dialect != GRPCLeast {
		l.say(Balance, grpcHas+"no "+k.String()+": it takes turns")
		c.Balance.Kind = balancer.RoundRobin
	}
	c.TLS = tlsOfGRPC(l, c.TLS)
	c.Thresholds = thresholdsOfGRPC(l, c.Thresholds, unbounded)
	c.Outlier = outlierOfGRPC(l, c.Outlier)
	return c
}

// turnOffCluster is turnOff for clusters.
func turnOffCluster(c resolver.Cluster) resolver.Cluster {
	c = c.InForce()
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
