package wire

import (
	"slices"
	"strings"
	"testing"
)

// A bad is a field of a resource that makes no sense.
type bad struct {
	name  string
	text  string   // of what is the case's kind to say
	want  []string // findings, after the place of the kind; none if it is understood all the same
	envoy verdict
}

// A verdict is Envoy's. What only weft reads it does not look at.
type verdict bool

const (
	refused  verdict = true
	accepted verdict = false
)

const (
	httpManager = `[type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager]`
	httpFilters = `type.googleapis.com/envoy.extensions.filters.http.`
	routerText  = `http_filters { name: "router" typed_config { [` + httpFilters + `router.v3.Router] {} } }`
	oneHour     = `interval { seconds: 3600 } `
	limitsText  = `rate_limit_service { grpc_service { envoy_grpc { cluster_name: "c" } } transport_api_version: V3 } `
	succeeds    = `success_criteria { } `
	updates     = `concurrency_limit_params { concurrency_update_interval { seconds: 1 } } `
)

// A badKind makes a listener of a case, for Envoy too, and knows where findings are.
type badKind struct {
	name     string
	listener func(text string) string // of a listener but for its name and address; nil for clusters
	cluster  func(text string) string
	place    string // of the findings
	chain    bool   // place is within the filter chain, not its filter
	cases    []bad
}

func manager(text string) string {
	return `filter_chains { filters { name: "h" typed_config { ` + httpManager + ` { stat_prefix: "s" ` + text + ` } } } } `
}

// routed is a listener with a route and all filters that a route may say something to.
func routed(route, action string) string {
	var filters strings.Builder
	for _, f := range []string{`fault.v3.HTTPFault] {`, `local_ratelimit.v3.LocalRateLimit] { stat_prefix: "s"`, `bandwidth_limit.v3.BandwidthLimit] { stat_prefix: "s"`, `ratelimit.v3.RateLimit] { domain: "d" ` + limitsText} {
		name, _, _ := strings.Cut(f, ".")
		filters.WriteString(`http_filters { name: "` + name + `" typed_config { [` + httpFilters + f + ` } } } `)
	}
	return manager(filters.String() + routerText + ` route_config { name: "r" virtual_hosts { name: "v" domains: "*" routes { match { prefix: "/" } ` + route + ` route { cluster: "c" ` + action + ` } } } }`)
}

func filtered(kind, text, listener string) string {
	return listener + manager(`http_filters { name: "f" typed_config { [`+httpFilters+kind+`] { `+text+` } } } `+routerText+` route_config { name: "r" }`)
}

// guarded is the listener of a server with filters that guard it, and what its route says to them.
func guarded(filters, route string) string {
	return `traffic_direction: INBOUND ` + manager(filters+routerText+
		` route_config { name: "r" virtual_hosts { name: "v" domains: "*" routes { match { prefix: "/" } `+route+` non_forwarding_action { } } } }`)
}

func ownText(text string) string {
	return `metadata { filter_metadata { key: "weft" value { ` + text + ` } } } `
}

func ownField(name, value string) string {
	return `fields { key: "` + name + `" value { ` + value + ` } } `
}

func ownStruct(name, fields string) string { return ownField(name, `struct_value { `+fields+` }`) }

var badKinds = []badKind{
	{name: "route", place: `route_config.virtual_hosts[0].routes[0].route.`, listener: func(s string) string { return routed("", s) }, cases: []bad{
		{"negative timeout", `timeout { seconds: -1 }`, []string{`timeout: -1s is negative`}, refused},
		{"negative idle timeout", `idle_timeout { nanos: -1000000 }`, []string{`idle_timeout: -1ms is negative`}, refused},
		{"no idle timeout", `idle_timeout { }`, nil, accepted},
		{"a duration that is none", `timeout { seconds: 1 nanos: 1000000000 }`, []string{`timeout: 1 s and 1000000000 ns are no duration`}, refused},
		{"inverted back-off", `retry_policy { retry_back_off { base_interval { seconds: 2 } max_interval { seconds: 1 } } }`, []string{`retry_policy.retry_back_off.max_interval: 1s is less than the base_interval 2s`}, refused},
		{"priorities avoided never", `retry_policy { retry_priority { name: "p" typed_config { [type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig] { update_frequency: -1 } } } }`, []string{`retry_policy.retry_priority.update_frequency: must be more than 0`}, accepted},
		{"back-off of 0", `retry_policy { retry_back_off { base_interval { } } }`, []string{`retry_policy.retry_back_off.base_interval: must be more than 0`}, refused},
		{"negative back-off", `retry_policy { retry_back_off { base_interval { seconds: -1 } } }`, []string{`retry_policy.retry_back_off.base_interval: -1s is negative`, `retry_policy.retry_back_off.base_interval: must be more than 0`}, refused},
		{"negative time of a try", `retry_policy { per_try_timeout { seconds: -1 } }`, []string{`retry_policy.per_try_timeout: -1s is negative`}, refused},
		{"unknown condition", `retry_policy { retry_on: "5xx,never-heard-of" }`, nil, accepted},
		{"no request at first", `hedge_policy { initial_requests { } }`, []string{`hedge_policy.initial_requests: must be more than 0`}, refused},
		{"limits without actions", `rate_limits { }`, []string{`rate_limits[0].actions: none`}, refused},
		{"a stage beyond the last", `rate_limits { stage { value: 11 } actions { remote_address { } } }`, []string{`rate_limits[0].stage: 11 is more than 10`}, refused},
		{"entries of no header", `rate_limits { actions { request_headers { } } }`, []string{`rate_limits[0].actions[0].request_headers.header_name: empty`, `rate_limits[0].actions[0].request_headers.descriptor_key: empty`}, refused},
		{"entries of no value", `rate_limits { actions { header_value_match { headers { name: "a" present_match: true } } } }`, []string{`rate_limits[0].actions[0].header_value_match.descriptor_value: empty`}, refused},
		{"entries of no match", `rate_limits { actions { header_value_match { descriptor_value: "a" } } }`, []string{`rate_limits[0].actions[0].header_value_match.headers: none`}, refused},
	}},
	{name: "fault", place: `route_config.virtual_hosts[0].routes[0].typed_per_filter_config.fault.`, listener: func(s string) string {
		return routed(perFilter("fault", `[`+httpFilters+`fault.v3.HTTPFault] { `+s+` }`), "")
	}, cases: []bad{
		{"delay of 0", `delay { fixed_delay { } percentage { numerator: 1 } }`, []string{`delay.fixed_delay: must be more than 0`}, refused},
		{"negative delay", `delay { fixed_delay { seconds: -1 } percentage { numerator: 1 } }`, []string{`delay.fixed_delay: -1s is negative`}, refused},
		{"a delay that nobody says", `delay { percentage { numerator: 1 } }`, []string{`delay.fault_delay_secifier: missing: neither fixed_delay nor header_delay`}, refused},
		{"status below", `abort { http_status: 199 percentage { numerator: 1 } }`, []string{`abort.http_status: 199 is not in 200 to 599`}, refused},
		{"status above", `abort { http_status: 600 percentage { numerator: 1 } }`, []string{`abort.http_status: 600 is not in 200 to 599`}, refused},
		{"a code that is none (gRFC A33)", `abort { grpc_status: 17 percentage { numerator: 1 } }`, nil, accepted},
		{"an abort that nobody says", `abort { }`, []string{`abort.error_type: missing: neither http_status nor grpc_status nor header_abort`}, refused},
		{"more than all", `abort { http_status: 500 percentage { numerator: 101 } }`, nil, accepted},
		{"unknown denominator", `abort { http_status: 500 percentage { numerator: 1 denominator: 3 } }`, []string{`abort.percentage.denominator: unknown value 3`}, refused},
		{"slow as 0", `response_rate_limit { fixed_limit { } percentage { numerator: 1 } }`, []string{`response_rate_limit.fixed_limit.limit_kbps: must be more than 0`}, refused},
		{"slow as nobody says", `response_rate_limit { }`, []string{`response_rate_limit.limit_type: missing: neither fixed_limit nor header_limit`}, refused},
		{"none at a time", `max_active_faults { }`, nil, accepted},
	}},
	{name: "bandwidth", place: `route_config.virtual_hosts[0].routes[0].typed_per_filter_config.bandwidth_limit.`, listener: func(s string) string {
		return routed(perFilter("bandwidth_limit", `[`+httpFilters+`bandwidth_limit.v3.BandwidthLimit] { `+s+` }`), "")
	}, cases: []bad{
		{"nothing said", ``, []string{`stat_prefix: empty`, `limit_kbps: missing`}, refused},
		{"a limit of 0", `stat_prefix: "s" limit_kbps { }`, []string{`limit_kbps: must be more than 0`}, refused},
		{"a limit beyond all numbers", `stat_prefix: "s" limit_kbps { value: 18446744073709551615 } enable_mode: REQUEST`, nil, accepted},
		{"filled too often", `stat_prefix: "s" limit_kbps { value: 1 } fill_interval { nanos: 19999999 }`, []string{`fill_interval: 19.999999ms is not in 20ms to 1s`}, refused},
		{"filled too seldom", `stat_prefix: "s" limit_kbps { value: 1 } fill_interval { seconds: 1 nanos: 1 }`, []string{`fill_interval: 1.000000001s is not in 20ms to 1s`}, refused},
		{"filled before", `stat_prefix: "s" limit_kbps { value: 1 } fill_interval { seconds: -1 }`, []string{`fill_interval: -1s is negative`, `fill_interval: 0s is not in 20ms to 1s`}, refused},
		{"unknown mode", `stat_prefix: "s" limit_kbps { value: 1 } enable_mode: 4`, []string{`enable_mode: unknown value 4`}, refused},
	}},
	{name: "rate", place: `route_config.virtual_hosts[0].routes[0].typed_per_filter_config.local_ratelimit.`, listener: func(s string) string {
		return routed(perFilter("local_ratelimit", localRate+`{ stat_prefix: "s" `+s+` }`), "")
	}, cases: []bad{
		{"no bucket", ``, []string{`token_bucket: missing`}, refused},
		{"no tokens", `token_bucket { fill_interval { seconds: 1 } }`, []string{`token_bucket.max_tokens: must be more than 0`}, accepted},
		{"never filled", `token_bucket { max_tokens: 1 tokens_per_fill { } fill_interval { seconds: 1 } }`, []string{`token_bucket.tokens_per_fill: must be more than 0`}, refused},
		{"filled too often", `token_bucket { max_tokens: 1 fill_interval { nanos: 49000000 } }`, []string{`token_bucket.fill_interval: 49ms is less than 50ms`}, refused},
		{"filled in no time", `token_bucket { max_tokens: 1 }`, []string{`token_bucket.fill_interval: missing`}, refused},
		{"a descriptor twice", tenCalls + `descriptors { entries { key: "path" value: "/" } ` + tenCalls + `} descriptors { entries { key: "path" value: "/" } ` + tenCalls + `} rate_limits { actions { request_headers { header_name: ":path" descriptor_key: "path" } } }`, []string{
			`descriptors[1].entries: are those of descriptors[0]`}, refused},
		{"no dynamic descriptors", tenCalls + `max_dynamic_descriptors { }`, []string{`max_dynamic_descriptors: must be more than 0`}, refused},
	}},
	{name: "global", place: `http_filters[0].typed_config.`, listener: func(s string) string { return filtered("ratelimit.v3.RateLimit", s, "") }, cases: []bad{
		{"nothing said", ``, []string{`domain: empty`, `rate_limit_service.grpc_service: missing`}, refused},
		{"a stage beyond the last", `domain: "d" stage: 11 ` + limitsText, []string{`stage: 11 is more than 10`}, refused},
		{"a type of requests", `domain: "d" request_type: "x" ` + limitsText, []string{`request_type: "x" is not internal, external or both`}, refused},
		{"negative timeout", `domain: "d" timeout { seconds: -1 } ` + limitsText, []string{`timeout: -1s is negative`}, refused},
		{"no timeout", `domain: "d" timeout { } ` + limitsText, nil, accepted},
		{"a service without a cluster", `domain: "d" rate_limit_service { grpc_service { envoy_grpc { } } transport_api_version: V3 }`, []string{`rate_limit_service.grpc_service.envoy_grpc.cluster_name: empty`}, refused},
	}},
	{name: "adaptive", place: `http_filters[0].typed_config.gradient_controller_config.`, listener: func(s string) string {
		return filtered("adaptive_concurrency.v3.AdaptiveConcurrency", `gradient_controller_config { `+s+` }`, `traffic_direction: INBOUND `)
	}, cases: []bad{
		{"nothing said", ``, []string{`concurrency_limit_params: missing`, `concurrency_limit_params.concurrency_update_interval: missing`, `min_rtt_calc_params: missing`, `min_rtt_calc_params.interval: missing, and so is fixed_value`}, refused},
		{"an interval of 0", `concurrency_limit_params { concurrency_update_interval { } } min_rtt_calc_params { ` + oneHour + ` }`, []string{`concurrency_limit_params.concurrency_update_interval: must be more than 0`}, refused},
		{"a measurement too often", updates + `min_rtt_calc_params { interval { nanos: 999999 } }`, []string{`min_rtt_calc_params.interval: 999.999µs is less than 1ms`}, refused},
		{"a fixed time of 0", updates + `min_rtt_calc_params { fixed_value { } }`, []string{`min_rtt_calc_params.fixed_value: must be more than 0`}, refused},
		{"neither measured nor fixed", updates + `min_rtt_calc_params { }`, []string{`min_rtt_calc_params.interval: missing, and so is fixed_value`}, refused},
		{"limits below one", `concurrency_limit_params { concurrency_update_interval { seconds: 1 } max_concurrency_limit { } } min_rtt_calc_params { ` + oneHour + ` min_concurrency { } request_count { } }`, []string{
			`concurrency_limit_params.max_concurrency_limit: must be more than 0`, `min_rtt_calc_params.request_count: must be more than 0`, `min_rtt_calc_params.min_concurrency: must be more than 0`}, refused},
		{"percentages", updates + `sample_aggregate_percentile { value: 101 } min_rtt_calc_params { ` + oneHour + ` jitter { value: -1 } buffer { value: 100.1 } }`, []string{
			`sample_aggregate_percentile: 101 is not within 0 and 100`, `min_rtt_calc_params.jitter: -1 is not within 0 and 100`, `min_rtt_calc_params.buffer: 100.1 is not within 0 and 100`}, refused},
		{"a percentage that is no number", updates + `sample_aggregate_percentile { value: nan } min_rtt_calc_params { ` + oneHour + ` }`, []string{`sample_aggregate_percentile: NaN is not within 0 and 100`}, refused},
		{"inverted bounds", `concurrency_limit_params { concurrency_update_interval { seconds: 1 } max_concurrency_limit { value: 1 } } min_rtt_calc_params { ` + oneHour + ` min_concurrency { value: 2 } }`, nil, accepted},
	}},
	{name: "admission", place: `http_filters[0].typed_config.`, listener: func(s string) string { return filtered("admission_control.v3.AdmissionControl", s, "") }, cases: []bad{
		{"nothing said", ``, []string{`evaluation_criteria: missing`}, refused},
		{"a window of 0", succeeds + `sampling_window { }`, []string{`sampling_window: 0s is less than 1s`}, accepted},
		{"a negative window", succeeds + `sampling_window { seconds: -1 }`, []string{`sampling_window: -1s is negative`, `sampling_window: 0s is less than 1s`}, refused},
		{"a threshold below one", succeeds + `sr_threshold { default_value { value: 0.5 } }`, []string{`sr_threshold.default_value: 0.5 is less than 1`}, refused},
		{"percentages", succeeds + `sr_threshold { default_value { value: 101 } } max_rejection_probability { default_value { value: -1 } }`, []string{
			`sr_threshold.default_value: 101 is not within 0 and 100`, `max_rejection_probability.default_value: -1 is not within 0 and 100`}, refused},
		{"a percentage that is no number", succeeds + `max_rejection_probability { default_value { value: nan } }`, []string{`max_rejection_probability.default_value: NaN is not within 0 and 100`}, accepted},
		{"an aggression that is no number", succeeds + `aggression { default_value: nan }`, []string{`aggression.default_value: NaN is no number`}, accepted},
		{"an aggression below one", succeeds + `aggression { default_value: 0.5 }`, nil, accepted},
		{"good answers that are none", `success_criteria { http_criteria { http_success_status { start: 99 end: 200 } } grpc_criteria { grpc_success_status: 17 } }`, []string{
			`success_criteria.http_criteria.http_success_status[0]: 99 to 200 is not in 100 to 600`, `success_criteria.grpc_criteria.grpc_success_status[0]: 17 is no status code`}, refused},
		{"no good answers", `success_criteria { http_criteria { } grpc_criteria { } }`, []string{
			`success_criteria.http_criteria.http_success_status: none`, `success_criteria.grpc_criteria.grpc_success_status: none`}, refused},
	}},
	{name: "own of a route", place: `route_config.virtual_hosts[0].routes[0].metadata.weft.`, listener: func(s string) string { return routed(ownText(s), "") }, cases: []bad{
		{"fallback", ownStruct("fallback", ownField("max_age", `string_value: "-1s"`)+ownField("max_answers", `number_value: -1`)+ownField("max_bytes", `number_value: 0.5`)), []string{
			`fallback.max_age: -1s is negative`, `fallback.max_answers: -1 is not a finite number from 0 on`, `fallback.max_bytes: 0.5 is no count`}, accepted},
		{"no answer", ownStruct("fallback", ownStruct("answer", "")), []string{`fallback.answer: answer.status: 0 is not in 200 to 599`}, accepted},
		{"an answer", ownStruct("fallback", ownStruct("answer", ownField("status", `number_value: 99`)+ownField("body", `string_value: "?"`)+ownField("header", `list_value { values { struct_value { } } values { } }`))), []string{
			`fallback.answer.header[1]: is no struct`, `fallback.answer.header[0].name: empty`, `fallback.answer.body: is not base64`, `fallback.answer: answer.status: 99 is not in 200 to 599`}, accepted},
		{"an answer of both protocols", ownStruct("fallback", ownStruct("answer", ownField("status", `number_value: 200`)+ownField("code", `number_value: 17`))), []string{
			`fallback.answer: both a status and a code`, `fallback.answer: answer.code: 17 is no gRPC status code`}, accepted},
		{"a break", ownStruct("fault", ownStruct("break", ownField("kind", `string_value: "slow-body"`)+ownField("after", `number_value: -1`)+ownStruct("percent", ownField("numerator", `number_value: 101`)))), []string{
			`fault.break.after: -1 is not a finite number from 0 on`, `fault.break.percent: numerator: 101 is more than 100`, `fault.break.pause: must be more than 0`}, accepted},
		{"a share of nothing", ownStruct("fault", ownStruct("break", ownField("kind", `string_value: "body-reset"`)+ownStruct("percent", ownField("per", `number_value: 7`)))), []string{`fault.break.percent: per: 7 is not 100, 10000 or 1000000`}, accepted},
		{"a lease", ownStruct("global", ownField("batch", `number_value: 4`)+ownField("ahead", `number_value: 4`)+ownField("holds", `string_value: "-1s"`)+ownField("descriptors", `list_value { values { struct_value { } } }`)), []string{
			`global.holds: -1s is negative`, `global: ahead: 4 is not less than batch 4`, `global.descriptors[0].entries: none`}, accepted},
		{"a bandwidth", ownStruct("bandwidth", ownStruct("request", ownField("bytes_per_second", `number_value: nan`)+ownField("fill", `string_value: "2s"`))), []string{
			`bandwidth.request.bytes_per_second: NaN is not a finite number from 0 on`, `bandwidth.request: fill: 2s is not in 20ms to 1s`}, accepted},
		{"what is turned off", ownField("off", `number_value: 1`), []string{`off: is no text`}, accepted},
		{"what nobody knows is turned off", ownField("off", `string_value: "retries,gravity"`), nil, accepted},
	}},
	{name: "own of a server", place: `metadata.weft.`, listener: func(s string) string {
		return ownText(s) + `traffic_direction: INBOUND ` + manager(routerText+` route_config { name: "r" }`)
	}, cases: []bad{
		{"counts and texts", ownField("max_requests", `number_value: inf`) + ownField("health_paths", `list_value { values { number_value: 1 } }`), []string{
			`max_requests: +Inf is not a finite number from 0 on`, `health_paths[0]: is no text`}, accepted},
		{"inverted patience", ownStruct("shedding", ownField("target", `string_value: "2s"`)+ownField("interval", `string_value: "1s"`)), []string{`shedding: target: 2s is not less than interval 1s`}, accepted},
		{"lateness", ownStruct("late", ownField("tolerance", `string_value: "-1s"`)+ownField("max_percent", `number_value: 100.5`)), []string{`late.tolerance: -1s is negative`, `late: maxPercent: 100.5 is no percentage`}, accepted},
	}},
	{name: "cluster", cluster: func(s string) string { return s }, cases: []bad{
		{"breakers", ownText(ownStruct("breaker", ownField("percent", `number_value: 101`)+ownField("window", `string_value: "-1s"`)) + ownStruct("host_breaker", ownField("failures", `number_value: 4294967296`))), []string{
			`metadata.weft.breaker.window: -1s is negative`, `metadata.weft.breaker: percent: 101 is no percentage`, `metadata.weft.host_breaker.failures: 4.294967296e+09 is no count`}, accepted},
		{"budgets", `circuit_breakers { thresholds { retry_budget { budget_percent { value: 101 } } } }`, []string{`circuit_breakers.thresholds[0].retry_budget.budget_percent: 101 is not within 0 and 100`}, refused},
		{"a budget that is no number", `circuit_breakers { thresholds { retry_budget { budget_percent { value: nan } } } }`, []string{`circuit_breakers.thresholds[0].retry_budget.budget_percent: NaN is not within 0 and 100`}, accepted},
		{"thresholds of all and nothing", `circuit_breakers { thresholds { max_requests { } max_retries { value: 4294967295 } } }`, nil, accepted},
		{"admission", `typed_extension_protocol_options { key: "` + httpOptions + `" value { [type.googleapis.com/` + httpOptions + `] { explicit_http_config { http_protocol_options { } } http_filters { name: "a" typed_config { [` + httpFilters +
			`admission_control.v3.AdmissionControl] { ` + succeeds + ` sr_threshold { default_value { value: 0.5 } } } } } http_filters { name: "c" typed_config { [` + httpFilters + `upstream_codec.v3.UpstreamCodec] { } } } } } }`,
			[]string{`typed_extension_protocol_options.` + httpOptions + `.http_filters[0].typed_config.sr_threshold.default_value: 0.5 is less than 1`}, refused},
	}},
}

func TestBadInputIsRefusedByResourceAndField(t *testing.T) {
	for _, k := range slices.Concat(badKinds, badGuards) {
		for _, c := range k.cases {
			var err error
			place := `cluster "c": `
			if k.cluster != nil {
				_, err = DecodeCluster(clusterText(t, `name: "c" type: EDS eds_cluster_config { eds_config { ads {} } } `+k.cluster(c.text)))
			} else {
				place = `listener "l": filter_chains[0].filters[0].`
				if strings.HasPrefix(k.place, "metadata") {
					place = `listener "l": `
				} else if k.chain {
					place = `listener "l": filter_chains[0].`
				}
				_, err = DecodeListener(listenerText(t, `name: "l" address { socket_address { address: "127.0.0.1" port_value: 1 } } `+k.listener(c.text)))
			}
			var got, want []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			for _, w := range c.want {
				at := k.place
				if strings.HasPrefix(w, ":") { // of the place itself
					at = strings.TrimSuffix(at, ".")
				}
				want = append(want, place+at+w)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s: got\n  %s\nwant\n  %s", k.name, c.name, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
		}
	}
}
