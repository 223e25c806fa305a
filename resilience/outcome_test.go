package resilience

import (
	"errors"
	"testing"
)

func TestOutcome(t *testing.T) {
	broken := errors.New("broken")
	for _, tc := range []struct {
		name            string
		o               Outcome
		ok, unprocessed bool
	}{
		{"zero", Outcome{}, true, false},
		{"HTTP 200", Outcome{Status: 200}, true, false},
		{"HTTP 404", Outcome{Status: 404}, true, false},
		{"HTTP 499", Outcome{Status: 499}, true, false},
		{"HTTP 500", Outcome{Status: 500}, false, false},
		{"HTTP 503", Outcome{Status: 503}, false, false},
		{"HTTP 200, then the body broke", Outcome{Status: 200, Err: broken, Cause: Reset}, false, false},
		{"error without a cause", Outcome{Err: broken}, false, false},
		{"gRPC OK", Outcome{GRPC: true}, true, false},
		{"gRPC CANCELLED", Outcome{GRPC: true, Code: 1}, true, false},
		{"gRPC UNKNOWN", Outcome{GRPC: true, Code: 2}, false, false},
		{"gRPC INVALID_ARGUMENT", Outcome{GRPC: true, Code: 3}, true, false},
		{"gRPC DEADLINE_EXCEEDED", Outcome{GRPC: true, Code: 4}, false, false},
		{"gRPC NOT_FOUND, as an error", Outcome{GRPC: true, Code: 5, Err: broken}, true, false},
		{"gRPC PERMISSION_DENIED", Outcome{GRPC: true, Code: 7}, true, false},
		{"gRPC RESOURCE_EXHAUSTED", Outcome{GRPC: true, Code: 8}, false, false},
		{"gRPC UNIMPLEMENTED", Outcome{GRPC: true, Code: 12}, true, false},
		{"gRPC INTERNAL", Outcome{GRPC: true, Code: 13}, false, false},
		{"gRPC UNAVAILABLE", Outcome{GRPC: true, Code: 14}, false, false},
		{"gRPC DATA_LOSS", Outcome{GRPC: true, Code: 15}, false, false},
		{"gRPC UNAUTHENTICATED", Outcome{GRPC: true, Code: 16}, true, false},
		{"host left", Outcome{Err: broken, Cause: HostLeft}, false, true},
		{"no connection", Outcome{Err: broken, Cause: ConnectFailure}, false, true},
		{"refused", Outcome{Err: broken, Cause: Refused, GRPC: true, Code: 14}, false, true},
		{"unsent", Outcome{Err: broken, Cause: Unsent}, false, true},
		{"reset", Outcome{Err: broken, Cause: Reset}, false, false},
		{"canceled", Outcome{Err: broken, Cause: Canceled}, false, false},
		{"timeout", Outcome{Err: broken, Cause: Timeout}, false, false},
		{"gRPC OK but reset", Outcome{Err: broken, Cause: Reset, GRPC: true}, false, false},
	} {
		if tc.o.OK() != tc.ok || tc.o.Unprocessed() != tc.unprocessed {
			t.Errorf("%s: OK %v, Unprocessed %v; want %v, %v", tc.name, tc.o.OK(), tc.o.Unprocessed(), tc.ok, tc.unprocessed)
		}
	}
}
