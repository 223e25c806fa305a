package resilience

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestRetryAllows(t *testing.T) {
	err := errors.New("broken")
	answered := func(code uint32) Outcome { return Outcome{GRPC: true, Code: code} }
	failed := func(c Cause) Outcome { return Outcome{Err: err, Cause: c} }
	const all = OnConnectFailure | OnRefusedStream | OnUnavailable | OnCancelled
	for _, tc := range []struct {
		name string
		on   Conditions
		o    Outcome
		want bool
	}{
		{"nothing", 0, failed(ConnectFailure), false},
		{"no connection", OnConnectFailure, failed(ConnectFailure), true},
		{"host left", OnConnectFailure, failed(HostLeft), true},
		{"unsent", OnConnectFailure, failed(Unsent), true},
		{"no connection, other conditions", all &^ OnConnectFailure, failed(ConnectFailure), false},
		{"refused", OnRefusedStream, failed(Refused), true},
		{"refused counts as no connection", OnConnectFailure, failed(Refused), true},
		{"refused, other conditions", OnUnavailable | OnCancelled, failed(Refused), false},
		{"refused, as gRPC", OnUnavailable, Outcome{Err: err, Cause: Refused, GRPC: true, Code: 14}, true},
		{"no connection, as gRPC", OnUnavailable, Outcome{Err: err, Cause: ConnectFailure, GRPC: true, Code: 14}, true},
		{"reset, as gRPC", OnUnavailable, Outcome{Err: err, Cause: Reset, GRPC: true, Code: 14}, true},
		{"reset", all, failed(Reset), false},
		{"canceled by the caller", all, failed(Canceled), false},
		{"canceled by the caller, as gRPC", all, Outcome{Err: err, Cause: Canceled, GRPC: true, Code: 1}, false},
		{"timeout, as gRPC", all, Outcome{Err: err, Cause: Timeout, GRPC: true, Code: 14}, false},
		{"UNAVAILABLE", OnUnavailable, answered(14), true},
		{"UNAVAILABLE, other conditions", all &^ OnUnavailable, answered(14), false},
		{"CANCELLED by the server", OnCancelled, answered(1), true},
		{"CANCELLED, other conditions", all &^ OnCancelled, answered(1), false},
		{"INTERNAL", all, answered(13), false},
		{"OK", all, answered(0), false},
		{"HTTP 503", all, Outcome{Status: 503}, false},
		{"HTTP 200", all, Outcome{Status: 200}, false},
	} {
		if _, got := (Retry{Attempts: 1, On: tc.on}).Next(1, tc.o); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestRetryAttempts(t *testing.T) {
	for _, tc := range []struct {
		attempts, attempt uint32
		want              bool
	}{{0, 1, false}, {1, 1, true}, {1, 2, false}, {3, 3, true}, {3, 4, false}, {math.MaxUint32, math.MaxUint32, true}} {
		r := Retry{Attempts: tc.attempts, On: OnUnavailable}
		if _, got := r.Next(tc.attempt, Outcome{GRPC: true, Code: 14}); got != tc.want {
			t.Errorf("try %d of 1+%d may be followed: %v, want %v", tc.attempt, tc.attempts, got, tc.want)
		}
	}
}

func TestRetryPause(t *testing.T) {
	const ms = time.Millisecond
	unavailable := Outcome{GRPC: true, Code: 14}
	for _, tc := range []struct {
		name      string
		base, max time.Duration
		attempt   uint32
		o         Outcome
		want      time.Duration
	}{
		{"first, as a default", 0, 0, 1, unavailable, 25 * ms},
		{"second", 0, 0, 2, unavailable, 50 * ms},
		{"fourth", 0, 0, 4, unavailable, 200 * ms},
		{"default bound", 0, 0, 5, unavailable, 250 * ms},
		{"thousandth", 0, 0, 1000, unavailable, 250 * ms},
		{"own base", 10 * ms, 0, 3, unavailable, 40 * ms},
		{"own base, its bound", 10 * ms, 0, 9, unavailable, 100 * ms},
		{"own bound", 10 * ms, 30 * ms, 3, unavailable, 30 * ms},
		{"bound under the base", 10 * ms, 3 * ms, 1, unavailable, 3 * ms},
		{"no overflow", 1 << 61, math.MaxInt64, 9, unavailable, math.MaxInt64},
		{"no overflow of the default bound", 1 << 61, 0, 9, unavailable, math.MaxInt64},
		{"unsent goes at once", 10 * ms, 0, 3, Outcome{Err: errors.New("x"), Cause: Unsent}, 0},
		{"refused goes at once", 10 * ms, 0, 3, Outcome{Err: errors.New("x"), Cause: Refused}, 0},
	} {
		r := Retry{Attempts: math.MaxUint32, On: OnUnavailable | OnConnectFailure, Base: tc.base, Max: tc.max}
		if got, again := r.Next(tc.attempt, tc.o); got != tc.want || !again {
			t.Errorf("%s: %v, %v; want %v", tc.name, got, again, tc.want)
		}
	}
}
