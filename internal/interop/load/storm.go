package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// storm measures how many calls reach the last service of a chain of three hops, each of which
// may try three times, while the last fails all of them.
func (b *bench) storm(ctx context.Context) error {
	fmt.Print("\n## Retry storm\n\nThree hops of three tries each; the leaf answers 503. 200 calls a second for 20 s.\n\n")
	fmt.Println("| side | calls | reached the leaf | times |")
	fmt.Println("|---|---:|---:|---:|")
	for _, name := range b.sides {
		if name == "envoy" {
			continue // it takes a sidecar for every hop
		}
		if err := b.among(func() error { return b.chain(ctx, name) }); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) chain(ctx context.Context, name string) error {
	const tries = 3
	services := []string{"api", "inner", "leaf"}
	var yaml strings.Builder
	for i, s := range services {
		yaml.WriteString(entry(s, "HTTP", 80, httpPort, []string{backendIP(i)}) + rules(s, "loadBalancer: {simple: ROUND_ROBIN}, retryBudget: {percent: 20, minRetryConcurrency: 3, budgetInterval: 10s}",
			`retries: {attempts: 2, retryOn: "5xx"}`, ""))
	}
	control, err := b.control(ctx, yaml.String())
	if err != nil {
		return err
	}
	meshed := control
	if name == "plain" {
		meshed = ""
	}
	for i := range services {
		ip := backendIP(i)
		args := []string{"--role", "backend"}
		if i < len(services)-1 {
			next := "http://" + services[i+1] + ".load/"
			if meshed == "" {
				next = "http://" + net.JoinHostPort(backendIP(i+1), httpPort) + "/"
			}
			args = []string{"--role", "hop", "--next", next}
			if meshed == "" {
				args = append(args, "--tries", strconv.Itoa(tries))
			}
		}
		if _, err := b.Start(ctx, ip, append(args, "--name", services[i], "--ip", ip, "--control", meshed)...); err != nil {
			return err
		}
	}
	s, err := b.open(ctx, name, control, []string{backendIP(0)})
	if err != nil {
		return err
	}
	defer s.close()
	call := s.http
	if meshed == "" { // the caller is the first of the hops
		call = again(call, tries)
	}
	drive(ctx, call, patience, nil, stretch{50, 2 * time.Second})
	leaf := backendIP(2)
	if err := b.Tell(leaf, "fail"); err != nil {
		return err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	before := counts(ctx, []string{leaf})[leaf]
	all := drive(ctx, call, patience, nil, stretch{200, 20 * time.Second})
	reached := counts(ctx, []string{leaf})[leaf] - before
	fmt.Printf("| %s | %d | %d | %.2f |\n", name, len(all), reached, float64(reached)/float64(max(len(all), 1)))
	return nil
}
