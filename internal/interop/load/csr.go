package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// manyIdentities ask at once in the figure csr.
const manyIdentities = 2000

// csr measures how long it takes until all have a certificate who ask for their first one at the same time. Each has a join token and a
// connection of its own; their keys and handshakes are made meanwhile, on the same processors.
func (b *bench) csr(ctx context.Context) error {
	fmt.Printf("\n## Certificates\n\n%d identities ask for their first certificate at once, each over TLS of its own.\n\n", manyIdentities)
	return b.among(func() error {
		d, err := b.authority(ctx, time.Hour)
		if err != nil {
			return err
		}
		tokens := make([]string, manyIdentities)
		for i := range tokens {
			if tokens[i], err = d.token(fmt.Sprintf("w%d", i)); err != nil {
				return err
			}
		}
		before, own := processorTime(d.pid), processorTime("self")
		took, errs := make([]time.Duration, len(tokens)), make([]error, len(tokens))
		var wg sync.WaitGroup
		began := time.Now()
		for i, token := range tokens {
			wg.Go(func() {
				errs[i] = d.first(ctx, fmt.Sprintf("w%d", i), token)
				took[i] = time.Since(began)
			})
		}
		wg.Wait()
		all := time.Since(began)
		bad := 0
		for _, err := range errs {
			if err != nil {
				bad++
				fmt.Println(err)
			}
		}
		slices.Sort(took)
		fmt.Println("| certificates | failed | all after s | p50 s | p99 s | authority's processor time s | of those who asked s |")
		fmt.Println("|---:|---:|---:|---:|---:|---:|---:|")
		fmt.Printf("| %d | %d | %.2f | %.2f | %.2f | %.2f | %.2f |\n", len(tokens)-bad, bad, all.Seconds(), took[len(took)/2].Seconds(), took[len(took)*99/100].Seconds(),
			(processorTime(d.pid) - before).Seconds(), (processorTime("self") - own).Seconds())
		return nil
	})
}

// first waits for the first certificate of an identity.
func (d *domain) first(ctx context.Context, name, token string) error {
	s, err := d.source(name, token)
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // measured it has
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return s.Ready(ctx)
}

// processorTime is what a process has used so far, as Linux counts it; 0 where there is no such count.
func processorTime(pid string) time.Duration {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var ticks int
	for _, f := range fields[11:13] { // in user mode, and in the kernel
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}
