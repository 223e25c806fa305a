package wire

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
)

func TestFaultsAreUnderstood(t *testing.T) {
	const (
		off   = resilience.NoFaults
		at    = `typed_per_filter_config.f.`
		half  = `percentage { numerator: 50 } `
		fixed = `delay { fixed_delay { seconds: 1 } ` + half + `} `
		asked = `abort { header_abort { } ` + half + `} `
	)
	fault := func(s string) string {
		return perFilter("f", `[`+httpFilters+`fault.v3.HTTPFault] { `+s+` }`)
	}
	for _, c := range []struct {
		name, text string
		want       *resilience.Fault
		off        resilience.Switches
		warn       []string
	}{
		{"nothing", ``, nil, 0, nil},
		{"that there is none", fault(``), nil, off, nil},
		{"for none of the calls", fault(`delay { fixed_delay { seconds: 1 } }`), nil, off, nil},
		{"none at a time (Envoy)", fault(fixed + `max_active_faults { }`), nil, off, nil},
		{"a delay", fault(fixed + `max_active_faults { value: 3 } delay_percent_runtime: "x"`), &resilience.Fault{Delay: time.Second, DelayPercent: resilience.Percent(50), MaxActive: 3}, 0, nil},
		{"an abort in a million", fault(`abort { grpc_status: 14 percentage { numerator: 1 denominator: MILLION } }`),
			&resilience.Fault{Abort: resilience.Abort{GRPC: true, Code: 14}, AbortPercent: resilience.Fraction{Numerator: 1, Per: 1_000_000}}, 0, nil},
		{"an abort of more than all", fault(`abort { http_status: 500 percentage { numerator: 10001 denominator: TEN_THOUSAND } }`),
			&resilience.Fault{Abort: resilience.Abort{Status: 500}, AbortPercent: resilience.Fraction{Numerator: 10_000, Per: 10_000}}, 0, nil},
		{"a code that is none (gRFC A33)", fault(`abort { grpc_status: 99 ` + half + ` response_body: "x" }`), &resilience.Fault{Abort: resilience.Abort{GRPC: true, Code: 2}, AbortPercent: resilience.Percent(50)}, 0, []string{
			at + `abort.response_body: not supported yet, has no effect`, at + `abort.grpc_status: 99 is no status code: the answer is UNKNOWN`}},
		{"slow answers", fault(`response_rate_limit { fixed_limit { limit_kbps: 3 } ` + half + `}`), &resilience.Fault{BytesPerSecond: 3 << 10, SlowPercent: resilience.Percent(50)}, 0, nil},
		{"slower than can be", fault(`response_rate_limit { fixed_limit { limit_kbps: 18446744073709551615 } ` + half + `}`), &resilience.Fault{BytesPerSecond: math.MaxUint64 - 1023, SlowPercent: resilience.Percent(50)}, 0, nil},
		{"as callers say", fault(asked), &resilience.Fault{ByHeader: true, AbortPercent: resilience.Percent(50)}, 0, nil},
		{"in part as callers say", fault(asked + fixed), &resilience.Fault{ByHeader: true, AbortPercent: resilience.Percent(50), Delay: time.Second, DelayPercent: resilience.Percent(50)}, 0, []string{
			`typed_per_filter_config.f: callers may by headers change all of it, not some`}},
		{"as callers say or else as configured", fault(fixed) + ownText(ownStruct("fault", ownField("by_header", `bool_value: true`))), &resilience.Fault{ByHeader: true, Delay: time.Second, DelayPercent: resilience.Percent(50)}, 0, nil},
		{"for some callers", fault(fixed + `headers { name: "x" present_match: true }`), nil, off, []string{`typed_per_filter_config.f: one for the calls of some headers, clusters or nodes is not supported yet, has no effect`}},
		{"a break", ownText(ownStruct("fault", ownStruct("break", ownField("kind", `string_value: "body-reset"`)+ownField("after", `number_value: 9`)+ownStruct("percent", ownField("numerator", `number_value: 50`))))),
			&resilience.Fault{Break: resilience.Break{Kind: resilience.BodyReset, After: 9}, BreakPercent: resilience.Percent(50)}, 0, nil},
		{"a break that nobody knows", ownText(ownStruct("fault", ownStruct("break", ownField("kind", `string_value: "earthquake"`)+ownStruct("percent", ownField("numerator", `number_value: 50`))))), nil, 0, []string{
			`metadata.weft.fault.break.kind: "earthquake" is not known, has no effect`}},
		{"disabled", perFilter("envoy.filters.http.fault", `[type.googleapis.com/envoy.config.route.v3.FilterConfig] { disabled: true }`), nil, off, nil},
	} {
		if p, warn := understood(t, ``, c.text, ``); !reflect.DeepEqual(p.Fault, c.want) || p.Off != c.off || !slices.Equal(warn, c.warn) {
			t.Errorf("%s: got %+v, off %q, %q", c.name, p.Fault, p.Off, warn)
		}
	}
}

func TestRoutesInheritWhatIsSaidAbove(t *testing.T) {
	abort := func(status string) string {
		return perFilter("f", `[`+httpFilters+`fault.v3.HTTPFault] { abort { http_status: `+status+` percentage { numerator: 100 } } }`)
	}
	limits := `rate_limits { actions { remote_address { } } } `
	const perRoute = `[` + httpFilters + `ratelimit.v3.RateLimitPerRoute] `
	path, address := []resilience.Entry{{Key: "path"}}, []resilience.Entry{{Key: "remote_address"}}
	const byPath = `rate_limits { actions { request_headers { header_name: ":path" descriptor_key: "path" } } } `
	for _, c := range []struct {
		name, table, host, route, action string
		status                           int
		domain                           string
		limits                           [][]resilience.Entry
		off                              resilience.Switches
	}{
		{name: "nothing"},
		{name: "the table's", table: abort("501"), status: 501},
		{name: "the host's", table: abort("501"), host: abort("502"), status: 502},
		{name: "the route's", table: abort("501"), host: abort("502"), route: abort("503"), status: 503},
		{name: "none, says the host", table: abort("501"), host: perFilter("f", `[`+httpFilters+`fault.v3.HTTPFault] { }`), off: resilience.NoFaults},
		{name: "the host's limits", host: limits, limits: [][]resilience.Entry{address}},
		{name: "the action's limits", host: limits, action: byPath, limits: [][]resilience.Entry{path}},
		{name: "both limits", host: limits, action: byPath + `include_vh_rate_limits { value: true }`, limits: [][]resilience.Entry{path, address}},
		{name: "both limits, says the filter", host: limits, action: byPath, route: perFilter("g", perRoute+`{ vh_rate_limits: INCLUDE domain: "d" }`), domain: "d", limits: [][]resilience.Entry{path, address}},
		{name: "not the host's limits", host: limits, route: perFilter("g", perRoute+`{ vh_rate_limits: IGNORE }`)},
		{name: "limits in place of the action's", host: limits, action: limits, route: perFilter("g", perRoute+`{ `+byPath+` }`), limits: [][]resilience.Entry{path}},
		{name: "no limits", action: byPath, route: perFilter("g", `[type.googleapis.com/envoy.config.route.v3.FilterConfig] { disabled: true config { `+perRoute+`{ } } }`), off: resilience.NoGlobalRates},
	} {
		v, err := DecodeRouteTable(routesText(t, `name: "r" `+c.table+` virtual_hosts { domains: "*" `+c.host+` routes { match { prefix: "" } `+c.route+` route { cluster: "c" `+c.action+` } } }`))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		p := v.VirtualHosts[0].Routes[0].Policy
		var (
			status int
			global resilience.GlobalRate
		)
		if p.Fault != nil {
			status = p.Fault.Abort.Status
		}
		if p.Global != nil {
			global = *p.Global
		}
		if status != c.status || global.Domain != c.domain || !reflect.DeepEqual(global.Descriptors, c.limits) || p.Off != c.off || v.Warnings != nil {
			t.Errorf("%s: got %d, %+v, off %q, %q", c.name, status, global, p.Off, v.Warnings)
		}
	}
}

func TestLimitsOfAllProcessesAreUnderstood(t *testing.T) {
	match := func(more string) string {
		return `actions { header_value_match { descriptor_key: "header:a" descriptor_value: "1" ` + more + ` } }`
	}
	const (
		at    = `route.rate_limits[0].actions[0].`
		exact = `headers { name: "a" string_match { exact: "1" } } `
		other = `route.rate_limits[0].actions[0].header_value_match: "header:a=1" is not the name of a fact ("header:a=`
	)
	for _, c := range []struct {
		name, text string
		want       []resilience.Entry
		warn       []string
	}{
		{"a header", `actions { request_headers { header_name: "a" descriptor_key: "header:a" } }`, []resilience.Entry{{Key: "header:a"}}, nil},
		{"a value", match(exact), []resilience.Entry{{Key: "header:a", Value: "1"}}, nil},
		{"a value, said twice", match(exact + `expect_match { value: true }`), []resilience.Entry{{Key: "header:a", Value: "1"}}, nil},
		{"another value", match(exact + `expect_match { }`), nil, []string{other + `1"): the limit has no effect`}},
		{"one of many values", match(`headers { name: "a" string_match { prefix: "1" } }`), nil, []string{other + `"): the limit has no effect`}},
		{"two values", match(exact + exact), nil, []string{other + `1"): the limit has no effect`}},
		{"a header that may be absent", `actions { request_headers { header_name: "a" descriptor_key: "header:a" skip_if_absent: true } }`, []resilience.Entry{{Key: "header:a"}}, []string{
			at + `request_headers.skip_if_absent: not supported yet, has no effect`}},
		{"who calls", `actions { remote_address { } } actions { source_cluster { } }`, nil, []string{`route.rate_limits[0].actions[1]: an action of this kind is not supported yet: the limit has no effect`}},
		{"a later stage", `stage { value: 1 } actions { remote_address { } }`, nil, []string{`route.rate_limits[0]: a limit of a later stage is not supported yet, has no effect`}},
		{"another number of tokens", `actions { remote_address { } } hits_addend { number { value: 3 } }`, []resilience.Entry{{Key: "remote_address"}}, []string{
			`route.rate_limits[0].hits_addend: not supported yet, has no effect`}},
	} {
		p, warn := understood(t, ``, ``, `rate_limits { `+c.text+` }`)
		var got []resilience.Entry
		if p.Global != nil {
			got = p.Global.Descriptors[0]
		}
		if !reflect.DeepEqual(got, c.want) || !slices.Equal(warn, c.warn) {
			t.Errorf("%s: got %+v, %q", c.name, got, warn)
		}
	}
}

func TestFiltersOfListenersAreUnderstood(t *testing.T) {
	for _, c := range []struct {
		name, kind, text string
		inbound          bool
		got              func(*Listener) any
		want             any
		warn             []string
	}{
		{"a filter that asks for limits", "ratelimit.v3.RateLimit", `domain: "d" timeout { } failure_mode_deny: true ` + limitsText, false, func(l *Listener) any { return *l.Global },
			GlobalFilter{GlobalRate: resilience.GlobalRate{Domain: "d", Timeout: math.MaxInt64, Lease: resilience.Lease{Closed: true}}, Cluster: "c"}, nil},
		{"a filter that does not ask", "ratelimit.v3.RateLimit", `domain: "d" filter_enforced { default_value { } } ` + limitsText, false, func(l *Listener) any { return l.Global }, (*GlobalFilter)(nil), nil},
		{"a filter for a later stage", "ratelimit.v3.RateLimit", `domain: "d" stage: 1 ` + limitsText, false, func(l *Listener) any { return l.Global }, (*GlobalFilter)(nil),
			[]string{`limits of a stage or of a type of requests are not supported yet, have no effect`}},
		{"a server's filter without limits", "ratelimit.v3.RateLimit", `domain: "d" ` + limitsText, true, func(l *Listener) any { return l.Inbound.Serving }, resilience.Serving{}, nil},
		{"a server's rate by caller", "local_ratelimit.v3.LocalRateLimit", `stat_prefix: "s" ` + tenCalls + allCalls + `descriptors { entries { key: "caller" } ` + tenCalls + `}`, true, func(l *Listener) any { return *l.Inbound.Serving.Rate },
			resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 10, FillInterval: time.Second}, AlwaysBucket: true, Descriptors: []resilience.DescriptorRate{
				{Entries: []resilience.Entry{{Key: "caller"}}, TokenBucket: resilience.TokenBucket{MaxTokens: 10, FillInterval: time.Second}}}}, nil},
		{"a server's refusals", "local_ratelimit.v3.LocalRateLimit", `stat_prefix: "s" ` + tenCalls + allCalls + `status { code: ServiceUnavailable } response_headers_to_add { header { key: "X-Why" value: "50%%" } } response_headers_to_add { header { key: "x-none" } }
			response_headers_to_add { header { key: "x-empty" } keep_empty_value: true } response_headers_to_add { header { key: "x-now" value: "%START_TIME%" } } response_headers_to_add { header { key: "x" value: "y" } append_action: OVERWRITE_IF_EXISTS }`, true,
			func(l *Listener) any { return *l.Inbound.Serving.Rate },
			resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 10, FillInterval: time.Second}, AlwaysBucket: true, Status: 503, Added: []resilience.Entry{{Key: "x-why", Value: "50%"}, {Key: "x-empty"}}},
			[]string{`response_headers_to_add[3]: a header of this kind is not supported yet, has no effect (and in 1 more places)`}},
		{"a refusal that would be an answer (Envoy)", "local_ratelimit.v3.LocalRateLimit", `stat_prefix: "s" ` + tenCalls + allCalls + `status { code: OK }`, true, func(l *Listener) any { return *l.Inbound.Serving.Rate },
			resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 10, FillInterval: time.Second}, AlwaysBucket: true}, nil},
		{"a client's rate by caller", "local_ratelimit.v3.LocalRateLimit", `stat_prefix: "s" ` + tenCalls + allCalls + `descriptors { entries { key: "caller" } ` + tenCalls + `}`, false, func(l *Listener) any { return *l.Default.Rate },
			resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 10, FillInterval: time.Second}, AlwaysBucket: true},
			[]string{`descriptors[0].entries[0].key: no action gives "caller" a value: the descriptor has no effect`}},
		{"bandwidth", "bandwidth_limit.v3.BandwidthLimit", `stat_prefix: "s" limit_kbps { value: 2 } enable_mode: RESPONSE enable_response_trailers: true`, false, func(l *Listener) any { return l.Default.Bandwidth },
			resilience.Bandwidths{Response: resilience.Bandwidth{BytesPerSecond: 2 << 10}}, []string{`enable_response_trailers: not supported yet, has no effect`}},
		{"bandwidth that is off", "bandwidth_limit.v3.BandwidthLimit", `stat_prefix: "s" limit_kbps { value: 2 } enable_mode: RESPONSE runtime_enabled { default_value { } runtime_key: "x" }`, false, func(l *Listener) any { return l.Default.Bandwidth },
			resilience.Bandwidths{}, nil},
		{"concurrency", "adaptive_concurrency.v3.AdaptiveConcurrency", `gradient_controller_config { sample_aggregate_percentile { value: 90 } concurrency_limit_params { max_concurrency_limit { value: 9 } min_concurrency_limit { value: 2 } concurrency_update_interval { seconds: 1 } }
			min_rtt_calc_params { interval { seconds: 60 } fixed_value { seconds: 1 } request_count { value: 7 } jitter { } min_concurrency { value: 1 } buffer { value: 10 } } }`, true, func(l *Listener) any { return *l.Inbound.Serving.Adaptive },
			resilience.Adaptive{Percentile: 90, Min: 1, Max: 9, Update: time.Second, Jitter: negligible, Samples: 7, Buffer: 10}, []string{
				`gradient_controller_config.min_rtt_calc_params.fixed_value: has no effect beside interval`,
				`gradient_controller_config.concurrency_limit_params.min_concurrency_limit: not supported beside another min_concurrency: that one is the least limit`}},
		{"concurrency of inverted bounds (Envoy)", "adaptive_concurrency.v3.AdaptiveConcurrency", `gradient_controller_config { concurrency_limit_params { max_concurrency_limit { value: 1 } concurrency_update_interval { seconds: 1 } } min_rtt_calc_params { fixed_value { seconds: 1 } } }`, true,
			func(l *Listener) any { return *l.Inbound.Serving.Adaptive }, resilience.Adaptive{Max: 3, Update: time.Second, Fixed: time.Second}, []string{
				`gradient_controller_config.concurrency_limit_params.max_concurrency_limit: 1 is less than the min_concurrency 3, which holds`}},
		{"concurrency that is off", "adaptive_concurrency.v3.AdaptiveConcurrency", `enabled { default_value { } runtime_key: "x" } gradient_controller_config { ` + updates + ` min_rtt_calc_params { fixed_value { seconds: 1 } } }`, true,
			func(l *Listener) any { return l.Inbound.Serving.Adaptive }, (*resilience.Adaptive)(nil), nil},
		{"admission", "admission_control.v3.AdmissionControl", succeeds + `sampling_window { seconds: 9 } aggression { default_value: 0.5 runtime_key: "x" } sr_threshold { default_value { value: 50 } } rps_threshold { default_value: 3 } max_rejection_probability { default_value { value: 60 } }`, false,
			func(l *Listener) any { return *l.Default.Admission }, resilience.Admission{Window: 9 * time.Second, Threshold: 50, Aggression: 1, MinRate: 3, MaxPercent: 60}, nil},
		{"good answers that are configured", "admission_control.v3.AdmissionControl", `success_criteria { grpc_criteria { grpc_success_status: 0 } }`, false, func(l *Listener) any { return *l.Default.Admission }, resilience.Admission{},
			[]string{`success_criteria.grpc_criteria: not supported yet, has no effect`}},
	} {
		listener := ""
		if c.inbound {
			listener = `traffic_direction: INBOUND `
		}
		l, err := DecodeListener(listenerText(t, `name: "l" address { socket_address { address: "127.0.0.1" port_value: 1 } } `+filtered(c.kind, c.text, listener)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for i, w := range c.warn {
			dot := "."
			if w[0] == 'l' {
				dot = ": "
			}
			c.warn[i] = `listener "l": filter_chains[0].filters[0].http_filters[0].typed_config` + dot + w
		}
		if got := c.got(l); !reflect.DeepEqual(got, c.want) || !slices.Equal(l.Warnings, c.warn) {
			t.Errorf("%s: got %+v, %q", c.name, got, l.Warnings)
		}
	}
}

func TestFiltersOfTheOtherSideAreNotTakenForOurs(t *testing.T) {
	for name, c := range map[string]struct{ kind, text, listener, want string }{
		"a client's concurrency": {"adaptive_concurrency.v3.AdaptiveConcurrency", "", "", "adaptive_concurrency.v3.AdaptiveConcurrency"},
		"a server's admission":   {"admission_control.v3.AdmissionControl", succeeds, `traffic_direction: INBOUND `, "admission_control.v3.AdmissionControl"},
		"what routes say":        {"ratelimit.v3.RateLimitPerRoute", "", "", "ratelimit.v3.RateLimitPerRoute"},
	} {
		_, err := DecodeListener(listenerText(t, `name: "l" address { socket_address { address: "127.0.0.1" port_value: 1 } } `+filtered(c.kind, c.text, c.listener)))
		want := `listener "l": filter_chains[0].filters[0].http_filters[0].typed_config: envoy.extensions.filters.http.` + c.want + ` is not supported`
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
