package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// send sends a body of n bytes in pieces, and says how many went.
func send(t *testing.T, way func(context.Context, int) (int, error), n, piece int) (sent int, err error) {
	t.Helper()
	for sent < n {
		want := min(piece, n-sent)
		some, err := way(t.Context(), want)
		if err != nil {
			return sent, err
		}
		if some <= 0 || some > want {
			return sent, fmt.Errorf("%d of %d bytes may go", some, want)
		}
		sent += some
	}
	return sent, nil
}

func TestNoFlow(t *testing.T) {
	for _, i := range []resilience.Injection{{}, {Delay: time.Second}, {Break: resilience.Break{Kind: resilience.ConnectionRefused}}, {Break: resilience.Break{Kind: resilience.CorruptCertificate}}} {
		f := newFlow(resilience.Bandwidths{}, nil, i)
		if f != nil {
			t.Errorf("%+v has a Flow", i)
		}
		if n, err := f.Request(t.Context(), 7); n != 7 || err != nil {
			t.Error(n, err)
		}
		if n, err := f.Response(t.Context(), 7); n != 7 || err != nil {
			t.Error(n, err)
		}
	}
}

func TestFlowKeepsToItsPace(t *testing.T) {
	kib := func(n uint64) resilience.Bandwidth { return resilience.Bandwidth{BytesPerSecond: n << 10} }
	slow := func(bytes uint64) resilience.Injection { return resilience.Injection{BytesPerSecond: bytes} }
	for _, tc := range []struct {
		name              string
		b                 resilience.Bandwidths
		i                 resilience.Injection
		request, response time.Duration // for 10 KiB
	}{
		{"request", resilience.Bandwidths{Request: kib(10)}, resilience.Injection{}, time.Second, 0},
		{"response", resilience.Bandwidths{Response: kib(5)}, resilience.Injection{}, 0, 2 * time.Second},
		{"both", resilience.Bandwidths{Request: kib(20), Response: kib(5)}, resilience.Injection{}, time.Second / 2, 2 * time.Second},
		{"a fault", resilience.Bandwidths{}, slow(1 << 10), 0, 10 * time.Second},
		{"a fault, slower than the rest", resilience.Bandwidths{Response: kib(10)}, slow(1 << 10), 0, 10 * time.Second},
		{"a fault, faster than the rest", resilience.Bandwidths{Response: kib(1)}, slow(10 << 10), 0, 10 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlow(tc.b, &throttles{}, tc.i)
				for _, w := range []struct {
					name string
					way  func(context.Context, int) (int, error)
					want time.Duration
				}{{"request", f.Request, tc.request}, {"response", f.Response, tc.response}} {
					start := time.Now()
					if n, err := send(t, w.way, 10<<10, 1<<10); n != 10<<10 || err != nil {
						t.Error(n, err)
					}
					// What may go at once at first is 50 ms' worth.
					if took := time.Since(start); took > w.want+time.Millisecond || took < w.want*9/10-50*time.Millisecond {
						t.Errorf("%s took %v, want %v", w.name, took, w.want)
					}
				}
			})
		})
	}
}

func TestFlowsShareTheirBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live := &throttles{}
		b := resilience.Bandwidths{Response: resilience.Bandwidth{BytesPerSecond: 10 << 10}}
		start := time.Now()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := send(t, newFlow(b, live, resilience.Injection{}).Response, 2<<10, 1<<10); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took < 900*time.Millisecond || took > 1100*time.Millisecond {
			t.Errorf("five bodies took %v together", took)
		}
	})
}

// What a slow call may not send yet is not taken from the others.
func TestSlowFlowTakesNoMoreThanItSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live := &throttles{}
		b := resilience.Bandwidths{Response: resilience.Bandwidth{BytesPerSecond: 100 << 10}}
		go send(t, newFlow(b, live, resilience.Injection{BytesPerSecond: 1}).Response, 1<<10, 1<<10)
		time.Sleep(time.Second)
		start := time.Now()
		if _, err := send(t, newFlow(b, live, resilience.Injection{}).Response, 100<<10, 4<<10); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 1100*time.Millisecond {
			t.Errorf("took %v beside one of a byte a second", took)
		}
		time.Sleep(2000 * time.Second)
	})
}

func TestFlowBreaks(t *testing.T) {
	for _, tc := range []struct {
		name string
		b    resilience.Break
		body int
		sent int
		err  error
		took time.Duration
	}{
		{"reset", resilience.Break{Kind: resilience.BodyReset, After: 2500}, 10_000, 2500, errBodyBroken, 0},
		{"reset at once", resilience.Break{Kind: resilience.BodyReset}, 10_000, 0, errBodyBroken, 0},
		{"a body that is shorter", resilience.Break{Kind: resilience.BodyReset, After: 2500}, 2500, 2500, nil, 0},
		{"no body", resilience.Break{Kind: resilience.BodyReset}, 0, 0, nil, 0},
		{"pauses", resilience.Break{Kind: resilience.SlowBody, After: 2500, Pause: time.Second}, 10_000, 10_000, nil, 3 * time.Second},
		{"pauses before each byte", resilience.Break{Kind: resilience.SlowBody, Pause: time.Second}, 5, 5, nil, 5 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlow(resilience.Bandwidths{}, nil, resilience.Injection{Break: tc.b})
				start := time.Now()
				sent, err := send(t, f.Response, tc.body, 1000)
				if sent != tc.sent || !errors.Is(err, tc.err) || time.Since(start) != tc.took {
					t.Errorf("%d sent in %v, %v", sent, time.Since(start), err)
				}
				if n, err := f.Request(t.Context(), 1<<20); n != 1<<20 || err != nil {
					t.Errorf("request: %d, %v", n, err)
				}
			})
		})
	}
}

func TestFlowWaitsNoLongerThanTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := resilience.Bandwidth{BytesPerSecond: 1}
		for name, f := range map[string]*Flow{
			"bandwidth": newFlow(resilience.Bandwidths{Request: b, Response: b}, &throttles{}, resilience.Injection{}),
			"fault":     newFlow(resilience.Bandwidths{Request: b}, &throttles{}, resilience.Injection{BytesPerSecond: 1}),
			"pause":     newFlow(resilience.Bandwidths{Request: b}, &throttles{}, resilience.Injection{Break: resilience.Break{Kind: resilience.SlowBody, Pause: time.Hour}}),
		} {
			for way, send := range map[string]func(context.Context, int) (int, error){"request": f.Request, "response": f.Response} {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				var err error
				for n := 0; n < 100 && err == nil; n++ {
					_, err = send(ctx, 100)
				}
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s, %s: %v", name, way, err)
				}
			}
		}
	})
}
