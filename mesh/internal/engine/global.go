package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// globals draws on the limits that are kept for all processes together, for the calls this one makes and those it serves.
type globals struct {
	limiter Limiter // nil if there is none
	leases  *resilience.Leases
	ctx     context.Context // ends the questions
	stop    context.CancelFunc
	asking  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	awaiting map[*resilience.Leased]*question
}

// A question is what calls wait for that know nothing of a limit.
type question struct {
	answered chan struct{}
	calls    int
}

func newGlobals(l Limiter) *globals {
	g := &globals{limiter: l, leases: resilience.NewLeases(0), awaiting: map[*resilience.Leased]*question{}}
	g.ctx, g.stop = context.WithCancel(context.Background())
	return g
}

// allow takes the tokens that a call of these entries needs, of each limit of r that is one of such calls. It waits for the
// limiter only where nothing is known of a limit, at most r's timeout and as long as ctx, and then does as if it could not be asked.
func (g *globals) allow(ctx context.Context, r *resilience.GlobalRate, entries []resilience.Entry, now time.Time) (ok bool) {
	var few [8]resilience.Entry
	for _, d := range r.Descriptors {
		// The domain is part of the name.
		if name, fits := named(append(few[:0], resilience.Entry{Value: r.Domain}), d, entries); fits && !g.take(ctx, r, name, now) {
			return false
		}
	}
	return true
}

// nameKey is the key of an entry that is no fact but part of a limit's name: every call has it (Envoy generic_key).
const nameKey = "generic_key"

// named appends the name of the descriptor's limit for a call of these entries, if it is one of such calls.
func named(name, descriptor, entries []resilience.Entry) (_ []resilience.Entry, fits bool) {
	for _, want := range descriptor {
		if want.Key == nameKey {
			name = append(name, want)
			continue
		}
		i := slices.IndexFunc(entries, func(e resilience.Entry) bool { return e.Key == want.Key })
		if i < 0 || want.Value != "" && want.Value != entries[i].Value {
			return nil, false
		}
		name = append(name, entries[i])
	}
	return name, true
}

// take takes a token of the limit of that name.
func (g *globals) take(ctx context.Context, r *resilience.GlobalRate, name []resilience.Entry, now time.Time) bool {
	if g.limiter == nil {
		return !r.Lease.Closed
	}
	limit := g.leases.Of(name, now)
	grant, tokens := limit.Take(&r.Lease, now)
	if tokens > 0 {
		g.ask(r, limit, name, tokens)
	}
	if grant == resilience.Awaited {
		return g.await(ctx, r, limit, name)
	}
	return grant == resilience.Granted
}

// await waits until the limit's question is answered, and takes the token then.
func (g *globals) await(ctx context.Context, r *resilience.GlobalRate, limit *resilience.Leased, name []resilience.Entry) bool {
	patience := time.NewTimer(timeoutOf(r))
	defer patience.Stop()
	for {
		q := g.join(limit)
		// Once more: the answer may have come before there was anybody to be told.
		grant, tokens := limit.Take(&r.Lease, time.Now())
		if tokens > 0 {
			g.ask(r, limit, name, tokens)
		}
		waits := grant == resilience.Awaited
		if waits {
			select {
			case <-q.answered:
			case <-patience.C:
				waits, grant = false, unasked(r)
			case <-ctx.Done():
				waits, grant = false, unasked(r)
			}
		}
		g.leave(limit, q)
		if !waits {
			return grant == resilience.Granted
		}
	}
}

// unasked is what becomes of calls when the limiter can't be asked.
func unasked(r *resilience.GlobalRate) resilience.Grant {
	if r.Lease.Closed {
		return resilience.Denied
	}
	return resilience.Granted
}

func (g *globals) join(limit *resilience.Leased) *question {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.awaiting[limit]
	if q == nil {
		q = &question{answered: make(chan struct{})}
		g.awaiting[limit] = q
	}
	q.calls++
	return q
}

func (g *globals) leave(limit *resilience.Leased, q *question) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if q.calls--; q.calls == 0 && g.awaiting[limit] == q {
		delete(g.awaiting, limit)
	}
}

// ask asks the limiter, beside the call: others want the answer too.
func (g *globals) ask(r *resilience.GlobalRate, limit *resilience.Leased, name []resilience.Entry, tokens uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		limit.Fail(&r.Lease, time.Now())
		return
	}
	entries := append([]resilience.Entry(nil), name[1:]...)
	g.asking.Go(func() {
		ctx, cancel := context.WithTimeout(g.ctx, timeoutOf(r))
		defer cancel()
		granted, holds, err := g.limiter.Take(ctx, r.Domain, entries, tokens)
		if err != nil {
			limit.Fail(&r.Lease, time.Now())
		} else {
			limit.Renew(&r.Lease, time.Now(), granted, holds)
		}
		g.answer(limit)
	})
}

func (g *globals) answer(limit *resilience.Leased) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if q := g.awaiting[limit]; q != nil {
		delete(g.awaiting, limit)
		close(q.answered)
	}
}

// close ends the questions and waits for them. Limits are not asked any more.
func (g *globals) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.stop()
	g.asking.Wait()
}

// timeoutOf bounds one question (Envoy ratelimit.timeout).
func timeoutOf(r *resilience.GlobalRate) time.Duration {
	if r.Timeout > 0 {
		return r.Timeout
	}
	return 20 * time.Millisecond
}
