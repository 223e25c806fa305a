package catalog

import (
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"
)

func (v *validator) destinationRule(dr *networking.DestinationRule, p *path) {
	v.host(p.field("host"), dr.GetHost(), true)
	v.exportTo(p.field("exportTo"), dr.GetExportTo(), false)
	if s := dr.GetWorkloadSelector(); s != nil {
		at := p.field("workloadSelector")
		v.warn(at, "the whole rule is not used: it would hold for every workload")
		v.labels(at.field("matchLabels"), s.GetMatchLabels())
		for i, e := range dr.GetExportTo() {
			if e != "." && e != v.namespace {
				v.fail(p.field("exportTo").at(i), "%q is another namespace than the rule's, and workloadSelector is for its own", e)
			}
		}
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
	if t.GetTunnel() != nil && t.GetProxyProtocol() != nil {
		v.fail(p.field("proxyProtocol"), "only one of tunnel and proxyProtocol may be given")
	}
	v.policies(p, t)
	for i, s := range t.GetPortLevelSettings() {
		at := p.field("portLevelSettings").at(i)
		if s.GetPort() == nil {
			v.fail(at.field("port"), "is missing")
		} else if n := s.GetPort().GetNumber(); n < 1 || n > 65535 {
			v.warn(at.field("port").field("number"), "%d is no port, and nothing is called by it", n)
		}
		if s.GetLoadBalancer() == nil && s.GetConnectionPool() == nil && s.GetOutlierDetection() == nil && s.GetTls() == nil {
			v.fail(at, "says nothing of the port")
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
		if c := tn.GetProtocol(); c != "" && c != "CONNECT" && c != "POST" {
			v.fail(at.field("protocol"), "%q is neither CONNECT nor POST", c)
		}
		if !isIP(tn.GetTargetHost()) {
			v.host(at.field("targetHost"), tn.GetTargetHost(), false)
		}
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
	v.consistentHash(p.field("consistentHash"), lb.GetConsistentHash())
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
	if lb.GetZoneAwareLbSetting() != nil {
		if lb.GetLocalityLbSetting() != nil {
			v.fail(p.field("zoneAwareLbSetting"), "only one of localityLbSetting and zoneAwareLbSetting may be given")
		}
		v.zones(p.field("zoneAwareLbSetting"), lb.GetZoneAwareLbSetting())
	}
}

func (v *validator) consistentHash(p *path, c *networking.LoadBalancerSettings_ConsistentHashLB) {
	if cookie := c.GetHttpCookie(); cookie != nil {
		at := p.field("httpCookie")
		if cookie.GetName() == "" {
			v.fail(at.field("name"), "is missing")
		}
		for i, a := range cookie.GetAttributes() {
			name := at.field("attributes").at(i).field("name")
			switch first := slices.IndexFunc(cookie.GetAttributes(), func(o *networking.LoadBalancerSettings_ConsistentHashLB_HTTPCookie_Attribute) bool {
				return o.GetName() == a.GetName()
			}); {
			case a.GetName() == "":
				v.fail(name, "is missing")
			case first < i:
				v.fail(name, "%q given twice, first as attributes[%d]", a.GetName(), first)
			}
		}
	}
	if c.GetMinimumRingSize() != 0 && c.GetHashAlgorithm() != nil {
		v.fail(p.field("minimumRingSize"), "is the old form of ringHash: give one of ringHash and maglev alone")
	}
	if m := c.GetMaglev(); m != nil {
		at := p.field("maglev").field("tableSize")
		switch n := m.GetTableSize(); {
		case n == 0:
			v.fail(at, "is missing")
		case n >= 5000011:
			v.fail(at, "%d is too large: it must be less than 5000011", n)
		case !prime(n):
			v.fail(at, "%d is not a prime", n)
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
	if idle := t.GetIdleTimeout(); idle.AsDuration().Truncate(time.Millisecond) != 0 { // 0 is none (Envoy)
		v.duration(tcp.field("idleTimeout"), idle)
	}
	v.duration(tcp.field("tcpKeepalive").field("time"), t.GetTcpKeepalive().GetTime())
	v.duration(tcp.field("tcpKeepalive").field("interval"), t.GetTcpKeepalive().GetInterval())
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
	if k := h.GetHttp2KeepAlive(); k != nil && (k.GetInterval() == nil || k.GetTimeout() == nil) {
		v.fail(http.field("http2KeepAlive"), "needs both interval and timeout")
	}
	if h.GetUseClientProtocol() && h.GetH2UpgradePolicy() == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE {
		v.fail(http.field("useClientProtocol"), "only one of it and h2UpgradePolicy UPGRADE may be given")
	}
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
	if o.GetConsecutiveLocalOriginFailures().GetValue() > 0 && !o.GetSplitExternalLocalOriginErrors() {
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
