package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// A queue holds the calls that a server has no room for yet. Those that matter most go first; of one
// Criticality the oldest, and under overload the newest: then the old ones will hardly be answered in
// time, and serving them would make the new ones as old. The zero queue is empty.
type queue struct {
	length atomic.Int32 // changed with mu; who finds 0 has nobody to wait behind or to wake

	mu    sync.Mutex
	lines [resilience.Health - resilience.Sheddable]line // by Criticality
}

// maxQueued bounds what waits, each with a goroutine and a request in memory: as many as clients keep waiting for a
// connection (Envoy max_pending_requests).
const maxQueued = 1024

// A line is the calls of one Criticality as they came.
type line struct{ oldest, newest *waiter }

// A waiter is a call in a queue. What is not const is guarded by the queue's lock until turn is closed.
type waiter struct {
	older, newer *waiter
	criticality  resilience.Criticality // const
	stream       bool                   // const
	since        time.Time              // const
	queued       bool
	served       bool          // it was given room
	room         room          // then
	turn         chan struct{} // closed when another takes it out of the queue
}

// wait queues the call until there is room for it.
func (s *serving) wait(c *InboundCall) (room, *Refusal) {
	w := &waiter{criticality: c.Criticality(), stream: c.Stream, since: time.Now(), turn: make(chan struct{})}
	q := &s.queue
	q.mu.Lock()
	if !q.push(w, s.shedder.Overloaded()) {
		q.mu.Unlock()
		return room{}, c.overload("the queue is full")
	}
	q.admit(s.current.Load(), w.since) // whoever left between the look and the lock saw nobody here
	q.mu.Unlock()

	patience := time.NewTimer(s.shedder.Patience(s.shedding, w.criticality))
	defer patience.Stop()
	select {
	case <-w.turn:
	case <-patience.C:
	case <-c.ctx.Done():
	}
	q.mu.Lock()
	if w.queued {
		// That nobody's turn comes is a queue that stands, too.
		now := time.Now()
		s.shedder.Observe(s.shedding, now, q.age(now))
		q.remove(w)
	}
	q.mu.Unlock()
	switch {
	case c.ctx.Err() != nil:
		if w.served {
			s.leave(w.room, stay{})
		}
		return room{}, c.interrupted()
	case w.served:
		return w.room, nil
	}
	return room{}, c.overload("the call waited too long for its turn")
}

// admit gives the room there is to those who wait.
func (in *Inbound) admit() {
	if in.queue.length.Load() == 0 {
		return
	}
	in.queue.mu.Lock()
	defer in.queue.mu.Unlock()
	in.queue.admit(in.current.Load(), time.Now())
}

// admit gives the room there is to those whose turn it is. The caller holds mu.
func (q *queue) admit(s *serving, now time.Time) {
	for {
		w := q.next(s.shedder.Overloaded())
		if w == nil {
			return
		}
		r, ok := s.room(w.stream)
		if !ok {
			return
		}
		// What the oldest has waited is what the queue is like: those who are let past it tell nothing.
		before := s.shedder.Overloaded()
		s.shedder.Observe(s.shedding, now, q.age(now))
		if !before && s.shedder.Overloaded() {
			q.expire(s, now) // those who came when there was more patience
		}
		if w.queued && now.Sub(w.since) <= s.shedder.Patience(s.shedding, w.criticality) {
			w.served, w.room = true, r
			q.remove(w)
			close(w.turn)
			continue
		}
		if w.queued {
			q.refuse(w)
		}
		s.drop(r, stay{})
	}
}

// push lets a call in. If there are too many, the one that would be served last is refused for it, unless it is that itself.
func (q *queue) push(w *waiter, overloaded bool) bool {
	if q.length.Load() >= maxQueued {
		last := q.last(overloaded)
		if last.criticality > w.criticality || last.criticality == w.criticality && !overloaded {
			return false
		}
		q.refuse(last)
	}
	l := q.line(w)
	w.queued, w.older = true, l.newest
	if l.newest == nil {
		l.oldest = w
	} else {
		l.newest.newer = w
	}
	l.newest = w
	q.length.Add(1)
	return true
}

// remove takes a call out.
func (q *queue) remove(w *waiter) {
	l := q.line(w)
	if w.older == nil {
		l.oldest = w.newer
	} else {
		w.older.newer = w.newer
	}
	if w.newer == nil {
		l.newest = w.older
	} else {
		w.newer.older = w.older
	}
	w.older, w.newer, w.queued = nil, nil, false
	q.length.Add(-1)
}

// refuse takes a call out that is not to be served.
func (q *queue) refuse(w *waiter) {
	q.remove(w)
	close(w.turn)
}

// expire refuses the calls that have waited longer than they may.
func (q *queue) expire(s *serving, now time.Time) {
	for i := range q.lines {
		for w := q.lines[i].oldest; w != nil && now.Sub(w.since) > s.shedder.Patience(s.shedding, w.criticality); w = q.lines[i].oldest {
			q.refuse(w)
		}
	}
}

// next is whose turn it is; nil if nobody waits.
func (q *queue) next(overloaded bool) *waiter {
	for i := len(q.lines) - 1; i >= 0; i-- {
		if l := &q.lines[i]; l.oldest != nil {
			if overloaded {
				return l.newest
			}
			return l.oldest
		}
	}
	return nil
}

// last is whose turn comes after all others'. Somebody has to wait.
func (q *queue) last(overloaded bool) *waiter {
	for i := range q.lines {
		if l := &q.lines[i]; l.oldest != nil {
			if overloaded {
				return l.oldest
			}
			return l.newest
		}
	}
	return nil
}

// age is how long the oldest call has waited.
func (q *queue) age(now time.Time) (age time.Duration) {
	for i := range q.lines {
		if w := q.lines[i].oldest; w != nil {
			age = max(age, now.Sub(w.since))
		}
	}
	return age
}

func (q *queue) line(w *waiter) *line { return &q.lines[w.criticality-resilience.Sheddable] }
