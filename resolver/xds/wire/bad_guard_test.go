package wire

import (
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"
)

// outside is the cluster of a service that filters ask.
const outside = "outbound|1||a"

const (
	tlsTypes  = `type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.`
	authzText = `transport_api_version: V3 grpc_service { envoy_grpc { cluster_name: "` + outside + `" } } `
	rootsText = `validation_context_sds_secret_config { name: "ROOTCA" } `
	ownedText = `tls_certificate_sds_secret_configs { name: "default" } `
	mesh      = `common_tls_context { ` + ownedText + rootsText + `} `
	anybody   = `permissions { any: true } principals { any: true } `
)

func rbacRule(permission, principal string) string {
	return rbacText(`rules { policies { key: "p" value { permissions { ` + permission + ` } principals { ` + principal + ` } } } }`)
}

func rbacText(s string) string {
	return guarded(`http_filters { name: "f" typed_config { [`+httpFilters+`rbac.v3.RBAC] { `+s+` } } } `, "")
}

func treeText(s string) string {
	return rbacText(`matcher { matcher_list { matchers { ` + s + ` on_match { action { name: "a" typed_config { [type.googleapis.com/envoy.config.rbac.v3.Action] { name: "p" } } } } } } }`)
}

func single1(input, match string) string {
	return `predicate { single_predicate { input { name: "i" typed_config { [type.googleapis.com/envoy.` + input + `] { } } } ` + match + ` } } `
}

func serverText(s string) string {
	return `traffic_direction: INBOUND filter_chains { transport_socket { name: "tls" typed_config { [` + tlsTypes + `DownstreamTlsContext] { ` + s +
		` } } } filters { name: "h" typed_config { ` + httpManager + ` { stat_prefix: "s" ` + routerText + ` route_config { name: "r" } } } } }`
}

func clientText(s string) string {
	return `transport_socket { name: "tls" typed_config { [` + tlsTypes + `UpstreamTlsContext] { ` + s + ` } } }`
}

const jwtRemote = `remote_jwks { http_uri { uri: "https://a/k" cluster: "` + outside + `" timeout { seconds: 1 } } } `

var badGuards = []badKind{
	{name: "permission", place: `http_filters[0].typed_config.rules.policies.p.permissions[0].`, listener: func(s string) string { return rbacRule(s, `any: true`) }, cases: []bad{
		{"nothing", ``, []string{`rule: missing`}, refused},
		{"not any", `any: false`, []string{`any: false is not supported`}, refused},
		{"all of nothing", `and_rules { }`, []string{`and_rules.rules: none`}, refused},
		{"any of nothing", `or_rules { }`, []string{`or_rules.rules: none`}, refused},
		{"not nothing", `not_rule { }`, []string{`not_rule.rule: missing`}, refused},
		{"a port beyond all", `destination_port: 65536`, []string{`destination_port: 65536 is no port`}, refused},
		{"a range of no ports", `destination_port_range { start: 5 end: 5 }`, []string{`destination_port_range: [5, 5) is no range of ports`}, refused},
		{"an address without a length", `destination_ip { address_prefix: "10.0.0.1" }`, []string{`destination_ip.prefix_len: missing`}, accepted},
		{"an address with too much length", `destination_ip { address_prefix: "10.0.0.1" prefix_len { value: 33 } }`, []string{`destination_ip.prefix_len: 33 is more than 32`}, accepted},
		{"an address that is none", `destination_ip { address_prefix: "10.0.0" prefix_len { value: 8 } }`, []string{`destination_ip.address_prefix: "10.0.0" is no IP address`}, refused},
		{"a header of gRPC's (gRFC A41)", `header { name: "grpc-timeout" present_match: true }`, []string{`header.name: "grpc-timeout" is not supported`}, accepted},
		{"a scheme (gRFC A41)", `header { name: ":scheme" string_match { exact: "x" } }`, []string{`header.name: ":scheme" is not supported`}, accepted},
		{"an expression that is none", `url_path { path { safe_regex { regex: "(" } } }`, []string{"url_path.path.safe_regex: error parsing regexp: missing closing ): `(`"}, refused},
		{"no path", `url_path { }`, []string{`url_path.path.match_pattern: missing`}, refused},
		{"metadata that is not of tokens", `metadata { filter: "x" path { key: "payload" } path { key: "a" } value { string_match { exact: "a" } } }`, []string{`metadata.filter: "x" is not supported; "envoy.filters.http.jwt_authn" is`}, accepted},
		{"a claim that is a number", `metadata { filter: "envoy.filters.http.jwt_authn" path { key: "payload" } path { key: "a" } value { double_match { exact: 1 } } }`, []string{
			`metadata.value.match_pattern: only string_match, present_match, list_match and or_match are supported`}, accepted},
		{"an unknown matcher", `matcher { name: "m" typed_config { [type.googleapis.com/envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher] { upstream_port_range { start: 1 end: 2 } } } }`, []string{`matcher: "m" is not supported`}, accepted},
		{"any server name", `requested_server_name { exact: "" }`, nil, accepted},
	}},
	{name: "principal", place: `http_filters[0].typed_config.rules.policies.p.principals[0].`, listener: func(s string) string { return rbacRule(`any: true`, s) }, cases: []bad{
		{"nothing", ``, []string{`identifier: missing`}, refused},
		{"an empty name", `authenticated { principal_name { exact: "" } }`, []string{`authenticated.principal_name: an empty name is not supported`}, accepted},
		{"whoever has a name", `authenticated { }`, nil, accepted},
		{"state of filters", `filter_state { key: "k" string_match { exact: "x" } }`, []string{`filter_state: not supported`}, accepted},
		{"addresses, all four", `or_ids { ids { source_ip { address_prefix: "::ffff:10.0.0.1" prefix_len { value: 128 } } } ids { remote_ip { address_prefix: "fd00::" prefix_len { value: 8 } } } }`, nil, accepted},
		{"an IPv6 zone", `direct_remote_ip { address_prefix: "fe80::1%eth0" prefix_len { value: 64 } }`, []string{`direct_remote_ip.address_prefix: "fe80::1%eth0" is no IP address`}, accepted},
	}},
	{name: "RBAC", place: `http_filters[0].typed_config.`, listener: rbacText, cases: []bad{
		{"no rules", ``, nil, accepted},
		{"an unknown action", `rules { action: 7 }`, []string{`rules.action: unknown value 7`}, refused},
		{"a policy of nothing", `rules { policies { key: "p" value { } } }`, []string{`rules.policies.p.permissions: none`, `rules.policies.p.principals: none`}, refused},
		{"CEL", `rules { policies { key: "p" value { ` + anybody + `condition { const_expr { bool_value: true } } } } }`, []string{`rules.policies.p.condition: not supported`}, accepted},
		{"a claim that must not be there, of tokens that nobody verifies", `rules { policies { key: "p" value { permissions { any: true } principals { not_id { metadata { filter: "envoy.filters.http.jwt_authn" path { key: "payload" } path { key: "a" } value { present_match: true } } } } } } }`, []string{
			`rules.policies.p: looks at claims that must not be there, but no jwt_authn before it verifies tokens, so that it would allow`}, accepted},
		{"a claim to be denied by, of tokens that nobody verifies", `rules { action: DENY policies { key: "p" value { permissions { any: true } principals { metadata { filter: "envoy.filters.http.jwt_authn" path { key: "payload" } path { key: "a" } value { present_match: true } } } } } }`, []string{
			`rules.policies.p: looks at claims, but no jwt_authn before it verifies tokens, so that it would not deny`}, accepted},
		{"a claim to be let in by, of tokens that nobody verifies", `rules { policies { key: "p" value { permissions { any: true } principals { metadata { filter: "envoy.filters.http.jwt_authn" path { key: "payload" } path { key: "a" } value { present_match: true } } } } } }`, nil, accepted},
		{"rules in two forms", `rules { } matcher { }`, []string{`matcher: not supported beside rules`}, accepted},
		{"a shadow that is no better", `shadow_rules { policies { key: "p" value { permissions { not_rule { } } principals { any: true } } } }`, []string{`shadow_rules.policies.p.permissions[0].not_rule.rule: missing`}, refused},
	}},
	{name: "tree", place: `http_filters[0].typed_config.matcher.matcher_list.matchers[0].`, listener: treeText, cases: []bad{
		{"a header", single1(`type.matcher.v3.HttpRequestHeaderMatchInput`, `value_match { exact: "x" }`), []string{`predicate.single_predicate.input.typed_config.name: empty`}, accepted},
		{"a source port", single1(`extensions.matching.common_inputs.network.v3.SourcePortInput`, `value_match { exact: "1" }`), []string{
			`predicate.single_predicate.input.typed_config: envoy.extensions.matching.common_inputs.network.v3.SourcePortInput is not supported`}, accepted},
		{"a port that is none", single1(`extensions.matching.common_inputs.network.v3.DestinationPortInput`, `value_match { prefix: "1" }`), []string{`predicate.single_predicate.value_match: "1" is no port`}, accepted},
		{"ranges of addresses", single1(`extensions.matching.common_inputs.network.v3.SourceIPInput`, `custom_match { name: "m" typed_config { [type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip] { stat_prefix: "s" cidr_ranges { address_prefix: "10.0.0.0" prefix_len { value: 8 } } } } }`), nil, accepted},
		{"ranges of no addresses", single1(`extensions.matching.common_inputs.network.v3.SourceIPInput`, `custom_match { name: "m" typed_config { [type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip] { stat_prefix: "s" } } }`), []string{
			`predicate.single_predicate.custom_match.typed_config.cidr_ranges: none`}, refused},
		{"one of two is one", `predicate { or_matcher { predicate { not_matcher { } } } } `, []string{`predicate.or_matcher.predicate[0].not_matcher.match_type: missing`, `predicate.or_matcher.predicate: 1 are less than 2`}, refused},
	}},
	{name: "jwt_authn", place: `http_filters[0].typed_config.`, listener: func(s string) string {
		return guarded(`http_filters { name: "f" typed_config { [`+httpFilters+`jwt_authn.v3.JwtAuthentication] { `+s+` } } } `, "")
	}, cases: []bad{
		{"no keys", `providers { key: "p" value { } }`, []string{`providers.p.jwks_source_specifier: missing: neither remote_jwks nor local_jwks`}, refused},
		{"keys of a file", `providers { key: "p" value { local_jwks { filename: "/dev/null" } } }`, []string{`providers.p.local_jwks: only what is inline is supported`}, refused},
		{"keys of a cluster that is no service", `providers { key: "p" value { remote_jwks { http_uri { uri: "https://a/k" cluster: "c" timeout { seconds: 1 } } } } }`, []string{`providers.p.remote_jwks.http_uri.cluster: "c" names no service: it must be "outbound|PORT||HOST"`}, accepted},
		{"no time to fetch keys", `providers { key: "p" value { remote_jwks { http_uri { uri: "https://a/k" cluster: "` + outside + `" } } } }`, []string{`providers.p.remote_jwks.http_uri.timeout: missing`}, refused},
		{"a provider that is not there", `rules { match { prefix: "/" } requires { provider_name: "p" } }`, []string{`rules[0].requires.provider_name: there is no provider "p"`}, refused},
		{"a requirement that is not there", `rules { match { prefix: "/" } requirement_name: "r" }`, []string{`rules[0].requirement_name: "r" is not in requirement_map`}, refused},
		{"tokens that nobody verifies", `providers { key: "p" value { ` + jwtRemote + `} } rules { match { prefix: "/" } requires { extract_only_without_validation { } } }`, []string{
			`rules[0].requires.extract_only_without_validation: not supported`}, accepted},
		{"any of one", `providers { key: "p" value { ` + jwtRemote + `} } rules { match { prefix: "/" } requires { requires_any { requirements { provider_name: "p" } } } }`, []string{`rules[0].requires.requires_any.requirements: 1 are less than 2`}, refused},
		{"state of filters", `providers { key: "p" value { ` + jwtRemote + `} } filter_state_rules { name: "s" }`, []string{`filter_state_rules: not supported`}, accepted},
		{"no match", `rules { }`, []string{`rules[0].match.path_specifier: missing`}, refused},
	}},
	{name: "ext_authz", place: `http_filters[0].typed_config.`, listener: func(s string) string {
		return guarded(`http_filters { name: "f" typed_config { [`+httpFilters+`ext_authz.v3.ExtAuthz] { `+s+` } } } `, "")
	}, cases: []bad{
		{"nobody", ``, []string{`services: missing: neither grpc_service nor http_service`}, accepted},
		{"somebody", authzText, nil, accepted},
		{"Google's client", `transport_api_version: V3 grpc_service { google_grpc { target_uri: "a:1" stat_prefix: "s" } }`, []string{`grpc_service.google_grpc: not supported`, `grpc_service.target_specifier: only envoy_grpc is supported`}, accepted},
		{"a body of nothing", authzText + `with_request_body { }`, []string{`with_request_body.max_request_bytes: 0`}, refused},
		{"of some requests", authzText + `filter_enabled { default_value { numerator: 50 } }`, []string{`filter_enabled: not supported but for all requests`}, accepted},
		{"of all requests", authzText + `filter_enabled { default_value { numerator: 100 } }`, nil, accepted},
		{"with no effect", authzText + `shadow_mode: true`, []string{`shadow_mode: not supported`}, accepted},
		{"when nobody knows", authzText + `filter_enabled_metadata { filter: "envoy.filters.http.rbac" path { key: "x_shadow_effective_policy_id" } value { present_match: true } }`, []string{
			`filter_enabled_metadata.path: no shadow rules before it note "x_shadow_effective_policy_id"`}, accepted},
		{"an older protocol", `transport_api_version: V2 grpc_service { envoy_grpc { cluster_name: "` + outside + `" } }`, []string{`transport_api_version: V2 is not supported`}, refused},
	}},
	{name: "routes of a server", place: `route_config.virtual_hosts[0].routes[0].typed_per_filter_config.f: `, listener: func(s string) string {
		return guarded(`http_filters { name: "f" typed_config { [`+httpFilters+`rbac.v3.RBAC] { rules { } } } } `, `typed_per_filter_config { key: "f" value { `+s+` } } `)
	}, cases: []bad{
		{"no rules", `[` + httpFilters + `rbac.v3.RBACPerRoute] { }`, []string{`not supported: a server has one guard for all its routes`}, accepted},
		{"none of the filter", `[type.googleapis.com/envoy.config.route.v3.FilterConfig] { disabled: true }`, []string{`not supported: a server has one guard for all its routes`}, accepted},
	}},
	{name: "a server's TLS", chain: true, place: `transport_socket.typed_config.`, listener: serverText, cases: []bad{
		{"whoever", mesh, []string{`require_client_certificate: must be true`}, accepted},
		{"members of the mesh", mesh + `require_client_certificate { value: true }`, nil, accepted},
		{"no certificate of its own", `common_tls_context { ` + rootsText + `} require_client_certificate { value: true }`, []string{`common_tls_context: shows another certificate than the process's own`}, refused},
		{"a certificate of its own twice", `common_tls_context { ` + ownedText + ownedText + rootsText + `} require_client_certificate { value: true }`, []string{
			`common_tls_context.tls_certificate_sds_secret_configs: 2, but only one is supported`}, accepted},
		{"stapling", mesh + `require_client_certificate { value: true } ocsp_staple_policy: STRICT_STAPLING`, []string{`ocsp_staple_policy: STRICT_STAPLING is not supported`}, accepted},
	}},
	{name: "a client's TLS", cluster: clientText, place: `transport_socket.typed_config.`, cases: []bad{
		{"members of the mesh", mesh, nil, accepted},
		{"nobody", `common_tls_context { }`, []string{`common_tls_context.validation_context_type: no roots: nobody's certificate would be verified`}, accepted},
		{"everybody, said", `common_tls_context { validation_context { trust_chain_verification: ACCEPT_UNTRUSTED } }`, nil, accepted},
		{"a secret that is not known", `common_tls_context { validation_context_sds_secret_config { name: "x" } }`, []string{`common_tls_context.validation_context_sds_secret_config.name: "x" is not known: it must be "ROOTCA"`}, refused},
		{"a certificate by its hash", `common_tls_context { combined_validation_context { default_validation_context { verify_certificate_spki: "2IEpPESU/mmC30tPsnOfbGKdwKdQfN/wZw1QWpjGlmk=" } ` + rootsText + `} }`, []string{
			`common_tls_context.combined_validation_context.default_validation_context.verify_certificate_spki: not supported`}, accepted},
		{"a validator of its own", `common_tls_context { validation_context { custom_validator_config { name: "x" } } }`, []string{`common_tls_context.validation_context.custom_validator_config: not supported`}, refused},
	}},
}
