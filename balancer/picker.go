package balancer

// A Want is what a Picker may know of an attempt. The zero Want wants any host.
type Want struct {
	// Avoid, if not nil, reports hosts that should not be picked while there is another.
	Avoid Avoider
}

// An Avoider tells a Picker which hosts to pass over while there are others.
// It must not block.
type Avoider interface{ Avoid(*Host) bool }

// A Picker chooses among the hosts it was built from. Pick never blocks, is safe
// for concurrent use, does not allocate, and returns nil only when there are no
// hosts. What falls to hosts that Want.Avoid passes over is spread over all others
// by weight; when it would leave none, Pick picks as if it were nil. Pick takes
// as long as a few draws, or as looking at all hosts when most are avoided.
type Picker interface{ Pick(Want) *Host }

// newPicker builds the Picker of a policy. hosts is not empty, holds only hosts
// that may serve, and is owned by the Picker.
func newPicker(p Policy, hosts []*Host) Picker {
	s := newShares(hosts)
	switch p.Kind {
	case LeastRequest:
		return newLeastRequest(p, s)
	case Random:
		return &random{s}
	default:
		return newRoundRobin(s)
	}
}
