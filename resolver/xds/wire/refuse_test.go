package wire

import (
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/pick_first/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// text packs a resource written as text proto.
func text(t testing.TB, m proto.Message, s string) *anypb.Any {
	t.Helper()
	if err := prototext.Unmarshal([]byte(s), m); err != nil {
		t.Fatalf("%v\nin %s", err, s)
	}
	return marshal(t, m)
}

func clusterText(t testing.TB, s string) *anypb.Any  { return text(t, &clusterv3.Cluster{}, s) }
func listenerText(t testing.TB, s string) *anypb.Any { return text(t, &listenerv3.Listener{}, s) }
func routesText(t testing.TB, s string) *anypb.Any   { return text(t, &routev3.RouteConfiguration{}, s) }
func endpointsText(t testing.TB, s string) *anypb.Any {
	return text(t, &endpointv3.ClusterLoadAssignment{}, s)
}

// A refusal is a resource and all that must be found in it.
type refusal struct {
	name string
	text string
	want []string
}

func refuses[T any](t *testing.T, cases []refusal, pack func(testing.TB, string) *anypb.Any, decode func(*anypb.Any) (*T, error)) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v, err := decode(pack(t, c.text))
			if err == nil {
				t.Fatalf("accepted as %+v", *v)
			}
			if v != nil {
				t.Error("there is a value beside the error")
			}
			got := strings.Split(err.Error(), "\n")
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

func TestClustersThatCannotBeObeyedAreRefused(t *testing.T) {
	const (
		eds  = `name: "c" type: EDS eds_cluster_config { eds_config { ads {} } } `
		tls  = eds + `transport_socket { name: "tls" typed_config { [type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext] { `
		root = `system_root_certs {} `
	)
	refuses(t, []refusal{
		{"no name", `type: EDS eds_cluster_config { eds_config { ads {} } }`, []string{`cluster "": name: empty`}},
		{"no type", `name: "c"`, []string{`cluster "c": type: missing`}},
		{"DNS", `name: "c" type: STRICT_DNS`, []string{`cluster "c": type: STRICT_DNS is not supported; EDS and STATIC are`}},
		{"logical DNS", `name: "c" type: LOGICAL_DNS`, []string{`cluster "c": type: LOGICAL_DNS is not supported; EDS and STATIC are`}},
		{"original destination", `name: "c" type: ORIGINAL_DST lb_policy: CLUSTER_PROVIDED`, []string{
			`cluster "c": type: ORIGINAL_DST is not supported; EDS and STATIC are`,
			`cluster "c": lb_policy: CLUSTER_PROVIDED is not supported`,
		}},
		{"unknown type", `name: "c" type: 77`, []string{`cluster "c": type: 77 is not supported; EDS and STATIC are`}},
		{"aggregate", `name: "c" cluster_type { name: "envoy.clusters.aggregate" }`, []string{`cluster "c": cluster_type: "envoy.clusters.aggregate" is not supported`}},
		{"EDS from nowhere", `name: "c" type: EDS`, []string{`cluster "c": eds_cluster_config.eds_config: missing`}},
		{"EDS from a file", `name: "c" type: EDS eds_cluster_config { eds_config { path: "/x" } }`, []string{`cluster "c": eds_cluster_config.eds_config: only ads and self are supported`}},
		{"xdstp name without a service name (gRFC A47)", `name: "xdstp://a/x/c" type: EDS eds_cluster_config { eds_config { ads {} } }`, []string{
			`cluster "xdstp://a/x/c": eds_cluster_config.service_name: empty, though the cluster's name is an xdstp one`}},
		{"STATIC without endpoints", `name: "c" type: STATIC`, []string{`cluster "c": load_assignment: missing in a STATIC cluster`}},
		{"findings of inline endpoints", `name: "c" type: STATIC load_assignment { endpoints { lb_endpoints { } } }`, []string{
			`cluster "c": load_assignment.endpoints[0].lb_endpoints[0].endpoint: missing`}},
		{"unknown lb_policy", eds + `lb_policy: 55`, []string{`cluster "c": lb_policy: 55 is not supported`}},
		{"lb_policy by configuration without one", eds + `lb_policy: LOAD_BALANCING_POLICY_CONFIG`, []string{
			`cluster "c": load_balancing_policy: missing, though lb_policy is LOAD_BALANCING_POLICY_CONFIG`}},
		{"one choice (gRFC A48)", eds + `lb_policy: LEAST_REQUEST least_request_lb_config { choice_count { value: 1 } }`, []string{
			`cluster "c": least_request_lb_config.choice_count: 1 is less than 2`}},
		{"no policy of the list is known (gRFC A52)", eds + `load_balancing_policy { policies { typed_extension_config { name: "p" typed_config {
			[type.googleapis.com/envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst] {} } } } }`, []string{
			`cluster "c": load_balancing_policy.policies: none of ["envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst"] is supported`}},
		{"a policy for localities within itself", eds + `load_balancing_policy { policies { typed_extension_config { name: "p" typed_config {
			[type.googleapis.com/envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality] { endpoint_picking_policy { policies { typed_extension_config { name: "p" typed_config {
			[type.googleapis.com/envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality] {} } } } } } } } } }`, []string{
			`cluster "c": load_balancing_policy.policies[0].endpoint_picking_policy.policies: none of ["envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality"] is supported`}},
		{"connect_timeout 0", eds + `connect_timeout {}`, []string{`cluster "c": connect_timeout: must be more than 0`}},
		{"connect_timeout negative", eds + `connect_timeout { seconds: -1 }`, []string{
			`cluster "c": connect_timeout: -1s is negative`, `cluster "c": connect_timeout: must be more than 0`}},
		{"HTTP/3", eds + `typed_extension_protocol_options { key: "envoy.extensions.upstreams.http.v3.HttpProtocolOptions" value {
			[type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions] { explicit_http_config { http3_protocol_options {} } } } }`, []string{
			`cluster "c": typed_extension_protocol_options.envoy.extensions.upstreams.http.v3.HttpProtocolOptions: HTTP/3 is not supported`}},
		{"TLS by endpoint", eds + `transport_socket_matches { name: "m" }`, []string{
			`cluster "c": transport_socket_matches: not supported but for mTLS where tlsMode is "istio", and plaintext elsewhere`}},
		{"TLS without roots", tls + `} } }`, []string{
			`cluster "c": transport_socket.typed_config.common_tls_context.validation_context_type: no roots: nobody's certificate would be verified`}},
		{"TLS with roots from the environment", tls + `common_tls_context { validation_context { trusted_ca { environment_variable: "X" } } } } } }`, []string{
			`cluster "c": transport_socket.typed_config.common_tls_context.validation_context.trusted_ca: only what is inline is supported`}},
		{"TLS with roots that are none", tls + `common_tls_context { validation_context { trusted_ca { inline_string: "x" } } } } } }`, []string{
			`cluster "c": transport_socket.typed_config.common_tls_context.validation_context.trusted_ca: holds no PEM certificate`}},
		{"all that TLS may ask beyond", tls + `allow_renegotiation: true common_tls_context { alpn_protocols: "spdy" tls_params { tls_minimum_protocol_version: TLSv1_3 cipher_suites: "x" } tls_certificate_provider_instance { instance_name: "i" }
			validation_context { ` + root + ` crl { inline_string: "x" } verify_certificate_hash: "x" } } } } }`, []string{
			`cluster "c": transport_socket.typed_config.allow_renegotiation: not supported`,
			`cluster "c": transport_socket.typed_config.common_tls_context.alpn_protocols: "spdy" is not supported`,
			`cluster "c": transport_socket.typed_config.common_tls_context.validation_context.verify_certificate_hash: not supported`,
			`cluster "c": transport_socket.typed_config.common_tls_context.validation_context.crl: only a file is supported`,
			`cluster "c": transport_socket.typed_config.common_tls_context.tls_params.cipher_suites: not supported`,
			`cluster "c": transport_socket.typed_config.common_tls_context.tls_params.tls_minimum_protocol_version: TLSv1_3 is not supported`,
			`cluster "c": transport_socket.typed_config.common_tls_context: the process's own certificate is not supported beside roots that are not its own`,
		}},
		{"TLS names that nobody or everybody has", tls + `auto_sni_san_validation: true sni: "s" auto_host_sni: true common_tls_context { validation_context { ` + root + `
			match_typed_subject_alt_names { san_type: URI matcher { exact: "ok" } } match_typed_subject_alt_names { san_type: OTHER_NAME oid: "1.2" matcher { prefix: "" } }
			match_subject_alt_names { safe_regex { regex: "x" } ignore_case: true } match_subject_alt_names { exact: "" } match_subject_alt_names { } } } } } }`, []string{
			`cluster "c": transport_socket.typed_config.auto_host_sni: not supported beside sni`,
			`cluster "c": transport_socket.typed_config.common_tls_context.validation_context.match_typed_subject_alt_names[1].oid: not supported`,
			`cluster "c": transport_socket.typed_config.common_tls_context.validation_context.match_typed_subject_alt_names[1].san_type: OTHER_NAME is not supported`,
			`cluster "c": transport_socket.typed_config.common_tls_context.validation_context.match_typed_subject_alt_names[1].matcher.prefix: empty`,
			`cluster "c": transport_socket.typed_config.common_tls_context.validation_context.match_subject_alt_names[0].ignore_case: not supported beside safe_regex`,
			`cluster "c": transport_socket.typed_config.common_tls_context.validation_context.match_subject_alt_names[1].exact: empty`,
			`cluster "c": transport_socket.typed_config.common_tls_context.validation_context.match_subject_alt_names[2].match_pattern: missing`,
			`cluster "c": transport_socket.typed_config.auto_sni_san_validation: not supported beside names, the process's own roots, or none`,
		}},
		{"another transport socket", eds + `transport_socket { name: "tap" typed_config { [type.googleapis.com/envoy.config.route.v3.Route] {} } }`, []string{
			`cluster "c": transport_socket.typed_config: type is "envoy.config.route.v3.Route", not envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`}},
	}, clusterText, DecodeCluster)
}

func TestEndpointsThatCannotBeObeyedAreRefused(t *testing.T) {
	host := func(port string) string {
		return `lb_endpoints { endpoint { address { socket_address { address: "10.0.0.1" ` + port + ` } } } } `
	}
	addr := func(a string) string {
		return `cluster_name: "e" endpoints { lb_endpoints { endpoint { address { ` + a + ` } } } }`
	}
	const at = `endpoints "e": endpoints[0].lb_endpoints[0].endpoint.address`
	refuses(t, []refusal{
		{"no name", ``, []string{`endpoints "": name: empty`}},
		{"no host", `cluster_name: "e" endpoints { lb_endpoints {} }`, []string{`endpoints "e": endpoints[0].lb_endpoints[0].endpoint: missing`}},
		{"host by name", `cluster_name: "e" endpoints { lb_endpoints { endpoint_name: "x" } }`, []string{`endpoints "e": endpoints[0].lb_endpoints[0].endpoint: missing`}},
		{"no address", `cluster_name: "e" endpoints { lb_endpoints { endpoint {} } }`, []string{at + `: only socket_address is supported`}},
		{"pipe", addr(`pipe { path: "/x" }`), []string{at + `: only socket_address is supported`}},
		{"port above 65535", addr(`socket_address { address: "::1" port_value: 65536 }`), []string{at + `.socket_address.port_value: 65536 is not within 1 and 65535`}},
		{"port 0", addr(`socket_address { address: "::1" port_value: 0 }`), []string{at + `.socket_address.port_value: 0 is not within 1 and 65535`}},
		{"no port", addr(`socket_address { address: "::1" }`), []string{at + `.socket_address.port_value: missing`}},
		{"named port", addr(`socket_address { address: "::1" named_port: "http" }`), []string{at + `.socket_address.named_port: not supported`}},
		{"UDP", addr(`socket_address { protocol: UDP address: "::1" port_value: 1 }`), []string{at + `.socket_address.protocol: UDP is not supported`}},
		{"an address with brackets", addr(`socket_address { address: "[::1]" port_value: 1 }`), []string{at + `.socket_address.address: "[::1]" is no IP address or name`}},
		{"the empty address", addr(`socket_address { port_value: 1 }`), []string{at + `.socket_address.address: "" is no IP address or name`}},
		{"an address twice (gRFC A27)", `cluster_name: "e" endpoints { ` + host("port_value: 1") + `} endpoints { locality { zone: "b" } ` + host("port_value: 1") + `}`, []string{
			`endpoints "e": endpoints[1].lb_endpoints[0].endpoint.address: 10.0.0.1:1 is there twice`}},
		{"an additional address twice", `cluster_name: "e" endpoints { lb_endpoints { endpoint { address { socket_address { address: "::1" port_value: 1 } }
			additional_addresses { address { socket_address { address: "::1" port_value: 1 } } } } } }`, []string{
			`endpoints "e": endpoints[0].lb_endpoints[0].endpoint.additional_addresses[0].address: [::1]:1 is there twice`}},
		{"weight 0 (Envoy load_balancing_weight)", `cluster_name: "e" endpoints { lb_endpoints { load_balancing_weight {} endpoint { address { socket_address { address: "::1" port_value: 1 } } } } }`, []string{
			`endpoints "e": endpoints[0].lb_endpoints[0].load_balancing_weight: 0`}},
		{"weights of endpoints overflow", `cluster_name: "e" endpoints { load_balancing_weight { value: 1 }
			lb_endpoints { load_balancing_weight { value: 4294967295 } endpoint { address { socket_address { address: "::1" port_value: 1 } } } }
			lb_endpoints { endpoint { address { socket_address { address: "::1" port_value: 2 } } } } }`, []string{
			`endpoints "e": endpoints[0].lb_endpoints: the weights' sum 4294967296 is more than 4294967295`}},
		{"weights of localities overflow", `cluster_name: "e" endpoints { load_balancing_weight { value: 4294967295 } } endpoints { locality { zone: "b" } load_balancing_weight { value: 1 } }`, []string{
			`endpoints "e": endpoints: the sum 4294967296 of the localities' weights with priority 0 is more than 4294967295`}},
		{"a locality twice", `cluster_name: "e" endpoints { locality { region: "r" } } endpoints { locality { region: "r" } }`, []string{
			`endpoints "e": endpoints[1].locality: {Region:r Zone: SubZone:} is there twice with priority 0`}},
		{"priorities with gaps", `cluster_name: "e" endpoints { priority: 1 } endpoints { priority: 3 }`, []string{
			`endpoints "e": endpoints: no locality has priority 0, but one has 3`, `endpoints "e": endpoints: no locality has priority 2, but one has 3`}},
		{"a priority too large", `cluster_name: "e" endpoints { priority: 4294967295 }`, []string{`endpoints "e": endpoints[0].priority: 4294967295 is more than 128`}},
		{"LEDS", `cluster_name: "e" endpoints { leds_cluster_locality_config {} }`, []string{`endpoints "e": endpoints[0].leds_cluster_locality_config: not supported`}},
		{"drops by unknown denominators", `cluster_name: "e" policy { drop_overloads { drop_percentage { denominator: 9 } } }`, []string{
			`endpoints "e": policy.drop_overloads[0].drop_percentage.denominator: unknown value 9`}},
	}, endpointsText, DecodeEndpoints)
}

func TestRoutesThatCannotBeObeyedAreRefused(t *testing.T) {
	host := func(s string) string { return `name: "r" virtual_hosts { name: "v" domains: "*" ` + s + `}` }
	route := func(match, action string) string {
		return host(`routes { match { ` + match + ` } route { ` + action + ` } }`)
	}
	match := func(s string) string { return route(s, `cluster: "c"`) }
	action := func(s string) string { return route(`prefix: ""`, s) }
	const (
		in  = `route configuration "r": virtual_hosts[0].routes[0].`
		m   = in + `match.`
		two = `name: "r" virtual_hosts { name: "a" domains: "A.test" } virtual_hosts { name: "b" domains: `
	)
	refuses(t, []refusal{
		{"no name", ``, []string{`route configuration "": name: empty`}},
		{"no domains", `name: "r" virtual_hosts { name: "v" }`, []string{`route configuration "r": virtual_hosts[0].domains: none`}},
		{"malformed domains", `name: "r" virtual_hosts { name: "v" domains: "" domains: "a.*.b" domains: "**" domains: "*a*" }`, []string{
			`route configuration "r": virtual_hosts[0].domains[0]: empty`,
			`route configuration "r": virtual_hosts[0].domains[1]: "a.*.b": one star, at the beginning or at the end`,
			`route configuration "r": virtual_hosts[0].domains[2]: "**": one star, at the beginning or at the end`,
			`route configuration "r": virtual_hosts[0].domains[3]: "*a*": one star, at the beginning or at the end`,
		}},
		{"a domain twice, in other letters", two + `"a.TEST" }`, []string{`route configuration "r": virtual_hosts[1].domains[0]: "a.TEST" is there already, in virtual_hosts[0]`}},
		{"hosts by a header", `name: "r" vhost_header: "x"`, []string{`route configuration "r": vhost_header: not supported: it changes who answers`}},
		{"no match", host(`routes { route { cluster: "c" } }`), []string{in + `match: missing`}},
		{"no path", match(``), []string{m + `path_specifier: missing`}},
		{"path template", match(`path_match_policy { name: "t" typed_config { [type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig] {} } }`), []string{m + `path_match_policy: "t" is not supported`}},
		{"segment prefix with an end", match(`path_separated_prefix: "/a/"`), []string{m + `path_separated_prefix: "/a/": want a path that does not end with / and has no ? or #`}},
		{"invalid regex", match(`safe_regex { regex: "a(" }`), []string{m + "safe_regex: error parsing regexp: missing closing ): `a(`"}},
		{"backreference", match(`safe_regex { regex: "(a)\\1" }`), []string{m + "safe_regex: error parsing regexp: invalid escape sequence: `\\1`"}},
		{"empty regex", match(`safe_regex { }`), []string{m + `safe_regex: empty`}},
		{"long regex", match(`safe_regex { regex: "` + strings.Repeat("a", 1025) + `" }`), []string{m + `safe_regex: 1025 bytes are more than 1024`}},
		{"conditions that are not known", match(`prefix: "" dynamic_metadata { filter: "f" } tls_context {} filter_state { key: "k" }`), []string{
			m + `dynamic_metadata: not supported`, m + `filter_state: not supported`, m + `tls_context: not supported`}},
		{"headers", match(`prefix: "" headers { } headers { name: "a" } headers { name: "a" prefix_match: "" } headers { name: "a" string_match { suffix: "" } }
			headers { name: "a" string_match {} } headers { name: "a" range_match { start: 2 end: 1 } } headers { name: "a" safe_regex_match { regex: "[" } } headers { name: "a" string_match { contains: "" } }`), []string{
			m + `headers[0].name: empty`, m + `headers[0].header_match_specifier: missing`, m + `headers[1].header_match_specifier: missing`,
			m + `headers[2].prefix_match: empty`, m + `headers[3].string_match.suffix: empty`, m + `headers[4].string_match.match_pattern: missing`,
			m + `headers[5].range_match: start 2 is after end 1`, m + "headers[6].safe_regex_match: error parsing regexp: missing closing ]: `[`", m + `headers[7].string_match.contains: empty`,
		}},
		{"query parameters", match(`prefix: "" query_parameters {} query_parameters { name: "a" present_match: false } query_parameters { name: "a" string_match { custom { name: "x" } } }`), []string{
			m + `query_parameters[0].name: empty`, m + `query_parameters[0].query_parameter_match_specifier: missing`,
			m + `query_parameters[1].present_match: false is not supported`, m + `query_parameters[2].string_match.custom: not supported`,
		}},
		{"fractions", match(`prefix: "" runtime_fraction { default_value { denominator: 3 } }`), []string{m + `runtime_fraction.default_value.denominator: unknown value 3`}},
		{"no fraction", match(`prefix: "" runtime_fraction { }`), []string{m + `runtime_fraction.default_value: missing`}},
		{"empty cluster", action(`cluster: ""`), []string{in + `route.cluster: empty`}},
		{"all weights 0", action(`weighted_clusters { clusters { name: "a" weight {} } clusters { name: "b" } }`), []string{in + `route.weighted_clusters.clusters: no cluster has a weight`}},
		{"no weighted clusters", action(`weighted_clusters { }`), []string{in + `route.weighted_clusters.clusters: no cluster has a weight`}},
		{"weights overflow", action(`weighted_clusters { clusters { name: "a" weight { value: 4294967295 } } clusters { weight { value: 1 } } }`), []string{
			in + `route.weighted_clusters.clusters[1].name: empty`, in + `route.weighted_clusters.clusters: the weights' sum 4294967296 is more than 4294967295`}},
		{"negative timeouts", action(`cluster: "c" timeout { seconds: -1 } max_stream_duration { max_stream_duration { nanos: -1 } grpc_timeout_header_max { seconds: 999999999999 } }`), []string{
			in + `route.timeout: -1s is negative`,
			in + `route.max_stream_duration.max_stream_duration: -1ns is negative`,
			in + `route.max_stream_duration.grpc_timeout_header_max: 999999999999 s and 0 ns are no duration`,
		}},
		{"pauses without a base (gRFC A44)", action(`cluster: "c" retry_policy { retry_on: "unavailable" retry_back_off { max_interval { seconds: 1 } } }`), []string{
			in + `route.retry_policy.retry_back_off.base_interval: must be more than 0`}},
		{"pauses that shrink", action(`cluster: "c" retry_policy { retry_back_off { base_interval { seconds: 2 } max_interval { seconds: 1 } } }`), []string{
			in + `route.retry_policy.retry_back_off.max_interval: 1s is less than the base_interval 2s`}},
		{"what only the matchers find", match(`prefix: "" headers { name: "a" present_match: true } headers { name: "b" string_match { safe_regex { regex: "x{1001}" } } }`), []string{
			m + "headers[1].string_match.safe_regex: error parsing regexp: invalid repeat count: `{1001}`"}},
	}, routesText, DecodeRouteTable)
}

func TestListenersThatCannotBeObeyedAreRefused(t *testing.T) {
	const (
		hcm    = `[type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager]`
		router = `http_filters { name: "router" typed_config { [type.googleapis.com/envoy.extensions.filters.http.router.v3.Router] {} } } `
		rds    = `rds { route_config_name: "r" config_source { ads {} } } `
		in     = `listener "l": api_listener.api_listener`
		sock   = `name: "l" address { socket_address { address: "::1" port_value: 1 } } `
		tcp    = `filter_chains { filters { name: "h" typed_config { ` + hcm + ` { ` + rds + router + `} } } } `
	)
	api := func(s string) string {
		return `name: "l" api_listener { api_listener { ` + hcm + ` { ` + s + ` } } }`
	}
	const served = `virtual_hosts { domains: "*" routes { match { prefix: "/" } non_forwarding_action { } } } `
	filter := func(name, kind, more string) string {
		return `http_filters { name: "` + name + `" typed_config { [type.googleapis.com/envoy.extensions.filters.http.` + kind + `] { } } ` + more + `} `
	}
	refuses(t, []refusal{
		{"no name", api(rds + router)[len(`name: "l" `):], []string{`listener "": name: empty`}},
		{"neither api_listener nor address", `name: "l"`, []string{`listener "l": address: only socket_address is supported`, `listener "l": filter_chains: none`}},
		{"empty api_listener", `name: "l" api_listener {}`, []string{in + `: missing, want a envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`}},
		{"no routes", api(router), []string{in + `.route_specifier: missing: neither rds nor route_config`}},
		{"scoped routes", api(`scoped_routes {} ` + router), []string{in + `.scoped_routes: not supported`}},
		{"RDS without source and name", api(`rds {} ` + router), []string{in + `.rds.config_source: missing`, in + `.rds.route_config_name: empty`}},
		{"RDS from a file", api(`rds { route_config_name: "r" config_source { path: "/x" } } ` + router), []string{in + `.rds.config_source: only ads and self are supported`}},
		{"findings of inline routes", api(`route_config { virtual_hosts { } } ` + router), []string{in + `.route_config.virtual_hosts[0].domains: none`}},
		{"trusted hops (gRFC A41)", api(rds + router + `xff_num_trusted_hops: 1 original_ip_detection_extensions { name: "x" }`), []string{
			in + `.xff_num_trusted_hops: not supported`, in + `.original_ip_detection_extensions: not supported`}},
		{"no filters", api(rds), []string{in + `.http_filters: the last must be the router`}},
		{"no router", api(rds + filter("f", "fault.v3.HTTPFault", "")), []string{in + `.http_filters: the last must be the router`}},
		{"a filter behind the router", api(rds + router + filter("f", "fault.v3.HTTPFault", "")), []string{
			in + `.http_filters[0].typed_config: the router must be the last filter`, in + `.http_filters: the last must be the router`}},
		{"a name twice, and none", api(rds + filter("router", "fault.v3.HTTPFault", "") + filter("", "fault.v3.HTTPFault", "") + router), []string{
			in + `.http_filters[1].name: empty`, in + `.http_filters[2].name: "router" is there twice`}},
		{"a filter that is not known (gRFC A39)", api(rds + filter("f", "header_mutation.v3.HeaderMutation", "") + router), []string{
			in + `.http_filters[0].typed_config: envoy.extensions.filters.http.header_mutation.v3.HeaderMutation is not supported`}},
		{"a filter without configuration", api(rds + `http_filters { name: "f" } ` + router), []string{in + `.http_filters[0].typed_config: missing`}},
		{"faults", api(rds + `http_filters { name: "f" typed_config { [type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault] { abort { http_status: 600 } } } } ` + router), []string{
			in + `.http_filters[0].typed_config.abort.http_status: 600 is not in 200 to 599`}},
		{"security said to be optional", api(rds + filter("f", "rbac.v3.RBAC", "is_optional: true") + router), []string{
			in + `.http_filters[0].typed_config: envoy.extensions.filters.http.rbac.v3.RBAC is not supported here, and security is never optional`}},
		{"security said to be disabled, as a route may enable it", sock + `filter_chains { filters { name: "h" typed_config { ` + hcm + ` { route_config { ` + served + `} ` + filter("f", "rbac.v3.RBAC", "disabled: true") + router + `} } } }`, []string{
			`listener "l": filter_chains[0].filters[0].http_filters[0].typed_config: envoy.extensions.filters.http.rbac.v3.RBAC is not supported here, and security is never optional`}},
		{"a proxy with RBAC", sock + `filter_chains { filters { name: "h" typed_config { ` + hcm + ` { route_config { } ` + filter("f", "rbac.v3.RBAC", "") + router + `} } } }`, []string{
			`listener "l": filter_chains[0].filters[0].http_filters[0].typed_config: envoy.extensions.filters.http.rbac.v3.RBAC is not supported here, and security is never optional`}},
		{"TLS, matches, filters of a socket", sock + `use_original_dst { value: true } listener_filters { name: "x" } filter_chains { filter_chain_match { server_names: "x" } transport_socket { name: "tls" } filters { name: "h" typed_config { ` + hcm + ` { ` + rds + router + `} } } }`, []string{
			`listener "l": listener_filters[0]: "x" is not supported`, `listener "l": use_original_dst: not supported`,
			`listener "l": filter_chains[0].filter_chain_match.server_names: not supported`,
			`listener "l": filter_chains[0].transport_socket.typed_config: missing, want a envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext`,
			`listener "l": filter_chains[0].transport_socket: not supported but of a server`}},
		{"a proxy's TLS", sock + `filter_chains { transport_socket { name: "t" typed_config { [type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext] { } } } filters { name: "h" typed_config { ` + hcm + ` { ` + rds + router + `} } } }`, []string{
			`listener "l": filter_chains[0].transport_socket.typed_config.require_client_certificate: must be true`,
			`listener "l": filter_chains[0].transport_socket.typed_config.common_tls_context.validation_context_type: no roots: nobody's certificate would be verified`,
			`listener "l": filter_chains[0].transport_socket: not supported but of a server`}},
		{"two chains", sock + tcp + tcp, []string{
			`listener "l": filter_chains[1].filter_chain_match: is that of another chain, too`, `listener "l": filter_chains: 2, but only one is supported of what is not a server's`}},
		{"no HTTP", sock + `filter_chains { }`, []string{
			`listener "l": filter_chains[0].filters: 0 besides those that guard connections, but only one HTTP connection manager or TCP proxy is supported`}},
	}, listenerText, DecodeListener)
}

func TestWhatIsNoResourceIsRefused(t *testing.T) {
	named := marshal(t, &clusterv3.Cluster{Name: "c"})
	broken := &anypb.Any{TypeUrl: ClusterType, Value: append(slices.Clone(named.GetValue()), 0xff)}
	for _, c := range []struct {
		name string
		in   *anypb.Any
		want string
	}{
		{"nil", nil, `cluster: no resource`},
		{"empty", &anypb.Any{}, `cluster "": type is "", not envoy.config.cluster.v3.Cluster`},
		{"another type", marshal(t, &listenerv3.Listener{Name: "x"}), `cluster "x": type is "envoy.config.listener.v3.Listener", not envoy.config.cluster.v3.Cluster`},
		{"broken", broken, `cluster "c": proto: cannot parse invalid wire-format data`},
		{"broken wrapper", &anypb.Any{TypeUrl: wrapperType, Value: []byte{0xff}}, `resource "": proto: cannot parse invalid wire-format data`},
		{"empty wrapper", &anypb.Any{TypeUrl: wrapperType, Value: []byte{0x1a, 1, 'w'}}, `resource "w": resource: missing`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeCluster(c.in)
			if err == nil {
				t.Fatal("accepted")
			}
			// The proto library varies its spaces on purpose.
			if got := strings.ReplaceAll(err.Error(), "\u00a0", " "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
