package balancer

// A Policy says how a cluster spreads its load. The zero Policy is round robin.
type Policy struct {
	Kind Kind
	// Choices is how many hosts LeastRequest compares; 0 means 2, at most 10 are used
	// (Envoy least_request choice_count; gRFC A48).
	Choices uint32
}

// Kind names a load balancing policy.
type Kind uint8

// The kinds of Policy.
const (
	RoundRobin Kind = iota
	LeastRequest
	Random
)

var kindNames = [...]string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "INVALID"
}
