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
		{"5xx,unavailable,,503", OnUnavailable, []string{"5xx", "503"}},
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
