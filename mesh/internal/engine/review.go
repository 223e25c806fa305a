package engine

import (
	"context"
	"sync"
	"time"
)

// A review looks, after a change of configuration, at all that was let in before it. It runs until nothing is left that is to end.
type review struct {
	mu      sync.Mutex
	stale   bool // there was a change since it looked
	runs    bool
	seen    *serving      // by which it looked last; of the look alone
	over    chan struct{} // closed by close
	closed  bool
	running sync.WaitGroup
}

// reviewSoon looks at what was let in.
func (in *Inbound) reviewSoon() {
	r := &in.review
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.stale = true
	if !r.runs {
		r.runs = true
		r.running.Go(in.look)
	}
}

func (in *Inbound) look() {
	r := &in.review
	for {
		r.mu.Lock()
		stale := r.stale
		r.stale = false
		r.mu.Unlock()
		if stale {
			in.recheck()
		}
		waits := in.expire(time.Now())
		r.mu.Lock()
		if !waits && !r.stale {
			r.runs = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		select {
		case <-r.over:
			return
		case <-time.After(glance):
		}
	}
}

// close ends the review and waits for it. What is to end is left to who closes.
func (r *review) close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.over)
	}
	r.mu.Unlock()
	r.running.Wait()
}

// recheck ends the calls, and asks the connections to end, that may not be there any more.
func (in *Inbound) recheck() {
	ctx, cancel := context.WithTimeout(context.Background(), lingering)
	defer cancel()
	s := in.current.Load()
	now := time.Now()
	// Calls that began since were judged by what is in force.
	same := in.review.seen != nil && s.same(in.review.seen)
	in.review.seen = s
	judge := func(c *InboundCall) {
		if r := s.review(ctx, c); r != nil {
			in.cut(c, r)
		}
	}
	in.connections.each(func(c *Connection) {
		switch why := s.unwanted(c); {
		case why == Revoked, why == Welcome && !s.connects(ctx, c):
			c.barred.Store(true)
			c.dismiss(now)
		case why != Welcome:
			c.dismiss(now)
		case s.suffers(c): // it may be from before it was permissive
			in.plaintext.note(in.engine.config.Logger, in.port, c)
		}
		if !same {
			c.calls.each(judge)
		}
	})
	if !same {
		in.strays.each(judge)
	}
}

// expire ends the connections whose time is up and reports whether others are still to end.
func (in *Inbound) expire(now time.Time) (waits bool) {
	in.connections.each(func(c *Connection) {
		if c.Leaving() {
			if c.overdue(now) {
				c.Shut()
			} else {
				waits = true
			}
		}
	})
	return waits
}
