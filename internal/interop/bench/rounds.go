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
type sample struct{ allocs, cpu, wall float64 }

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

// turn makes n calls.
func turn(call func() error, callers, n int) (sample, error) {
	runtime.GC() // each turn pays for its own
	var before, after runtime.MemStats
	failed := make(chan error, callers)
	runtime.ReadMemStats(&before)
	began, spent := time.Now(), used()
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
	cpu, wall := used()-spent, time.Since(began)
	runtime.ReadMemStats(&after)
	select {
	case err := <-failed:
		return sample{}, err
	default:
	}
	calls := float64(n / callers * callers)
	return sample{
		allocs: float64(after.Mallocs-before.Mallocs) / calls,
		cpu:    float64(cpu.Nanoseconds()) / calls / 1000,
		wall:   float64(wall.Nanoseconds()) / calls / 1000,
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
	var a, b, against []float64
	for i := range of {
		x, y := pick(of[i]), pick(peerOf[i])
		a, b = append(a, x), append(b, y)
		if ratio {
			against = append(against, x/y)
		} else {
			against = append(against, x-y)
		}
	}
	return row{
		What: what, Subject: subject.name, Peer: peer.name,
		Of: summary(a, unit), PeerOf: summary(b, unit),
		Ratio: ratio, Against: median(against), Ceiling: most,
	}
}

func summary(v []float64, unit string) figure {
	return figure{Median: median(v), Least: slices.Min(v), Unit: unit}
}

func median(v []float64) float64 { return quantile(v, 0.5) }

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[int(q*float64(len(v)-1)+0.5)]
}
