package interop

import (
	"net"
	"strconv"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A published service is what a control plane says of one name.
type published struct {
	name   string
	routes []*routev3.Route
	// clusters are the addresses of each cluster.
	clusters map[string][]string
}

// resources are those of the services, by type.
func resources(t *testing.T, services ...published) map[resource.Type][]types.Resource {
	t.Helper()
	out := map[resource.Type][]types.Resource{ // of a type that is left out, nothing would be said
		resource.ListenerType: nil, resource.RouteType: nil, resource.ClusterType: nil, resource.EndpointType: nil,
	}
	for _, s := range services {
		out[resource.ListenerType] = append(out[resource.ListenerType], listenerOf(t, s.name))
		out[resource.RouteType] = append(out[resource.RouteType], &routev3.RouteConfiguration{
			Name:         "routes-of-" + s.name,
			VirtualHosts: []*routev3.VirtualHost{{Name: s.name, Domains: []string{"*"}, Routes: s.routes}},
		})
		for name, addrs := range s.clusters {
			out[resource.ClusterType] = append(out[resource.ClusterType], &clusterv3.Cluster{
				Name:                 name,
				ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
				EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: fromADS()},
			})
			out[resource.EndpointType] = append(out[resource.EndpointType], endpointsOf(t, name, addrs))
		}
	}
	return out
}

func listenerOf(t *testing.T, name string) *listenerv3.Listener {
	t.Helper()
	manager := &hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: fromADS(), RouteConfigName: "routes-of-" + name}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})},
		}},
	}
	return &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: pack(t, manager)}}
}

func endpointsOf(t *testing.T, cluster string, addrs []string) *endpointv3.ClusterLoadAssignment {
	t.Helper()
	var lb []*endpointv3.LbEndpoint
	for _, a := range addrs {
		lb = append(lb, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: addressOf(t, a)},
		}})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: cluster, Endpoints: []*endpointv3.LocalityLbEndpoints{{
		Locality: &corev3.Locality{Region: "here"}, LoadBalancingWeight: wrapperspb.UInt32(1), LbEndpoints: lb,
	}}}
}

func addressOf(t *testing.T, addr string) *corev3.Address {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(number)},
	}}}
}

func fromADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// routeTo takes every request, or those with a header "x-tester: yes", to clusters by weight.
func routeTo(testers bool, weights map[string]uint32) *routev3.Route {
	w := &routev3.WeightedCluster{}
	for name, weight := range weights {
		w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(weight)})
	}
	match := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}}
	if testers {
		match.Headers = []*routev3.HeaderMatcher{{
			Name: "x-tester",
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "yes"},
			}},
		}}
	}
	return &routev3.Route{Match: match, Action: &routev3.Route_Route{Route: &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: w},
	}}}
}

// brokenRoute asks for what no client can compile.
func brokenRoute(cluster string) *routev3.Route {
	return &routev3.Route{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "(unclosed"}}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		}},
	}
}

// A ledger is what a client answered to the responses of a server.
type ledger struct {
	mu      sync.Mutex
	sent    map[string]string   // version of each type, by the nonce; with the stream's number
	acked   map[string]string   // newest version of each type
	refused map[string][]string // reasons, by type
}

func newLedger() *ledger {
	return &ledger{sent: map[string]string{}, acked: map[string]string{}, refused: map[string][]string{}}
}

func (l *ledger) response(stream int64, nonce, version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[strconv.FormatInt(stream, 10)+"/"+nonce] = version
}

func (l *ledger) request(stream int64, nonce, typeURL, reason string) {
	if nonce == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if reason != "" {
		l.refused[typeURL] = append(l.refused[typeURL], reason)
	} else if v, ok := l.sent[strconv.FormatInt(stream, 10)+"/"+nonce]; ok {
		l.acked[typeURL] = v
	}
}

func (l *ledger) accepted(typeURL string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked[typeURL]
}

// refusals takes the reasons out.
func (l *ledger) refusals() map[string][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.refused
	l.refused = map[string][]string{}
	return r
}
