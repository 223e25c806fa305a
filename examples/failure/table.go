package main

import (
	"fmt"
	"strings"
)

// A row is how calls went in one trouble, without or with a policy.
type row struct {
	trouble, policy string
	seconds         float64
	tally
}

// head is over the rows, which fit into 80 columns: a line that is wrapped could not be taken off a terminal.
const head = "  trouble  policy calls/s good/s failed     p50     p99 vital ok ledger-1"

// table is the rows as a terminal shows them.
func table(rows []row) string {
	var b strings.Builder
	b.WriteString("\n" + head + "\n")
	for i := range rows {
		b.WriteString(rows[i].String() + "\n")
	}
	return b.String()
}

func (r *row) String() string {
	vital := "-"
	if r.vital > 0 {
		vital = fmt.Sprintf("%.1f%%", 100-100*float64(r.refused)/float64(r.vital))
	}
	return fmt.Sprintf("  %-8s %-6s %7.0f %6.0f %5.1f%% %5.0fms %5.0fms %8s %7.0f%%", r.trouble, r.policy,
		float64(r.calls)/r.seconds, float64(r.calls-r.failed)/r.seconds, 100*float64(r.failed)/float64(max(r.calls, 1)),
		r.percentile(50), r.percentile(99), vital, 100*r.share(sick))
}
