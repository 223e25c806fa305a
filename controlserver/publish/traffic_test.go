package publish

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/resilience"
)

const bounded = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payments, namespace: shop}
spec:
  hosts: [payments.shop.svc.cluster.local]
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: HTTP}
  - {number: 81, name: other, protocol: HTTP}
  - {number: 82, name: third, protocol: GRPC}
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payments, namespace: shop}
spec:
  host: payments
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    connectionPool: {tcp: {maxConnections: 7, connectTimeout: 3s}, http: {http2MaxRequests: 30, http1MaxPendingRequests: 20, maxRetries: 5}}
    outlierDetection: {consecutive5xxErrors: 0, interval: 1s, maxEjectionPercent: 0}
    retryBudget: {percent: 0}
    portLevelSettings:
    - {port: {number: 81}, connectionPool: {http: {maxRetries: 9}}}
  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy:
      outlierDetection: {consecutiveErrors: 3}
      retryBudget: {minRetryConcurrency: 8}
      portLevelSettings:
      - {port: {number: 82}, outlierDetection: {splitExternalLocalOriginErrors: true, minHealthPercent: 50}}
`

func TestBlocksOfPortsAndSubsetsTakeThePlaceOfOthers(t *testing.T) {
	const no = unlimited
	full := resilience.Thresholds{MaxConnections: 7, MaxPending: 20, MaxRequests: 30, MaxRetries: 5}
	none := resilience.Thresholds{MaxConnections: no, MaxPending: no, MaxRequests: no, MaxRetries: no}
	retries := resilience.Thresholds{MaxConnections: no, MaxPending: no, MaxRequests: no, MaxRetries: 9}
	old := &balancer.Outlier{ConsecutiveGateway: new(uint32(3)), EnforcingGateway: new(uint32(100)), Enforcing5xx: new(uint32(0))}
	v := publisher(t, bounded).View(Client{Namespace: "shop"})
	for _, tc := range []struct {
		cluster string
		balance balancer.Kind
		limits  resilience.Thresholds
		connect time.Duration
		outlier *balancer.Outlier
		budget  resilience.Budget
	}{
		{"outbound|80|", balancer.Random, full, 3 * time.Second,
			&balancer.Outlier{Interval: time.Second, Consecutive5xx: new(uint32(0)), Enforcing5xx: new(uint32(0))}, resilience.Budget{MinConcurrent: 3}},
		// What the port leaves out does not hold for it, but what cannot be set by port does.
		{"outbound|81|", balancer.LeastRequest, retries, 10 * time.Second, nil, resilience.Budget{MinConcurrent: 3}},
		{"outbound|80|v1", balancer.Random, full, 3 * time.Second, old, resilience.Budget{Percent: 20, MinConcurrent: 8}},
		{"outbound|81|v1", balancer.LeastRequest, retries, 10 * time.Second, old, resilience.Budget{Percent: 20, MinConcurrent: 8}},
		{"outbound|82|v1", balancer.LeastRequest, none, 10 * time.Second,
			&balancer.Outlier{SplitLocalOrigin: true, MinHealthPercent: 50}, resilience.Budget{Percent: 20, MinConcurrent: 8}},
	} {
		c, ok := v.Cluster(tc.cluster + "|payments.shop.svc.cluster.local")
		if !ok {
			t.Fatalf("no %s", tc.cluster)
		}
		if c.Balance.Kind != tc.balance || *c.Thresholds != [...]resilience.Thresholds{tc.limits, tc.limits} || c.ConnectTimeout != tc.connect ||
			!reflect.DeepEqual(c.Outlier, tc.outlier) || c.Budget == nil || *c.Budget != tc.budget {
			t.Errorf("%s: %s", tc.cluster, printed(c.Cluster))
		}
	}
}

func TestGRPCIsToldOnlyTheLimitItHas(t *testing.T) {
	p := publisher(t, bounded)
	for _, dialect := range []Dialect{GRPC, GRPCLeast} {
		v := p.View(Client{Dialect: dialect, Namespace: "shop"})
		c, _ := v.Cluster("outbound|80||payments.shop.svc.cluster.local")
		if c.Thresholds == nil || c.Thresholds[resilience.DefaultPriority].MaxRequests != 30 {
			t.Errorf("%v: thresholds %+v", dialect, c.Thresholds)
		}
		if c.Outlier != nil || c.Budget != nil || c.ConnectTimeout != 0 {
			t.Errorf("%v: %s", dialect, printed(c.Cluster))
		}
		// gRPC has its own default, which istiod leaves to it.
		if c, _ := v.Cluster("outbound|81||payments.shop.svc.cluster.local"); c.Thresholds != nil {
			t.Errorf("%v: without a limit %+v", dialect, c.Thresholds)
		}
	}
}

func TestRetriesOfARule(t *testing.T) {
	for _, tc := range []struct {
		retries string
		want    resilience.Retry
	}{
		{"{attempts: 0}", resilience.Retry{}},
		{"{attempts: 7}", resilience.Retry{Attempts: 7, On: defaultRetry.On}},
		{"{attempts: 1, backoff: 50ms, perTryTimeout: 2s}", resilience.Retry{Attempts: 1, On: defaultRetry.On, Base: 50 * time.Millisecond, TryTimeout: 2 * time.Second}},
		{"{attempts: 1, retryOn: reset, retryRemoteLocalities: true}", resilience.Retry{Attempts: 1, On: resilience.OnReset, OtherLocalities: true}},
		{"{attempts: 1, retryOn: reset, retryRemoteLocalities: false}", resilience.Retry{Attempts: 1, On: resilience.OnReset}},
		{"{attempts: 1, retryOn: reset}", resilience.Retry{Attempts: 1, On: resilience.OnReset}},
		{`{attempts: 1, retryOn: "503,5xx,503,429"}`, resilience.Retry{Attempts: 1, On: resilience.On5xx | resilience.OnRetriableStatusCodes,
			Answers: &resilience.Answers{Statuses: []int{503, 429}}}},
	} {
		yaml := bounded + "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: p, namespace: shop}\nspec:\n  hosts: [payments]\n  http:\n" +
			"  - route: [{destination: {host: payments}}]\n    retries: " + tc.retries + "\n"
		s, err := publisher(t, yaml).View(Client{Namespace: "shop"}).Service("payments:80")
		if err != nil {
			t.Fatal(err)
		}
		if got := s.VirtualHosts[0].Routes[0].Policy.Retry; !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v, want %+v", tc.retries, got, tc.want)
		}
	}
}

func TestCatalogKnowsEveryCondition(t *testing.T) {
	const head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: p}\nspec:\n  hosts: [a]\n  http:\n"
	for name := range strings.SplitSeq((^resilience.Conditions(0)).String(), ",") {
		text := head + "  - route: [{destination: {host: a}}]\n    retries: {attempts: 1, retryOn: " + name + "}\n"
		if objects, findings := catalog.Parse("f", []byte(text)); len(objects) != 1 {
			t.Error(findings)
		}
	}
	// And no other: what it lists for a word like none of them is what the library parses.
	_, findings := catalog.Parse("f", []byte(head+"  - route: [{destination: {host: a}}]\n    retries: {attempts: 1, retryOn: whatever-else-there-may-be}\n"))
	if len(findings) != 1 {
		t.Fatal(findings)
	}
	_, list, _ := strings.Cut(findings[0].Message, "HTTP statuses and ")
	if all, unknown := resilience.ParseConditions(list); len(unknown) > 0 || all.String() != (^resilience.Conditions(0)).String() {
		t.Errorf("%q: unknown %q", list, unknown)
	}
}
