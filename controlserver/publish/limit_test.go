package publish

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// allOf has an origin for every part, so that all that is lost is said.
func allOf() Origins {
	from := Origins{}
	for _, blocks := range []map[string]Part{routeBlocks, clusterBlocks} {
		for _, p := range blocks {
			from[p] = []Origin{{Field: string(p)}}
		}
	}
	for _, p := range []Part{Timeout, Retries, Priority, ConnectTime, MaxConnections, MaxPending, MaxRequests, MaxRetries, Budget, Outlier} {
		from[p] = []Origin{{Field: string(p)}}
	}
	return from
}

func parts(all []Loss) string {
	var names []string
	for _, l := range all {
		names = append(names, string(l.Part))
	}
	return strings.Join(names, ", ")
}

func TestRoutesByDialect(t *testing.T) {
	second := resilience.TokenBucket{MaxTokens: 10, TokensPerFill: 10, FillInterval: time.Second}
	user := []resilience.Entry{{Key: "header:x-user"}}
	retry := resilience.Retry{Attempts: 3, On: resilience.On5xx | resilience.OnUnavailable}
	far := resilience.Retry{Attempts: 3, On: resilience.OnUnavailable, OtherLocalities: true}
	abort := &resilience.Fault{Abort: resilience.Abort{Status: 500}, AbortPercent: resilience.Percent(1)}
	for _, tc := range []struct {
		name         string
		policy       resilience.Policy
		envoy, grpc  resilience.Policy // what they are told
		lostE, lostG string
	}{
		{"nothing", resilience.Policy{}, resilience.Policy{}, resilience.Policy{}, "", ""},
		{"timeout", resilience.Policy{Timeout: 1}, resilience.Policy{Timeout: 1}, resilience.Policy{Timeout: 1}, "", ""},
		{"idle", resilience.Policy{Idle: 1}, resilience.Policy{Idle: 1}, resilience.Policy{}, "", "idle timeout"},
		{"priority", resilience.Policy{Priority: resilience.HighPriority}, resilience.Policy{Priority: resilience.HighPriority}, resilience.Policy{}, "", "priority"},
		{"retries", resilience.Policy{Retry: retry}, resilience.Policy{Retry: retry}, resilience.Policy{Retry: retry}, "", "retries"},
		{"retries elsewhere", resilience.Policy{Retry: far}, resilience.Policy{Retry: far}, resilience.Policy{Retry: far}, "retries", "retries"},
		{"default retries", resilience.Policy{Retry: defaultRetry}, resilience.Policy{Retry: defaultRetry}, resilience.Policy{Retry: defaultRetry}, "", ""},
		{"rate", resilience.Policy{Rate: &resilience.Rate{TokenBucket: second}},
			resilience.Policy{Rate: &resilience.Rate{TokenBucket: second, MaxKeys: 1024}}, resilience.Policy{}, "", "rate limit"},
		{"rates of other times", resilience.Policy{Rate: &resilience.Rate{TokenBucket: second, MaxKeys: 7, Descriptors: []resilience.DescriptorRate{
			{Entries: user, TokenBucket: resilience.TokenBucket{MaxTokens: 9, TokensPerFill: 6, FillInterval: 1500 * time.Millisecond}}}}},
			resilience.Policy{Rate: &resilience.Rate{TokenBucket: second, MaxKeys: 7, Descriptors: []resilience.DescriptorRate{
				{Entries: user, TokenBucket: resilience.TokenBucket{MaxTokens: 9, TokensPerFill: 12, FillInterval: 3 * time.Second}}}}},
			resilience.Policy{}, "", "rate limit"},
		{"rates of paths", resilience.Policy{Rate: &resilience.Rate{Descriptors: []resilience.DescriptorRate{{Entries: []resilience.Entry{{Key: "path"}}, TokenBucket: second}}}},
			resilience.Policy{Rate: &resilience.Rate{MaxKeys: 1024, Descriptors: []resilience.DescriptorRate{{Entries: []resilience.Entry{{Key: "path"}}, TokenBucket: second}}}},
			resilience.Policy{}, "rate limit", "rate limit"},
		{"global rate", resilience.Policy{Global: &resilience.GlobalRate{Domain: "weft"}}, resilience.Policy{Global: &resilience.GlobalRate{Domain: "weft"}},
			resilience.Policy{}, "", "global rate limit"},
		{"global rate that fails closed", resilience.Policy{Global: &resilience.GlobalRate{Domain: "weft", Lease: resilience.Lease{Closed: true}}},
			resilience.Policy{Global: &resilience.GlobalRate{Domain: "weft", Lease: resilience.Lease{Closed: true}}}, resilience.Policy{}, "global rate limit", "global rate limit"},
		{"hedge of a try's time", resilience.Policy{Retry: retry, Hedge: &resilience.Hedge{Delay: 1, Max: 3}},
			resilience.Policy{Retry: retry, Hedge: &resilience.Hedge{Delay: 1, Max: 3}}, resilience.Policy{Retry: retry}, "", "retries, hedge"},
		{"hedge of a percentile", resilience.Policy{Retry: retry, Hedge: &resilience.Hedge{Delay: 1, Percentile: 95}},
			resilience.Policy{Retry: retry, Hedge: &resilience.Hedge{Delay: 1, Max: 3}}, resilience.Policy{Retry: retry}, "hedge", "retries, hedge"},
		{"hedge without retries", resilience.Policy{Hedge: &resilience.Hedge{Delay: 1}}, resilience.Policy{}, resilience.Policy{}, "hedge", "hedge"},
		{"hedge without a delay", resilience.Policy{Hedge: &resilience.Hedge{Chance: resilience.Percent(1)}}, resilience.Policy{}, resilience.Policy{}, "hedge", "hedge"},
		{"hedge beside tries with a time", resilience.Policy{Retry: resilience.Retry{Attempts: 1, On: resilience.OnUnavailable, TryTimeout: 1}, Hedge: &resilience.Hedge{Delay: 1}},
			resilience.Policy{Retry: resilience.Retry{Attempts: 1, On: resilience.OnUnavailable, TryTimeout: 1}},
			resilience.Policy{Retry: resilience.Retry{Attempts: 1, On: resilience.OnUnavailable, TryTimeout: 1}}, "hedge", "retries, hedge"},
		{"abort", resilience.Policy{Fault: abort}, resilience.Policy{Fault: abort}, resilience.Policy{Fault: abort}, "", ""},
		{"slow answers", resilience.Policy{Fault: &resilience.Fault{BytesPerSecond: 1, SlowPercent: resilience.Percent(1)}},
			resilience.Policy{Fault: &resilience.Fault{BytesPerSecond: 1, SlowPercent: resilience.Percent(1)}}, resilience.Policy{}, "", "fault"},
		{"broken connections", resilience.Policy{Fault: &resilience.Fault{Break: resilience.Break{Kind: resilience.BodyReset}, BreakPercent: resilience.Percent(1)}},
			resilience.Policy{}, resilience.Policy{}, "fault", "fault"},
		{"abort, or by header", resilience.Policy{Fault: &resilience.Fault{Abort: abort.Abort, AbortPercent: abort.AbortPercent, ByHeader: true}},
			resilience.Policy{Fault: abort}, resilience.Policy{Fault: abort}, "fault", "fault"},
		{"a few faults at a time", resilience.Policy{Fault: &resilience.Fault{Delay: 1, DelayPercent: resilience.Percent(1), MaxActive: 2}},
			resilience.Policy{Fault: &resilience.Fault{Delay: 1, DelayPercent: resilience.Percent(1), MaxActive: 2}},
			resilience.Policy{Fault: &resilience.Fault{Delay: 1, DelayPercent: resilience.Percent(1), MaxActive: 2}}, "", "fault"},
		{"fallback", resilience.Policy{Fallback: &resilience.Fallback{MaxAge: 1}}, resilience.Policy{}, resilience.Policy{}, "fallback", "fallback"},
		{"bandwidth", resilience.Policy{Bandwidth: resilience.Bandwidths{Request: resilience.Bandwidth{BytesPerSecond: 1}}},
			resilience.Policy{Bandwidth: resilience.Bandwidths{Request: resilience.Bandwidth{BytesPerSecond: 1}}}, resilience.Policy{}, "", "bandwidth"},
		{"kill switches", resilience.Policy{Timeout: 1, Retry: retry, Fault: abort, Fallback: &resilience.Fallback{MaxAge: 1}, Rate: &resilience.Rate{TokenBucket: second},
			Global: &resilience.GlobalRate{}, Hedge: &resilience.Hedge{Delay: 1}, Bandwidth: resilience.Bandwidths{Request: resilience.Bandwidth{BytesPerSecond: 1}}, Off: ^resilience.Switches(0)},
			resilience.Policy{Timeout: 1}, resilience.Policy{Timeout: 1}, "", ""},
	} {
		if got, lost := Weft.limitRoute(tc.policy, allOf(), &resilience.GlobalRate{}); !reflect.DeepEqual(got, tc.policy) || len(lost) > 0 {
			t.Errorf("%s: weft is told %+v and loses %s", tc.name, got, parts(lost))
		}
		if got, lost := Envoy.limitRoute(tc.policy, allOf(), &resilience.GlobalRate{}); !reflect.DeepEqual(got, tc.envoy) || parts(lost) != tc.lostE {
			t.Errorf("%s: a proxy is told\n%s, loses %q, want\n%s and %q", tc.name, printed(got), parts(lost), printed(tc.envoy), tc.lostE)
		}
		for _, d := range []Dialect{GRPC, GRPCLeast} {
			if got, lost := d.limitRoute(tc.policy, allOf(), &resilience.GlobalRate{}); !reflect.DeepEqual(got, tc.grpc) || parts(lost) != tc.lostG {
				t.Errorf("%s: gRPC is told\n%s, loses %q, want\n%s and %q", tc.name, printed(got), parts(lost), printed(tc.grpc), tc.lostG)
			}
		}
	}
	if got, lost := Envoy.limitRoute(resilience.Policy{Global: &resilience.GlobalRate{}}, allOf(), nil); got.Global != nil || parts(lost) != "global rate limit" {
		t.Errorf("a proxy without a service to ask is told %+v and loses %s", got, parts(lost))
	}
}

func TestClustersByDialect(t *testing.T) {
	const no = unlimited
	bounds := func(connections, pending, requests, retries uint32) *[resilience.Priorities]resilience.Thresholds {
		one := resilience.Thresholds{MaxConnections: connections, MaxPending: pending, MaxRequests: requests, MaxRetries: retries}
		return &[...]resilience.Thresholds{one, one}
	}
	rates := &balancer.Outlier{SuccessRate: &balancer.SuccessRate{}, Enforcing5xx: new(uint32(0)), EnforcingGateway: new(uint32(0)), EnforcingLocalOrigin: new(uint32(0))}
	both := &balancer.Outlier{FailurePercentage: &balancer.FailurePercentage{}}
	said := func(parts ...Part) Origins {
		from := Origins{}
		for _, p := range parts {
			from[p] = []Origin{{Field: string(p)}}
		}
		return from
	}
	for _, tc := range []struct {
		name         string
		cluster      resolver.Cluster
		from         Origins
		envoy, grpc  resolver.Cluster
		lostE, lostG string
	}{
		{"limits", resolver.Cluster{Thresholds: bounds(1, 2, 3, 4)}, said(MaxConnections, MaxPending, MaxRequests, MaxRetries),
			resolver.Cluster{Thresholds: bounds(1, 2, 3, 4)}, resolver.Cluster{Thresholds: bounds(1, 2, 3, 4)}, "", "connections, calls waiting, retries in flight"},
		{"no limits", resolver.Cluster{Thresholds: bounds(no, no, no, no)}, nil, resolver.Cluster{Thresholds: bounds(no, no, no, no)}, resolver.Cluster{}, "", ""},
		{"limits turned off", resolver.Cluster{Thresholds: bounds(1, 2, 3, 4), Off: resilience.NoThresholds}, nil,
			resolver.Cluster{Thresholds: bounds(no, no, no, no)}, resolver.Cluster{Thresholds: bounds(no, no, no, no)}, "", ""},
		{"random", resolver.Cluster{Balance: balancer.Policy{Kind: balancer.Random}}, said(Balance), resolver.Cluster{Balance: balancer.Policy{Kind: balancer.Random}},
			resolver.Cluster{Balance: balancer.Policy{Kind: balancer.RoundRobin}}, "", "balance"},
		{"least request", resolver.Cluster{Balance: balancer.Policy{Kind: balancer.LeastRequest}}, said(Balance), resolver.Cluster{Balance: balancer.Policy{Kind: balancer.LeastRequest}},
			resolver.Cluster{Balance: balancer.Policy{Kind: balancer.RoundRobin}}, "", "balance"},
		{"time to connect", resolver.Cluster{ConnectTimeout: 1}, said(ConnectTime), resolver.Cluster{ConnectTimeout: 1}, resolver.Cluster{}, "", "connect timeout"},
		{"budget", resolver.Cluster{Budget: &resilience.Budget{Percent: 1}}, said(Budget), resolver.Cluster{Budget: &resilience.Budget{Percent: 1}}, resolver.Cluster{}, "", "retry budget"},
		{"budget with a least rate", resolver.Cluster{Budget: &resilience.Budget{Percent: 1, MinRate: 2}}, said(Budget),
			resolver.Cluster{Budget: &resilience.Budget{Percent: 1}}, resolver.Cluster{}, "retry budget", "retry budget"},
		{"outliers in a row", resolver.Cluster{Outlier: &balancer.Outlier{}}, said(Outlier), resolver.Cluster{Outlier: &balancer.Outlier{}}, resolver.Cluster{}, "", "outlier detection"},
		{"outliers by rate", resolver.Cluster{Outlier: rates}, said(Outlier), resolver.Cluster{Outlier: rates}, resolver.Cluster{Outlier: rates}, "", ""},
		{"outliers both ways", resolver.Cluster{Outlier: both}, said(Outlier), resolver.Cluster{Outlier: both}, resolver.Cluster{Outlier: both}, "", "outlier detection"},
		{"breakers", resolver.Cluster{Breaker: &resilience.Trip{}, HostBreaker: &resilience.Trip{}}, said(Breaker, HostBreaker),
			resolver.Cluster{}, resolver.Cluster{}, "breaker, host breaker", "breaker, host breaker"},
		{"admission", resolver.Cluster{Admission: &resilience.Admission{}}, said(Admission), resolver.Cluster{Admission: &resilience.Admission{}}, resolver.Cluster{}, "", "admission"},
		{"kill switches", resolver.Cluster{Budget: &resilience.Budget{}, Outlier: both, Breaker: &resilience.Trip{}, HostBreaker: &resilience.Trip{}, Admission: &resilience.Admission{},
			Off: ^resilience.NoThresholds}, nil, resolver.Cluster{}, resolver.Cluster{}, "", ""},
	} {
		if got, lost := Weft.limitCluster(tc.cluster, tc.from); !reflect.DeepEqual(got, tc.cluster) || len(lost) > 0 {
			t.Errorf("%s: weft is told %+v and loses %s", tc.name, got, parts(lost))
		}
		if got, lost := Envoy.limitCluster(tc.cluster, tc.from); !reflect.DeepEqual(got, tc.envoy) || parts(lost) != tc.lostE {
			t.Errorf("%s: a proxy is told\n%s, loses %q, want\n%s and %q", tc.name, printed(got), parts(lost), printed(tc.envoy), tc.lostE)
		}
		if got, lost := GRPC.limitCluster(tc.cluster, tc.from); !reflect.DeepEqual(got, tc.grpc) || parts(lost) != tc.lostG {
			t.Errorf("%s: gRPC is told\n%s, loses %q, want\n%s and %q", tc.name, printed(got), parts(lost), printed(tc.grpc), tc.lostG)
		}
	}
}

func TestDefaultsAreLostByNobody(t *testing.T) {
	for _, d := range []Dialect{Envoy, GRPC, GRPCLeast} {
		p := publisher(t, shop)
		var told []Loss
		p.config.Lost = func(l Loss) { told = append(told, l) }
		if _, err := p.View(Client{Dialect: d, Namespace: "shop"}).Service("ledger"); d != Envoy && err != nil {
			t.Fatal(err)
		}
		if len(told) > 0 || len(p.Lost()) > 0 {
			t.Errorf("%v: %v", d, told)
		}
	}
}

func TestLossesAreToldOnceOfAView(t *testing.T) {
	p := publisher(t, bounded)
	var told []Loss
	p.config.Lost = func(l Loss) { told = append(told, l) }
	for range 2 {
		for _, d := range []Dialect{GRPC, Weft} {
			if _, err := p.View(Client{Dialect: d, Namespace: "shop"}).Service("payments:80"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := parts(told), "retry budget, connect timeout, balance, connections, calls waiting, retries in flight, outlier detection"; got != want {
		t.Errorf("told of %s, want %s", got, want)
	}
	slices.SortFunc(told, compareLosses)
	if !slices.Equal(told, p.Lost()) {
		t.Errorf("%v, want %v", p.Lost(), told)
	}
	const text = "test.yaml:22: DestinationRule/shop/payments: spec.trafficPolicy.outlierDetection: gRPC's own client ejects hosts for their rate of failures only, not for failures in a row"
	if last := told[slices.IndexFunc(told, func(l Loss) bool { return l.Part == Outlier })].String(); last != text {
		t.Errorf("%q, want %q", last, text)
	}
}

func TestProxiesAskTheSameWayForAllLimits(t *testing.T) {
	limit := func(name, how string) string {
		return "\n---\napiVersion: weft.dev/v1\nkind: TrafficPolicy\nmetadata: {name: " + name + ", namespace: shop}\n" +
			"spec: {target: {service: " + name + "}, client: {globalRateLimit: {limits: [{requests: 1, per: 1s}]" + how + "}}}\n"
	}
	for _, tc := range []struct {
		yaml string
		want resilience.GlobalRate
		lost string // to the calls of payments
	}{
		{limit("payments", ""), resilience.GlobalRate{Timeout: 20 * time.Millisecond}, ""},
		{limit("payments", "") + limit("ledger", ", timeout: 5ms"), resilience.GlobalRate{Timeout: 20 * time.Millisecond}, ""},
		{limit("payments", ", failClosed: true, timeout: 1s"), resilience.GlobalRate{Timeout: time.Second, Lease: resilience.Lease{Closed: true}}, ""},
		{limit("payments", ", failClosed: true, timeout: 1s") + limit("ledger", ", timeout: 2s"), resilience.GlobalRate{Timeout: 2 * time.Second}, "global rate limit, global rate limit"},
		{limit("payments", ", timeout: 1s") + limit("ledger", ", failClosed: true"), resilience.GlobalRate{Timeout: time.Second}, ""},
	} {
		p := publisher(t, bounded+tc.yaml)
		p.config.RateLimits = "10.9.9.9:18000"
		v := p.View(Client{Dialect: Envoy, Namespace: "shop", Listen: "127.0.0.1:15001"})
		l, _ := v.Listener(sidecarListener)
		tc.want.Domain = "weft"
		if l.Global == nil || !reflect.DeepEqual(l.Global.GlobalRate, tc.want) {
			t.Errorf("%s: %+v, want %+v", tc.yaml, l.Global, tc.want)
		}
		if got := parts(v.Beyond(Envoy, v.Routes("payments:80")[0])); got != tc.lost {
			t.Errorf("%s: loses %q, want %q", tc.yaml, got, tc.lost)
		}
	}
}
