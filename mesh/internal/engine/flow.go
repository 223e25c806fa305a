package engine

import (
	"context"
	"errors"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// A Flow paces the bodies of one call by the bandwidth there is, or breaks them (faults). A nil
// Flow lets everything through. Each way is used by one goroutine at a time.
type Flow struct {
	bandwidth resilience.Bandwidths
	live      *throttles

	// What a fault does, which is to the answer alone (Envoy response_rate_limit).
	slow  resilience.Bandwidth
	own   resilience.Throttle // of slow
	ready int                 // bytes that own has let through, and live not yet
	fault resilience.Break
	until int64 // bytes of the answer until fault
}

// throttles are the live side of Bandwidths: of all calls together that have them.
type throttles struct{ request, response resilience.Throttle }

// newFlow is the Flow of a call to which i is done, of a route or a server with bandwidth b and what is live of that, which may be
// nil if b is zero. It is nil if nothing paces the call.
func newFlow(b resilience.Bandwidths, live *throttles, i resilience.Injection) *Flow {
	breaks := i.Break.Kind == resilience.BodyReset || i.Break.Kind == resilience.SlowBody
	if b.Request.BytesPerSecond == 0 && b.Response.BytesPerSecond == 0 && i.BytesPerSecond == 0 && !breaks {
		return nil
	}
	if live == nil {
		live = new(throttles)
	}
	f := &Flow{bandwidth: b, live: live, slow: resilience.Bandwidth{BytesPerSecond: i.BytesPerSecond}}
	if breaks {
		f.fault, f.until = i.Break, i.Break.After
	}
	return f
}

var errBodyBroken = errors.New("the body is broken off by a fault")

// Request waits until some of n bytes of the request may go, and says how many. An error means that
// the body is to be broken off there.
func (f *Flow) Request(ctx context.Context, n int) (int, error) {
	if f == nil || n <= 0 {
		return n, nil
	}
	return pace(ctx, &f.live.request, f.bandwidth.Request, n)
}

// Response is Request for the bytes of the answer.
func (f *Flow) Response(ctx context.Context, n int) (int, error) {
	if f == nil || n <= 0 {
		return n, nil
	}
	if f.fault.Kind != resilience.NoBreak {
		if f.until <= 0 {
			if f.fault.Kind == resilience.BodyReset {
				return 0, errBodyBroken
			}
			if err := pause(ctx, f.fault.Pause); err != nil {
				return 0, err
			}
			f.until = max(f.fault.After, 1)
		}
		n = int(min(int64(n), f.until))
	}
	// The call's own pace first, so that it takes from the others only what it sends.
	if f.ready == 0 {
		ready, err := pace(ctx, &f.own, f.slow, n)
		if err != nil {
			return 0, err
		}
		f.ready = ready
	}
	n, err := pace(ctx, &f.live.response, f.bandwidth.Response, min(n, f.ready))
	if err != nil {
		return 0, err
	}
	f.ready -= n
	f.until -= int64(n)
	return n, nil
}

// Flow paces the bodies of the attempt; nil if nothing does.
func (a *Attempt) Flow() *Flow { return a.flow }

// pace waits until t lets some of n bytes through.
func pace(ctx context.Context, t *resilience.Throttle, b resilience.Bandwidth, n int) (int, error) {
	for {
		some, wait := t.Take(b, time.Now(), n)
		if some > 0 {
			return some, nil
		}
		if err := pause(ctx, wait); err != nil {
			return 0, err
		}
	}
}

// pause waits for d, or until the context ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
