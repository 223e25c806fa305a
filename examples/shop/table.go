package main

import (
	"fmt"
	"strings"
)

// table is the rows as a terminal shows them.
func table(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %-12s %-8s %9s %7s %9s %8s %8s\n", "service", "version", "req/s", "share", "success", "p50", "p99")
	for _, r := range rows {
		fmt.Fprintf(&b, "  %-12s %-8s %9.1f %6.0f%% %8.1f%% %6.1fms %6.1fms\n",
			r.service, r.version, r.rate, 100*r.share, 100*r.success, r.p50, r.p99)
	}
	return b.String()
}

// line is the rows where there is no terminal.
func line(rows []row) string {
	var parts []string
	for _, r := range rows {
		parts = append(parts, fmt.Sprintf("%s/%s %.0f/s %.0f%% ok %.1f%% p50 %.1fms p99 %.1fms",
			r.service, r.version, r.rate, 100*r.share, 100*r.success, r.p50, r.p99))
	}
	if len(parts) == 0 {
		return ""
	}
	return "    " + strings.Join(parts, " | ")
}
