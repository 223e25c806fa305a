package identity

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func TestWorkloadOf(t *testing.T) {
	if ns, sa, err := WorkloadOf(spiffeid.RequireFromString("spiffe://td/ns/shop/sa/till")); ns != "shop" || sa != "till" || err != nil {
		t.Errorf("%s, %s, %v", ns, sa, err)
	}
	for _, id := range []string{"spiffe://td", "spiffe://td/till", "spiffe://td/ns/shop/sa", "spiffe://td/ns/shop/sa/till/x", "spiffe://td/sa/shop/ns/till"} {
		if ns, sa, err := WorkloadOf(spiffeid.RequireFromString(id)); err == nil {
			t.Errorf("%s is %s, %s", id, ns, sa)
		}
	}
	if _, _, err := WorkloadOf(spiffeid.ID{}); err == nil {
		t.Error("no identity is a workload")
	}
}
