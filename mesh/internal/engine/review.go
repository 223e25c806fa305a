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

// recheck ends the streams, and asks the connections to end, that may not be there any more.
func (in *Inbound) recheck() {
	ctx, cancel := context.WithTimeout(context.Background(), lingering)
	defer cancel()
	s := in.current.Load()
	now := time.Now()
	in.connections.each(func(c *Connection) {
		switch {
		case s.unwanted(c) != Welcome || !s.connects(ctx, c):
			c.dismiss(now)
		case s.suffers(c): // it may be from before it was permissive
			in.plaintext.note(in.engine.config.Logger, in.port, c)
		}
	})
	for _, c := range in.streams.list() {
		if r := s.again(ctx, c); r != nil {
			in.streams.cut(c, r)
		}
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
