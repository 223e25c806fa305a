package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// again is a caller that tries several times.
func again(call caller, tries int) caller {
	return func(ctx context.Context, h http.Header) (who string, err error) {
		for range tries {
			if who, err = call(ctx, h); err == nil {
				return who, nil
			}
		}
		return who, err
	}
}

// A server of the figures about overload works on four calls at a time, each for 10 ms.
const (
	workers  = 4
	capacity = workers * 100 // calls a second
)

var serverArgs = []string{"--workers", "4", "--work", "10ms"}

// bounded is what the mesh's server does: of what is more than its workers can take up next, it refuses all, at once. Without
// it, or behind Envoy, calls queue as they come.
const bounded = `server: {concurrency: {max: 6}}`

// scene starts backends for the figures about overload, members of the mesh if the side is, and opens the side.
func (b *bench) scene(ctx context.Context, name string, n int, yaml string, args ...string) (*side, []string, error) {
	var addrs []string
	for i := range n {
		addrs = append(addrs, backendIP(i))
	}
	control, err := b.control(ctx, both(addrs)+yaml)
	if err != nil {
		return nil, nil, err
	}
	meshed := ""
	if name == "weft" {
		meshed = control
	}
	if _, err := b.backends(ctx, n, meshed, args...); err != nil {
		return nil, nil, err
	}
	s, err := b.open(ctx, name, control, addrs)
	if err != nil {
		return nil, nil, err
	}
	for _, call := range []caller{s.http, s.grpc} {
		drive(ctx, call, patience, nil, stretch{100, 3 * time.Second})
	}
	return s, addrs, nil
}

// overload measures a server that is asked for five times what it can do.
func (b *bench) overload(ctx context.Context) error {
	fmt.Printf("\n## Overload\n\nA server that can do %d calls a second is offered as many for 10 s, five times as many for 15 s, then half. Callers wait 1 s.\n\n", capacity)
	fmt.Println("| side | protocol | peak goodput /s | goodput at 5x /s | of peak % | refused after p50 ms | p99 ms | normal again after s | answered from then on % |")
	fmt.Println("|---|---|---:|---:|---:|---:|---:|---:|---:|")
	for _, name := range b.sides {
		for _, protocol := range []string{"HTTP", "gRPC"} {
			if err := b.fivefold(ctx, name, name, protocol, serverArgs...); err != nil {
				return err
			}
			if name != "plain" {
				continue
			}
			if err := b.fivefold(ctx, name, "plain, limit by hand", protocol, append(serverArgs, "--limit", "6")...); err != nil {
				return err
			}
		}
	}
	return nil
}

// fivefold measures one of them; args are those of the server.
func (b *bench) fivefold(ctx context.Context, name, label, protocol string, args ...string) error {
	const calmFor, stormFor = 10 * time.Second, 15 * time.Second
	return b.among(func() error {
		s, _, err := b.scene(ctx, name, 1, alike("loadBalancer: {simple: LEAST_REQUEST}", "retries: {attempts: 0}", bounded), args...)
		if err != nil {
			return err
		}
		defer s.close()
		call := s.http
		if protocol == "gRPC" {
			call = s.grpc
		}
		all := drive(ctx, call, time.Second, nil, stretch{capacity, calmFor}, stretch{5 * capacity, stormFor}, stretch{capacity / 2, 15 * time.Second})
		calm, storm := between(all, 2*time.Second, calmFor), between(all, calmFor+2*time.Second, calmFor+stormFor)
		peak := goodput(calm, calmFor-2*time.Second)
		under := goodput(storm, stormFor-2*time.Second)
		calmed := recovered(all, calmFor+stormFor, 99)
		fmt.Printf("| %s | %s | %.0f | %.0f | %.0f | %.1f | %.1f | %s | %.1f |\n", label, protocol, peak, under, 100*under/max(peak, 1),
			millis(percentile(storm, 50, refused)), millis(percentile(storm, 99, refused)), seconds(calmed),
			good(between(all, calmFor+stormFor+max(calmed, 0), 40*time.Second)))
		return nil
	})
}

func goodput(all []sample, length time.Duration) float64 {
	return float64(len(all)-failed(all)) / length.Seconds()
}

func seconds(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return fmt.Sprintf("%.1f", d.Seconds())
}

// calibrate is how many calls a second are answered to so many callers, each of whom makes one after the other.
func calibrate(ctx context.Context, call caller, callers int) int {
	const length = 3 * time.Second
	var n atomic.Int64
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	for range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := call(ctx, nil); err == nil {
					n.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return int(float64(n.Load()) / length.Seconds())
}

// outage measures how callers come back after all backends hung for a while.
func (b *bench) outage(ctx context.Context) error {
	const down = 30 * time.Second
	fmt.Printf("\n## Outage\n\nFour servers hang (SIGSTOP) for %v under 90 %% of the calls that they can do; then they go on. Callers wait 1 s.\n\n", down)
	fmt.Println("| side | protocol | calls/s | success before % | during % | within 10 s after % | in the second 10 s % | 99 % again after s |")
	fmt.Println("|---|---|---:|---:|---:|---:|---:|---:|")
	destination := `loadBalancer: {simple: LEAST_REQUEST}, retryBudget: {percent: 20, minRetryConcurrency: 3},
    outlierDetection: {consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 1s, maxEjectionPercent: 50}`
	traffic := `client: {admission: {window: 5s}}
  server: {concurrency: {max: 2}, shedding: {target: 50ms, interval: 200ms}}`
	for _, name := range b.sides {
		for _, protocol := range []string{"HTTP", "gRPC"} {
			err := b.among(func() error {
				s, addrs, err := b.scene(ctx, name, 4, alike(destination, `timeout: 1s, retries: {attempts: 2, retryOn: "5xx,reset,connect-failure,unavailable"}`, traffic),
					"--workers", "2", "--work", "10ms")
				if err != nil {
					return err
				}
				defer s.close()
				call := s.http
				if protocol == "gRPC" {
					call = s.grpc
				}
				rate := calibrate(ctx, call, 4*2) * 9 / 10
				const calm, after = 5 * time.Second, 25 * time.Second
				var all []sample
				var wg sync.WaitGroup
				wg.Go(func() { all = drive(ctx, call, time.Second, nil, stretch{rate, calm + down + after}) })
				signal := func(at time.Duration, sig syscall.Signal) error {
					if err := sleep(ctx, at); err != nil {
						return err
					}
					for _, ip := range addrs {
						if err := b.Signal(ip, sig); err != nil {
							return err
						}
					}
					return nil
				}
				if err := signal(calm, syscall.SIGSTOP); err != nil {
					return err
				}
				if err := signal(down, syscall.SIGCONT); err != nil {
					return err
				}
				wg.Wait()
				healed := calm + down
				fmt.Printf("| %s | %s | %d | %.1f | %.1f | %.1f | %.1f | %s |\n", name, protocol, rate, good(between(all, 0, calm)), good(between(all, calm, healed)),
					good(between(all, healed, healed+10*time.Second)), good(between(all, healed+10*time.Second, healed+20*time.Second)), seconds(recovered(all, healed, 99)))
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// flood measures what becomes of calls that matter under a flood of others.
func (b *bench) flood(ctx context.Context) error {
	const length = 20 * time.Second
	rate := capacity / 2 // what two workers can do
	fmt.Printf("\n## Flood\n\nA server that can do %d calls a second is offered %d critical-plus and %d sheddable calls a second for %v. Callers wait 1 s.\n\n", rate, rate/5, 12*rate, length)
	fmt.Println("| side | protocol | success of critical-plus % | of sheddable % |")
	fmt.Println("|---|---|---:|---:|")
	for _, name := range b.sides {
		if name == "envoy" {
			continue // it knows no criticality
		}
		err := b.among(func() error {
			s, _, err := b.scene(ctx, name, 1, alike("loadBalancer: {simple: LEAST_REQUEST}", "retries: {attempts: 0}",
				`server: {concurrency: {max: 2}, shedding: {target: 20ms, interval: 100ms}}`), "--workers", "2", "--work", "10ms")
			if err != nil {
				return err
			}
			defer s.close()
			var vital, other []sample
			var wg sync.WaitGroup
			wg.Go(func() {
				other = drive(ctx, s.http, time.Second, http.Header{"X-Weft-Criticality": {"sheddable"}}, stretch{12 * rate, length})
			})
			wg.Go(func() {
				vital = drive(ctx, s.http, time.Second, http.Header{"X-Weft-Criticality": {"critical-plus"}}, stretch{rate / 5, length})
			})
			wg.Wait()
			fmt.Printf("| %s | HTTP | %.2f | %.1f |\n", name, good(vital), good(other))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
