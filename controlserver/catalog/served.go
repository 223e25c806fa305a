package catalog

import "slices"

// served holds the fields that take effect, by kind and path without indexes:
// true is a field with all below it, false one of which only the parts named are
// served. Every other field is reported as not supported yet.
var served = map[string]map[string]bool{
	KindServiceEntry: {
		"hosts": true, "addresses": true, "exportTo": true, "location": true, "resolution": true,
		"ports": true, "workloadSelector": true,
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
	},
	KindDestinationRule: {
		"host": true, "exportTo": true,
		"trafficPolicy": false, "trafficPolicy.loadBalancer": false, "trafficPolicy.loadBalancer.simple": true,
		"trafficPolicy.portLevelSettings": false, "trafficPolicy.portLevelSettings.port": true,
		"trafficPolicy.portLevelSettings.loadBalancer":        false,
		"trafficPolicy.portLevelSettings.loadBalancer.simple": true,
		"subsets": false, "subsets.name": true, "subsets.labels": true,
		"subsets.trafficPolicy": false, "subsets.trafficPolicy.loadBalancer": false,
		"subsets.trafficPolicy.loadBalancer.simple": true,
	},
}

// versions are the versions of networking.istio.io in which the served kinds are written.
var versions = []string{"networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"}

// notYet are kinds of the mesh that are known and take no effect yet, by group.
var notYet = map[string][]string{
	"networking.istio.io": {"Gateway", "Sidecar", "WorkloadGroup", "EnvoyFilter", "ProxyConfig"},
	"security.istio.io":   {"AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"},
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
	all := []string{KindServiceEntry, KindWorkloadEntry, KindVirtualService, KindDestinationRule}
	for _, names := range notYet {
		all = append(all, names...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
