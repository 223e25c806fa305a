package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/weftmesh/weft/mesh"
)

// A fault is something that befalls one backend of four.
type fault struct {
	name       string
	begin, end func(ctx context.Context, ip string) error
}

func (b *bench) everyFault() []fault {
	tell := func(line string) func(context.Context, string) error {
		return func(_ context.Context, ip string) error { return b.Tell(ip, line) }
	}
	signal := func(s syscall.Signal) func(context.Context, string) error {
		return func(_ context.Context, ip string) error { return b.Signal(ip, s) }
	}
	all := []fault{
		{"killed", func(_ context.Context, ip string) error { b.Kill(ip); return nil },
			func(ctx context.Context, ip string) error { return b.backend(ctx, ip, "") }},
		{"hung", signal(syscall.SIGSTOP), signal(syscall.SIGCONT)},
		{"failing", tell("fail"), tell("heal")},
		{"slow 500ms", tell("slow 500ms"), tell("heal")},
	}
	if lossy() {
		all = append(all, fault{"10% of packets lost",
			func(ctx context.Context, ip string) error { return lose(ctx, ip, 10) },
			func(ctx context.Context, _ string) error { return lose(ctx, "", 0) }})
	}
	return all
}

// The policies of the figure: a try has 250 ms, three more may follow, a host that
// fails three times in a row is left alone for two seconds, and, in the mesh, a second host is asked after 50 ms.
const (
	faultsDestination = `loadBalancer: {simple: LEAST_REQUEST}, retryBudget: {percent: 30, minRetryConcurrency: 50},
    outlierDetection: {consecutive5xxErrors: 3, consecutiveGatewayErrors: 3, interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 50}`
	faultsRoute = `timeout: 3s, retries: {attempts: 3, perTryTimeout: 250ms,
      retryOn: "5xx,reset,connect-failure,refused-stream,unavailable,deadline-exceeded"}`
	faultsTraffic = `client: {hedge: {delay: 50ms}}`
)

// faults measures what callers see while one of four backends is in trouble.
func (b *bench) faults(ctx context.Context) error {
	fmt.Printf("\n## One backend of four in trouble\n\n%d gRPC and %d HTTP calls a second for %v; the trouble lasts from a sixth to two thirds of it.\n\n", b.rate, b.rate, b.length)
	fmt.Println("| trouble | side | protocol | calls | failed | p50 ms | p99 ms | its share after 2 s % | at the end % | its calls, of all % |")
	fmt.Println("|---|---|---|---:|---:|---:|---:|---:|---:|---:|")
	var n = len(b.everyFault())
	for i := range n {
		if b.trouble != "" && b.everyFault()[i].name != b.trouble {
			continue
		}
		for _, name := range b.sides {
			err := b.among(func() error { return b.fault(ctx, b.everyFault()[i], name) })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) fault(ctx context.Context, f fault, name string) error {
	addrs, err := b.backends(ctx, 4, "")
	if err != nil {
		return err
	}
	control, err := b.control(ctx, both(addrs)+alike(faultsDestination, faultsRoute, faultsTraffic))
	if err != nil {
		return err
	}
	s, err := b.open(ctx, name, control, addrs)
	if err != nil {
		return err
	}
	defer s.close()
	for _, call := range []caller{s.http, s.grpc} {
		drive(ctx, call, patience, nil, stretch{b.rate / 4, 2 * time.Second}) // connections are made
	}
	sick := addrs[0]
	begin, end := b.length/6, b.length*2/3
	var results [2][]sample
	var wg sync.WaitGroup
	for i, call := range []caller{s.http, s.grpc} {
		wg.Go(func() { results[i] = drive(ctx, call, patience, nil, stretch{b.rate, b.length}) })
	}
	var before, after map[string]int64
	failure := func() error {
		if err := sleep(ctx, begin); err != nil {
			return err
		}
		if err := f.begin(ctx, sick); err != nil {
			return err
		}
		if err := sleep(ctx, 2*time.Second); err != nil {
			return err
		}
		before = counts(ctx, addrs)
		if err := sleep(ctx, end-begin-2*time.Second); err != nil {
			return err
		}
		after = counts(ctx, addrs)
		return f.end(ctx, sick)
	}()
	wg.Wait()
	if failure != nil {
		return failure
	}
	var sum, its int64
	for ip := range after {
		sum += after[ip] - before[ip]
	}
	its = after[sick] - before[sick]
	calls := "-"
	if _, known := after[sick]; known {
		calls = fmt.Sprintf("%.1f", 100*float64(its)/float64(max(sum, 1)))
	}
	for i, protocol := range []string{"HTTP", "gRPC"} {
		all := results[i]
		during := between(all, begin, end)
		fmt.Printf("| %s | %s | %s | %d | %d | %.1f | %.1f | %.1f | %.1f | %s |\n", f.name, s.name, protocol, len(all), failed(all),
			millis(percentile(during, 50, answered)), millis(percentile(during, 99, answered)),
			share(between(all, begin+2*time.Second, end), sick), share(between(all, b.length-b.length/10, b.length), sick), calls)
		why(all, begin, end)
	}
	return nil
}

// why says on standard error how calls failed, and when.
func why(all []sample, begin, end time.Duration) {
	reasons := map[string]int{}
	for _, s := range all {
		if s.err == nil {
			continue
		}
		when := "before"
		switch {
		case s.at >= end:
			when = "after"
		case s.at >= begin+2*time.Second:
			when = "later"
		case s.at >= begin:
			when = "in the first 2 s"
		}
		reasons[when+": "+reason(s.err)]++
	}
	for _, r := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(os.Stderr, "  %d x %s\n", reasons[r], r)
	}
}

// reason is an error without what differs from call to call.
func reason(err error) string {
	if e, ok := errors.AsType[*mesh.Error](err); ok {
		return fmt.Sprintf("%v after %d: %v", e.Kind, e.Attempts, e.Err)
	}
	return err.Error()
}

// counts is how many calls each backend has begun; those that do not say are left out.
func counts(ctx context.Context, addrs []string) map[string]int64 {
	out := map[string]int64{}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, ip := range addrs {
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		text, err := get(ctx, client, "http://"+net.JoinHostPort(ip, adminPort)+"/", nil)
		cancel()
		if n, bad := strconv.ParseInt(text, 10, 64); err == nil && bad == nil {
			out[ip] = n
		}
	}
	return out
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func millis(d time.Duration) float64 { return d.Seconds() * 1000 }
