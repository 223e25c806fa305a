package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A side is one way to make a call.
type side struct {
	name string
	call func() error
}

// A sample is what one call of a turn cost this process.
type sample struct {
	allocs float64
	cpu    float64 // us
}

// brief is for allocations, which hardly differ from round to round.
func (e effort) brief() effort {
	e.Rounds, e.Calls = min(e.Rounds, 5), min(e.Calls, 500)
	return e
}

// rounds has the sides take turns, in an order left to chance, and returns
// the samples of each by round. The first round warms up and is not counted.
func rounds(e effort, callers int, sides []side) ([][]sample, error) {
	out := make([][]sample, len(sides))
	for round := -1; round < e.Rounds; round++ {
		for _, i := range rand.Perm(len(sides)) {
			s, err := turn(sides[i].call, callers, e.Calls*min(callers, 2))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", sides[i].name, err)
			}
			if round >= 0 {
				out[i] = append(out[i], s)
			}
		}
	}
	return out, nil
}

// turn makes n calls. Collections of garbage fall where they may: in the mean they
// cost a side what it allocates. To begin each turn with one would not be fairer, but
// let a little more garbage make one more of a turn's few.
func turn(call func() error, callers, n int) (sample, error) {
	var before, after runtime.MemStats
	failed := make(chan error, callers)
	runtime.ReadMemStats(&before)
	spent := used()
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for range n / callers {
				if err := call(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	running.Wait()
	spent = used() - spent
	runtime.ReadMemStats(&after)
	select {
	case err := <-failed:
		return sample{}, err
	default:
	}
	calls := float64(n / callers * callers)
	return sample{
		allocs: float64(after.Mallocs-before.Mallocs) / calls,
		cpu:    float64(spent.Nanoseconds()) / calls / 1000,
	}, nil
}

// used is the processor time of this process.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// compared makes a row of two sides' samples.
func compared(what string, subject, peer side, of, peerOf []sample, unit string, ratio bool, most *ceiling) row {
	pick := func(s sample) float64 { return s.allocs }
	if unit == "us" {
		pick = func(s sample) float64 { return s.cpu }
	}
	a, b := summary(of, pick, unit), summary(peerOf, pick, unit)
	against := a.Mean - b.Mean
	if ratio {
		against = a.Mean / b.Mean
	}
	return row{
		What: what, Subject: subject.name, Peer: peer.name,
		Of: a, PeerOf: b, Ratio: ratio, Against: against, Ceiling: most,
	}
}

// summary is of the rounds but for the two with the most, in which the machine
// was most disturbed.
func summary(samples []sample, pick func(sample) float64, unit string) figure {
	var v []float64
	for _, s := range samples {
		v = append(v, pick(s))
	}
	slices.Sort(v)
	kept := v[:max(len(v)-2, 1)]
	sum := 0.0
	for _, x := range kept {
		sum += x
	}
	return figure{Mean: sum / float64(len(kept)), Least: v[0], Unit: unit}
}

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[int(q*float64(len(v)-1)+0.5)]
}
