package resilience

import (
	"slices"
	"testing"
)

func TestParseConditions(t *testing.T) {
	for _, tc := range []struct {
		list    string
		want    Conditions
		unknown []string
	}{
		{"", 0, nil},
		{"connect-failure,refused-stream, unavailable ,cancelled", OnConnectFailure | OnRefusedStream | OnUnavailable | OnCancelled, nil},
		{"6xx,unavailable,,503", OnUnavailable, []string{"6xx", "503"}},
		{"5xx,gateway-error,reset,reset-before-request,envoy-ratelimited,retriable-4xx", On5xx | OnGatewayError | OnReset | OnResetBeforeRequest | OnEnvoyRateLimited | OnRetriable4xx, nil},
		{"retriable-status-codes,retriable-headers,http3-post-connect-failure", OnRetriableStatusCodes | OnRetriableHeaders | OnHTTP3PostConnectFailure, nil},
		{"deadline-exceeded,internal,resource-exhausted", OnDeadlineExceeded | OnInternal | OnResourceExhausted, nil},
		{"retriable-status-code,5XX", 0, []string{"retriable-status-code", "5XX"}},
	} {
		got, unknown := ParseConditions(tc.list)
		if got != tc.want || !slices.Equal(unknown, tc.unknown) {
			t.Errorf("ParseConditions(%q) = %v, %q; want %v, %q", tc.list, got, unknown, tc.want, tc.unknown)
		}
		if again, _ := ParseConditions(got.String()); again != got {
			t.Errorf("ParseConditions(%q) = %v, want %v", got.String(), again, got)
		}
	}
}

func TestEveryConditionHasAName(t *testing.T) {
	if got, unknown := ParseConditions(Conditions(allConditions).String()); got != allConditions || unknown != nil || OnResourceExhausted<<1 != allConditions+1 {
		t.Errorf("%v, %q", got, unknown)
	}
}
