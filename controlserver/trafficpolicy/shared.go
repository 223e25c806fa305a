package trafficpolicy

import (
	"time"

	"github.com/weftmesh/weft/resilience"
)

// A SharedLimit is a limit of all processes together, as the rate limit service keeps it.
//
// A call falls under it if it was described by all of Entries, in their order, and by no others. Where an
// entry has no Value, each value is a limit of its own.
type SharedLimit struct {
	// Name is that of the policy, of its block and of the limit: "NAMESPACE/NAME/server/0".
	Name string
	// Domain is the name space of the limit; always Domain.
	Domain string
	// Entries begin with one whose key is LimitKey and whose value is Name.
	Entries []resilience.Entry
	// Requests may be made in each Per.
	Requests uint32
	Per      time.Duration
}

const (
	// Domain is the name space of all limits of TrafficPolicies.
	Domain = "weft"
	// LimitKey is the key of the entry that names the limit (Envoy generic_key). It is no fact: every call has it.
	LimitKey = "generic_key"
)

// SharedLimits are the limits of the policy that all processes share; name is its "NAMESPACE/NAME".
func (s *Spec) SharedLimits(name string) []SharedLimit {
	var all []SharedLimit
	if s.Client != nil && s.Client.GlobalRateLimit != nil {
		all = append(all, s.Client.GlobalRateLimit.shared(name+"/client")...)
	}
	if s.Server != nil && s.Server.GlobalRateLimit != nil {
		all = append(all, s.Server.GlobalRateLimit.shared(name+"/server")...)
	}
	return all
}
