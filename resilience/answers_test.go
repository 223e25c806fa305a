package resilience

import (
	"math"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetryConditions(t *testing.T) {
	status := func(s int) Outcome { return Outcome{Status: s} }
	with := func(o Outcome, name string, values ...string) Outcome {
		o.Header = web{name: values}
		return o
	}
	code := func(c uint32) Outcome { return Outcome{GRPC: true, Code: c} }
	failed := func(c Cause) Outcome { return Outcome{Err: errBroken, Cause: c} }
	safe := func(o Outcome) Outcome { o.Idempotent = true; return o }
	for _, tc := range []struct {
		name string
		o    Outcome
		on   Conditions // exactly those that allow a retry
	}{
		{"200", status(200), 0},
		{"400", status(400), 0},
		{"404", status(404), OnRetriableStatusCodes},
		{"409", status(409), OnRetriable4xx},
		{"429", status(429), 0},
		{"500", status(500), On5xx},
		{"501", status(501), On5xx},
		{"502", status(502), On5xx | OnGatewayError},
		{"503", status(503), On5xx | OnGatewayError},
		{"504", status(504), On5xx | OnGatewayError},
		{"599", status(599), On5xx},
		{"600", status(600), 0},
		{"503, rate limited by Envoy", with(status(503), "X-Envoy-Ratelimited", "true"), OnEnvoyRateLimited},
		{"429, rate limited by Envoy", with(status(429), "X-Envoy-Ratelimited", "true"), OnEnvoyRateLimited},
		{"503, overloaded", with(status(503), "X-Envoy-Overloaded", "true"), 0},
		{"200 with a header", with(status(200), "X-Again", "yes, please"), OnRetriableHeaders},
		{"200 with another value", with(status(200), "X-Again", "no"), 0},
		{"OK", code(0), 0},
		{"CANCELLED", code(1), OnCancelled},
		{"UNKNOWN", code(2), 0},
		{"DEADLINE_EXCEEDED", code(4), OnDeadlineExceeded},
		{"RESOURCE_EXHAUSTED", code(8), OnResourceExhausted},
		{"INTERNAL", code(13), OnInternal},
		{"UNAVAILABLE", code(14), OnUnavailable},
		{"UNAVAILABLE, overloaded", Outcome{GRPC: true, Code: 14, Header: metadata{"x-envoy-overloaded": {"true"}}}, 0},
		{"UNAVAILABLE, rate limited by Envoy", Outcome{GRPC: true, Code: 14, Header: metadata{"x-envoy-ratelimited": {"true"}}}, OnEnvoyRateLimited},
		{"NOT_FOUND with a header", Outcome{GRPC: true, Code: 5, Header: metadata{"x-again": {"yes"}}}, OnRetriableHeaders},
		{"no connection", failed(ConnectFailure), OnConnectFailure | OnResetBeforeRequest | On5xx | OnGatewayError | OnReset},
		{"unsent", failed(Unsent), OnConnectFailure | OnResetBeforeRequest | On5xx | OnGatewayError | OnReset},
		{"refused", failed(Refused), OnConnectFailure | OnRefusedStream | On5xx | OnGatewayError | OnReset},
		{"reset", failed(Reset), 0},
		{"reset, idempotent", safe(failed(Reset)), On5xx | OnGatewayError | OnReset},
		{"attempt's time was up", failed(TryTimeout), 0},
		{"attempt's time was up, idempotent", safe(failed(TryTimeout)), On5xx | OnGatewayError | OnReset},
		{"call's time was up", safe(failed(Timeout)), 0},
		{"canceled", safe(failed(Canceled)), 0},
		{"200, then the body broke", safe(Outcome{Status: 200, Err: errBroken, Cause: None}), 0},
	} {
		for i, name := range conditions {
			r := Retry{Attempts: 1, On: 1 << i, Answers: &Answers{
				Statuses: []int{404},
				Headers:  []HeaderMatch{{Name: HeaderName{Lower: "x-none", Canonical: "X-None"}}, {Name: HeaderName{Lower: "x-again", Canonical: "X-Again"}, Kind: MatchPrefix, Value: "yes"}},
			}}
			want := tc.on&r.On != 0
			if _, got := r.Next(1, tc.o); got != want {
				t.Errorf("%s on %s: %v, want %v", tc.name, name, got, want)
			}
		}
		if _, got := (Retry{Attempts: 1}).Next(1, tc.o); got {
			t.Errorf("%s on nothing: repeated", tc.name)
		}
	}
}

func TestUnguardedCallsAreRepeated(t *testing.T) {
	for _, c := range []Cause{Reset, TryTimeout} {
		r := Retry{Attempts: 1, On: OnReset, Unguarded: true}
		if _, again := r.Next(1, Outcome{Err: errBroken, Cause: c}); !again {
			t.Errorf("cause %d: not repeated", c)
		}
	}
}

func TestHeaderMatch(t *testing.T) {
	h := web{"K": {"value", "other"}}
	name := HeaderName{Lower: "k", Canonical: "K"}
	for _, tc := range []struct {
		m    HeaderMatch
		want bool
	}{
		{HeaderMatch{Name: name}, true},
		{HeaderMatch{Name: HeaderName{Lower: "l", Canonical: "L"}}, false},
		{HeaderMatch{Name: HeaderName{Lower: "l", Canonical: "L"}, Invert: true}, true},
		{HeaderMatch{Name: name, Invert: true}, false},
		{HeaderMatch{Name: name, Kind: MatchExact, Value: "value"}, true},
		{HeaderMatch{Name: name, Kind: MatchExact, Value: "other"}, false},
		{HeaderMatch{Name: name, Kind: MatchPrefix, Value: "va"}, true},
		{HeaderMatch{Name: name, Kind: MatchSuffix, Value: "ue"}, true},
		{HeaderMatch{Name: name, Kind: MatchContains, Value: "alu"}, true},
		{HeaderMatch{Name: name, Kind: MatchContains, Value: "alu", Invert: true}, false},
	} {
		if got := tc.m.Match(h); got != tc.want {
			t.Errorf("%+v: %v", tc.m, got)
		}
	}
}

func TestServersAskForPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") }
		unix := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
		resets := &Answers{Resets: []ResetHeader{{Name: HeaderName{Lower: "x-reset", Canonical: "X-Reset"}}, {Name: HeaderName{Lower: "x-until", Canonical: "X-Until"}, Unix: true}}, MaxReset: time.Minute}
		for _, tc := range []struct {
			name    string
			answers *Answers
			grpc    bool
			headers []string
			pause   time.Duration
			again   bool
			spread  spread
		}{
			{"nothing", nil, false, nil, 25 * ms, true, below},
			{"seconds", nil, false, []string{"Retry-After", "7"}, 7 * time.Second, true, above},
			{"a date", nil, false, []string{"Retry-After", in(9 * time.Second)}, 9 * time.Second, true, above},
			{"at once, which is no excuse for haste", nil, false, []string{"Retry-After", "0"}, 25 * ms, true, above},
			{"a date that has passed", nil, false, []string{"Retry-After", in(-time.Hour)}, 25 * ms, true, above},
			{"more than anybody waits", nil, false, []string{"Retry-After", "301"}, 0, false, 0},
			{"more than is configured", resets, false, []string{"Retry-After", "61"}, 0, false, 0},
			{"nonsense", nil, false, []string{"Retry-After", "soon"}, 25 * ms, true, below},
			{"reset before Retry-After", resets, false, []string{"Retry-After", "7", "X-Reset", "3"}, 3 * time.Second, true, above},
			{"reset too late, the next", resets, false, []string{"X-Reset", "61", "X-Until", unix(5 * time.Second)}, 5 * time.Second, true, above},
			{"reset has passed", resets, false, []string{"X-Until", unix(-time.Second)}, 25 * ms, true, below},
			{"reset not configured", nil, false, []string{"X-Reset", "3"}, 25 * ms, true, below},
			{"push-back", nil, true, []string{"grpc-retry-pushback-ms", "120"}, 120 * ms, true, exactly},
			{"push-back of nothing", nil, true, []string{"grpc-retry-pushback-ms", "0"}, 0, true, exactly},
			{"no more", nil, true, []string{"grpc-retry-pushback-ms", "-1"}, 0, false, exactly},
			{"push-back that can't be read", nil, true, []string{"grpc-retry-pushback-ms", "x"}, 0, false, exactly},
			{"gRPC has no Retry-After", nil, true, []string{"retry-after", "7"}, 25 * ms, true, below},
			{"HTTP has no push-back", nil, false, []string{"Grpc-Retry-Pushback-Ms", "7"}, 25 * ms, true, below},
		} {
			h := map[string][]string{}
			for i := 0; i < len(tc.headers); i += 2 {
				h[tc.headers[i]] = tc.headers[i+1 : i+2]
			}
			o := Outcome{Status: 503, Header: web(h)}
			if tc.grpc {
				o = Outcome{GRPC: true, Code: 14, Header: metadata(h)}
			}
			d := Retry{Attempts: 1, On: On5xx | OnUnavailable, Answers: tc.answers}.Decide(1, 1, o)
			if d.Pause != tc.pause || d.Again != tc.again || d.Again && d.spread != tc.spread {
				t.Errorf("%s: %+v", tc.name, d)
			}
		}
	})
}

func TestJitter(t *testing.T) {
	for _, tc := range []struct {
		d      Decision
		random float64
		want   time.Duration
	}{
		{Decision{Pause: 100 * ms}, 0, 0},
		{Decision{Pause: 100 * ms}, 0.5, 50 * ms},
		{Decision{Pause: 100 * ms, spread: exactly}, 0.5, 100 * ms},
		{Decision{Pause: 100 * ms, spread: above}, 0, 100 * ms},
		{Decision{Pause: 100 * ms, spread: above}, 0.5, 125 * ms},
		{Decision{Pause: math.MaxInt64, spread: above}, 0.99, math.MaxInt64},
	} {
		if got := tc.d.Jittered(tc.random); got != tc.want {
			t.Errorf("%+v at %v: %v, want %v", tc.d, tc.random, got, tc.want)
		}
	}
	if got := (Decision{Pause: math.MaxInt64}).Jittered(math.Nextafter(1, 0)); got <= 0 {
		t.Errorf("the longest pause, jittered: %v", got)
	}
}

func TestRetryAllocatesNothing(t *testing.T) {
	r := Retry{Attempts: 3, On: On5xx | OnRetriableHeaders, Answers: &Answers{Headers: []HeaderMatch{{Name: HeaderName{Lower: "x", Canonical: "X"}}}}}
	header := web{"Retry-After": {"7"}}
	ceiling(t, "deciding about a retry", 0, func() {
		r.Decide(1, 1, Outcome{Status: 200, Header: header})
		r.Decide(1, 1, Outcome{Status: 503, Header: header})
		r.Decide(1, 1, Outcome{Err: errBroken, Cause: Reset, Idempotent: true})
	})
}

// Requests that the policy does not name are not repeated, whatever came of them.
func TestRetriesCoverRequests(t *testing.T) {
	get := HeaderMatch{Name: HeaderName{Lower: ":method", Canonical: ":method"}, Kind: MatchExact, Value: "GET"}
	marked := HeaderMatch{Name: HeaderName{Lower: "x-again", Canonical: "X-Again"}}
	for _, tc := range []struct {
		name    string
		answers *Answers
		request Header
		want    bool
	}{
		{"nothing said", nil, nil, true},
		{"nothing said of requests", &Answers{Statuses: []int{503}}, nil, true},
		{"one of them", &Answers{Requests: []HeaderMatch{get, marked}}, metadata{":method": {"GET"}}, true},
		{"the other", &Answers{Requests: []HeaderMatch{get, marked}}, metadata{":method": {"POST"}, "x-again": {""}}, true},
		{"neither", &Answers{Requests: []HeaderMatch{get, marked}}, metadata{":method": {"POST"}}, false},
		{"no headers", &Answers{Requests: []HeaderMatch{marked}}, nil, false},
	} {
		if got := (Retry{Answers: tc.answers}).Covers(tc.request); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
