package resilience

import "strings"

// conditions are the names of Conditions on the wire, in the order of their bits.
var conditions = [...]struct {
	name string
	bit  Conditions
}{
	{"connect-failure", OnConnectFailure},
	{"refused-stream", OnRefusedStream},
	{"unavailable", OnUnavailable},
	{"cancelled", OnCancelled},
}

// ParseConditions reads a list as in x-envoy-retry-on: names separated by
// commas. Names it does not know are returned beside those it does.
func ParseConditions(list string) (c Conditions, unknown []string) {
next:
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		for _, k := range conditions {
			if k.name == name {
				c |= k.bit
				continue next
			}
		}
		unknown = append(unknown, name)
	}
	return c, unknown
}

// String is what ParseConditions reads.
func (c Conditions) String() string {
	var names []string
	for _, k := range conditions {
		if c&k.bit != 0 {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, ",")
}
