package engine

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
)

// A race is attempts of one call side by side: the call's own, which runs on the caller's goroutine, and
// those that join it when there is no answer after a while, each on a goroutine of its own.
//
// It is right because of this:
//   - Whoever joins, under mu and before the race is over, also arrives, whatever becomes of its Send. running counts who
//     has joined and not arrived, so that the caller's goroutine, which goes on at 0, leaves nobody behind.
//   - The race is over with the first that wins, the first that panics, or the last that arrives. It begins once, and ends once.
//     Nobody joins after it, and who is still running then is cancelled.
//   - While others may run, what of the Call is written is written under mu; a Send reads none of that.
//     Attempts are ended by the caller's goroutine, after the last has arrived, each once.
type race struct {
	call   *Call
	hedger Hedger

	mu       sync.Mutex
	arrived  sync.Cond   // running has become 0
	timer    *time.Timer // starts who joins next
	own      entrant
	beside   []*entrant
	running  int
	over     bool
	alone    bool     // the timer was stopped before anybody had joined, so that nobody will
	chosen   *entrant // who won, or else who arrived last
	panicked any      // of an attempt beside

	quiet bool // all have arrived, as far as the caller's goroutine knows, whose alone it is
}

// An entrant is one attempt of a race.
type entrant struct {
	attempt *Attempt // nil if it came to none
	aside   Aside    // what sends it; nil for the call's own
	ctx     context.Context
	stop    context.CancelFunc // of ctx
	paid    bool               // counted in as a retry
	out     resilience.Outcome
}

// hedge reports whether the next attempt may have others beside it, and how long to wait for its answer first.
func (c *Call) hedge(now time.Time) (h Hedger, wait time.Duration, ok bool) {
	// Of gRPC's methods only the route can know which may be processed twice. A call that changes its protocol
	// has no answer to be first with, and one that is a retry is not to be multiplied further down.
	if c.Protocol == TCP || c.Protocol == HTTP && !c.Idempotent || c.Unbounded || c.cancel == nil || c.repeats() {
		return nil, 0, false
	}
	if h, ok = c.transport.(Hedger); !ok {
		return nil, 0, false
	}
	roll := uint32(million)
	if c.hedges == 0 && c.attempts == 0 && c.route.Policy.Hedge.Chance.Numerator > 0 {
		roll = rand.Uint32N(million)
	}
	wait, ok = c.nextHedge(now, roll)
	return h, wait, ok
}

// nextHedge says how long to wait before the call is sent once more beside what runs. Retries and hedges together are no more
// than either may be.
func (c *Call) nextHedge(now time.Time, roll uint32) (wait time.Duration, ok bool) {
	p := &c.route.Policy
	if c.retries+c.hedges >= max(p.Retry.Attempts, p.Hedge.Max, 1) {
		return 0, false
	}
	return p.Hedge.Next(c.hedges+1, c.cluster.latencies, now, roll)
}

// million is what chances are rolled in.
const million = 1_000_000

// race sends the call to the host, and to others beside it if that has not answered in time. It returns the attempt that
// decides, or, if all of them are such as the retry policy repeats, the one that was last. It has not been ended.
func (c *Call) race(host *balancer.Host, pass resilience.Pass, h Hedger, wait time.Duration, now time.Time) (*Attempt, resilience.Outcome) {
	r := c.service.engine.race()
	r.call, r.hedger, r.running = c, h, 1
	r.own = entrant{attempt: c.begin(c.ctx, host, pass, now), ctx: c.ctx, stop: c.cancel}
	r.start(wait)

	defer r.disband() // by a panic of the call's own Send, too
	r.quiet = r.run(&r.own, c.transport)
	r.await()
	if r.panicked != nil {
		panic(r.panicked) // where the caller would have met it
	}
	e := r.chosen
	if e != &r.own {
		// What is left of the call lives as long as the attempt that counts. Of the one that does not, the time is over.
		c.cancel()
		c.ctx, c.cancel = e.ctx, e.stop
		h.Take(e.aside)
	}
	c.last = e.attempt
	return e.attempt, e.out
}

// start makes others join after wait.
func (r *race) start(wait time.Duration) {
	if r.timer != nil {
		r.timer.Reset(wait)
		return
	}
	r.mu.Lock() // the timer may be done before it is there
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(wait, r.join)
}

// join sends the call once more, to another host, on the timer's goroutine.
func (r *race) join() {
	e := &entrant{}
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return
	}
	r.running++
	r.mu.Unlock()
	returned := false
	defer func() {
		if !returned {
			r.arrive(e, resilience.Outcome{}, true, recover())
		}
	}()
	ready := r.prepare(e)
	returned = true
	if !ready {
		r.arrive(e, resilience.Outcome{}, false, nil)
		return
	}
	r.run(e, e.aside)
}

// prepare makes the attempt of an entrant, unless there is no room for it: that is no failure, since the call has others.
func (r *race) prepare(e *entrant) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, p := r.call, r.call.route.priority()
	if r.over {
		return false
	}
	if e.aside = r.hedger.Beside(); e.aside == nil {
		return false
	}
	// It makes load as a retry does, so it is paid as one, and it is in flight as any attempt.
	if e.paid = c.cluster.retry(p); !e.paid || !c.cluster.begin(p) {
		return false
	}
	c.begun = true
	c.avoid(r.own.attempt.Host)
	for _, other := range r.beside {
		c.avoid(other.attempt.Host)
	}
	host, pass, err := c.pick(e.aside)
	if err != nil {
		return false
	}
	if d, ok := r.own.ctx.Deadline(); ok {
		e.ctx, e.stop = context.WithDeadline(c.base, d)
	} else {
		e.ctx, e.stop = context.WithCancel(c.base)
	}
	c.hedges++
	c.marks |= Hedged
	now := time.Now()
	e.attempt = c.begin(e.ctx, host, pass, now)
	e.attempt.cancel = e.stop
	r.beside = append(r.beside, e)
	if wait, ok := c.nextHedge(now, million); ok {
		r.timer.Reset(wait)
	}
	return true
}

// run sends an entrant's attempt by t, and reports whether it was the last to arrive.
func (r *race) run(e *entrant, t Transport) (last bool) {
	var out resilience.Outcome
	returned := false
	defer func() {
		var v any
		if e != &r.own {
			v = recover() // nobody is above on this goroutine
		}
		last = r.arrive(e, out, !returned, v)
	}()
	out = r.call.send(e.attempt, t)
	returned = true
	return false // arrive says
}

// arrive ends an entrant's part, and reports whether it was the last. broken says that out is none, since its goroutine was left by
// panicking with v or by exiting.
func (r *race) arrive(e *entrant, out resilience.Outcome, broken bool, v any) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.call
	if e.attempt == nil {
		c.unbegin()
		if e.stop != nil {
			e.stop()
		}
	}
	if e.paid {
		c.cluster.retried(c.route.priority())
	}
	switch e.out = out; {
	case broken:
		e.out = resilience.Outcome{Err: errPanicked, Cause: resilience.Reset}
		if v == nil {
			v = errPanicked // its goroutine was left by Goexit, or it is the caller's
		}
		r.chosen, r.panicked = nil, v
		r.end(e)
	case r.over: // too late
		c.noteLoss(e.attempt, out)
		e.out = resilience.Outcome{Err: errLost, Cause: resilience.Canceled}
		if r.overtaken(e) {
			// Its host was slower than one that was asked later: without this nobody would ever hear of it, since it is never
			// left the time to fail (Envoy counts a hedged attempt's per_try_timeout at its host, too).
			e.out.Cause = resilience.TryTimeout
		}
	case e.attempt == nil:
	case c.decides(out):
		r.chosen = e
		r.end(e)
	default:
		r.chosen = e
	}
	if r.running--; r.running == 0 {
		if !r.over {
			r.stop()
		}
		r.arrived.Signal()
		return true
	}
	return false
}

// overtaken reports whether an attempt that was begun after e's was answered before it. It needs mu.
func (r *race) overtaken(e *entrant) bool {
	return r.chosen != nil && r.chosen.out.Err == nil && e.attempt != nil && e.attempt.Number < r.chosen.attempt.Number
}

// end ends the race, by e. It needs mu.
func (r *race) end(e *entrant) {
	r.stop()
	if e != &r.own {
		r.own.stop()
	}
	for _, other := range r.beside {
		if other != e {
			other.stop()
		}
	}
}

// stop lets nobody join any more. It needs mu.
func (r *race) stop() {
	r.over = true
	if r.timer.Stop() && len(r.beside) == 0 {
		r.alone = true
	}
}

// await waits until all have arrived.
func (r *race) await() {
	if r.quiet {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.running > 0 {
		r.arrived.Wait()
	}
	r.quiet = true
}

// disband ends the attempts that do not count and drops their answers.
func (r *race) disband() {
	r.await()
	if r.alone && r.chosen == &r.own {
		r.call.service.engine.reuse(r)
		return
	}
	now := time.Now()
	if r.chosen != &r.own {
		r.own.attempt.end(r.own.out, now)
	}
	for _, e := range r.beside {
		if e == r.chosen {
			continue
		}
		e.attempt.end(e.out, now)
		e.aside.Discard() // before its context ends, so that a short answer leaves a connection that can be used again
		e.stop()
		r.call.avoid(e.attempt.Host)
	}
}

// decides reports whether an attempt that ended so is what the call comes to: an answer that the retry policy would
// not repeat.
func (c *Call) decides(out resilience.Outcome) bool {
	if out.Err != nil {
		return false
	}
	out.Idempotent = c.repeatable(out)
	retry := &c.route.Policy.Retry
	return retry.Attempts == 0 || !retry.Decide(1, 1, out).Again
}

// noteLoss counts the time of an attempt that was cancelled as if it had been answered then. It would have taken longer; without it
// the slow answers would be missing, and the percentile would sink with each hedge until all calls were hedged.
func (c *Call) noteLoss(a *Attempt, out resilience.Outcome) {
	if a != nil && c.route.timed() && (!a.held || !out.OK()) {
		now := time.Now()
		c.cluster.latencies.Observe(now, now.Sub(a.start))
	}
}

// race is a race that has not begun.
func (e *Engine) race() *race {
	r, _ := e.races.Get().(*race)
	if r == nil {
		r = new(race)
		r.arrived.L = &r.mu
	}
	return r
}

// reuse keeps a race of which nothing runs any more, with its timer, which costs more than the race. It must be alone: of a timer
// that was not stopped in time the goroutine may still come.
func (e *Engine) reuse(r *race) {
	r.call, r.hedger, r.own, r.over, r.alone, r.chosen, r.quiet = nil, nil, entrant{}, false, false, nil, false
	e.races.Put(r)
}
