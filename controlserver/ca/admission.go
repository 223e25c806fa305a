package ca

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// queue is how many calls may wait for their turn, for wait at most: less than what two cores get done in that time.
	queue = 8192
	wait  = 10 * time.Second
	// later is when to come again to a crowd.
	later = 4 * time.Second
	// soon is when to try again what failed here.
	soon = 2 * time.Second
	// mostLimits bounds the identities whose rates are remembered.
	mostLimits = 16_384
)

// An admission lets as many calls verify and sign at once as there are cores, so that a storm is worked off at full speed and
// costs bounded memory. What a call has to show is looked at only after it was let in: a forged one costs as much as a good one.
type admission struct {
	slots   chan struct{}
	waiting atomic.Int64
	longest int64
}

func newAdmission() *admission {
	return &admission{slots: make(chan struct{}, runtime.GOMAXPROCS(0)), longest: queue}
}

// enter waits for a turn, which the caller ends by leave. The error is a gRPC status.
func (a *admission) enter(ctx context.Context) (leave func(), err error) {
	select {
	case a.slots <- struct{}{}:
		return a.leave, nil
	default:
	}
	if a.waiting.Add(1) > a.longest {
		a.waiting.Add(-1)
		return nil, pushback(ctx, codes.ResourceExhausted, "too many requests are waiting", later)
	}
	defer a.waiting.Add(-1)
	late := time.NewTimer(wait)
	defer late.Stop()
	select {
	case a.slots <- struct{}{}:
		return a.leave, nil
	case <-late.C:
		return nil, pushback(ctx, codes.Unavailable, "too many requests at once", later)
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

func (a *admission) leave() { <-a.slots }

// pushback is a status that tells the client when to try again (gRFC A6): after a time, give or take half of it, so that not all come at once.
func pushback(ctx context.Context, code codes.Code, text string, after time.Duration) error {
	after = after/2 + rand.N(after)
	_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", strconv.FormatInt(after.Milliseconds(), 10))) // fails outside of a call
	return status.Error(code, fmt.Sprintf("%s: try again in %v", text, after.Round(time.Millisecond)))
}

// limits are the rates at which identities get certificates.
type limits struct {
	rate  rate.Limit
	burst int

	mu sync.Mutex
	of map[spiffeid.ID]*rate.Limiter
}

// take takes one certificate of an identity's share; it returns how long to wait if there is none.
func (l *limits) take(id spiffeid.ID) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lim := l.of[id]
	if lim == nil {
		if len(l.of) >= mostLimits {
			l.drop()
		}
		lim = rate.NewLimiter(l.rate, l.burst)
		l.of[id] = lim
	}
	if lim.Allow() {
		return 0, true
	}
	return time.Duration(float64(time.Second) / float64(l.rate)), false
}

// drop forgets those that have their whole share, and, if that is none, some.
func (l *limits) drop() {
	for id, lim := range l.of {
		if lim.Tokens() >= float64(l.burst) {
			delete(l.of, id)
		}
	}
	for id := range l.of {
		if len(l.of) < mostLimits {
			return
		}
		delete(l.of, id)
	}
}
