package catalog

import (
	"maps"
	"slices"
)

// served holds the fields that take effect, by kind and path without indexes:
// true is a field with all below it, false one of which only the parts named are
// served. Every other field is reported as not supported yet.
var served = map[string]map[string]bool{
	KindServiceEntry: {
		"hosts": true, "addresses": true, "exportTo": true, "location": true, "resolution": true,
		"ports": true, "workloadSelector": true, "subjectAltNames": true,
		"endpoints": false, "endpoints.address": true, "endpoints.ports": true, "endpoints.labels": true,
		"endpoints.weight": true, "endpoints.locality": true, "endpoints.serviceAccount": true,
	},
	KindWorkloadEntry: {
		"address": true, "ports": true, "labels": true, "weight": true, "locality": true, "serviceAccount": true,
	},
	KindVirtualService: {
		"hosts": true, "gateways": true, "exportTo": true,
		"http": false, "http.name": true, "http.timeout": true,
		"http.match": false, "http.match.name": true, "http.match.uri": true, "http.match.ignoreUriCase": true,
		"http.match.scheme": true, "http.match.method": true, "http.match.authority": true,
		"http.match.headers": true, "http.match.withoutHeaders": true, "http.match.queryParams": true,
		"http.match.port": true, "http.match.gateways": true,
		"http.match.sourceLabels": true, "http.match.sourceNamespace": true,
		"http.route": false, "http.route.destination": true, "http.route.weight": true,
		"http.retries": false, "http.retries.attempts": true, "http.retries.retryOn": true,
		"http.retries.perTryTimeout": true, "http.retries.backoff": true, "http.retries.retryIgnorePreviousHosts": true,
		"http.retries.retryRemoteLocalities": true, "http.fault": true,
	},
	KindDestinationRule: destinationRuleFields(),
	// All of these.
	KindTrafficPolicy: nil, KindMeshConfig: nil, KindRevocation: nil,
	KindPeerAuthentication: nil, KindRequestAuthentication: nil, KindAuthorizationPolicy: nil,
}

// policyBlocks are the fields served in the blocks that stand in a traffic policy and per port alike.
var policyBlocks = map[string]bool{
	"loadBalancer": false, "loadBalancer.simple": true,
	"connectionPool":     false,
	"connectionPool.tcp": false, "connectionPool.tcp.connectTimeout": true, "connectionPool.tcp.maxConnections": true,
	"connectionPool.http":                         false,
	"connectionPool.http.http1MaxPendingRequests": true,
	"connectionPool.http.http2MaxRequests":        true, "connectionPool.http.maxRetries": true,
	"outlierDetection": false, "outlierDetection.consecutiveErrors": true,
	"outlierDetection.consecutive5xxErrors": true, "outlierDetection.consecutiveGatewayErrors": true,
	"outlierDetection.splitExternalLocalOriginErrors": true, "outlierDetection.consecutiveLocalOriginFailures": true,
	"outlierDetection.interval": true, "outlierDetection.baseEjectionTime": true,
	"outlierDetection.maxEjectionPercent": true, "outlierDetection.minHealthPercent": true,
	"tls": false, "tls.mode": true, "tls.clientCertificate": true, "tls.privateKey": true, "tls.caCertificates": true,
	"tls.caCrl": true, "tls.subjectAltNames": true, "tls.sni": true, "tls.insecureSkipVerify": true,
}

func destinationRuleFields() map[string]bool {
	all := map[string]bool{"host": true, "exportTo": true, "subsets": false, "subsets.name": true, "subsets.labels": true}
	for _, policy := range policies {
		all[policy], all[policy+".retryBudget"] = false, false
		all[policy+".retryBudget.percent"], all[policy+".retryBudget.minRetryConcurrency"] = true, true
		all[policy+".retryBudget.budgetInterval"] = true
		all[policy+".portLevelSettings"], all[policy+".portLevelSettings.port"] = false, true
		for field, whole := range policyBlocks {
			all[policy+"."+field], all[policy+".portLevelSettings."+field] = whole, whole
		}
	}
	return all
}

// policies are where a DestinationRule has traffic policies.
var policies = [...]string{"trafficPolicy", "subsets.trafficPolicy"}

// instead says what happens instead, by kind and path as in served, where there is more to say of a
// field that is not served than that it is not yet.
var instead = map[string]map[string]string{
	KindDestinationRule: destinationRuleInstead(),
}

func destinationRuleInstead() map[string]string {
	all := map[string]string{}
	for _, policy := range policies {
		for _, at := range [...]string{policy, policy + ".portLevelSettings"} {
			tcp, http := at+".connectionPool.tcp.", at+".connectionPool.http."
			all[at+".tls.credentialName"] = "is not supported: there are no secrets to name. No call is made that would need it; " +
				"give clientCertificate, privateKey and caCertificates, which are files of the client's machine"
			all[tcp+"idleTimeout"] = "has no effect: a TCP connection is the process's own, which closes it"
			all[tcp+"maxConnectionDuration"] = "has no effect: no connection is closed for its age"
			all[tcp+"tcpKeepalive"] = "has no effect: the keepalive of Go or of the system holds"
			all[http+"idleTimeout"] = "has no effect: HTTP connections without calls are closed after 90s, gRPC's stay; " +
				"for calls on which nothing is sent, there is TrafficPolicy's idleTimeout"
			all[http+"maxRequestsPerConnection"] = "has no effect: a connection takes any number of requests"
			all[http+"h2UpgradePolicy"] = "has no effect: a port speaks HTTP/2 if its protocol is HTTP2 or GRPC, or by TLS"
			all[http+"useClientProtocol"] = "has no effect: a process has no other protocol to keep; that of the port is spoken"
			all[http+"maxConcurrentStreams"] = "has no effect: the server's own limit of streams holds; http2MaxRequests bounds requests"
			all[http+"http2KeepAlive"] = "has no effect: HTTP connections are pinged after 30s of silence, gRPC's as the process configures"
		}
	}
	return all
}

// zeros says what a 0 that is written means, by kind and path as in served, where Istio
// does not tell it from a field that is left out.
var zeros = map[string]map[string]string{KindDestinationRule: destinationRuleZeros()}

func destinationRuleZeros() map[string]string {
	const noLimit = "0 is no limit (Istio); the least that can be asked for is 1"
	all := map[string]string{}
	for _, policy := range policies {
		all[policy+".retryBudget.minRetryConcurrency"] = "0 means the default, 3 (Istio)"
		for _, at := range [...]string{policy, policy + ".portLevelSettings"} {
			all[at+".connectionPool.tcp.maxConnections"] = noLimit
			all[at+".connectionPool.http.http1MaxPendingRequests"] = noLimit
			all[at+".connectionPool.http.http2MaxRequests"] = noLimit
			all[at+".connectionPool.http.maxRetries"] = noLimit
			all[at+".outlierDetection.maxEjectionPercent"] = "0 means the default, 10 (Istio)"
		}
	}
	return all
}

// versions are those in which a served kind is written.
func versions(kind string) []string {
	switch kind {
	case KindTrafficPolicy, KindMeshConfig, KindRevocation:
		return []string{Version}
	case KindPeerAuthentication, KindRequestAuthentication, KindAuthorizationPolicy:
		return []string{"security.istio.io/v1", "security.istio.io/v1beta1"}
	}
	return []string{"networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"}
}

// notYet are kinds of the mesh that are known and take no effect yet, by group.
var notYet = map[string][]string{
	"networking.istio.io": {"Gateway", "Sidecar", "WorkloadGroup", "EnvoyFilter", "ProxyConfig"},
	"telemetry.istio.io":  {"Telemetry"},
	"extensions.istio.io": {"WasmPlugin"},
	"gateway.networking.k8s.io": {
		"GatewayClass", "Gateway", "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute",
		"ReferenceGrant", "BackendTLSPolicy", "BackendLBPolicy", "ListenerSet",
	},
	"gateway.networking.x-k8s.io": {"XBackendTrafficPolicy", "XListenerSet", "XMesh"},
	"discovery.k8s.io":            {"EndpointSlice"},
	"":                            {"Service", "Endpoints", "Pod", "Node", "Namespace", "ServiceAccount"},
}

// kinds returns every kind there is a use for.
func kinds() []string {
	all := slices.Collect(maps.Keys(served))
	for _, names := range notYet {
		all = append(all, names...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
