package explain_test

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/explain"
	"github.com/weftmesh/weft/controlserver/publish"
)

const shop = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payments, namespace: shop}
spec:
  hosts: [payments.shop.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payments, namespace: shop}
spec:
  hosts: [payments]
  http:
  - route: [{destination: {host: payments}}]
    timeout: 10s
    retries: RETRIES
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payments, namespace: shop}
spec: {host: payments, trafficPolicy: {loadBalancer: {simple: RANDOM}, POLICY}}
`

// answer is what is said of a call of http://payments/.
func answer(t *testing.T, text string) string {
	t.Helper()
	objects, findings := catalog.Parse("f", []byte(text))
	for _, f := range findings {
		if f.Severity == catalog.Error {
			t.Fatal(f)
		}
	}
	v := publish.New(catalog.Merge(catalog.Fragment{Objects: objects}), publish.Config{}).View(publish.Client{Namespace: "shop"})
	a, err := explain.Explain(v, explain.Request{URL: &url.URL{Host: "payments", Path: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	a.Print(&b)
	return b.String()
}

func TestPoliciesInWords(t *testing.T) {
	const (
		timeout, retries = "  timeout: 10s  [VirtualService/shop/payments at f:18]", "  retries: "
		ofRetries        = "  [VirtualService/shop/payments at f:19]"
		ofRule           = "  [DestinationRule/shop/payments at f:24]"
	)
	for _, tc := range []struct {
		retries, policy string
		said            string   // of retries
		want            []string // of the cluster
	}{
		{"{attempts: 0}", "connectionPool: {tcp: {connectTimeout: 10s}}", "none", nil},
		{`{attempts: 3, perTryTimeout: 2s, retryOn: "cancelled,503,reset,429", backoff: 50ms, retryRemoteLocalities: true}`,
			"connectionPool: {tcp: {maxConnections: 100, connectTimeout: 3s}, http: {http1MaxPendingRequests: 20, http2MaxRequests: 30, maxRetries: 5}}",
			"up to 3 on cancelled,reset,503,429, 2s a try, in other localities first, pauses from 50ms on",
			[]string{"connect timeout: 3s", "connections: 100", "calls waiting: 20", "calls in flight: 30", "retries in flight: 5"}},
		{"{attempts: 1, retryOn: retriable-status-codes}", "connectionPool: {http: {maxRetries: 5}}, retryBudget: {percent: 12.5}",
			"up to 1 on nothing", []string{"retry budget: 12.5 % of the calls in flight, at least 3"}},
		{"{attempts: 0}", "retryBudget: {minRetryConcurrency: 5, budgetInterval: 10s}", "none", []string{"retry budget: 20 % of the calls of each 10s, at least 5"}},
		{"{attempts: 2}", "outlierDetection: {}", "up to 2 on connect-failure,refused-stream,unavailable,cancelled", []string{
			"outlier detection: after 5 errors in a row a host is out for 30s times how often it was, at most 10 % of hosts (or one); looked at every 10s"}},
		{"{attempts: 0}", "outlierDetection: {consecutive5xxErrors: 7, consecutiveGatewayErrors: 4, splitExternalLocalOriginErrors: true, " +
			"consecutiveLocalOriginFailures: 6, interval: 5s, baseEjectionTime: 45s, maxEjectionPercent: 33, minHealthPercent: 20}", "none", []string{
			"outlier detection: after 7 errors or 4 gateway errors or 6 calls without an answer in a row a host is out for 45s times how often it was, " +
				"at most 33 % of hosts (or one); looked at every 5s; with less than 20 % left all are used"}},
		{"{attempts: 0}", "outlierDetection: {consecutive5xxErrors: 0}", "none", []string{"outlier detection: ejects nothing"}},
	} {
		got, _, _ := strings.Cut(answer(t, strings.NewReplacer("RETRIES", tc.retries, "POLICY", tc.policy).Replace(shop)), "  lost where")
		want := []string{"> route #1: yes: matches every request", timeout, retries + tc.said + ofRetries,
			"  cluster outbound|80||payments.shop.svc.cluster.local: 100 %, RANDOM, 1 endpoint"}
		for _, line := range tc.want {
			want = append(want, "    "+line+ofRule)
		}
		want = append(want, "    10.0.0.1:80", "    may call 10.0.0.1:80: yes: no policy holds for them", "")
		if got != strings.Join(want, "\n") {
			t.Errorf("got\n%swant\n%s", got, strings.Join(want, "\n"))
		}
	}
}

const everything = `
---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: payments, namespace: shop}
spec:
  target: {service: payments}
  client:
    rateLimit: {requests: 100, per: 1s, burst: 200, limits: [{match: {method: POST}, by: ["header:x-user"], requests: 10, per: 1s}], common: others}
    globalRateLimit: {limits: [{by: ["header:x-tenant"], requests: 1000, per: 60s}]}
    hedge: {delay: 50ms, percentile: 95}
    breaker: {percent: 50}
    hostBreaker: {failures: 5}
    admission: {}
    fallback: {maxAge: 1m, answer: {httpStatus: 200, body: "{}"}}
    fault: {delay: {duration: 1s, percent: 2}, connection: {break: resetBody, after: 1KiB, percent: 1}}
    bandwidth: {response: {bytesPerSecond: 1MiB}}
    idleTimeout: 90m
  server:
    rateLimit: {limits: [{by: [caller], requests: 50, per: 1s}]}
    globalRateLimit: {limits: [{requests: 5000, per: 1s}], failClosed: true}
    concurrency: {max: 100}
    shedding: {}
    lateness: {tolerance: 5ms}
    healthPaths: [/ready]
---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: kill, namespace: istio-system}
spec:
  disable: [hedges, shedding, admission]
`

func TestEveryPolicyIsSaidWithWhereItIsConfiguredAndWhoLosesIt(t *testing.T) {
	got := answer(t, strings.NewReplacer("RETRIES", "{attempts: 1}", "POLICY", "retryBudget: {}").Replace(shop)+everything)
	const policy = "  [TrafficPolicy/shop/payments at f:"
	want := `> route #1: yes: matches every request
  fault: 2 % are held back for 1s, 1 % have the body reset in its middle` + policy + `40]
  rate limit: 10 calls in 1s with method "POST", for each header:x-user; 100 calls in 1s and 200 at once of the others` + policy + `33]
  global rate limit: 1000 calls in 1m for each header:x-tenant, of all processes together` + policy + `34]
  timeout: 10s  [VirtualService/shop/payments at f:18]
  idle timeout: 1h30m` + policy + `42]
  retries: up to 1 on connect-failure,refused-stream,unavailable,cancelled  [VirtualService/shop/payments at f:19]
  hedge: a further try when an answer takes longer than 95 % do (50ms until that is known), 1 more at most, turned off` + policy + `35]
  bandwidth: 1 MiB of answers a second` + policy + `41]
  fallback: the last good answer of the last 1m, else HTTP 200` + policy + `39]
  turned off: hedges  [TrafficPolicy/istio-system/kill at f:55]
  cluster outbound|80||payments.shop.svc.cluster.local: 100 %, RANDOM, 1 endpoint
    admission: calls are refused, 80 % of them at most, when less than 95 % succeed over 30s, turned off` + policy + `38]
    breaker: opens for 5s after 50 % of at least 20 calls in 10s failed` + policy + `36]
    retry budget: 20 % of the calls in flight, at least 3  [DestinationRule/shop/payments at f:24]
    host breaker: opens for 5s after 5 failures in a row` + policy + `37]
    turned off: admission  [TrafficPolicy/istio-system/kill at f:55]
    10.0.0.1:80
    may call 10.0.0.1:80: yes: no policy holds for them
    its servers, as far as they are the mesh's library's:
      rate limit: 50 calls in 1s for each caller` + policy + `44]
      global rate limit: 5000 calls in 1s, of all processes together; calls are refused while the control server can't be asked` + policy + `45]
      concurrency: 100 calls in flight at most` + policy + `46]
      shedding: calls beyond that wait for 100ms, or 5ms when the queue has not drained for that long; the least critical ones for less, turned off` + policy + `47]
      late work: work is refused when its deadline has passed for 5ms, 20 % of the calls at most` + policy + `48]
      health checks: /ready` + policy + `49]
      turned off: shedding  [TrafficPolicy/istio-system/kill at f:55]
  lost where the caller is a proxy (Envoy):
    fallback: a proxy has no fallback` + policy + `39]
    fault: a proxy does not break connections on purpose` + policy + `40]
    breaker: a proxy has no breaker of a cluster` + policy + `36]
    host breaker: a proxy has no breaker of a host` + policy + `37]
  lost where the caller is gRPC's own client:
`
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for _, lost := range []string{"rate limit", "global rate limit", "fallback", "fault", "idle timeout", "bandwidth", "breaker", "host breaker", "retry budget"} {
		if !strings.Contains(got[len(want):], "    "+lost+": gRPC's own client") {
			t.Errorf("that gRPC loses %s is not said", lost)
		}
	}
	if rest := got[len(want):]; strings.Contains(rest, "hedge") || strings.Contains(rest, "admission") {
		t.Errorf("what is turned off is lost to nobody:\n%s", rest)
	}
}
