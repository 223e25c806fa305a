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

// faulty is a VirtualService with one rule, whose fault stands on line 7.
func faulty(text string) string {
	return rule("fault: {" + text + "}\n    route: [{destination: {host: a}}]")
}

func TestPolicyFindings(t *testing.T) {
	const (
		at     = " f:7: VirtualService/demo/v: spec.http[0].retries"
		fault  = " f:7: VirtualService/demo/v: spec.http[0].fault."
		rule   = " f:7: DestinationRule/demo/d: spec.trafficPolicy."
		pool   = rule + "connectionPool."
		eject  = rule + "outlierDetection."
		budget = rule + "retryBudget."
	)
	for _, tc := range []struct {
		name, text string
		want       []string // all findings
	}{
		{"all of retries", retries(`attempts: 3, perTryTimeout: 2s, backoff: 50ms, retryIgnorePreviousHosts: true, retryOn: "5xx,gateway-error,reset,reset-before-request,connect-failure,retriable-4xx,refused-stream,envoy-ratelimited,cancelled,deadline-exceeded,internal,resource-exhausted,unavailable,retriable-status-codes,503"`), nil},
		{"remote localities", retries("attempts: 1, retryRemoteLocalities: true"), nil},
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
		{"condition behind a space", retries(`attempts: 1, retryOn: "5xx, reset"`), []string{"error" + at + `.retryOn: unknown condition " reset"; did you mean "reset"?`}},
		{"no condition", retries(`attempts: 1, retryOn: "reset,"`), []string{"error" + at + ".retryOn: a condition is empty"}},
		{"no status", retries(`attempts: 1, retryOn: "599"`), []string{"error" + at + ".retryOn: 599 is not an HTTP status"}},
		{"statuses missing", retries("attempts: 1, retryOn: retriable-status-codes"),
			[]string{"warning" + at + `.retryOn: "retriable-status-codes" never holds without statuses beside it, such as 503`}},
		{"headers missing", retries("attempts: 1, retryOn: retriable-headers"),
			[]string{"warning" + at + `.retryOn: "retriable-headers" never holds: a VirtualService cannot name the headers`}},
		{"HTTP/3", retries("attempts: 1, retryOn: http3-post-connect-failure"),
			[]string{"warning" + at + `.retryOn: "http3-post-connect-failure" never holds: nothing is sent by HTTP/3`}},

		{"all of a fault", faulty("delay: {percentage: {value: 0.1}, fixedDelay: 5s}, abort: {percentage: {value: 100}, grpcStatus: UNAVAILABLE}"), nil},
		{"the old percent", faulty("delay: {percent: 10, fixedDelay: 5s}, abort: {percentage: {value: 1}, httpStatus: 503}"), nil},
		{"faults of nobody", faulty("delay: {fixedDelay: 5s}, abort: {httpStatus: 503}"), []string{
			"warning" + fault + "delay: no call is delayed without a percentage (Istio)",
			"warning" + fault + "abort: no call is aborted without a percentage (Istio)"}},
		{"no answer to abort with", faulty("abort: {percentage: {value: 1}}"), []string{"warning" + fault + "abort: has no effect without httpStatus or grpcStatus"}},
		{"no delay", faulty("delay: {percentage: {value: 1}}"), []string{"warning" + fault + "delay: has no effect without fixedDelay"}},
		{"unfit for faults", faulty("delay: {percentage: {value: 101}, fixedDelay: 0s}, abort: {percentage: {value: -1}, httpStatus: 600}"), []string{
			"error" + fault + "delay.percentage.value: 101 is neither 0 nor within 0.0001 to 100",
			"error" + fault + "delay.fixedDelay: 0s is shorter than 1ms",
			"error" + fault + "abort.percentage.value: -1 is neither 0 nor within 0.0001 to 100",
			"error" + fault + "abort.httpStatus: 600 is out of range: 200 to 599"}},
		{"no status of gRPC's", faulty("abort: {percentage: {value: 1}, grpcStatus: Unavailable}"),
			[]string{"error" + fault + `abort.grpcStatus: "Unavailable" is not the name of a gRPC status, such as UNAVAILABLE`}},
		{"no number for a fault", faulty("delay: {percentage: {value: .nan}, fixedDelay: 5s}"),
			[]string{"error" + fault + `delay.percentage.value: must be a number, not ".nan"`}},

		{"what is served of a pool", destination("connectionPool: {tcp: {connectTimeout: 3s}, http: {http2MaxRequests: 1, maxRetries: 1}}"), nil},
		{"bounds of a pool", destination("connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"), nil},
		{"rest of a TCP pool", destination("connectionPool: {tcp: {tcpKeepalive: {time: 1s}, idleTimeout: 1s, maxConnectionDuration: 1s}}"), []string{
			"warning" + pool + "tcp.tcpKeepalive: has no effect: the keepalive of Go or of the system holds",
			"warning" + pool + "tcp.idleTimeout: has no effect: a TCP connection is the process's own, which closes it",
			"warning" + pool + "tcp.maxConnectionDuration: has no effect: no connection is closed for its age"}},
		{"rest of an HTTP pool", destination("connectionPool: {http: {idleTimeout: 1s, maxRequestsPerConnection: 0, h2UpgradePolicy: UPGRADE, useClientProtocol: false, maxConcurrentStreams: 1, http2KeepAlive: {interval: 1s, timeout: 1s}}}"), []string{
			"warning" + pool + "http.idleTimeout: has no effect: HTTP connections without calls are closed after 90s, gRPC's stay; for calls on which nothing is sent, there is TrafficPolicy's idleTimeout",
			"warning" + pool + "http.maxRequestsPerConnection: has no effect: a connection takes any number of requests",
			"warning" + pool + "http.h2UpgradePolicy: has no effect: a port speaks HTTP/2 if its protocol is HTTP2 or GRPC, or by TLS",
			"warning" + pool + "http.useClientProtocol: has no effect: a process has no other protocol to keep; that of the port is spoken",
			"warning" + pool + "http.maxConcurrentStreams: has no effect: the server's own limit of streams holds; http2MaxRequests bounds requests",
			"warning" + pool + "http.http2KeepAlive: has no effect: HTTP connections are pinged after 30s of silence, gRPC's as the process configures"}},
		{"limits of 0", destination("connectionPool: {tcp: {maxConnections: 0}, http: {http1MaxPendingRequests: 0, http2MaxRequests: 0, maxRetries: 0}}"), []string{
			"warning" + pool + "tcp.maxConnections: 0 is no limit (Istio); the least that can be asked for is 1",
			"warning" + pool + "http.http1MaxPendingRequests: 0 is no limit (Istio); the least that can be asked for is 1",
			"warning" + pool + "http.http2MaxRequests: 0 is no limit (Istio); the least that can be asked for is 1",
			"warning" + pool + "http.maxRetries: 0 is no limit (Istio); the least that can be asked for is 1"}},
		{"negative limits", destination("connectionPool: {tcp: {maxConnections: -1}, http: {http1MaxPendingRequests: -1, maxRetries: -1}}"), []string{
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
		{"budget of an interval", destination("retryBudget: {budgetInterval: 1s}"), nil},
		{"budgets of no time", destination("retryBudget: {budgetInterval: -1s}"), []string{"error" + budget + "budgetInterval: -1s is shorter than 1ms"}},
		{"more retries than calls", destination("retryBudget: {percent: 101}"), []string{"error" + budget + "percent: 101 is out of range: 0 to 100"}},
		{"no number", destination("retryBudget: {percent: .nan}"), []string{"error" + budget + `percent: must be a number, not ".nan"`}},
		{"endless", destination("retryBudget: {percent: 1e999}"), []string{"error" + budget + `percent: must be a number, not "1e999"`}},
		{"negative concurrency", destination("retryBudget: {minRetryConcurrency: -3}"), []string{"error" + budget + "minRetryConcurrency: -3 is out of range: 0 to 4294967295"}},
		{"concurrency of 0", destination("retryBudget: {minRetryConcurrency: 0}"), []string{"warning" + budget + "minRetryConcurrency: 0 means the default, 3 (Istio)"}},

		{"of a port of a subset", strings.Replace(destination("x"), "  trafficPolicy:\n    x",
			"  subsets: [{name: v1, trafficPolicy: {portLevelSettings: [{port: {number: 80},\n    connectionPool: {http: {maxRetries: 0, maxRequestsPerConnection: 1}}, outlierDetection: {interval: 1s}}]}}]", 1), []string{
			"warning f:7: DestinationRule/demo/d: spec.subsets[0].trafficPolicy.portLevelSettings[0].connectionPool.http.maxRetries: 0 is no limit (Istio); the least that can be asked for is 1",
			"warning f:7: DestinationRule/demo/d: spec.subsets[0].trafficPolicy.portLevelSettings[0].connectionPool.http.maxRequestsPerConnection: has no effect: a connection takes any number of requests"}},
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
