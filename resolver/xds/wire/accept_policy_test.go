package wire

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// understood is the policy of a route, and what was warned of after the place of the route.
func understood(t *testing.T, host, route, action string) (resilience.Policy, []string) {
	t.Helper()
	v, err := DecodeRouteTable(routesText(t, `name: "r" virtual_hosts { domains: "*" `+host+` routes { match { prefix: "" } `+route+` route { cluster: "c" `+action+` } } }`))
	if err != nil {
		t.Fatal(err)
	}
	const at = `route configuration "r": virtual_hosts[0].routes[0].`
	for i, w := range v.Warnings {
		if len(w) < len(at) || w[:len(at)] != at {
			t.Fatalf("warning %q is of another place", w)
		}
		v.Warnings[i] = w[len(at):]
	}
	return v.VirtualHosts[0].Routes[0].Policy, v.Warnings
}

func TestAnswersThatMayBeRepeatedAreUnderstood(t *testing.T) {
	header := headerName
	const left = `route.retry_policy.retriable_headers[0]: a match of this kind is not supported yet, has no effect`
	for _, c := range []struct {
		text string
		want *resilience.Answers
		warn []string
	}{
		{``, nil, nil},
		{`retriable_status_codes: 409 retriable_status_codes: 503`, &resilience.Answers{Statuses: []int{409, 503}}, nil},
		{`retriable_headers { name: "X-Again" present_match: true }`, &resilience.Answers{Headers: []resilience.HeaderMatch{
			{Name: resilience.HeaderName{Lower: "x-again", Canonical: "X-Again"}}}}, nil},
		{`retriable_headers { name: "a" string_match { exact: "1" } treat_missing_header_as_empty: true }`, &resilience.Answers{Headers: []resilience.HeaderMatch{
			{Name: header("a"), Kind: resilience.MatchExact, Value: "1"}}}, nil},
		{`retriable_headers { name: "a" string_match { contains: "1" } treat_missing_header_as_empty: true invert_match: true }`, &resilience.Answers{Headers: []resilience.HeaderMatch{
			{Name: header("a"), Kind: resilience.MatchContains, Value: "1", Invert: true}}}, nil},
		{`retriable_headers { name: "a" present_match: false }`, &resilience.Answers{Headers: []resilience.HeaderMatch{{Name: header("a"), Invert: true}}}, nil},
		// An absent header does not match what is inverted, in Envoy, and none may be asked for what it is not.
		{`retriable_headers { name: "a" string_match { exact: "1" } invert_match: true }`, nil, []string{left}},
		{`retriable_headers { name: "a" string_match { exact: "" } treat_missing_header_as_empty: true }`, nil, []string{left}},
		{`retriable_headers { name: "a" present_match: true treat_missing_header_as_empty: true }`, nil, []string{left}},
		{`retriable_headers { name: "a" string_match { exact: "x" ignore_case: true } }`, nil, []string{left}},
		{`retriable_headers { name: "a" safe_regex_match { regex: "x" } }`, nil, []string{left}},
		{`retriable_headers { name: "a" range_match { start: 1 end: 2 } }`, nil, []string{left}},
		{`retriable_headers { name: ":status" exact_match: "500" }`, nil, []string{left}},
		{`rate_limited_retry_back_off { reset_headers { name: "X-Reset" format: UNIX_TIMESTAMP } reset_headers { name: "after" } max_interval { seconds: 9 } }`, &resilience.Answers{
			Resets: []resilience.ResetHeader{{Name: header("X-Reset"), Unix: true}, {Name: header("after")}}, MaxReset: 9 * time.Second}, nil},
		{`retriable_request_headers { name: ":method" string_match { exact: "GET" } }`, &resilience.Answers{Requests: []resilience.HeaderMatch{
			{Name: header(":method"), Kind: resilience.MatchExact, Value: "GET"}}}, nil},
	} {
		p, warn := understood(t, ``, ``, `retry_policy { retry_on: "5xx" `+c.text+` }`)
		want := resilience.Retry{Attempts: 1, On: resilience.On5xx, Answers: c.want}
		if !reflect.DeepEqual(p.Retry, want) || !slices.Equal(warn, c.warn) {
			t.Errorf("%s: got %+v, %+v, %q", c.text, p.Retry, p.Retry.Answers, warn)
		}
	}
}

func TestRetriesElsewhereAreUnderstood(t *testing.T) {
	const priorities = `retry_priority { name: "p" typed_config { [type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig] { `
	const at = `route.retry_policy.retry_priority`
	for _, c := range []struct {
		text string
		want bool
		warn []string
	}{
		{``, false, nil},
		{priorities + `update_frequency: 1 } } }`, true, nil},
		{priorities + `update_frequency: 2 } } }`, true, []string{at + `.update_frequency: more than 1 is not supported yet: the first retry avoids what was tried, too`}},
		{`retry_priority { name: "envoy.retry_priorities.previous_priorities" }`, false, []string{at + `: "envoy.retry_priorities.previous_priorities" is not supported yet, has no effect`}},
		{`retry_priority { name: "x" typed_config { type_url: "type.googleapis.com/x" } }`, false, []string{at + `: "x" is not supported yet, has no effect`}},
	} {
		p, warn := understood(t, ``, ``, `retry_policy { retry_on: "5xx" `+c.text+` }`)
		want := resilience.Retry{Attempts: 1, On: resilience.On5xx, OtherLocalities: c.want}
		if p.Retry != want || !slices.Equal(warn, c.warn) {
			t.Errorf("%s: got %+v, %q", c.text, p.Retry, warn)
		}
	}

	m := EncodeRouteTable(RouteTable{Name: "r", VirtualHosts: []resolver.VirtualHost{{Domains: []string{"*"}, Routes: []resolver.Route{{
		To:     []resolver.Target{{Cluster: "c"}},
		Policy: resilience.Policy{Retry: resilience.Retry{Attempts: 1, On: resilience.On5xx, OtherLocalities: true}},
	}}}}}).(*routev3.RouteConfiguration)
	m.GetVirtualHosts()[0].GetRoutes()[0].GetRoute().GetRetryPolicy().GetRetryPriority().GetTypedConfig().Value = []byte{0xff}
	if _, err := DecodeRouteTable(marshal(t, m)); err == nil || !strings.Contains(err.Error(), at+": ") {
		t.Errorf("what is no message: %v", err)
	}
}

func TestHedgesAndPrioritiesAreUnderstood(t *testing.T) {
	own := func(s string) string {
		return `metadata { filter_metadata { key: "weft" value { ` + s + ` } } }`
	}
	twice := resilience.Retry{Attempts: 2, On: resilience.On5xx}
	timed := twice
	timed.TryTimeout = time.Second
	unguarded := twice
	unguarded.Unguarded = true
	const retry = `retry_policy { retry_on: "5xx" num_retries { value: 2 } per_try_timeout { seconds: 1 } } `
	for _, c := range []struct {
		name, host, route, action string
		want                      resilience.Policy
		warn                      []string
	}{
		{"priority", ``, ``, `priority: HIGH`, resilience.Policy{Priority: resilience.HighPriority}, nil},
		{"a hedge that does nothing", ``, ``, `hedge_policy { initial_requests { value: 1 } additional_request_chance {} }`, resilience.Policy{}, nil},
		{"by chance", ``, ``, `hedge_policy { additional_request_chance { numerator: 5 denominator: TEN_THOUSAND } }`,
			resilience.Policy{Hedge: &resilience.Hedge{Chance: resilience.Fraction{Numerator: 5, Per: 10_000}}}, nil},
		{"the host's", `hedge_policy { additional_request_chance { numerator: 5 } }`, ``, ``, resilience.Policy{Hedge: &resilience.Hedge{Chance: resilience.Percent(5)}}, nil},
		{"the time of an attempt is the hedge's", ``, ``, retry + `hedge_policy { hedge_on_per_try_timeout: true }`,
			resilience.Policy{Retry: twice, Hedge: &resilience.Hedge{Delay: time.Second, Max: 2}}, nil},
		{"the time of an attempt is its own", ``, ``, retry, resilience.Policy{Retry: timed}, nil},
		{"attempts have no time", ``, ``, `hedge_policy { hedge_on_per_try_timeout: true initial_requests { value: 2 } }`, resilience.Policy{}, []string{
			`route.hedge_policy.initial_requests: more than one at first is not supported yet, has no effect`,
			`route.hedge_policy.hedge_on_per_try_timeout: has no effect without retries and a per_try_timeout`}},
		{"our own", ``, own(`fields { key: "hedge" value { struct_value { fields { key: "delay" value { string_value: "30ms" } } fields { key: "percentile" value { number_value: 95 } }
			fields { key: "new" value { } } } } } fields { key: "other" value { } }`), retry, resilience.Policy{Retry: timed, Hedge: &resilience.Hedge{Delay: 30 * time.Millisecond, Percentile: 95}},
			[]string{`metadata.weft.hedge.new: not supported yet, has no effect`, `metadata.weft.other: not supported yet, has no effect`}},
		{"unguarded", ``, own(`fields { key: "unguarded" value { bool_value: true } }`), `retry_policy { retry_on: "5xx" num_retries { value: 2 } }`, resilience.Policy{Retry: unguarded}, nil},
		{"unguarded, but no retries", ``, own(`fields { key: "unguarded" value { bool_value: true } }`), ``, resilience.Policy{}, nil},
	} {
		if p, warn := understood(t, c.host, c.route, c.action); !reflect.DeepEqual(p, c.want) || !slices.Equal(warn, c.warn) {
			t.Errorf("%s: got %+v, %+v, %q", c.name, p, p.Hedge, warn)
		}
	}
}

const (
	localRate = `[type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit] `
	allCalls  = `filter_enabled { default_value { numerator: 100 } } filter_enforced { default_value { numerator: 100 } } `
	tenCalls  = `token_bucket { max_tokens: 10 fill_interval { seconds: 1 } } `
)

func perFilter(name, config string) string {
	return `typed_per_filter_config { key: "` + name + `" value { ` + config + ` } } `
}

func TestRatesAreUnderstood(t *testing.T) {
	limit := func(s string) string { return perFilter("limit", localRate+`{ stat_prefix: "s" `+s+`}`) }
	wrapped := func(s, more string) string {
		return perFilter("limit", `[type.googleapis.com/envoy.config.route.v3.FilterConfig] { config { `+localRate+`{ stat_prefix: "s" `+s+`} } `+more+` }`)
	}
	bucket := resilience.TokenBucket{MaxTokens: 10, FillInterval: time.Second}
	const (
		by = `descriptors { entries { key: "user" } entries { key: "path" value: "/a" } ` + tenCalls + `} `
		at = `typed_per_filter_config.limit.`
	)
	user := `actions { request_headers { header_name: "x-user" descriptor_key: "user" } } `
	described := &resilience.Rate{TokenBucket: bucket, AlwaysBucket: true, Descriptors: []resilience.DescriptorRate{
		{TokenBucket: bucket, Entries: []resilience.Entry{{Key: "header:x-user"}, {Key: "path", Value: "/a"}}}}}
	for _, c := range []struct {
		name, route, action string
		want                *resilience.Rate
		warn                []string
	}{
		{"a bucket", limit(tenCalls + allCalls), ``, &resilience.Rate{TokenBucket: bucket, AlwaysBucket: true}, nil},
		{"wrapped", wrapped(tenCalls+allCalls, `is_optional: true`), ``, &resilience.Rate{TokenBucket: bucket, AlwaysBucket: true}, nil},
		{"disabled", wrapped(tenCalls+allCalls, `disabled: true`), ``, nil, nil},
		{"neither enabled nor enforced (Envoy)", limit(tenCalls), ``, nil, nil},
		{"enabled, not enforced", limit(tenCalls + `filter_enabled { default_value { numerator: 100 } }`), ``, nil, nil},
		{"enforced for some", limit(tenCalls + `filter_enabled { default_value { numerator: 100 } } filter_enforced { default_value { numerator: 50 } }`), ``, nil, []string{
			at + `filter_enforced: a limit for some of the calls is not supported yet, has no effect`}},
		{"all that can be said", limit(`token_bucket { max_tokens: 10 tokens_per_fill { value: 2 } fill_interval { seconds: 1 } } always_consume_default_token_bucket { } enable_x_ratelimit_headers: DRAFT_VERSION_03 max_dynamic_descriptors { value: 7 } ` + allCalls), ``,
			&resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 10, TokensPerFill: 2, FillInterval: time.Second}, Headers: true, MaxKeys: 7}, nil},
		{"descriptors", limit(tenCalls + allCalls + by + `rate_limits { ` + user + `}`), ``, described, nil},
		{"descriptors told by the action", limit(tenCalls + allCalls + by), `rate_limits { ` + user + `}`, described, nil},
		{"what has no effect", perFilter("another", `type_url: "x/y"`) + limit(tenCalls+allCalls+by+`status { code: ServiceUnavailable } rate_limits { stage { value: 1 } `+user+` actions { generic_key { descriptor_value: "v" } }
			actions { request_headers { header_name: "z" descriptor_key: "user" } } } descriptors { shadow_mode: true entries { key: "caller" value: "x" } `+tenCalls+`}`), ``,
			&resilience.Rate{TokenBucket: bucket, AlwaysBucket: true, Descriptors: described.Descriptors}, []string{
				`typed_per_filter_config: "another" is not supported yet, has no effect`,
				at + `status: neither it nor response_headers_to_add has an effect at a caller, whose calls fail without an answer`,
				at + `rate_limits[0].stage: not supported yet, has no effect`,
				at + `rate_limits[0].actions[1]: only request_headers is supported yet, has no effect`,
				at + `rate_limits[0].actions[2].request_headers: "user" is a key of another header already, has no effect`,
				at + `descriptors[1].shadow_mode: not supported yet, has no effect`,
				at + `descriptors[1].entries[0].key: no action gives "caller" a value: the descriptor has no effect`,
			}},
		{"a second one", limit(tenCalls+allCalls) + perFilter("more", localRate+`{ stat_prefix: "s" }`), ``, &resilience.Rate{TokenBucket: bucket, AlwaysBucket: true}, []string{
			`typed_per_filter_config: "more" is the second of its kind, has no effect`}},
		{"limits kept elsewhere", ``, `rate_limits { ` + user + `}`, nil, []string{
			`route.rate_limits[0].actions[0].request_headers.descriptor_key: "user" is not the name of a fact ("header:x-user"): the limit has no effect`}},
	} {
		if p, warn := understood(t, ``, c.route, c.action); !reflect.DeepEqual(p.Rate, c.want) || !slices.Equal(warn, c.warn) {
			t.Errorf("%s: got %+v, %q", c.name, p.Rate, warn)
		}
	}
}

func TestThresholdsAreUnderstood(t *testing.T) {
	d := resilience.DefaultThresholds()
	requests := func(n uint32) resilience.Thresholds {
		t := d
		t.MaxRequests = n
		return t
	}
	const at = `cluster "c": circuit_breakers.`
	half := resilience.Budget{Percent: 50, MinConcurrent: 3}
	standard := resilience.DefaultBudget()
	seldom := resilience.Budget{Percent: 20, MinConcurrent: 0, Interval: time.Second, MinRate: 1.5}
	for _, c := range []struct {
		text   string
		want   *[2]resilience.Thresholds
		budget *resilience.Budget
		warn   []string
	}{
		{``, nil, nil, nil},
		{`circuit_breakers { thresholds { } }`, nil, nil, nil},
		{`circuit_breakers { thresholds { max_requests { } track_remaining: true } }`, &[2]resilience.Thresholds{requests(0), d}, nil, nil},
		{`circuit_breakers { thresholds { max_requests { value: 7 } } thresholds { priority: HIGH max_connections { value: 1 } max_pending_requests { value: 2 } max_retries { value: 4294967295 } } }`,
			&[2]resilience.Thresholds{requests(7), {MaxConnections: 1, MaxPending: 2, MaxRequests: 1024, MaxRetries: math.MaxUint32}}, nil, nil},
		{`circuit_breakers { thresholds { max_requests { value: 7 } max_connection_pools { value: 1 } } thresholds { max_requests { value: 8 } } per_host_thresholds { } }`, &[2]resilience.Thresholds{requests(7), d}, nil, []string{
			at + `per_host_thresholds: not supported yet, has no effect`,
			at + `thresholds[0].max_connection_pools: not supported yet, has no effect`, at + `thresholds[1].priority: DEFAULT is there already, has no effect`}},
		{`circuit_breakers { thresholds { retry_budget { } } }`, nil, &standard, nil},
		{`circuit_breakers { thresholds { retry_budget { budget_percent { value: 50 } } } }`, nil, &half, nil},
		{`circuit_breakers { thresholds { retry_budget { budget_interval { seconds: 1 } min_retry_concurrency { } } } } metadata { filter_metadata { key: "weft" value { fields { key: "retry_budget_min_rate" value { number_value: 1.5 } } } } }`, nil, &seldom, nil},
		{`circuit_breakers { thresholds { retry_budget { } } thresholds { priority: HIGH } }`, nil, &standard, []string{at + `thresholds: retry_budget of the priority DEFAULT holds for HIGH, too`}},
		{`circuit_breakers { thresholds { priority: HIGH retry_budget { } } }`, nil, nil, []string{at + `thresholds: retry_budget of the priority DEFAULT holds for HIGH, too`}},
		{`metadata { filter_metadata { key: "weft" value { fields { key: "retry_budget_min_rate" value { number_value: 1.5 } } fields { key: "x" value { } } } } }`, nil, nil, []string{
			`cluster "c": metadata.weft.retry_budget_min_rate: has no effect without a retry_budget`, `cluster "c": metadata.weft.x: not supported yet, has no effect`}},
	} {
		v, err := DecodeCluster(clusterText(t, `name: "c" type: EDS eds_cluster_config { eds_config { self {} } } `+c.text))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		} else if !reflect.DeepEqual(v.Thresholds, c.want) || !reflect.DeepEqual(v.Budget, c.budget) || !slices.Equal(v.Warnings, c.warn) {
			t.Errorf("%s: got %+v, %+v, %q", c.text, v.Thresholds, v.Budget, v.Warnings)
		}
	}
}

func TestOutliersAreUnderstood(t *testing.T) {
	n := func(v uint32) *uint32 { return &v }
	for _, c := range []struct {
		text string
		want *balancer.Outlier
		warn []string
	}{
		{``, nil, nil},
		{`common_lb_config { healthy_panic_threshold { } locality_weighted_lb_config { } }`, nil, nil},
		{`common_lb_config { healthy_panic_threshold { value: 1 } zone_aware_lb_config { } }`, nil, []string{
			`cluster "c": common_lb_config.zone_aware_lb_config: not supported yet, has no effect`,
			`cluster "c": common_lb_config.healthy_panic_threshold: has no effect without outlier_detection`}},
		// Success rates are compared unless 0 % of that is enforced, failure percentages are not unless more is (gRFC A50).
		{`outlier_detection { }`, &balancer.Outlier{SuccessRate: &balancer.SuccessRate{}}, nil},
		{`outlier_detection { enforcing_success_rate { } success_rate_minimum_hosts { value: 2 } failure_percentage_threshold { value: 3 } enforcing_failure_percentage { } }`, &balancer.Outlier{}, nil},
		{`outlier_detection { enforcing_success_rate { } enforcing_failure_percentage { value: 5 } failure_percentage_threshold { value: 50 } }`,
			&balancer.Outlier{FailurePercentage: &balancer.FailurePercentage{Enforcing: n(5), Threshold: n(50)}}, nil},
		{`outlier_detection { enforcing_success_rate { } enforcing_local_origin_success_rate { value: 1 } enforcing_failure_percentage_local_origin { value: 1 } max_ejection_percent { } }`,
			&balancer.Outlier{MaxEjectionPercent: n(0)}, nil}, // neither counts apart
		{`outlier_detection { enforcing_success_rate { } split_external_local_origin_errors: true max_ejection_percent { } always_eject_one_host { value: true } }`,
			&balancer.Outlier{MaxEjectionPercent: n(1), SplitLocalOrigin: true, SuccessRate: &balancer.SuccessRate{Enforcing: n(0)}}, nil},
		// Istio's.
		{`outlier_detection { consecutive_5xx { value: 7 } consecutive_gateway_failure { } enforcing_consecutive_gateway_failure { value: 100 } interval { seconds: 5 } base_ejection_time { seconds: 60 }
			max_ejection_percent { value: 100 } enforcing_success_rate { } } common_lb_config { healthy_panic_threshold { value: 30 } }`, &balancer.Outlier{
			Consecutive5xx: n(7), ConsecutiveGateway: n(0), EnforcingGateway: n(100), Interval: 5 * time.Second, BaseEjection: time.Minute,
			MaxEjectionPercent: n(100), MinHealthPercent: 30}, nil},
		{`outlier_detection { enforcing_success_rate { } max_ejection_time { seconds: 30 } split_external_local_origin_errors: true enforcing_local_origin_success_rate { value: 1 } enforcing_failure_percentage_local_origin { value: 1 }
			successful_active_health_check_uneject_host { } } common_lb_config { healthy_panic_threshold { value: 12.5 } }`, &balancer.Outlier{MaxEjection: 30 * time.Second, SplitLocalOrigin: true, StayOut: true, MinHealthPercent: 13,
			SuccessRate: &balancer.SuccessRate{Enforcing: n(0), EnforcingLocalOrigin: n(1)}, FailurePercentage: &balancer.FailurePercentage{EnforcingLocalOrigin: n(1)}}, []string{
			`cluster "c": common_lb_config.healthy_panic_threshold: 12.5 is rounded up`}},
	} {
		v, err := DecodeCluster(clusterText(t, `name: "c" type: EDS eds_cluster_config { eds_config { self {} } } `+c.text))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		} else if !reflect.DeepEqual(v.Outlier, c.want) || !slices.Equal(v.Warnings, c.warn) {
			t.Errorf("%s: got %+v, %q", c.text, v.Outlier, v.Warnings)
		}
	}
}

// TestPoliciesSuitEnvoyAndGRPC looks for what they need though weft does not.
func TestPoliciesSuitEnvoyAndGRPC(t *testing.T) {
	bucket := resilience.TokenBucket{MaxTokens: 1, FillInterval: time.Second}
	m := encodeRoute(&resolver.Route{To: []resolver.Target{{Cluster: "c"}}, Policy: resilience.Policy{
		Retry: resilience.Retry{Attempts: 1, On: resilience.OnReset, Answers: &resilience.Answers{MaxReset: time.Second}},
		Hedge: &resilience.Hedge{Delay: time.Second},
		Rate: &resilience.Rate{Descriptors: []resilience.DescriptorRate{
			{TokenBucket: bucket, Entries: []resilience.Entry{{Key: "method", Value: "GET"}, {Key: "header:x"}}},
			{TokenBucket: bucket, Entries: []resilience.Entry{{Key: "method", Value: "PUT"}, {Key: "header:x"}}},
			{TokenBucket: bucket, Entries: []resilience.Entry{{Key: "caller"}, {Key: "path"}}},
		}},
	}})
	retry := m.GetRoute().GetRetryPolicy()
	if retry.GetNumRetries().GetValue() < 1 {
		t.Errorf("gRPC refuses %v", retry)
	}
	if h := retry.GetRateLimitedRetryBackOff().GetResetHeaders(); len(h) != 1 || h[0].GetName() != "retry-after" {
		t.Errorf("Envoy refuses a back-off without headers: %v", retry)
	}
	if !m.GetRoute().GetHedgePolicy().GetHedgeOnPerTryTimeout() || retry.GetPerTryTimeout().AsDuration() != time.Second || m.GetMetadata() != nil {
		t.Errorf("Envoy would not hedge: %v", m)
	}
	var f routev3.FilterConfig
	if err := unpack(m.GetTypedPerFilterConfig()[rateFilter], &f); err != nil || !f.GetIsOptional() {
		t.Errorf("gRPC refuses a filter that is not optional: %v, %v", &f, err)
	}
	var l localv3.LocalRateLimit
	if err := unpack(f.GetConfig(), &l); err != nil {
		t.Fatal(err)
	}
	if l.GetTokenBucket().GetMaxTokens() != math.MaxUint32 || l.GetFilterEnabled().GetDefaultValue().GetNumerator() != 100 || l.GetFilterEnforced().GetDefaultValue().GetNumerator() != 100 {
		t.Errorf("Envoy would refuse the route, or not limit it: %v", &l)
	}
	if limits := l.GetRateLimits(); len(limits) != 1 || len(limits[0].GetActions()) != 2 || limits[0].GetActions()[0].GetRequestHeaders().GetHeaderName() != ":method" {
		t.Errorf("Envoy would make other entries: %v", limits)
	}

	for rates, want := range map[bool]int{false: 1, true: 2} {
		var manager hcmv3.HttpConnectionManager
		api := EncodeListener(Listener{Name: "l", RouteConfig: "r", RateLimits: rates}).(*listenerv3.Listener).GetApiListener().GetApiListener()
		if err := unpack(api, &manager); err != nil {
			t.Fatal(err)
		}
		if got := manager.GetHttpFilters(); len(got) != want || got[0].GetIsOptional() != rates || got[len(got)-1].GetName() != routerFilter {
			t.Errorf("rates %v: filters %v", rates, got)
		}
	}

	limits := [2]resilience.Thresholds{{MaxRequests: 7}}
	c := EncodeCluster(Cluster{Cluster: resolver.Cluster{Name: "c", Thresholds: &limits, Outlier: &balancer.Outlier{SplitLocalOrigin: true}}}).(*clusterv3.Cluster)
	if b := c.GetCircuitBreakers().GetThresholds(); len(b) != 2 || b[0].GetPriority() != corev3.RoutingPriority_DEFAULT || b[0].GetMaxRequests().GetValue() != 7 || b[1].GetMaxRetries() == nil {
		t.Errorf("got %v", b)
	}
	o := c.GetOutlierDetection()
	if o.GetEnforcingSuccessRate() == nil || o.GetEnforcingLocalOriginSuccessRate() == nil || !o.GetAlwaysEjectOneHost().GetValue() || c.GetCommonLbConfig().GetHealthyPanicThreshold() == nil {
		t.Errorf("Envoy would eject by success rates, never the first, or panic at 50 %%: %v, %v", o, c.GetCommonLbConfig())
	}
}

// TestPoliciesThatNoFieldExpressesAreRefused: they are written, but not so that they are taken for others.
func TestPoliciesThatNoFieldExpressesAreRefused(t *testing.T) {
	retry := resilience.Retry{Attempts: 1, On: resilience.OnReset}
	for name, p := range map[string]resilience.Policy{
		"a chance per thousand":        {Hedge: &resilience.Hedge{Chance: resilience.Fraction{Numerator: 1, Per: 1000}}},
		"a percentile of 100":          {Hedge: &resilience.Hedge{Percentile: 100}},
		"a percentile that is none":    {Hedge: &resilience.Hedge{Percentile: math.NaN()}},
		"a negative delay":             {Hedge: &resilience.Hedge{Delay: -1}},
		"a third priority":             {Priority: 2},
		"a bucket filled too often":    {Rate: &resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 1, FillInterval: 1}}},
		"a descriptor without entries": {Rate: &resilience.Rate{Descriptors: []resilience.DescriptorRate{{TokenBucket: noLimit}}}},
		"a descriptor without tokens": {Rate: &resilience.Rate{Descriptors: []resilience.DescriptorRate{{
			Entries: []resilience.Entry{{Key: "path"}}, TokenBucket: resilience.TokenBucket{FillInterval: time.Second}}}}},
		"a negative time of attempts": {Retry: resilience.Retry{Attempts: 1, On: retry.On, TryTimeout: -1}},
	} {
		table := RouteTable{Name: "r", VirtualHosts: []resolver.VirtualHost{{Domains: []string{"*"}, Routes: []resolver.Route{{To: []resolver.Target{{Cluster: "c"}}, Policy: p}}}}}
		if v, err := DecodeRouteTable(marshal(t, EncodeRouteTable(table))); err == nil {
			t.Errorf("%s: accepted as %+v", name, v.VirtualHosts[0].Routes[0].Policy)
		}
	}
	for name, c := range map[string]resolver.Cluster{
		"more than all":              {Budget: &resilience.Budget{Percent: 101}},
		"no number":                  {Budget: &resilience.Budget{Percent: math.NaN()}},
		"a rate that is none":        {Budget: &resilience.Budget{MinRate: math.Inf(1)}},
		"a negative interval":        {Outlier: &balancer.Outlier{Interval: -1}},
		"a time below the base time": {Outlier: &balancer.Outlier{MaxEjection: time.Second}},
		"101 % of health":            {Outlier: &balancer.Outlier{MinHealthPercent: 101}},
	} {
		c.Name = "c"
		if v, err := DecodeCluster(marshal(t, EncodeCluster(Cluster{Cluster: c, EndpointsName: "e"}))); err == nil {
			t.Errorf("%s: accepted as %+v", name, v.Cluster)
		}
	}
}

func TestOwnFieldsAreWrittenOnlyWhereNeeded(t *testing.T) {
	retry := resilience.Retry{Attempts: 2, On: resilience.OnReset}
	for _, c := range []struct {
		policy resilience.Policy
		want   map[string]*structpb.Value
	}{
		{resilience.Policy{Retry: retry}, nil},
		{resilience.Policy{Retry: retry, Hedge: &resilience.Hedge{Delay: 1, Max: 2}}, nil},
		{resilience.Policy{Retry: retry, Hedge: &resilience.Hedge{Chance: resilience.Percent(1)}}, nil},
		{resilience.Policy{Retry: retry, Hedge: &resilience.Hedge{Max: 2}}, nil},
		{resilience.Policy{Retry: resilience.Retry{Unguarded: true}}, nil},
		{resilience.Policy{Hedge: &resilience.Hedge{Delay: time.Second}}, map[string]*structpb.Value{"hedge": structpb.NewStructValue(&structpb.Struct{
			Fields: map[string]*structpb.Value{"delay": structpb.NewStringValue("1s")}})}},
	} {
		m := encodeRoute(&resolver.Route{Policy: c.policy})
		if got := m.GetMetadata().GetFilterMetadata()[ownKey].GetFields(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: got %v", c.policy, got)
		}
	}
}
