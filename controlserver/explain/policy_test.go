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

func TestPoliciesInWords(t *testing.T) {
	const limits, budget, eject = "    limits: ", "    retry budget: ", "    outlier detection: "
	for _, tc := range []struct {
		retries, policy string
		want            []string // what is said of the policies, by line
	}{
		{"{attempts: 0}", "connectionPool: {tcp: {connectTimeout: 10s}}", []string{"  policy: timeout 10s, no retries"}},
		{`{attempts: 3, perTryTimeout: 2s, retryOn: "cancelled,503,reset,429", backoff: 50ms}`,
			"connectionPool: {tcp: {maxConnections: 100, connectTimeout: 3s}, http: {http1MaxPendingRequests: 20, http2MaxRequests: 30, maxRetries: 5}}", []string{
				"  policy: timeout 10s, up to 3 retries on cancelled,reset,503,429, 2s a try, pauses from 50ms on",
				limits + "3s to connect, 100 connections, 20 calls waiting, 30 calls in flight, 5 retries in flight"}},
		{"{attempts: 1, retryOn: retriable-status-codes}", "connectionPool: {http: {maxRetries: 5}}, retryBudget: {percent: 12.5}", []string{
			"  policy: timeout 10s, up to 1 retries on nothing",
			budget + "12.5 % of the calls in flight, at least 3"}},
		{"{attempts: 2}", "outlierDetection: {}", []string{
			"  policy: timeout 10s, up to 2 retries on connect-failure,refused-stream,unavailable,cancelled",
			eject + "after 5 errors in a row a host is out for 30s times how often it was, at most 10 % of hosts (or one); looked at every 10s"}},
		{"{attempts: 0}", "outlierDetection: {consecutive5xxErrors: 7, consecutiveGatewayErrors: 4, splitExternalLocalOriginErrors: true, " +
			"consecutiveLocalOriginFailures: 6, interval: 5s, baseEjectionTime: 45s, maxEjectionPercent: 33, minHealthPercent: 20}", []string{
			"  policy: timeout 10s, no retries",
			eject + "after 7 errors or 4 gateway errors or 6 calls without an answer in a row a host is out for 45s times how often it was, " +
				"at most 33 % of hosts (or one); looked at every 5s; with less than 20 % left all are used"}},
		{"{attempts: 0}", "outlierDetection: {consecutive5xxErrors: 0}", []string{"  policy: timeout 10s, no retries", eject + "ejects nothing"}},
	} {
		text := strings.NewReplacer("RETRIES", tc.retries, "POLICY", tc.policy).Replace(shop)
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
		want := []string{"> route #1: yes: matches every request", tc.want[0], "  cluster outbound|80||payments.shop.svc.cluster.local: 100 %, RANDOM, 1 endpoint"}
		want = append(append(want, tc.want[1:]...), "    10.0.0.1:80", "")
		if b.String() != strings.Join(want, "\n") {
			t.Errorf("got\n%swant\n%s", b.String(), strings.Join(want, "\n"))
		}
	}
}
