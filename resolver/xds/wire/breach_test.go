package wire

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// stricter are the places where more is refused than Envoy's rules on fields refuse, and what is said: mostly since Envoy's
// code refuses it where it takes the configuration, else since it would mean nothing. All are in docs/reference/xds.md.
var stricter = []struct{ place, says string }{
	{`.*`, `is negative|are no duration`},
	{`.*`, `NaN is not within 0 and 100|is no number`},
	{`.*\.token_bucket(\.max_tokens|\.fill_interval)?`, `missing|must be more than 0|less than 50ms`},
	{`.*retry_back_off\.(base|max)_interval`, `is less than the base_interval`},
	{`.*\.retriable_(request_)?headers\[0\]\.string_match`, `missing`}, // gRFC A28
	{`.*\.(base_ejection|max_ejection)_time`, `is less than the base_ejection_time`},
	{`.*\.limit_kbps`, `missing`}, // of a route
	{`.*\.min_rtt_calc_params(\.interval|\.fixed_value)?`, `missing, and so is fixed_value`},
	{`.*\.sampling_window`, `is less than 1s`},
	{`.*\.sr_threshold\..*`, `is less than 1`},
	{`.*\.http_success_status.*`, `is not in 100 to 600`},
	{`.*\.grpc_success_status`, `is no status code`},
}

// TestPoliciesAreRefusedWhereEnvoysRulesRefuse sets each field of each policy to what may make no sense, be it a field
// that has no effect here, and asks Envoy's rules (protoc-gen-validate) what they say of it.
func TestPoliciesAreRefusedWhereEnvoysRulesRefuse(t *testing.T) {
	tried := 0
	for _, s := range sound(t) {
		if err := broken(s.m.ProtoReflect()); err != nil {
			t.Fatalf("%s: before any change: %v", s.name, err)
		}
		if err := decoded(t, s.m); err != nil {
			t.Fatalf("%s: before any change: %v", s.name, err)
		}
		s.change(s.m, "", func(c changed) {
			tried++
			rules, err := broken(c.m.ProtoReflect()), decoded(t, c.m)
			place := s.name + c.path
			switch {
			case rules != nil && err == nil:
				t.Errorf("%s = %s is accepted, but: %v", place, c.to, rules)
			case rules != nil && !c.named(err):
				t.Errorf("%s = %s: the field is not named: %v", place, c.to, err)
			case rules == nil && err != nil && !decided(place, err):
				t.Errorf("%s = %s: Envoy's rules do not refuse it, and the difference is not among those that are decided: %v", place, c.to, err)
			}
		})
	}
	if tried < 1000 {
		t.Errorf("%d changes: too few to show anything", tried)
	}
}

func decided(place string, err error) bool {
	for _, s := range stricter {
		if regexp.MustCompile("^"+s.place+"$").MatchString(place) && regexp.MustCompile(s.says).MatchString(err.Error()) {
			return true
		}
	}
	return false
}

// A soundness is a resource that is right, and the place below which it is changed.
type soundness struct {
	name  string
	m     proto.Message
	below *regexp.Regexp
}

// sound are resources with all fields of all policies.
func sound(t *testing.T) (all []soundness) {
	const (
		bucket  = `token_bucket { max_tokens: 10 tokens_per_fill { value: 1 } fill_interval { seconds: 1 } } `
		actions = `rate_limits { actions { request_headers { header_name: "a" descriptor_key: "header:a" } } actions { generic_key { descriptor_value: "x" } } actions { header_value_match { descriptor_key: "header:b" descriptor_value: "b"
			headers { name: "b" string_match { exact: "b" } } } } actions { remote_address { } } } `
		added  = `{ header { key: "x" value: "y" } } `
		on     = `default_value { value: true } runtime_key: "k"`
		faults = `delay { fixed_delay { seconds: 1 } percentage { numerator: 1 } } abort { http_status: 503 percentage { numerator: 1 denominator: MILLION } } response_rate_limit { fixed_limit { limit_kbps: 1 } percentage { numerator: 1 } } max_active_faults { value: 1 } `
		called = `delay { header_delay { } percentage { numerator: 1 } } abort { grpc_status: 14 percentage { numerator: 1 } } response_rate_limit { header_limit { } percentage { numerator: 1 } } `
		local  = `stat_prefix: "s" ` + bucket + allCalls + `status { code: ServiceUnavailable } descriptors { entries { key: "header:a" value: "x" } ` + bucket + `} ` + actions + `enable_x_ratelimit_headers: DRAFT_VERSION_03 max_dynamic_descriptors { value: 5 }
			response_headers_to_add ` + added + `request_headers_to_add_when_not_enforced ` + added + `local_cluster_rate_limit { } `
		global    = `domain: "d" stage: 1 request_type: "both" timeout { seconds: 1 } failure_mode_deny: true rate_limited_status { code: TooManyRequests } status_on_error { code: InternalServerError } response_headers_to_add ` + added + limitsText + actions
		bandwidth = `stat_prefix: "s" enable_mode: REQUEST limit_kbps { value: 1 } fill_interval { nanos: 50000000 } runtime_enabled { ` + on + ` } response_trailer_prefix: "x" `
		adaptive  = `enabled { ` + on + ` } concurrency_limit_exceeded_status { code: ServiceUnavailable } gradient_controller_config { sample_aggregate_percentile { value: 50 }
			concurrency_limit_params { max_concurrency_limit { value: 9 } min_concurrency_limit { value: 3 } concurrency_update_interval { seconds: 1 } }
			min_rtt_calc_params { interval { seconds: 60 } request_count { value: 7 } jitter { value: 10 } min_concurrency { value: 3 } buffer { value: 10 } } } `
		fixed     = `gradient_controller_config { ` + updates + `min_rtt_calc_params { fixed_value { seconds: 60 } } } `
		admission = `enabled { ` + on + ` } success_criteria { http_criteria { http_success_status { start: 200 end: 300 } } grpc_criteria { grpc_success_status: 0 } } sampling_window { seconds: 30 } aggression { default_value: 2 runtime_key: "a" }
			sr_threshold { default_value { value: 90 } runtime_key: "s" } rps_threshold { default_value: 1 runtime_key: "r" } max_rejection_probability { default_value { value: 80 } runtime_key: "m" } `
		action = `timeout { seconds: 1 } idle_timeout { seconds: 1 } max_stream_duration { max_stream_duration { seconds: 1 } grpc_timeout_header_max { seconds: 1 } } priority: HIGH hedge_policy { initial_requests { value: 1 } additional_request_chance { numerator: 1 } hedge_on_per_try_timeout: true }
			retry_policy { retry_on: "5xx" num_retries { value: 3 } per_try_timeout { seconds: 1 } per_try_idle_timeout { seconds: 1 } host_selection_retry_max_attempts: 3 retriable_status_codes: 503 retry_back_off { base_interval { seconds: 1 } max_interval { seconds: 2 } }
			retry_priority { name: "p" typed_config { [type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig] { update_frequency: 1 } } }
			retry_host_predicate { name: "h" typed_config { [type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate] { } } }
			rate_limited_retry_back_off { reset_headers { name: "r" format: SECONDS } max_interval { seconds: 10 } } retriable_headers { name: "x" string_match { exact: "y" } } retriable_request_headers { name: "x" string_match { exact: "y" } } } ` + actions
		inbound = `traffic_direction: INBOUND `
	)
	all = append(all, soundness{"route", listenerOf(t, routed(
		perFilter("fault", `[`+httpFilters+`fault.v3.HTTPFault] { `+called+`}`)+perFilter("local_ratelimit", localRate+`{ `+local+`}`)+
			perFilter("bandwidth_limit", `[`+httpFilters+`bandwidth_limit.v3.BandwidthLimit] { `+bandwidth+`}`)+
			perFilter("ratelimit", `[`+httpFilters+`ratelimit.v3.RateLimitPerRoute] { vh_rate_limits: INCLUDE domain: "x" `+actions+`}`), action)),
		regexp.MustCompile(`routes\[0\]\.(typed_per_filter_config\[|route\.(timeout|idle_timeout|max_stream_duration|priority|retry_policy\b[^_]|hedge_policy\b|rate_limits))`)})
	for _, f := range []struct{ name, kind, text, more string }{
		{"fault", "fault.v3.HTTPFault", faults, ""}, {"a server's fault", "fault.v3.HTTPFault", called, inbound},
		{"rate", "local_ratelimit.v3.LocalRateLimit", local, ""}, {"a server's rate", "local_ratelimit.v3.LocalRateLimit", local, inbound},
		{"global rate", "ratelimit.v3.RateLimit", global, ""}, {"a server's global rate", "ratelimit.v3.RateLimit", global, inbound},
		{"bandwidth", "bandwidth_limit.v3.BandwidthLimit", bandwidth, ""}, {"a server's bandwidth", "bandwidth_limit.v3.BandwidthLimit", bandwidth, inbound},
		{"admission", "admission_control.v3.AdmissionControl", admission, ""},
		{"concurrency", "adaptive_concurrency.v3.AdaptiveConcurrency", adaptive, inbound}, {"concurrency of fixed time", "adaptive_concurrency.v3.AdaptiveConcurrency", fixed, inbound},
	} {
		all = append(all, soundness{f.name, listenerOf(t, filtered(f.kind, f.text, f.more)), regexp.MustCompile(`\.http_filters\[0\]\.typed_config\.`)})
	}
	cluster := &clusterv3.Cluster{}
	a := clusterText(t, `name: "c" type: EDS eds_cluster_config { eds_config { ads {} } } common_lb_config { healthy_panic_threshold { value: 10 } } connect_timeout { seconds: 1 }
		circuit_breakers { thresholds { max_connections { value: 1 } max_pending_requests { value: 1 } max_requests { value: 1 } max_retries { value: 1 } max_connection_pools { value: 1 }
			retry_budget { budget_percent { value: 20 } min_retry_concurrency { value: 3 } budget_interval { seconds: 1 } } } per_host_thresholds { max_connections { value: 1 } } }
		outlier_detection { consecutive_5xx { value: 1 } interval { seconds: 1 } base_ejection_time { seconds: 1 } max_ejection_percent { value: 1 } enforcing_consecutive_5xx { value: 1 } enforcing_success_rate { value: 1 }
			success_rate_minimum_hosts { value: 1 } success_rate_request_volume { value: 1 } success_rate_stdev_factor { value: 1 } consecutive_gateway_failure { value: 1 } enforcing_consecutive_gateway_failure { value: 1 }
			split_external_local_origin_errors: true consecutive_local_origin_failure { value: 1 } enforcing_consecutive_local_origin_failure { value: 1 } enforcing_local_origin_success_rate { value: 1 }
			failure_percentage_threshold { value: 1 } enforcing_failure_percentage { value: 1 } enforcing_failure_percentage_local_origin { value: 1 } failure_percentage_minimum_hosts { value: 1 }
			failure_percentage_request_volume { value: 1 } max_ejection_time { seconds: 300 } max_ejection_time_jitter { seconds: 1 } }
		typed_extension_protocol_options { key: "`+httpOptions+`" value { [type.googleapis.com/`+httpOptions+`] { explicit_http_config { http_protocol_options { } }
			http_filters { name: "a" typed_config { [`+httpFilters+`admission_control.v3.AdmissionControl] { `+admission+` } } } http_filters { name: "c" typed_config { [`+httpFilters+`upstream_codec.v3.UpstreamCodec] { } } } } } }`)
	if err := a.UnmarshalTo(cluster); err != nil {
		t.Fatal(err)
	}
	return append(all, soundness{"cluster", cluster, regexp.MustCompile(`^\.(circuit_breakers|outlier_detection|connect_timeout|common_lb_config\.healthy_panic_threshold|.*\.http_filters\[0\]\.typed_config\.|.*HttpProtocolOptions\]\.outlier_detection)`)})
}

func listenerOf(t *testing.T, text string) proto.Message {
	t.Helper()
	m := &listenerv3.Listener{}
	if err := listenerText(t, `name: "l" address { socket_address { address: "127.0.0.1" port_value: 1 } } `+text).UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func decoded(t *testing.T, m proto.Message) error {
	t.Helper()
	a, err := Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := m.(*clusterv3.Cluster); ok {
		_, err = DecodeCluster(a)
	} else {
		_, err = DecodeListener(a)
	}
	return err
}

// broken is the first rule that m does not keep, nor what is packed in it.
func broken(m protoreflect.Message) error {
	if a, ok := m.Interface().(*anypb.Any); ok {
		if inner, err := a.UnmarshalNew(); err == nil {
			return broken(inner.ProtoReflect())
		}
		return nil // an extension that is not known is not asked for
	}
	if r, ok := m.Interface().(ruled); ok {
		if err := r.ValidateAll(); err != nil {
			return err
		}
	}
	for _, below := range messages(m) {
		if err := broken(below); err != nil {
			return err
		}
	}
	return nil
}

// A changed is a resource with one field changed.
type changed struct {
	m        proto.Message
	path, to string
	field    protoreflect.FieldDescriptor
}

// named reports whether an error names the changed field, the one of several that it is, or what it is all of.
func (c changed) named(err error) bool {
	names := []string{string(c.field.Name())}
	if one := c.field.ContainingOneof(); one != nil {
		names = append(names, string(one.Name()))
	}
	if parts := strings.Split(c.path, "."); c.field.ContainingMessage().Fields().Len() == 1 { // of a Percent
		names = append(names, parts[len(parts)-2])
	}
	return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(err.Error(), name) })
}

// change makes all changes to the fields of m and of what is in it.
func (s soundness) change(m proto.Message, path string, say func(changed)) {
	r := m.ProtoReflect()
	if a, ok := m.(*anypb.Any); ok {
		if inner, err := a.UnmarshalNew(); err == nil {
			s.change(inner, path, func(c changed) {
				c.m = pack(c.m)
				say(c)
			})
		}
		return
	}
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		at := path + "." + string(f.Name())
		set := func(to string, do func(protoreflect.Message)) {
			if s.below.MatchString(at) {
				c := proto.Clone(m)
				do(c.ProtoReflect())
				say(changed{c, at, to, f})
			}
		}
		within := func(at string, below proto.Message, put func(protoreflect.Message, protoreflect.Value)) {
			s.change(below, at, func(c changed) {
				whole := proto.Clone(m)
				put(whole.ProtoReflect(), protoreflect.ValueOfMessage(c.m.ProtoReflect()))
				c.m = whole
				say(c)
			})
		}
		if r.Has(f) {
			set("missing", func(m protoreflect.Message) { m.Clear(f) })
		}
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			r.Get(f).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				within(fmt.Sprintf("%s[%s]", at, k), v.Message().Interface(), func(m protoreflect.Message, v protoreflect.Value) { m.Mutable(f).Map().Set(k, v) })
				return true
			})
		case f.IsMap():
		case f.IsList() && f.Message() != nil:
			set("one more", func(m protoreflect.Message) { m.Mutable(f).List().AppendMutable() })
			for j := range r.Get(f).List().Len() {
				within(fmt.Sprintf("%s[%d]", at, j), r.Get(f).List().Get(j).Message().Interface(), func(m protoreflect.Message, v protoreflect.Value) { m.Mutable(f).List().Set(j, v) })
			}
		case f.IsList():
			for _, v := range extremes(f) {
				set(fmt.Sprintf("%q more", v.Interface()), func(m protoreflect.Message) { m.Mutable(f).List().Append(v) })
			}
		case f.Message() == nil:
			for _, v := range extremes(f) {
				set(fmt.Sprintf("%v", v.Interface()), func(m protoreflect.Message) { m.Set(f, v) })
			}
		case f.Message().FullName() == "google.protobuf.Duration":
			for _, d := range []*durationpb.Duration{
				{}, {Seconds: -1}, {Nanos: -1}, {Nanos: 1}, {Nanos: 999_999}, {Nanos: 19_999_999}, {Nanos: 49_999_999}, {Seconds: 1}, {Seconds: 1, Nanos: 1}, {Seconds: 3600},
				{Seconds: 315_576_000_000}, {Seconds: 315_576_000_001}, {Seconds: 1, Nanos: 1_000_000_000}, {Seconds: 1, Nanos: -1}, {Seconds: math.MaxInt64}, {Seconds: math.MinInt64},
			} {
				set(d.String(), func(m protoreflect.Message) { m.Set(f, protoreflect.ValueOfMessage(d.ProtoReflect())) })
			}
		case f.Message().Fields().Len() == 1 && strings.HasPrefix(string(f.Message().FullName()), "google.protobuf."):
			for _, v := range extremes(f.Message().Fields().Get(0)) {
				set(fmt.Sprintf("%v", v.Interface()), func(m protoreflect.Message) { m.Mutable(f).Message().Set(f.Message().Fields().Get(0), v) })
			}
		default:
			if f.Message().FullName() != "google.protobuf.Any" { // an empty one is of no filter
				set("empty", func(m protoreflect.Message) { m.Set(f, m.NewField(f)) })
			}
			if r.Has(f) {
				within(at, r.Get(f).Message().Interface(), func(m protoreflect.Message, v protoreflect.Value) { m.Set(f, v) })
			}
		}
	}
}

// extremes are values around the bounds that rules have.
func extremes(f protoreflect.FieldDescriptor) (out []protoreflect.Value) {
	switch f.Kind() {
	case protoreflect.EnumKind:
		for _, n := range []protoreflect.EnumNumber{-1, 0, 1, 2, 3, 4, 99} {
			out = append(out, protoreflect.ValueOfEnum(n))
		}
	case protoreflect.StringKind:
		for _, s := range []string{"", "\n", "a b"} {
			out = append(out, protoreflect.ValueOfString(s))
		}
	case protoreflect.Int32Kind:
		for _, n := range []int32{0, -1, 1, math.MaxInt32, math.MinInt32} {
			out = append(out, protoreflect.ValueOfInt32(n))
		}
	case protoreflect.Int64Kind:
		for _, n := range []int64{0, -1, 1, math.MaxInt64, math.MinInt64} {
			out = append(out, protoreflect.ValueOfInt64(n))
		}
	case protoreflect.Uint32Kind:
		for _, n := range []uint32{0, 1, 10, 11, 16, 17, 100, 101, 199, 200, 599, 600, 65536, math.MaxUint32} {
			out = append(out, protoreflect.ValueOfUint32(n))
		}
	case protoreflect.Uint64Kind:
		for _, n := range []uint64{0, 1, math.MaxUint32 + 1, math.MaxUint64} {
			out = append(out, protoreflect.ValueOfUint64(n))
		}
	case protoreflect.DoubleKind:
		for _, n := range []float64{0, math.Copysign(0, -1), -1, 0.5, 1, 100, 100.1, math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN()} {
			out = append(out, protoreflect.ValueOfFloat64(n))
		}
	default: // of bools, each is right
	}
	return out
}
