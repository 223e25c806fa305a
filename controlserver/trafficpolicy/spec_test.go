package trafficpolicy

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// whole is a policy with every block.
func whole() *Spec {
	return &Spec{
		Client: &Client{
			RateLimit: &RateLimit{Requests: 100, Per: second, Burst: 200, MaxKeys: 10, Headers: true, Limits: []Limit{
				{Match: map[Fact]string{"path": "/x", "method": "GET"}, By: []Fact{"header:x-user"}, Requests: 5, Per: 2 * second},
			}},
			GlobalRateLimit: &GlobalRateLimit{
				Limits: []GlobalLimit{{Requests: 1000, Per: second}, {Name: "reads", Match: map[Fact]string{"method": "GET"}, Requests: 9, Per: 60 * second}},
				Lease:  &Lease{Batch: 50, Ahead: 10, Holds: second, Again: 2 * second}, FailClosed: true, Timeout: second / 10,
			},
			Hedge:       &Hedge{Delay: second, Percentile: 95, Max: 2, Chance: 0.5},
			Breaker:     &Breaker{Failures: 5, Percent: 50, Volume: 10, Window: 10 * second, Open: 5 * second, Probes: 3},
			HostBreaker: &Breaker{Failures: 3},
			Admission:   &Admission{Window: 30 * second, Threshold: 90, Aggression: 2, MinRate: 1.5, MaxPercent: 70},
			Fallback: &Fallback{MaxAge: 30 * second, MaxAnswers: 5, MaxBytes: 1 << 10, Answer: &Answer{
				HTTPStatus: 200, Headers: map[string]string{"X-B": "2", "Content-Type": "text/plain"}, Body: "hello",
			}},
			Fault: &Fault{
				Delay: &Delay{second, new(Percent(0.5))}, Abort: &Abort{GRPCStatus: "UNAVAILABLE", Percent: new(Percent(10))},
				ResponseRate: &ResponseRate{1 << 10, new(Percent(0.0001))},
				Connection:   &Connection{Break: "slowBody", After: 10, Pause: second, Percent: new(Percent(100))},
				ByHeader:     true, MaxActive: 7,
			},
			Bandwidth:   &Bandwidth{Request: &Throughput{BytesPerSecond: 1 << 20}, Response: &Throughput{2 << 20, second / 10}},
			IdleTimeout: 300 * second,
		},
		Server: &Server{
			RateLimit:       &RateLimit{Requests: 1, Per: second, Common: "others", Limits: []Limit{{By: []Fact{"caller"}, Requests: 10, Per: second, Burst: 20}}},
			GlobalRateLimit: &GlobalRateLimit{Limits: []GlobalLimit{{By: []Fact{"caller"}, Requests: 10, Per: second}}},
			Concurrency: &Concurrency{Adaptive: &Adaptive{
				Percentile: 90, Min: 5, Max: 50, Update: second, Remeasure: 60 * second, Jitter: 10, Samples: 20, Buffer: 30,
			}},
			Shedding:    &Shedding{second / 100, second / 10},
			Lateness:    &Lateness{second / 100, 30, 5 * second},
			Fault:       &Fault{Abort: &Abort{HTTPStatus: 503, Percent: new(Percent(0))}},
			Bandwidth:   &Bandwidth{Response: &Throughput{BytesPerSecond: 1}},
			HealthPaths: []Path{"/up"}, TrustedCallers: &[]Principal{"td/ns/edge/*", "*"},
		},
		Disable: []Switch{"hedges", "faults"},
	}
}

const second = Duration(time.Second)

func TestValues(t *testing.T) {
	spec := whole()
	if found := spec.Check("shop/p"); len(found) > 0 {
		t.Fatalf("found %v", found)
	}
	off := resilience.NoHedges | resilience.NoFaults
	all := func(percent uint32) resilience.Fraction { return resilience.Fraction{Numerator: percent, Per: 100} }
	calls := spec.Calls("shop/p", "here")
	want := Calls{
		Rate: &resilience.Rate{
			TokenBucket: resilience.TokenBucket{MaxTokens: 200, TokensPerFill: 100, FillInterval: time.Second},
			Descriptors: []resilience.DescriptorRate{{
				Entries:     []resilience.Entry{{Key: "method", Value: "GET"}, {Key: "path", Value: "/x"}, {Key: "header:x-user"}},
				TokenBucket: resilience.TokenBucket{MaxTokens: 5, TokensPerFill: 5, FillInterval: 2 * time.Second},
			}},
			MaxKeys: 10, AlwaysBucket: true, Headers: true,
		},
		Global: &resilience.GlobalRate{
			Domain: "weft",
			Descriptors: [][]resilience.Entry{
				{{Key: "generic_key", Value: "shop/p/client/0"}},
				{{Key: "generic_key", Value: "shop/p/client/reads"}, {Key: "method", Value: "GET"}},
			},
			Lease:   resilience.Lease{Batch: 50, Ahead: 10, Holds: time.Second, Again: 2 * time.Second, Closed: true},
			Timeout: 100 * time.Millisecond,
		},
		Hedge:       &resilience.Hedge{Delay: time.Second, Percentile: 95, Max: 2, Chance: resilience.Fraction{Numerator: 50, Per: 10_000}},
		Breaker:     &resilience.Trip{Failures: 5, Percent: 50, Volume: 10, Window: 10 * time.Second, Open: 5 * time.Second, Probes: 3},
		HostBreaker: &resilience.Trip{Failures: 3},
		Admission:   &resilience.Admission{Window: 30 * time.Second, Threshold: 90, Aggression: 2, MinRate: 1.5, MaxPercent: 70},
		Fallback: &resilience.Fallback{MaxAge: 30 * time.Second, MaxAnswers: 5, MaxBytes: 1 << 10, Answer: &resilience.Answer{
			Status: 200, Body: []byte("hello"), Header: []resilience.Entry{{Key: "content-type", Value: "text/plain"}, {Key: "x-b", Value: "2"}},
		}},
		Fault: &resilience.Fault{
			Delay: time.Second, DelayPercent: resilience.Fraction{Numerator: 50, Per: 10_000},
			Abort: resilience.Abort{GRPC: true, Code: 14}, AbortPercent: all(10),
			BytesPerSecond: 1 << 10, SlowPercent: resilience.Fraction{Numerator: 1, Per: 1_000_000},
			Break: resilience.Break{Kind: resilience.SlowBody, After: 10, Pause: time.Second}, BreakPercent: all(100),
			ByHeader: true, MaxActive: 7,
		},
		Bandwidth: resilience.Bandwidths{
			Request: resilience.Bandwidth{BytesPerSecond: 1 << 20}, Response: resilience.Bandwidth{BytesPerSecond: 2 << 20, Fill: 100 * time.Millisecond},
		},
		Idle: 5 * time.Minute, Off: off, Origins: calls.Origins,
	}
	if !reflect.DeepEqual(calls, want) {
		t.Errorf("calls\n got %+v\nwant %+v", calls, want)
	}
	serving := spec.Serving("shop/p", "here")
	wantServing := Serving{Origins: serving.Origins, Trusted: []Principal{"td/ns/edge/*", "*"}, Serving: resilience.Serving{
		Rate: &resilience.Rate{
			TokenBucket: resilience.TokenBucket{MaxTokens: 1, TokensPerFill: 1, FillInterval: time.Second},
			Descriptors: []resilience.DescriptorRate{{
				Entries: []resilience.Entry{{Key: "caller"}}, TokenBucket: resilience.TokenBucket{MaxTokens: 20, TokensPerFill: 10, FillInterval: time.Second},
			}},
		},
		Global: &resilience.GlobalRate{Domain: "weft", Descriptors: [][]resilience.Entry{{{Key: "generic_key", Value: "shop/p/server/0"}, {Key: "caller"}}}},
		Adaptive: &resilience.Adaptive{
			Percentile: 90, Min: 5, Max: 50, Update: time.Second, Remeasure: time.Minute, Jitter: 10, Samples: 20, Buffer: 30,
		},
		Shedding:  &resilience.Shedding{Target: 10 * time.Millisecond, Interval: 100 * time.Millisecond},
		Late:      &resilience.Lateness{Tolerance: 10 * time.Millisecond, MaxPercent: 30, Interval: 5 * time.Second},
		Fault:     &resilience.Fault{Abort: resilience.Abort{Status: 503}, AbortPercent: all(0)},
		Bandwidth: resilience.Bandwidths{Response: resilience.Bandwidth{BytesPerSecond: 1}}, HealthPaths: []string{"/up"}, Off: off,
	}}
	if !reflect.DeepEqual(serving, wantServing) {
		t.Errorf("serving\n got %+v\nwant %+v", serving, wantServing)
	}
	shared := []SharedLimit{
		{"shop/p/client/0", "weft", want.Global.Descriptors[0], 1000, time.Second},
		{"shop/p/client/reads", "weft", want.Global.Descriptors[1], 9, time.Minute},
		{"shop/p/server/0", "weft", wantServing.Global.Descriptors[0], 10, time.Second},
	}
	if got := spec.SharedLimits("shop/p"); !reflect.DeepEqual(got, shared) {
		t.Errorf("shared limits\n got %+v\nwant %+v", got, shared)
	}
}

// A block that is added to the kind must reach who decides, and be taken from the most specific policy.
func TestEachBlockHasAnOrigin(t *testing.T) {
	spec := whole()
	calls, serving := spec.Calls("shop/p", "p"), spec.Serving("shop/p", "p")
	for _, side := range []struct {
		name  string
		block reflect.Value
		got   []Origin
	}{{"client", reflect.ValueOf(*spec.Client), calls.Origins}, {"server", reflect.ValueOf(*spec.Server), serving.Origins}} {
		want := []Origin{}
		for _, f := range reflect.VisibleFields(side.block.Type()) {
			if side.block.FieldByIndex(f.Index).IsZero() {
				t.Errorf("the policy of this test has no %s.%s", side.name, f.Tag.Get("json"))
			}
			want = append(want, Origin{side.name + "." + f.Tag.Get("json"), "p"})
		}
		if want = append(want, Origin{"disable", "p"}); !slices.Equal(side.got, want) {
			t.Errorf("%s: got %v, want %v", side.name, side.got, want)
		}
	}

	var c Calls
	c.Take(calls)
	var s Serving
	s.Take(serving)
	if !reflect.DeepEqual(c, calls) || !reflect.DeepEqual(s, serving) {
		t.Errorf("taken\n %+v\n %+v, want\n %+v\n %+v", c, s, calls, serving)
	}
	other := (&Spec{Client: &Client{Hedge: &Hedge{Delay: second}, IdleTimeout: 1}, Disable: []Switch{"retries"}}).Calls("shop/other", "other")
	c.Take(other)
	if c.Hedge != calls.Hedge || c.Idle != calls.Idle || c.Off != calls.Off|resilience.NoRetries || len(c.Origins) != len(calls.Origins)+1 {
		t.Errorf("took %+v from one that is less specific", c)
	}
}

func TestApply(t *testing.T) {
	tests := []struct {
		name        string
		ours, has   *resilience.Fault
		delay       time.Duration
		abort       int
		bytesPerSec uint64
	}{
		{"of the rule alone", nil, &resilience.Fault{Delay: 1, Abort: resilience.Abort{Status: 500}}, 1, 500, 0},
		{"of the policy alone", &resilience.Fault{Delay: 2}, nil, 2, 0, 0},
		{"both", &resilience.Fault{Delay: 2, BytesPerSecond: 3}, &resilience.Fault{Delay: 1, Abort: resilience.Abort{Status: 500}}, 2, 500, 3},
	}
	for _, tc := range tests {
		p := resilience.Policy{Fault: tc.has, Timeout: 5, Retry: resilience.Retry{Attempts: 2}, Off: resilience.NoRates}
		c := Calls{Fault: tc.ours, Idle: 4, Off: resilience.NoHedges}
		c.Apply(&p)
		if p.Fault.Delay != tc.delay || p.Fault.Abort.Status != tc.abort || p.Fault.BytesPerSecond != tc.bytesPerSec {
			t.Errorf("%s: %+v", tc.name, p.Fault)
		}
		if p.Timeout != 5 || p.Retry.Attempts != 2 || p.Idle != 4 || p.Off != resilience.NoRates|resilience.NoHedges {
			t.Errorf("%s: %+v", tc.name, p)
		}
	}
}

func TestHolds(t *testing.T) {
	c := Caller{"shop", "checkout", map[string]string{"app": "checkout", "version": ""}}
	for _, tc := range []struct {
		from *From
		want bool
	}{
		{nil, true},
		{&From{Namespace: "shop", ServiceAccount: "checkout", Labels: map[string]string{"app": "checkout"}}, true},
		{&From{Labels: map[string]string{"version": ""}}, true},
		{&From{Labels: map[string]string{"tier": ""}}, false},
		{&From{Namespace: "other", ServiceAccount: "checkout"}, false},
		{&From{ServiceAccount: "cart"}, false},
	} {
		if got := tc.from.Holds(c); got != tc.want {
			t.Errorf("%+v: %v", tc.from, got)
		}
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]Duration{"1s": second, "1.5s": second * 3 / 2, "1m30s": 90 * second, "0s": 0} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d != want {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "5", "-1s", "1 s", "1d", "99999999h", "NaN", "1e9s"} {
		var d Duration
		if d.UnmarshalText([]byte(text)) == nil {
			t.Errorf("duration %q: %v", text, d)
		}
	}
	for text, want := range map[string]Size{"1B": 1, "64KiB": 64 << 10, "1.5MiB": 3 << 19, "2GiB": 2 << 30, "1kB": 1000, "1.5MB": 1_500_000, "1GB": 1_000_000_000} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "5", "1K", "1.5B", "-1MiB", "1MiB/s", "99999999999GiB", "1TiB"} {
		var s Size
		if s.UnmarshalText([]byte(text)) == nil {
			t.Errorf("size %q: %v", text, s)
		}
	}
	for text, want := range map[string]Fact{"method": "method", "header:X-User": "header:x-user", "caller": "caller"} {
		var f Fact
		if err := f.UnmarshalText([]byte(text)); err != nil || f != want {
			t.Errorf("%s: %v, %v", text, f, err)
		}
	}
	for _, text := range []string{"", "cookie", "header:", "header:a b", "Method"} {
		var f Fact
		if f.UnmarshalText([]byte(text)) == nil {
			t.Errorf("fact %q: %v", text, f)
		}
	}
	for text, want := range map[string]bool{"/healthz": true, "healthz": false, "": false, "/a?b": false} {
		var p Path
		if err := p.UnmarshalText([]byte(text)); (err == nil) != want {
			t.Errorf("path %q: %v", text, err)
		}
	}
	if words := Switch("").Words(); len(words) != 15 || words[0] != "deadlines" || words[14] != "faults" {
		t.Errorf("switches %v", words)
	}
}

// A Spec that no YAML made is checked by the same rules.
func TestCheckOfValuesInGo(t *testing.T) {
	for _, tc := range []struct {
		spec Spec
		want string // begins the only finding
	}{
		{Spec{}, ": says nothing"},
		{Spec{Client: &Client{}}, "client: is empty"},
		{Spec{Server: &Server{}}, "server: is empty"},
		{Spec{Target: &Target{}, Disable: []Switch{"hedges"}}, "target.service: is missing"},
		{Spec{Target: &Target{Service: "a", Port: 65536}, Disable: []Switch{"hedges"}}, "target.port: 65536 is out of range: 1 to 65535"},
		{Spec{Disable: []Switch{"everything"}}, `disable[0]: unknown value "everything"; there are deadlines,`},
		{Spec{Client: &Client{IdleTimeout: -1}}, "client.idleTimeout: -1ns is negative"},
		{Spec{Client: &Client{Admission: &Admission{MinRate: math.NaN()}}}, "client.admission.minRate: NaN is no amount"},
		{Spec{Client: &Client{Admission: &Admission{MinRate: math.Inf(1)}}}, "client.admission.minRate: +Inf is no amount"},
		{Spec{Client: &Client{Breaker: &Breaker{Percent: Percent(math.NaN())}}}, "client.breaker.percent: NaN is no percentage"},
		{Spec{Client: &Client{Breaker: &Breaker{Percent: -1}}}, "client.breaker.percent: -1 is no percentage"},
		{Spec{Client: &Client{RateLimit: &RateLimit{Limits: []Limit{{By: []Fact{"what"}, Requests: 1, Per: second}}}}}, `client.rateLimit.limits[0].by[0]: "what" does not match`},
		{Spec{Server: &Server{Concurrency: &Concurrency{Adaptive: &Adaptive{Fixed: second, Jitter: 1}}}}, "server.concurrency.adaptive.jitter: has no effect beside fixed"},
		{Spec{Server: &Server{Concurrency: &Concurrency{Adaptive: &Adaptive{Fixed: second, Remeasure: second}}}}, "server.concurrency.adaptive.remeasure: has no effect beside fixed"},
		{Spec{Server: &Server{Concurrency: &Concurrency{Adaptive: &Adaptive{Remeasure: 1}}}}, "server.concurrency.adaptive.remeasure: 1ns is less than 1ms"},
		{Spec{Client: &Client{Admission: &Admission{Window: second / 2}}}, "client.admission.window: 500ms is less than 1s"},
		{Spec{Server: &Server{HealthPaths: []Path{"up"}}}, `server.healthPaths[0]: "up" does not match`},
		{Spec{Server: &Server{TrustedCallers: &[]Principal{"*", "*"}}}, `server.trustedCallers[1]: "*" given twice`},
		{Spec{Server: &Server{TrustedCallers: &[]Principal{"td*"}}}, `server.trustedCallers[0]: "td*" does not match`},
	} {
		found := tc.spec.Check("shop/p")
		if len(found) != 1 || !strings.HasPrefix(found[0].Field+": "+found[0].Message, tc.want) {
			t.Errorf("%q: found %q", tc.want, found)
		}
	}
}
