package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
)

// destination is a DestinationRule with one block in its traffic policy, on line 7.
func destination(block string) string {
	return "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d, namespace: demo}\nspec:\n  host: a\n  trafficPolicy:\n    " + block + "\n"
}

// retries is a VirtualService with one rule, whose retries stand on line 7.
func retries(text string) string {
	return rule("retries: {" + text + "}\n    route: [{destination: {host: a}}]")
}

func TestPolicyFindings(t *testing.T) {
	const (
		at     = " f:7: VirtualService/demo/v: spec.http[0].retries"
		rule   = " f:7: DestinationRule/demo/d: spec.trafficPolicy."
		pool   = rule + "connectionPool."
		eject  = rule + "outlierDetection."
		budget = rule + "retryBudget."
	)
	for _, tc := range []struct {
		name, text string
		want       []string // all findings
	}{
		{"all of retries", retries(`attempts: 3, perTryTimeout: 2s, backoff: 50ms, retryIgnorePreviousHosts: true, retryOn: "5xx,gateway-error,reset,reset-before-request,connect-failure,retriable-4xx,refused-stream,envoy-ratelimited, cancelled,deadline-exceeded,internal,resource-exhausted,unavailable,retriable-status-codes,503"`), nil},
		{"remote localities", retries("attempts: 1, retryRemoteLocalities: true"), []string{"warning" + at + ".retryRemoteLocalities: not supported yet"}},
		{"hosts tried", retries("attempts: 1, retryIgnorePreviousHosts: false"),
			[]string{"warning" + at + ".retryIgnorePreviousHosts: false is not supported yet: a retry goes to a host that was not tried where there is one"}},
		{"negative attempts", retries("attempts: -1"), []string{"error" + at + ".attempts: must not be negative"}},
		{"attempts overflow", retries("attempts: 4294967296"), []string{"error" + at + ".attempts: 4294967296 is out of range: -2147483648 to 2147483647"}},
		{"off, and more", retries("attempts: 0, perTryTimeout: 1s"), []string{"error" + at + ": attempts is 0, which turns retries off, and more is set"}},
		{"no time for a try", retries("attempts: 1, perTryTimeout: 0s"), []string{"error" + at + ".perTryTimeout: 0s is shorter than 1ms"}},
		{"negative time for a try", retries("attempts: 1, perTryTimeout: -1s"), []string{"error" + at + ".perTryTimeout: -1s is shorter than 1ms"}},
		{"time overflows", retries("attempts: 1, perTryTimeout: 9999999h"), []string{"error" + at + `.perTryTimeout: "9999999h" is not a duration such as "1.5s" or "2m"`}},
		{"a try as long as the call", strings.Replace(retries("attempts: 1, perTryTimeout: 1s"), "- retries", "- timeout: 1s\n    retries", 1),
			[]string{"warning f:8: VirtualService/demo/v: spec.http[0].retries.perTryTimeout: 1s has no effect: the timeout of the call is 1s"}},
		{"no pause", retries("attempts: 1, backoff: 0ms"), []string{"error" + at + ".backoff: 0s is shorter than 1ms"}},
		{"too fine a pause", retries("attempts: 1, backoff: 1500us"), []string{"error" + at + ".backoff: 1.5ms is finer than a millisecond"}},
		{"misspelt condition", retries("attempts: 1, retryOn: gateway-eror"), []string{"error" + at + `.retryOn: unknown condition "gateway-eror"; did you mean "gateway-error"?`}},
		{"condition in capitals", retries("attempts: 1, retryOn: 5XX"), []string{"error" + at + `.retryOn: unknown condition "5XX"; did you mean "5xx"?`}},
		{"no condition", retries(`attempts: 1, retryOn: "reset,"`), []string{"error" + at + ".retryOn: a condition is empty"}},
		{"no status", retries(`attempts: 1, retryOn: "599"`), []string{"error" + at + ".retryOn: 599 is not an HTTP status"}},
		{"statuses missing", retries("attempts: 1, retryOn: retriable-status-codes"),
			[]string{"warning" + at + `.retryOn: "retriable-status-codes" never holds without statuses beside it, such as 503`}},
		{"headers missing", retries("attempts: 1, retryOn: retriable-headers"),
			[]string{"warning" + at + `.retryOn: "retriable-headers" never holds: a VirtualService cannot name the headers`}},
		{"HTTP/3", retries("attempts: 1, retryOn: http3-post-connect-failure"),
			[]string{"warning" + at + `.retryOn: "http3-post-connect-failure" never holds: nothing is sent by HTTP/3`}},

		{"what is served of a pool", destination("connectionPool: {tcp: {connectTimeout: 3s}, http: {http2MaxRequests: 1, maxRetries: 1}}"), nil},
		{"what sidecars alone obey", destination("connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"), []string{
			"warning" + pool + "tcp.maxConnections: not supported yet", "warning" + pool + "http.http1MaxPendingRequests: not supported yet"}},
		{"rest of a pool", destination("connectionPool: {tcp: {tcpKeepalive: {time: 1s}}, http: {maxRequestsPerConnection: 0}}"), []string{
			"warning" + pool + "tcp.tcpKeepalive: not supported yet", "warning" + pool + "http.maxRequestsPerConnection: not supported yet"}},
		{"limits of 0", destination("connectionPool: {http: {http2MaxRequests: 0, maxRetries: 0}}"), []string{
			"warning" + pool + "http.http2MaxRequests: 0 is no limit (Istio); the least that can be asked for is 1",
			"warning" + pool + "http.maxRetries: 0 is no limit (Istio); the least that can be asked for is 1"}},
		{"negative limits", destination("connectionPool: {tcp: {maxConnections: -1}, http: {http1MaxPendingRequests: -1, maxRetries: -1}}"), []string{
			"warning" + pool + "tcp.maxConnections: not supported yet",
			"warning" + pool + "http.http1MaxPendingRequests: not supported yet",
			"error" + pool + "tcp.maxConnections: must not be negative",
			"error" + pool + "http.http1MaxPendingRequests: must not be negative",
			"error" + pool + "http.maxRetries: must not be negative"}},
		{"limit overflows", destination("connectionPool: {http: {http2MaxRequests: 2147483648}}"),
			[]string{"error" + pool + "http.http2MaxRequests: 2147483648 is out of range: -2147483648 to 2147483647"}},
		{"no time to connect", destination("connectionPool: {tcp: {connectTimeout: -3s}}"), []string{"error" + pool + "tcp.connectTimeout: -3s is shorter than 1ms"}},

		{"all of outlier detection", destination("outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 4, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 6, interval: 5s, baseEjectionTime: 45s, maxEjectionPercent: 33, minHealthPercent: 20}"), nil},
		{"codes", destination("outlierDetection: {outlierDetectionHttpErrorCodes: [500]}"), []string{"warning" + eject + "outlierDetectionHttpErrorCodes: not supported yet"}},
		{"the old field", destination("outlierDetection: {consecutiveErrors: -1}"), []string{"error" + eject + "consecutiveErrors: must not be negative"}},
		{"zeros", destination("outlierDetection: {maxEjectionPercent: 0, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 0}"), []string{
			"warning" + eject + "maxEjectionPercent: 0 means the default, 10 (Istio)",
			"warning" + eject + "consecutiveLocalOriginFailures: 0 means the default, 5 (Istio)"}},
		{"more than all", destination("outlierDetection: {maxEjectionPercent: 101, minHealthPercent: 101}"), []string{
			"error" + eject + "maxEjectionPercent: 101 is out of range: 0 to 100", "error" + eject + "minHealthPercent: 101 is out of range: 0 to 100"}},
		{"negative errors", destination("outlierDetection: {consecutive5xxErrors: -1}"), []string{"error" + eject + "consecutive5xxErrors: -1 is out of range: 0 to 4294967295"}},
		{"times of 0", destination("outlierDetection: {interval: 0s, baseEjectionTime: 0s}"), []string{
			"error" + eject + "interval: 0s is shorter than 1ms", "error" + eject + "baseEjectionTime: 0s is shorter than 1ms"}},

		{"budget", destination("retryBudget: {percent: 12.5, minRetryConcurrency: 2}"), nil},
		{"budget of an interval", destination("retryBudget: {budgetInterval: 1s}"), []string{"warning" + budget + "budgetInterval: not supported yet"}},
		{"more retries than calls", destination("retryBudget: {percent: 101}"), []string{"error" + budget + "percent: 101 is out of range: 0 to 100"}},
		{"no number", destination("retryBudget: {percent: .nan}"), []string{"error" + budget + `percent: must be a number, not ".nan"`}},
		{"endless", destination("retryBudget: {percent: 1e999}"), []string{"error" + budget + `percent: must be a number, not "1e999"`}},
		{"negative concurrency", destination("retryBudget: {minRetryConcurrency: -3}"), []string{"error" + budget + "minRetryConcurrency: -3 is out of range: 0 to 4294967295"}},
		{"concurrency of 0", destination("retryBudget: {minRetryConcurrency: 0}"), []string{"warning" + budget + "minRetryConcurrency: 0 means the default, 3 (Istio)"}},

		{"of a port of a subset", strings.Replace(destination("x"), "  trafficPolicy:\n    x",
			"  subsets: [{name: v1, trafficPolicy: {portLevelSettings: [{port: {number: 80},\n    connectionPool: {http: {maxRetries: 0, idleTimeout: 1s}}, outlierDetection: {interval: 1s}}]}}]", 1), []string{
			"warning f:7: DestinationRule/demo/d: spec.subsets[0].trafficPolicy.portLevelSettings[0].connectionPool.http.maxRetries: 0 is no limit (Istio); the least that can be asked for is 1",
			"warning f:7: DestinationRule/demo/d: spec.subsets[0].trafficPolicy.portLevelSettings[0].connectionPool.http.idleTimeout: not supported yet"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects, findings := catalog.Parse("f", []byte(tc.text))
			if got := strs(findings); !slices.Equal(got, tc.want) {
				t.Errorf("findings\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tc.want, "\n     "))
			}
			refused := slices.ContainsFunc(findings, func(f catalog.Finding) bool { return f.Severity == catalog.Error })
			if refused == (len(objects) == 1) {
				t.Errorf("refused %v, and there are %d objects", refused, len(objects))
			}
		})
	}
}
