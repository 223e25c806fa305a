package trafficpolicy

import "slices"

// An Origin says which policy a block was taken from.
type Origin struct {
	// Block is a field of Spec, such as "client.hedge".
	Block string
	// Policy is where it stands: "TrafficPolicy/NAMESPACE/NAME at FILE:LINE".
	Policy string
}

// Disable is the block that adds up instead of being taken from one policy.
const Disable = "disable"

// origins collects the blocks that a policy has.
type origins struct {
	out    *[]Origin
	policy string
}

// block notes a block and reports whether the policy has it.
func (o origins) block(name string, there bool) bool {
	if there {
		*o.out = append(*o.out, Origin{name, o.policy})
	}
	return there
}

func has(all []Origin, block string) bool {
	return slices.ContainsFunc(all, func(o Origin) bool { return o.Block == block })
}
