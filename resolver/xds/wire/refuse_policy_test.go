package wire

import "testing"

func TestPoliciesOfRoutesThatCannotBeObeyedAreRefused(t *testing.T) {
	route := func(more, action string) string {
		return `name: "r" virtual_hosts { name: "v" domains: "*" routes { match { prefix: "" } ` + more + ` route { cluster: "c" ` + action + ` } } }`
	}
	action := func(s string) string { return route(``, s) }
	retry := func(s string) string { return action(`retry_policy { retry_on: "5xx" ` + s + ` }`) }
	own := func(s string) string {
		return route(`metadata { filter_metadata { key: "weft" value { `+s+` } } }`, ``)
	}
	hedge := func(name, value string) string {
		return own(`fields { key: "hedge" value { struct_value { fields { key: "` + name + `" value { ` + value + ` } } } } }`)
	}
	rate := func(s string) string { return route(perFilter("f", localRate+`{ `+s+` }`), ``) }
	const (
		in    = `route configuration "r": virtual_hosts[0].routes[0].`
		again = in + `route.retry_policy.`
		hed   = in + `metadata.weft.hedge.`
		f     = in + `typed_per_filter_config.f.`
		some  = `stat_prefix: "s" ` + tenCalls
	)
	refuses(t, []refusal{
		{"negative time of an attempt", retry(`per_try_timeout { seconds: -1 }`), []string{again + `per_try_timeout: -1s is negative`}},
		{"priorities avoided never (Envoy)", retry(`retry_priority { name: "p" typed_config { [type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig] {  } } }`), []string{again + `retry_priority.update_frequency: must be more than 0`}},
		{"resets without headers", retry(`rate_limited_retry_back_off { max_interval { } }`), []string{
			again + `rate_limited_retry_back_off.reset_headers: none`, again + `rate_limited_retry_back_off.max_interval: must be more than 0`}},
		{"resets by what is no header", retry(`rate_limited_retry_back_off { reset_headers { format: 2 } max_interval { nanos: -1 } }`), []string{
			again + `rate_limited_retry_back_off.reset_headers[0].name: empty`, again + `rate_limited_retry_back_off.reset_headers[0].format: unknown value 2`,
			again + `rate_limited_retry_back_off.max_interval: -1ns is negative`, again + `rate_limited_retry_back_off.max_interval: must be more than 0`}},
		{"retriable headers", retry(`retriable_headers { name: "a" string_match { prefix: "" } } retriable_headers { exact_match: "x" }`), []string{
			again + `retriable_headers[0].string_match.prefix: empty`, again + `retriable_headers[1].name: empty`}},
		{"priority", action(`priority: 2`), []string{in + `route.priority: unknown value 2`}},
		{"hedges (Envoy)", action(`hedge_policy { initial_requests { } additional_request_chance { denominator: 3 } }`), []string{
			in + `route.hedge_policy.initial_requests: must be more than 0`, in + `route.hedge_policy.additional_request_chance.denominator: unknown value 3`}},
		{"our own guard", own(`fields { key: "unguarded" value { number_value: 1 } } fields { key: "hedge" value { bool_value: true } }`), []string{
			in + `metadata.weft.unguarded: is neither true nor false`, in + `metadata.weft.hedge: is no struct`}},
		{"our own hedge's delay", hedge("delay", `string_value: "1"`), []string{hed + `delay: is no duration`}},
		{"our own hedge's negative delay", hedge("delay", `string_value: "-1s"`), []string{hed + `delay: -1s is negative`}},
		{"our own hedge's percentile", hedge("percentile", `number_value: nan`), []string{hed + `percentile: NaN is not a finite number from 0 on`}},
		{"our own hedge's percentile of 100", hedge("percentile", `number_value: 100`), []string{hed + `percentile: 100 is not below 100`}},
		{"our own hedge's part of an attempt", hedge("max", `number_value: 0.5`), []string{hed + `max: 0.5 is no count`}},
		{"our own hedge's many attempts", hedge("max", `number_value: 4294967296`), []string{hed + `max: 4.294967296e+09 is no count`}},
		{"our own hedge's attempts as text", hedge("max", `string_value: "1"`), []string{hed + `max: is no number`}},
		{"a limit without a bucket (Envoy)", rate(``), []string{f + `stat_prefix: empty`, f + `token_bucket: missing`}},
		{"buckets that are never filled, or too often", rate(`stat_prefix: "s" token_bucket { tokens_per_fill { } } descriptors { entries { key: "a" } token_bucket { max_tokens: 1 fill_interval { nanos: 49999999 } } }`), []string{
			f + `token_bucket.max_tokens: must be more than 0`, f + `token_bucket.tokens_per_fill: must be more than 0`, f + `token_bucket.fill_interval: missing`,
			f + `descriptors[0].token_bucket.fill_interval: 49.999999ms is less than 50ms`}},
		{"negative fill_interval", rate(`stat_prefix: "s" token_bucket { max_tokens: 1 fill_interval { seconds: -1 } }`), []string{
			f + `token_bucket.fill_interval: -1s is negative`, f + `token_bucket.fill_interval: 0s is less than 50ms`}},
		{"descriptors without entries", rate(some + `descriptors { } descriptors { ` + tenCalls + ` entries { } }`), []string{
			f + `descriptors[0].token_bucket: missing`, f + `descriptors[0].entries: none`, f + `descriptors[1].entries[0].key: empty`}},
		{"the rest of a limit", rate(some + `max_dynamic_descriptors { } enable_x_ratelimit_headers: 2 filter_enabled { default_value { denominator: 3 } } rate_limits { actions { request_headers { } } }`), []string{
			f + `max_dynamic_descriptors: must be more than 0`, f + `enable_x_ratelimit_headers: unknown value 2`,
			f + `rate_limits[0].actions[0].request_headers.header_name: empty`, f + `filter_enabled.default_value.denominator: unknown value 3`,
			f + `rate_limits[0].actions[0].request_headers.descriptor_key: value length must be at least 1 runes`}},
	}, routesText, DecodeRouteTable)
}

func TestPoliciesOfClustersThatCannotBeObeyedAreRefused(t *testing.T) {
	const (
		eds = `name: "c" type: EDS eds_cluster_config { eds_config { ads {} } } `
		out = `cluster "c": outlier_detection.`
		in  = `cluster "c": circuit_breakers.thresholds[0].`
	)
	budget := func(s string) string {
		return eds + `circuit_breakers { thresholds { retry_budget { ` + s + ` } } }`
	}
	refuses(t, []refusal{
		{"priority", eds + `circuit_breakers { thresholds { priority: 2 } }`, []string{in + `priority: unknown value 2`}},
		{"budgets above all", budget(`budget_percent { value: 100.5 }`), []string{in + `retry_budget.budget_percent: 100.5 is not within 0 and 100`}},
		{"budgets below nothing", budget(`budget_percent { value: -1 } budget_interval { seconds: -1 }`), []string{
			in + `retry_budget.budget_percent: -1 is not within 0 and 100`, in + `retry_budget.budget_interval: -1s is negative`}},
		{"budgets that are no number", budget(`budget_percent { value: nan }`), []string{in + `retry_budget.budget_percent: NaN is not within 0 and 100`}},
		{"our own rate", eds + `metadata { filter_metadata { key: "weft" value { fields { key: "retry_budget_min_rate" value { number_value: inf } } } } }`, []string{
			`cluster "c": metadata.weft.retry_budget_min_rate: +Inf is not a finite number from 0 on`}},
		{"times of 0 (Envoy)", eds + `outlier_detection { interval { } base_ejection_time { } max_ejection_time { } }`, []string{
			out + `interval: must be more than 0`, out + `base_ejection_time: must be more than 0`, out + `max_ejection_time: must be more than 0`}},
		{"negative times (gRFC A50)", eds + `outlier_detection { interval { nanos: -1 } base_ejection_time { seconds: -1 } max_ejection_time { seconds: 999999999999 } max_ejection_time_jitter { seconds: -2 } }`, []string{
			out + `interval: -1ns is negative`, out + `base_ejection_time: -1s is negative`, out + `max_ejection_time: 999999999999 s and 0 ns are no duration`, out + `max_ejection_time_jitter: -2s is negative`}},
		{"a longest time below the base time (Envoy)", eds + `outlier_detection { max_ejection_time { seconds: 29 } }`, []string{out + `max_ejection_time: 29s is less than the base_ejection_time 30s`}},
		{"percentages (gRFC A50)", eds + `outlier_detection { max_ejection_percent { value: 101 } enforcing_consecutive_5xx { value: 101 } enforcing_success_rate { value: 101 } enforcing_consecutive_gateway_failure { value: 101 }
			enforcing_consecutive_local_origin_failure { value: 101 } enforcing_local_origin_success_rate { value: 101 } failure_percentage_threshold { value: 101 } enforcing_failure_percentage { value: 101 }
			enforcing_failure_percentage_local_origin { value: 4294967295 } } common_lb_config { healthy_panic_threshold { value: inf } }`, []string{
			out + `max_ejection_percent: 101 is more than 100`, out + `enforcing_consecutive_5xx: 101 is more than 100`, out + `enforcing_consecutive_gateway_failure: 101 is more than 100`,
			out + `enforcing_consecutive_local_origin_failure: 101 is more than 100`, out + `enforcing_success_rate: 101 is more than 100`, out + `enforcing_local_origin_success_rate: 101 is more than 100`,
			out + `enforcing_failure_percentage: 101 is more than 100`, out + `enforcing_failure_percentage_local_origin: 4294967295 is more than 100`, out + `failure_percentage_threshold: 101 is more than 100`,
			`cluster "c": common_lb_config.healthy_panic_threshold: +Inf is not within 0 and 100`}},
	}, clusterText, DecodeCluster)
}
