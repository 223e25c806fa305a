package main

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A sample is one call.
type sample struct {
	at   time.Duration // when it was due, since the first
	took time.Duration // from then on
	who  string
	err  error
}

// patience is how long callers wait, unless a figure says otherwise.
const patience = 5 * time.Second

// A stretch is so many calls a second for some time.
type stretch struct {
	rate   int
	length time.Duration
}

// drive makes calls when they are due, whether or not those before were answered, and returns them in order.
// header may be nil.
func drive(ctx context.Context, call caller, wait time.Duration, header http.Header, stretches ...stretch) []sample {
	var due []time.Duration
	var begin time.Duration
	for _, s := range stretches {
		for i := range int(float64(s.rate) * s.length.Seconds()) {
			due = append(due, begin+time.Duration(i)*time.Second/time.Duration(s.rate))
		}
		begin += s.length
	}
	out := make([]sample, len(due))
	var wg sync.WaitGroup
	start := time.Now()
	for i, at := range due {
		if d := time.Until(start.Add(at)); d > 0 {
			time.Sleep(d)
		}
		if ctx.Err() != nil {
			out = out[:i]
			break
		}
		wg.Go(func() {
			limited, cancel := context.WithDeadline(ctx, start.Add(at).Add(wait))
			defer cancel()
			who, err := call(limited, header)
			out[i] = sample{at, time.Since(start) - at, who, err}
		})
	}
	wg.Wait()
	return out
}

// between are the calls that were due in [from, to).
func between(all []sample, from, to time.Duration) []sample {
	i, _ := slices.BinarySearchFunc(all, from, func(s sample, d time.Duration) int { return int(s.at - d) })
	j, _ := slices.BinarySearchFunc(all, to, func(s sample, d time.Duration) int { return int(s.at - d) })
	return all[i:j]
}

func failed(all []sample) (n int) {
	for i := range all {
		if all[i].err != nil {
			n++
		}
	}
	return n
}

// good is the percentage of calls that were answered.
func good(all []sample) float64 {
	return 100 * float64(len(all)-failed(all)) / float64(max(len(all), 1))
}

// share is the percentage of the answers that one gave.
func share(all []sample, who string) float64 {
	n := 0
	for i := range all {
		if all[i].err == nil && all[i].who == who {
			n++
		}
	}
	return 100 * float64(n) / float64(max(len(all)-failed(all), 1))
}

// percentile is of how long calls took, those that failed included if they may be.
func percentile(all []sample, p float64, only func(sample) bool) time.Duration {
	var took []time.Duration
	for _, s := range all {
		if only == nil || only(s) {
			took = append(took, s.took)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[int(float64(len(took)-1)*p/100)]
}

func answered(s sample) bool { return s.err == nil }
func refused(s sample) bool  { return s.err != nil }

// recovered is how long after from the first second began in which so many percent of the calls were answered; -1 if there was none.
func recovered(all []sample, from time.Duration, percent float64) time.Duration {
	if len(all) == 0 {
		return -1
	}
	for at := from; at+time.Second <= all[len(all)-1].at; at += 100 * time.Millisecond {
		if good(between(all, at, at+time.Second)) >= percent {
			return at - from
		}
	}
	return -1
}
