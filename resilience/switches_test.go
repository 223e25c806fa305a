package resilience

import (
	"slices"
	"testing"
)

func TestSwitches(t *testing.T) {
	for _, tc := range []struct {
		list    string
		want    Switches
		unknown []string
	}{
		{"", 0, nil},
		{"retries, hedges", NoRetries | NoHedges, nil},
		{"faults,all,,global-rates", NoFaults | NoGlobalRates, []string{"all"}},
	} {
		got, unknown := ParseSwitches(tc.list)
		if got != tc.want || !slices.Equal(unknown, tc.unknown) {
			t.Errorf("%q: %v, %q", tc.list, got, unknown)
		}
		if again, _ := ParseSwitches(got.String()); again != got {
			t.Errorf("%v is read as %v", got, again)
		}
	}
	if s := NoRetries | NoFaults; !s.Off(NoRetries) || s.Off(NoHedges) || !s.Off(NoHedges|NoFaults) || Switches(0).Off(NoRetries) {
		t.Error("Off")
	}
}

func TestEverySwitchHasAName(t *testing.T) {
	const all = NoFaults<<1 - 1
	if got, unknown := ParseSwitches(all.String()); got != all || unknown != nil || len(switches) != 15 {
		t.Errorf("%v, %q", got, unknown)
	}
}
