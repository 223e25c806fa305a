package catalog_test

import (
	"fmt"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
)

// A server is called as policies say, unless it is known to take something else alone still; by mTLS wherever only that is to be taken.
func TestServersAreCalledAsTheyTakeIt(t *testing.T) {
	for _, tt := range []struct {
		policy string
		mode   identity.Mode
		want   bool
	}{
		{"DISABLE", identity.Unset, false},
		{"DISABLE", identity.Disable, false},
		{"DISABLE", identity.Permissive, false},
		{"DISABLE", identity.Strict, true},
		{"PERMISSIVE", identity.Unset, true},
		{"PERMISSIVE", identity.Disable, false},
		{"PERMISSIVE", identity.Permissive, true},
		{"PERMISSIVE", identity.Strict, true},
		{"STRICT", identity.Unset, true},
		{"STRICT", identity.Disable, true},
		{"STRICT", identity.Permissive, true},
		{"STRICT", identity.Strict, true},
	} {
		t.Run(fmt.Sprintf("%s, %v", tt.policy, tt.mode), func(t *testing.T) {
			c := catalog.Merge(fragment(t, "f", doc("PeerAuthentication", "p", "shop", "{mtls: {mode: "+tt.policy+"}}")), catalog.Fragment{Workloads: []catalog.Workload{{
				Name: "pay", Namespace: "shop", Address: "10.0.0.1", ServiceAccount: "pay",
				Ports: []catalog.WorkloadPort{{Number: 8080, Mode: tt.mode}, {Number: 8081}},
			}}})
			s, _ := c.Service("shop", "pay")
			e := s.Endpoints(80)[0]
			if got := c.AutoTLS(s, e, identity.Unset); e.Mode != tt.mode || got != tt.want {
				t.Errorf("called by mTLS: %v, known to be %v", got, e.Mode)
			}
			e.ServiceAccount = "" // it can't, whatever it takes
			if c.AutoTLS(s, e, identity.Unset) {
				t.Error("called by mTLS without an identity")
			}
		})
	}
}
