package wire

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func TestLoadBalancingIsUnderstood(t *testing.T) {
	policies := func(kinds ...string) string {
		var s strings.Builder
		for _, k := range kinds {
			s.WriteString(`policies { typed_extension_config { name: "p" typed_config { [type.googleapis.com/envoy.extensions.load_balancing_policies.` + k + ` } } } `)
		}
		return s.String()
	}
	list := func(kinds ...string) string { return `load_balancing_policy { ` + policies(kinds...) + `}` }
	const warning = `cluster "c": load_balancing_policy.policies: envoy.extensions.load_balancing_policies.maglev.v3.Maglev is not supported yet; ROUND_ROBIN takes its place`
	for _, c := range []struct {
		text string
		want balancer.Policy
		warn []string
	}{
		{``, balancer.Policy{}, nil},
		{`lb_policy: RANDOM`, balancer.Policy{Kind: balancer.Random}, nil},
		{`lb_policy: LEAST_REQUEST`, balancer.Policy{Kind: balancer.LeastRequest}, nil},
		{`lb_policy: LEAST_REQUEST least_request_lb_config { choice_count { value: 3 } }`, balancer.Policy{Kind: balancer.LeastRequest, Choices: 3}, nil},
		{`lb_policy: LEAST_REQUEST least_request_lb_config { slow_start_config {} }`, balancer.Policy{Kind: balancer.LeastRequest},
			[]string{`cluster "c": least_request_lb_config.slow_start_config: not supported yet, has no effect`}},
		{`lb_policy: MAGLEV`, balancer.Policy{}, []string{`cluster "c": lb_policy: MAGLEV is not supported yet; ROUND_ROBIN takes its place`}},
		{`lb_policy: RING_HASH ring_hash_lb_config {}`, balancer.Policy{}, []string{`cluster "c": lb_policy: RING_HASH is not supported yet; ROUND_ROBIN takes its place`}},
		// The list goes before lb_policy, whatever that says, and its first that is known counts (gRFC A52).
		{`lb_policy: RANDOM ` + list(`round_robin.v3.RoundRobin] {}`), balancer.Policy{}, nil},
		{`lb_policy: LOAD_BALANCING_POLICY_CONFIG ` + list(`pick_first.v3.PickFirst] {}`, `maglev.v3.Maglev] {}`, `random.v3.Random] {}`, `round_robin.v3.RoundRobin] {}`), balancer.Policy{Kind: balancer.Random}, nil},
		{list(`least_request.v3.LeastRequest] { choice_count { value: 4 } }`), balancer.Policy{Kind: balancer.LeastRequest, Choices: 4}, nil},
		{list(`wrr_locality.v3.WrrLocality] { endpoint_picking_policy { ` + policies(`random.v3.Random] {}`) + ` } }`), balancer.Policy{Kind: balancer.Random}, nil},
		{list(`pick_first.v3.PickFirst] {}`, `maglev.v3.Maglev] {}`), balancer.Policy{}, []string{warning}},
	} {
		v, err := DecodeCluster(clusterText(t, `name: "c" type: EDS eds_cluster_config { eds_config { self {} } } `+c.text))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if v.Balance != c.want || !slices.Equal(v.Warnings, c.warn) {
			t.Errorf("%s: got %+v, %q", c.text, v.Balance, v.Warnings)
		}
		if v.EndpointsName != "c" {
			t.Errorf("the endpoints' name is %q, want the cluster's", v.EndpointsName)
		}
	}
}

func TestClustersAreUnderstood(t *testing.T) {
	const eds = `name: "c" type: EDS eds_cluster_config { eds_config { ads {} } service_name: "e" } `
	options := func(s string) string {
		return eds + `typed_extension_protocol_options { key: "envoy.extensions.upstreams.http.v3.HttpProtocolOptions" value {
			[type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions] { ` + s + ` } } }`
	}
	socket := func(s string) string {
		return eds + `transport_socket { name: "tls" typed_config { [type.googleapis.com/envoy.extensions.transport_sockets.` + s + ` } }`
	}
	for _, c := range []struct {
		name, text string
		want       Cluster
	}{
		{"http2", options(`explicit_http_config { http2_protocol_options {} }`), Cluster{Cluster: resolver.Cluster{HTTP2: true}}},
		{"http1", options(`explicit_http_config { http_protocol_options {} }`), Cluster{}},
		{"http2 by the old field", eds + `http2_protocol_options {}`, Cluster{Cluster: resolver.Cluster{HTTP2: true}}},
		{"plaintext, said", socket(`raw_buffer.v3.RawBuffer] {}`), Cluster{}},
		{"TLS", socket(`tls.v3.UpstreamTlsContext] { sni: "s" common_tls_context { alpn_protocols: "h2" validation_context { system_root_certs {}
			match_typed_subject_alt_names { san_type: DNS matcher { exact: "a" } } match_subject_alt_names { exact: "spiffe://b" } } } }`),
			Cluster{Cluster: resolver.Cluster{TLS: &identity.ClientTLS{ServerName: "s", SubjectAltNames: []identity.SubjectAltName{
				{Type: identity.DNSName, Is: resolver.StringMatch{Value: "a"}}, {Is: resolver.StringMatch{Value: "spiffe://b"}}}}}, Secrets: Providers}},
		{"what has no effect", eds + `connect_timeout { nanos: 1 } alt_stat_name: "x" circuit_breakers {} lb_subset_config {} typed_extension_protocol_options { key: "b" } typed_extension_protocol_options { key: "a" }`,
			Cluster{Cluster: resolver.Cluster{ConnectTimeout: 1}, Warnings: []string{
				`cluster "c": typed_extension_protocol_options: "a" is not supported yet, has no effect`,
				`cluster "c": typed_extension_protocol_options: "b" is not supported yet, has no effect`,
				`cluster "c": lb_subset_config: not supported yet, has no effect`,
			}}},
	} {
		c.want.Name, c.want.EndpointsName = "c", "e"
		got, err := DecodeCluster(clusterText(t, c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, *got, c.want)
		}
	}
}

func TestTimeoutsAndRetriesAreUnderstood(t *testing.T) {
	retry := func(n uint32, on resilience.Conditions) resilience.Policy {
		return resilience.Policy{Retry: resilience.Retry{Attempts: n, On: on}}
	}
	const at = `route configuration "r": virtual_hosts[0].routes[0].route.retry_policy.`
	for _, c := range []struct {
		name, host, action string
		want               resilience.Policy
		warn               []string
	}{
		{"nothing said is no limit", ``, ``, resilience.Policy{}, nil},
		{"timeout", ``, `timeout { seconds: 2 }`, resilience.Policy{Timeout: 2 * time.Second}, nil},
		{"max_stream_duration before timeout (gRFC A31)", ``, `timeout { seconds: 2 } max_stream_duration { max_stream_duration { seconds: 3 } }`, resilience.Policy{Timeout: 3 * time.Second}, nil},
		{"grpc_timeout_header_max before both", ``, `timeout { seconds: 2 } max_stream_duration { max_stream_duration { seconds: 3 } grpc_timeout_header_max { seconds: 4 } }`, resilience.Policy{Timeout: 4 * time.Second}, nil},
		{"0 is no limit", ``, `timeout { seconds: 2 } max_stream_duration { max_stream_duration { seconds: 3 } grpc_timeout_header_max {} }`, resilience.Policy{}, nil},
		{"an empty max_stream_duration says nothing", ``, `timeout { seconds: 2 } max_stream_duration {}`, resilience.Policy{Timeout: 2 * time.Second}, nil},
		{"one retry by default", ``, `retry_policy { retry_on: "unavailable, cancelled" }`, retry(1, resilience.OnUnavailable|resilience.OnCancelled), nil},
		{"the host's policy", `retry_policy { retry_on: "unavailable" num_retries { value: 4 } }`, ``, retry(4, resilience.OnUnavailable), nil},
		{"the route's policy takes its place whole", `retry_policy { retry_on: "unavailable" num_retries { value: 4 } }`, `retry_policy { retry_on: "cancelled" }`, retry(1, resilience.OnCancelled), nil},
		{"no retries switch the host's off", `retry_policy { retry_on: "unavailable" }`, `retry_policy { retry_on: "unavailable" num_retries {} }`, resilience.Policy{}, nil},
		{"conditions that are not known", ``, `retry_policy { retry_on: "503,connect-failure" }`, retry(1, resilience.OnConnectFailure), []string{at + `retry_on: "503" is not supported yet, has no effect`}},
		{"none is known", ``, `retry_policy { retry_on: "never" retry_back_off { base_interval { seconds: 1 } } }`, resilience.Policy{}, []string{at + `retry_on: "never" is not supported yet, has no effect`}},
		{"pauses", ``, `retry_policy { retry_on: "unavailable" retry_back_off { base_interval { nanos: 5 } max_interval { nanos: 6 } } }`,
			resilience.Policy{Retry: resilience.Retry{Attempts: 1, On: resilience.OnUnavailable, Base: 5, Max: 6}}, nil},
		{"what has no effect", ``, `retry_policy { retry_on: "unavailable,retriable-status-codes" per_try_idle_timeout { seconds: 1 } retry_host_predicate { name: "x" } }`,
			retry(1, resilience.OnUnavailable|resilience.OnRetriableStatusCodes), []string{at + `per_try_idle_timeout: not supported yet, has no effect`, at + `retry_host_predicate: "x" is not supported yet, has no effect`}},
	} {
		got, err := DecodeRouteTable(routesText(t, `name: "r" virtual_hosts { domains: "*" `+c.host+` routes { match { prefix: "" } route { cluster: "c" `+c.action+` } } }`))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if p := got.VirtualHosts[0].Routes[0].Policy; !reflect.DeepEqual(p, c.want) || !slices.Equal(got.Warnings, c.warn) {
			t.Errorf("%s: got %+v, %q", c.name, p, got.Warnings)
		}
	}
}

func TestRoutesThatCannotBeServedStay(t *testing.T) {
	for action, why := range map[string]string{
		`redirect {}`:                                  "redirect is not supported",
		`direct_response { status: 500 }`:              "direct_response is not supported",
		`filter_action {}`:                             "filter_action is not supported",
		`non_forwarding_action {}`:                     "non_forwarding_action is for servers",
		``:                                             "the route has no action that is known",
		`route { timeout { seconds: 1 } }`:             "the route leads to no cluster that is known",
		`route { cluster_header: "x" }`:                "cluster_header is not supported",
		`route { cluster_specifier_plugin: "x" }`:      "cluster_specifier_plugin is not supported",
		`route { inline_cluster_specifier_plugin {} }`: "cluster_specifier_plugin is not supported",
		`route { weighted_clusters { clusters { name: "a" weight { value: 1 } } clusters { cluster_header: "x" weight { value: 1 } } } }`: "cluster_header is not supported",
	} {
		got, err := DecodeRouteTable(routesText(t, `name: "r" virtual_hosts { domains: "*" retry_policy { retry_on: "unavailable" } routes { match { path: "/x" } `+action+` } }`))
		if err != nil {
			t.Errorf("%s: %v", action, err)
			continue
		}
		want := resolver.Route{Match: resolver.Match{Path: resolver.PathMatch{Kind: resolver.PathExact, Value: "/x"}}, Unsupported: why}
		if r := got.VirtualHosts[0].Routes[0]; !reflect.DeepEqual(r, want) {
			t.Errorf("%s: got %+v", action, r)
		}
	}
}

func TestMatchesAreUnderstood(t *testing.T) {
	half := uint32(500_000)
	all := uint32(1_000_000)
	header := func(h resolver.HeaderMatch) resolver.Match { return resolver.Match{Headers: []resolver.HeaderMatch{h}} }
	for text, want := range map[string]resolver.Match{
		`prefix: "/" case_sensitive {}`:               {Path: resolver.PathMatch{Value: "/", IgnoreCase: true}},
		`prefix: "/" case_sensitive { value: true }`:  {Path: resolver.PathMatch{Value: "/"}},
		`path_separated_prefix: "/a/b"`:               {Path: resolver.PathMatch{Kind: resolver.PathSegmentPrefix, Value: "/a/b"}},
		`safe_regex { regex: "a" } case_sensitive {}`: {Path: resolver.PathMatch{Kind: resolver.PathRegex, Value: "a"}},
		`prefix: "" grpc {} headers { name: "X-A" exact_match: "1" }`: {Headers: []resolver.HeaderMatch{
			{Name: "x-a", Is: resolver.StringMatch{Value: "1"}},
			{Name: "content-type", Is: resolver.StringMatch{Kind: resolver.StringPrefix, Value: "application/grpc"}},
		}},
		`prefix: "" headers { name: "a" present_match: true invert_match: true }`:  header(resolver.HeaderMatch{Name: "a", Is: resolver.StringMatch{Kind: resolver.StringPresent}, Invert: true}),
		`prefix: "" headers { name: "a" present_match: false }`:                    header(resolver.HeaderMatch{Name: "a", Is: resolver.StringMatch{Kind: resolver.StringPresent}, Invert: true}),
		`prefix: "" headers { name: "a" present_match: false invert_match: true }`: header(resolver.HeaderMatch{Name: "a", Is: resolver.StringMatch{Kind: resolver.StringPresent}}),
		`prefix: "" headers { name: "a" suffix_match: "x" treat_missing_header_as_empty: true }`: header(resolver.HeaderMatch{Name: "a",
			Is: resolver.StringMatch{Kind: resolver.StringSuffix, Value: "x"}, MissingAsEmpty: true}),
		`prefix: "" headers { name: "a" string_match { ignore_case: true safe_regex { regex: "x" } } }`: header(resolver.HeaderMatch{Name: "a", Is: resolver.StringMatch{Kind: resolver.StringRegex, Value: "x"}}),
		`prefix: "" headers { name: "a" string_match { ignore_case: true contains: "x" } }`:             header(resolver.HeaderMatch{Name: "a", Is: resolver.StringMatch{Kind: resolver.StringContains, Value: "x", IgnoreCase: true}}),
		`prefix: "" headers { name: "a" range_match { start: -1 end: 5 } }`:                             header(resolver.HeaderMatch{Name: "a", Is: resolver.StringMatch{Kind: resolver.StringRange, Low: -1, High: 5}}),
		`prefix: "" query_parameters { name: "q" present_match: true }`:                                 {Query: []resolver.QueryMatch{{Name: "q", Is: resolver.StringMatch{Kind: resolver.StringPresent}}}},
		`prefix: "" runtime_fraction { default_value { numerator: 50 } }`:                               {Fraction: &half},
		`prefix: "" runtime_fraction { default_value { numerator: 5000 denominator: TEN_THOUSAND } }`:   {Fraction: &half},
		`prefix: "" runtime_fraction { default_value { numerator: 4294967295 denominator: HUNDRED } }`:  {Fraction: &all},
	} {
		got, err := DecodeRouteTable(routesText(t, `name: "r" virtual_hosts { domains: "*" routes { match { `+text+` } route { cluster: "c" } } }`))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if m := got.VirtualHosts[0].Routes[0].Match; !reflect.DeepEqual(m, want) {
			t.Errorf("%s: got %+v", text, m)
		}
	}
}

func TestEndpointsAreUnderstood(t *testing.T) {
	host := func(port, more string) string {
		return `lb_endpoints { ` + more + ` endpoint { hostname: "h" address { socket_address { address: "::1" port_value: ` + port + ` } } } } `
	}
	a, b := balancer.Locality{Zone: "a"}, balancer.Locality{Zone: "b"}
	for _, c := range []struct {
		name, text string
		want       []balancer.Endpoint
		warn       []string
	}{
		{"none", ``, nil, nil},
		{"localities without weights weigh what their endpoints do", `endpoints { locality { zone: "a" } ` + host("1", ``) + host("2", `load_balancing_weight { value: 4 }`) + `} endpoints { ` + host("3", ``) + `}`,
			[]balancer.Endpoint{{Addr: "[::1]:1", Locality: a, LocalityWeight: 5}, {Addr: "[::1]:2", Weight: 4, Locality: a, LocalityWeight: 5}, {Addr: "[::1]:3", LocalityWeight: 1}}, nil},
		{"beside others they are left out (gRFC A27)", `endpoints { locality { zone: "a" } load_balancing_weight { value: 3 } ` + host("1", ``) + `} endpoints { locality { zone: "b" } ` + host("2", ``) + `}`,
			[]balancer.Endpoint{{Addr: "[::1]:1", Locality: a, LocalityWeight: 3}}, []string{
				`endpoints "e": endpoints[1].load_balancing_weight: a locality without a weight is left out, as others have one`}},
		{"nobody is left", `endpoints { load_balancing_weight {} ` + host("1", ``) + `}`, nil, []string{
			`endpoints "e": endpoints[0].load_balancing_weight: a locality without a weight is left out, as others have one`}},
		{"priorities", `endpoints { priority: 1 locality { zone: "b" } ` + host("1", ``) + `} endpoints { locality { zone: "b" } }`,
			[]balancer.Endpoint{{Addr: "[::1]:1", Priority: 1, Locality: b, LocalityWeight: 1}}, nil},
		{"all of health", `endpoints { ` + host("1", `health_status: DRAINING`) + host("2", `health_status: DEGRADED`) + host("3", `health_status: 99`) + `}`,
			[]balancer.Endpoint{{Addr: "[::1]:1", LocalityWeight: 3, Health: balancer.Draining}, {Addr: "[::1]:2", LocalityWeight: 3, Health: balancer.Degraded}, {Addr: "[::1]:3", LocalityWeight: 3, Health: balancer.Unhealthy}},
			[]string{`endpoints "e": endpoints[0].lb_endpoints[2].health_status: unknown status 99 counts as unhealthy`}},
		{"labels", `endpoints { ` +
			host("1", `metadata { filter_metadata { key: "weft.labels" value { fields { key: "app" value { string_value: "x" } } fields { key: "n" value { number_value: 1 } } } } filter_metadata { key: "istio" value { fields { key: "workload" value { string_value: "w" } } } } }`) +
			host("2", `metadata { filter_metadata { key: "istio" value { fields { key: "workload" value { string_value: "w;;a;v1;k;more" } } } } }`) +
			host("3", `metadata { filter_metadata { key: "istio" value { fields { key: "workload" value { string_value: ";;" } } } } }`) + `}`,
			[]balancer.Endpoint{
				{Addr: "[::1]:1", LocalityWeight: 3, Labels: map[string]string{"app": "x"}},
				{Addr: "[::1]:2", LocalityWeight: 3, Labels: map[string]string{"workload": "w", "app": "a", "version": "v1", "cluster": "k"}},
				{Addr: "[::1]:3", LocalityWeight: 3},
			}, []string{`endpoints "e": endpoints[0].lb_endpoints[0].metadata: a label that is no string is left out`}},
		{"drops", `policy { overprovisioning_factor {} drop_overloads { drop_percentage { numerator: 5 } } }`, nil, []string{`endpoints "e": policy.drop_overloads: not supported yet, has no effect`}},
	} {
		for i := range c.want {
			c.want[i].Hostname = "h"
		}
		got, err := DecodeEndpoints(endpointsText(t, `cluster_name: "e" `+c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if want := (Endpoints{Name: "e", Endpoints: c.want, Warnings: c.warn}); !reflect.DeepEqual(*got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, *got, want)
		}
	}
}

// TestEndpointsOfAnyOrderAreEncoded: what has more than one form comes back in the one.
func TestEndpointsOfAnyOrderAreEncoded(t *testing.T) {
	a, b := balancer.Locality{Zone: "a"}, balancer.Locality{Zone: "b"}
	v := Endpoints{Name: "e", Endpoints: []balancer.Endpoint{
		{Addr: "10.0.0.1:1", Locality: a, Weight: 2},
		{Addr: "10.0.0.2:1", Locality: b, Priority: 2},
		{Addr: "10.0.0.3:1", Locality: a, Labels: map[string]string{}},
	}}
	got, err := DecodeEndpoints(marshal(t, EncodeEndpoints(v)))
	if err != nil {
		t.Fatal(err)
	}
	want := []balancer.Endpoint{
		{Addr: "10.0.0.1:1", Locality: a, Weight: 2, LocalityWeight: 3},
		{Addr: "10.0.0.3:1", Locality: a, LocalityWeight: 3},
		{Addr: "10.0.0.2:1", Locality: b, Priority: 2, LocalityWeight: 1},
	}
	if !reflect.DeepEqual(got.Endpoints, want) {
		t.Errorf("got  %+v\nwant %+v", got.Endpoints, want)
	}
}

// TestOthersUnderstandWhatIsEncoded looks for the fields that Envoy or gRPC need
// though weft does not.
func TestOthersUnderstandWhatIsEncoded(t *testing.T) {
	m := EncodeRouteTable(RouteTable{Name: "r", VirtualHosts: []resolver.VirtualHost{{Domains: []string{"*"}, Routes: []resolver.Route{
		{To: []resolver.Target{{Cluster: "c"}}},
		{Unsupported: "why"},
		{Match: resolver.Match{Headers: []resolver.HeaderMatch{grpcOnly}}, To: []resolver.Target{{Cluster: "c"}}},
	}}}}).(*routev3.RouteConfiguration)
	r := m.GetVirtualHosts()[0].GetRoutes()
	if d := r[0].GetRoute().GetTimeout(); d == nil || d.AsDuration() != 0 {
		t.Errorf("no limit is %v; Envoy takes none for 15 s", d)
	}
	if d := r[0].GetRoute().GetMaxStreamDuration().GetMaxStreamDuration(); d == nil || d.AsDuration() != 0 {
		t.Errorf("max_stream_duration is %v", d)
	}
	if r[0].GetRoute().GetCluster() != "c" || r[0].GetRoute().GetRetryPolicy() != nil {
		t.Errorf("got %v", r[0])
	}
	if d := r[1].GetDirectResponse(); d.GetStatus() != 501 || d.GetBody().GetInlineString() != "why" {
		t.Errorf("an unsupported route answers %v", d)
	}
	if r[2].GetMatch().GetGrpc() == nil || len(r[2].GetMatch().GetHeaders()) > 0 {
		t.Errorf("gRPC's client never matches content-type: %v", r[2].GetMatch())
	}

	c := EncodeCluster(Cluster{Cluster: resolver.Cluster{Name: "c", HTTP2: true, TLS: &identity.ClientTLS{}}, EndpointsName: "e"}).(*clusterv3.Cluster)
	if v := c.GetEdsClusterConfig().GetEdsConfig().GetResourceApiVersion(); v != corev3.ApiVersion_V3 {
		t.Errorf("Envoy refuses resource_api_version %v", v)
	}
	var tls tlsv3.UpstreamTlsContext
	if err := unpack(c.GetTransportSocket().GetTypedConfig(), &tls); err != nil {
		t.Fatal(err)
	}
	if !tls.GetAutoHostSni() || !tls.GetAutoSniSanValidation() || tls.GetCommonTlsContext().GetValidationContextSdsSecretConfig().GetName() != systemRoots ||
		!slices.Equal(tls.GetCommonTlsContext().GetAlpnProtocols(), []string{"h2"}) {
		t.Errorf("Envoy would not verify the server, or not speak HTTP/2: %v", &tls)
	}
	for form, most := range map[Secrets]tlsv3.TlsParameters_TlsProtocol{SDS: tlsv3.TlsParameters_TLSv1_3, Providers: tlsv3.TlsParameters_TLS_AUTO} {
		c := EncodeCluster(Cluster{Cluster: resolver.Cluster{Name: "c", TLS: &identity.ClientTLS{Mutual: true}}, EndpointsName: "e", Secrets: form}).(*clusterv3.Cluster)
		if err := unpack(c.GetTransportSocket().GetTypedConfig(), &tls); err != nil {
			t.Fatal(err)
		}
		if p := tls.GetCommonTlsContext().GetTlsParams(); p.GetTlsMaximumProtocolVersion() != most || form == Providers && p != nil {
			t.Errorf("Envoy would offer TLS 1.2 alone, or gRPC refuse the cluster: %v", p)
		}
	}

	e := EncodeEndpoints(Endpoints{Name: "e", Endpoints: []balancer.Endpoint{{Addr: "::1"}}}).(*endpointv3.ClusterLoadAssignment)
	if e.GetEndpoints()[0].GetLoadBalancingWeight().GetValue() != 1 || e.GetEndpoints()[0].GetLocality() == nil {
		t.Errorf("gRPC leaves out a locality without a weight, and refuses one without a name: %v", e)
	}
	if _, err := DecodeEndpoints(marshal(t, e)); err == nil {
		t.Error("an address without a port was written so that it is accepted")
	}
}

func TestFiltersThatMayBeLeftOutAreAccepted(t *testing.T) {
	const hcm = `name: "l" api_listener { api_listener { [type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager] {
		common_http_protocol_options { max_stream_duration { seconds: 1 } } rds { route_config_name: "r" config_source { self {} } }`
	got, err := DecodeListener(listenerText(t, hcm+`
		http_filters { name: "a" typed_config { [type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault] {} } }
		http_filters { name: "b" typed_config { type_url: "type.googleapis.com/stats.PluginConfig" value: "x" } }
		http_filters { name: "c" typed_config { type_url: "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig" } }
		http_filters { name: "d" is_optional: true typed_config { type_url: "x/new.Filter" } }
		http_filters { name: "e" disabled: true typed_config { type_url: "x/old.Filter" } }
		http_filters { name: "f" typed_config { [type.googleapis.com/envoy.extensions.filters.http.router.v3.Router] { suppress_envoy_headers: true } } }
	} } }`))
	if err != nil {
		t.Fatal(err)
	}
	want := Listener{Name: "l", RouteConfig: "r", Faults: true, Warnings: []string{
		`listener "l": api_listener.api_listener.common_http_protocol_options: max_stream_duration is not supported here yet, has no effect`,
		`listener "l": api_listener.api_listener.http_filters[3].typed_config: the optional filter new.Filter is not supported, has no effect`,
	}}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v\nwant %+v", *got, want)
	}
}
