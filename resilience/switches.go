package resilience

import "strings"

// Switches is a set of kinds of policy that are turned off, whatever is
// configured. The zero Switches leaves all of them on.
type Switches uint32

// The kinds.
const (
	NoDeadlines   Switches = 1 << iota // a server's refusal of late work
	NoRetries                          // attempts after the first
	NoBudgets                          // the share that retries may have
	NoHedges                           // attempts beside the first
	NoBreakers                         // breakers of clusters and hosts
	NoThresholds                       // bounds of what is in flight to a cluster
	NoOutliers                         // ejection of hosts
	NoRates                            // rates of this process
	NoGlobalRates                      // rates of all processes together
	NoBandwidths                       // rates of bytes
	NoConcurrency                      // bounds of what a server has in flight
	NoAdmission                        // a client's refusal of its own calls
	NoShedding                         // a server's refusal of calls that queued
	NoFallbacks                        // answers in place of failures
	NoFaults                           // failures on purpose
)

// switches are the names of Switches, in the order of their bits.
var switches = [...]string{
	"deadlines", "retries", "budgets", "hedges", "breakers", "thresholds", "outliers",
	"rates", "global-rates", "bandwidths", "concurrency", "admission", "shedding", "fallbacks", "faults",
}

// ParseSwitches reads names separated by commas. Names it does not know are returned beside those it does.
func ParseSwitches(list string) (s Switches, unknown []string) {
next:
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		for i, known := range switches {
			if known == name {
				s |= 1 << i
				continue next
			}
		}
		unknown = append(unknown, name)
	}
	return s, unknown
}

// Off reports whether any of kinds is turned off.
func (s Switches) Off(kinds Switches) bool { return s&kinds != 0 }

// String is what ParseSwitches reads.
func (s Switches) String() string {
	var names []string
	for i, name := range switches {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}
