package main

import (
	"context"
	"fmt"
	"time"
)

// hedge measures what a second attempt does for the slowest calls, and what it costs.
func (b *bench) hedge(ctx context.Context) error {
	const rate, length = 500, 20 * time.Second
	fmt.Printf("\n## Hedging\n\n%d calls a second for %v, each worked on for 2 ms.\n\n", rate, length)
	fmt.Println("| backends | side | protocol | policy | p50 ms | p99 ms | p99.9 ms | more calls % |")
	fmt.Println("|---|---|---|---|---:|---:|---:|---:|")
	destination := func(budget int) string { // percent of the calls that may be added
		return fmt.Sprintf(`loadBalancer: {simple: LEAST_REQUEST}, retryBudget: {percent: %d, minRetryConcurrency: 1, budgetInterval: 10s},
    outlierDetection: {consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 10s, maxEjectionPercent: 30}`, budget)
	}
	for _, scene := range []struct {
		backends, who, line, policy, traffic string
		budget                               int
	}{
		{"four good", "", "", "none", "", 5},
		{"four good", "", "", "hedge at p95", `client: {hedge: {percentile: 95, delay: 50ms}}`, 5},
		{"one of four slow (+100 ms)", "one", "slow 100ms", "none", "", 5},
		{"one of four slow (+100 ms)", "one", "slow 100ms", "hedge at p95", `client: {hedge: {percentile: 95, delay: 50ms}}`, 5},
		{"1 % of calls slow (+100 ms)", "all", "sometimes 100ms", "none", "", 2},
		{"1 % of calls slow (+100 ms)", "all", "sometimes 100ms", "hedge at p98", `client: {hedge: {percentile: 98, delay: 50ms}}`, 2},
		{"1 % of calls slow (+500 ms)", "all", "sometimes 500ms", "none", "", 2},
		{"1 % of calls slow (+500 ms)", "all", "sometimes 500ms", "hedge at p98", `client: {hedge: {percentile: 98, delay: 50ms}}`, 2},
	} {
		for _, name := range b.sides {
			if name == "envoy" || name == "plain" && scene.policy != "none" {
				continue // Envoy hedges only after the time of a try
			}
			err := b.among(func() error {
				s, addrs, err := b.scene(ctx, name, 4, alike(destination(scene.budget), "retries: {attempts: 0}", scene.traffic), "--work", "2ms")
				if err != nil {
					return err
				}
				defer s.close()
				for _, protocol := range []string{"HTTP", "gRPC"} {
					call := s.http
					if protocol == "gRPC" {
						call = s.grpc
					}
					for i, ip := range addrs {
						if line := scene.line; line != "" && (scene.who == "all" || i == 0) {
							if err := b.Tell(ip, line); err != nil {
								return err
							}
						}
					}
					drive(ctx, call, patience, nil, stretch{rate, 3 * time.Second}) // the percentile becomes known
					before := counts(ctx, addrs)
					all := drive(ctx, call, patience, nil, stretch{rate, length})
					var more int64
					for ip, n := range counts(ctx, addrs) {
						more += n - before[ip]
					}
					fmt.Printf("| %s | %s | %s | %s | %.1f | %.1f | %.1f | %.1f |\n", scene.backends, name, protocol, scene.policy,
						millis(percentile(all, 50, nil)), millis(percentile(all, 99, nil)), millis(percentile(all, 99.9, nil)),
						100*float64(more-int64(len(all)))/float64(len(all)))
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
