package catalog

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (v *validator) destinationRule(dr *networking.DestinationRule, p *path) {
	v.host(p.field("host"), dr.GetHost(), true)
	v.exportTo(p.field("exportTo"), dr.GetExportTo())
	if s := dr.GetWorkloadSelector(); s != nil {
		at := p.field("workloadSelector")
		v.warn(at, "the whole rule is not used: it would hold for every workload")
		v.labels(at.field("matchLabels"), s.GetMatchLabels())
	}
	seen := map[string]int{}
	for i, s := range dr.GetSubsets() {
		at := p.field("subsets").at(i)
		first, twice := seen[s.GetName()]
		switch {
		case s.GetName() == "":
			v.fail(at.field("name"), "is missing")
		case !subset.MatchString(s.GetName()):
			v.fail(at.field("name"), "%q must be letters, digits and '-'", s.GetName())
		case twice:
			v.fail(at.field("name"), "%q given twice, first as subsets[%d]", s.GetName(), first)
		}
		if !twice {
			seen[s.GetName()] = i
		}
		v.labels(at.field("labels"), s.GetLabels())
		v.trafficPolicy(at.field("trafficPolicy"), s.GetTrafficPolicy())
	}
	v.trafficPolicy(p.field("trafficPolicy"), dr.GetTrafficPolicy())
}

func (v *validator) trafficPolicy(p *path, t *networking.TrafficPolicy) {
	if t == nil {
		return
	}
	if t.GetLoadBalancer() == nil && t.GetConnectionPool() == nil && t.GetOutlierDetection() == nil && t.GetTls() == nil &&
		len(t.GetPortLevelSettings()) == 0 && t.GetTunnel() == nil && t.GetProxyProtocol() == nil && t.GetRetryBudget() == nil {
		v.fail(p, "is empty")
	}
	v.policies(p, t)
	for i, s := range t.GetPortLevelSettings() {
		at := p.field("portLevelSettings").at(i)
		if s.GetPort() == nil {
			v.fail(at.field("port"), "is missing")
		} else {
			v.port(at.field("port").field("number"), s.GetPort().GetNumber())
		}
		v.policies(at, s)
		if s.GetTls() == nil && t.GetTls() != nil {
			v.warn(at, "leaves tls out: calls to port %d are made without that of the whole (Istio)", s.GetPort().GetNumber())
		}
	}
	// Over 100 the webhook lets pass, the CRD's schema does not.
	v.percent(p.field("retryBudget").field("percent"), t.GetRetryBudget().GetPercent().GetValue())
	v.duration(p.field("retryBudget").field("budgetInterval"), t.GetRetryBudget().GetBudgetInterval())
	if tn := t.GetTunnel(); tn != nil {
		at := p.field("tunnel")
		v.host(at.field("targetHost"), tn.GetTargetHost(), false)
		v.port(at.field("targetPort"), tn.GetTargetPort())
	}
}

// policies checks the blocks that stand in a traffic policy and per port alike.
func (v *validator) policies(p *path, blocks interface {
	GetLoadBalancer() *networking.LoadBalancerSettings
	GetConnectionPool() *networking.ConnectionPoolSettings
	GetOutlierDetection() *networking.OutlierDetection
	GetTls() *networking.ClientTLSSettings
}) {
	v.loadBalancer(p.field("loadBalancer"), blocks.GetLoadBalancer())
	v.connectionPool(p.field("connectionPool"), blocks.GetConnectionPool())
	v.outlierDetection(p.field("outlierDetection"), blocks.GetOutlierDetection())
	v.clientTLS(p.field("tls"), blocks.GetTls())
}

func (v *validator) loadBalancer(p *path, lb *networking.LoadBalancerSettings) {
	if lb == nil {
		return
	}
	if lb.GetSimple() == networking.LoadBalancerSettings_PASSTHROUGH {
		v.warn(p.field("simple"), "PASSTHROUGH is not supported: a process has no original address to pass through to")
	}
	if c := lb.GetConsistentHash().GetHttpCookie(); c != nil && c.GetName() == "" {
		v.fail(p.field("consistentHash").field("httpCookie").field("name"), "is missing")
	}
	if m := lb.GetConsistentHash().GetMaglev(); m != nil {
		at := p.field("consistentHash").field("maglev").field("tableSize")
		switch n := m.GetTableSize(); {
		case n > 5000011:
			v.fail(at, "%d is larger than 5000011", n)
		case n != 0 && !prime(n):
			v.fail(at, "%d is not a prime", n)
		}
	}
	if w := lb.GetWarmup(); w != nil {
		at := p.field("warmup")
		if w.GetDuration() == nil {
			v.fail(at.field("duration"), "is missing")
		}
		v.duration(at.field("duration"), w.GetDuration())
		v.percent(at.field("minimumPercent"), w.GetMinimumPercent().GetValue())
		if w.GetAggression() != nil && w.GetAggression().GetValue() < 1 {
			v.fail(at.field("aggression"), "must be 1 at least")
		}
	}
	v.duration(p.field("warmupDurationSecs"), lb.GetWarmupDurationSecs())
	v.localities(p.field("localityLbSetting"), lb.GetLocalityLbSetting())
}

func (v *validator) localities(p *path, l *networking.LocalityLoadBalancerSetting) {
	if len(l.GetDistribute()) > 0 && len(l.GetFailover()) > 0 {
		v.fail(p.field("failover"), "only one of distribute and failover may be given")
	}
	for i, d := range l.GetDistribute() {
		var total uint64
		for _, share := range d.GetTo() {
			total += uint64(share)
		}
		if total != 100 {
			v.fail(p.field("distribute").at(i).field("to"), "shares sum to %d, not 100", total)
		}
	}
	for i, f := range l.GetFailover() {
		at := p.field("failover").at(i)
		if f.GetFrom() == f.GetTo() {
			v.fail(at.field("to"), "%q is where it fails over from", f.GetTo())
		}
		for _, region := range [...]string{f.GetFrom(), f.GetTo()} {
			if strings.ContainsAny(region, "/*") {
				v.fail(at, "%q is not a region", region)
			}
		}
	}
}

func (v *validator) connectionPool(p *path, c *networking.ConnectionPoolSettings) {
	if c == nil {
		return
	}
	if c.GetHttp() == nil && c.GetTcp() == nil {
		v.fail(p, "must have tcp or http")
	}
	natural := func(p *path, n int32) {
		if n < 0 {
			v.fail(p, "must not be negative")
		}
	}
	tcp, http := p.field("tcp"), p.field("http")
	t, h := c.GetTcp(), c.GetHttp()
	natural(tcp.field("maxConnections"), t.GetMaxConnections())
	v.duration(tcp.field("connectTimeout"), t.GetConnectTimeout())
	v.duration(tcp.field("idleTimeout"), t.GetIdleTimeout())
	v.duration(tcp.field("maxConnectionDuration"), t.GetMaxConnectionDuration())
	// Of these Istio says nothing, and an Envoy would refuse its whole cluster.
	v.duration(tcp.field("tcpKeepalive").field("time"), t.GetTcpKeepalive().GetTime())
	v.duration(tcp.field("tcpKeepalive").field("interval"), t.GetTcpKeepalive().GetInterval())
	v.duration(http.field("http2KeepAlive").field("interval"), h.GetHttp2KeepAlive().GetInterval())
	v.duration(http.field("http2KeepAlive").field("timeout"), h.GetHttp2KeepAlive().GetTimeout())
	natural(http.field("http1MaxPendingRequests"), h.GetHttp1MaxPendingRequests())
	natural(http.field("http2MaxRequests"), h.GetHttp2MaxRequests())
	natural(http.field("maxRequestsPerConnection"), h.GetMaxRequestsPerConnection())
	natural(http.field("maxRetries"), h.GetMaxRetries())
	natural(http.field("maxConcurrentStreams"), h.GetMaxConcurrentStreams())
	v.duration(http.field("idleTimeout"), h.GetIdleTimeout())
}

func (v *validator) outlierDetection(p *path, o *networking.OutlierDetection) {
	if o == nil {
		return
	}
	if n := o.GetConsecutiveErrors(); n < 0 {
		v.fail(p.field("consecutiveErrors"), "must not be negative")
	} else if n > 0 {
		v.warn(p.field("consecutiveErrors"), "is old; use consecutiveGatewayErrors or consecutive5xxErrors")
	}
	if o.GetConsecutiveLocalOriginFailures() != nil && !o.GetSplitExternalLocalOriginErrors() {
		v.fail(p.field("consecutiveLocalOriginFailures"), "needs splitExternalLocalOriginErrors: true")
	} else if n := o.GetConsecutiveLocalOriginFailures(); n != nil && n.GetValue() == 0 {
		v.warn(p.field("consecutiveLocalOriginFailures"), "0 means the default, 5 (Istio)")
	}
	v.duration(p.field("interval"), o.GetInterval())
	v.duration(p.field("baseEjectionTime"), o.GetBaseEjectionTime())
	v.percent(p.field("maxEjectionPercent"), float64(o.GetMaxEjectionPercent()))
	v.percent(p.field("minHealthPercent"), float64(o.GetMinHealthPercent()))
}

func prime(n uint64) bool {
	if n < 2 {
		return false
	}
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}
