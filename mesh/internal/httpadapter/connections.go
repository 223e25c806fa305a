package httpadapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/mesh/internal/tcpadapter"
	"github.com/weftmesh/weft/resilience"
)

// connections bounds the connections to each cluster, those in use and idle ones together (Envoy max_connections),
// and lets dials beyond that wait (Envoy max_pending_requests). As in Envoy, a host that has no
// connection gets one all the same, since there would be none to wait for; and those to hosts that have
// left do not count against others.
//
// A dial that waits is that of a call. It waits no more when the call is handed a
// connection that has become idle, or has ended.
type connections struct {
	mu    sync.Mutex
	pools map[*resilience.InUse]*hosts // of what has connections or waiters
}

// hosts are the connections of a cluster in one priority, and who waits for one.
type hosts struct {
	open    map[*balancer.Host]int // none of 0
	waiting []*waiter
}

// A waiter is a dial that waits.
type waiter struct {
	dial *attemptContext
	done chan struct{} // closed when it waits no more
	may  bool          // it may go on; guarded by connections.mu
}

var (
	errServed = errors.New("the call has a connection by now")
	errGone   = errors.New("the host left the configuration while a connection to it was waited for")
)

// enter counts a connection for the attempt in. It waits until there is room for that. Each enter that succeeded is
// followed by a leave; if it did not, the error is a [*tcpadapter.ConnectError].
func (s *connections) enter(ctx context.Context, c *attemptContext) error {
	w, err := s.queue(c)
	if w == nil {
		return err
	}
	select {
	case <-w.done:
		err = errServed
	case <-ctx.Done():
		err = ctx.Err()
	case <-c.Done():
		err = c.Err()
	case <-c.attempt.Host.Gone():
		err = errGone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(w, false)
	switch {
	case w.may:
		return nil
	case errors.Is(err, errGone):
		return &tcpadapter.ConnectError{Cause: resilience.HostLeft, Err: err}
	}
	return &tcpadapter.ConnectError{Cause: resilience.Unsent, Err: err}
}

// queue is the first step of enter: it counts the connection in at once, or returns a waiter, or an error.
func (s *connections) queue(c *attemptContext) (*waiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pools[c.use]
	if p == nil {
		if s.pools == nil {
			s.pools = map[*resilience.InUse]*hosts{}
		}
		p = &hosts{open: map[*balancer.Host]int{}}
		s.pools[c.use] = p
	}
	if p.admit(c) {
		return nil, nil
	}
	if !c.use.Pending.Enter(c.most.MaxPending) {
		err := fmt.Errorf("%w: %d calls wait for a connection, the most there may be (max_pending_requests)", engine.ErrFull, c.most.MaxPending)
		return nil, &tcpadapter.ConnectError{Cause: resilience.Unsent, Err: err}
	}
	w := &waiter{dial: c, done: make(chan struct{})}
	p.waiting = append(p.waiting, w)
	c.waiting.Add(1)
	if c.served.Load() { // since a moment ago, and the waiter was not seen
		s.end(w, false)
	}
	return w, nil
}

// release ends the waiting of all dials of an attempt.
func (s *connections) release(c *attemptContext) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pools[c.use]; p != nil {
		for _, w := range slices.Clone(p.waiting) {
			if w.dial == c {
				s.end(w, false)
			}
		}
	}
}

// leave counts a connection to the host out, and lets go on who can.
func (s *connections) leave(use *resilience.InUse, h *balancer.Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pools[use]
	use.Connections.Leave()
	if p.open[h]--; p.open[h] == 0 {
		delete(p.open, h)
	}
	for _, w := range slices.Clone(p.waiting) {
		if p.admit(w.dial) {
			s.end(w, true)
		}
	}
	if len(p.open) == 0 && len(p.waiting) == 0 {
		delete(s.pools, use)
	}
}

// end takes a waiter from its queue, if it is there still. It needs mu.
func (s *connections) end(w *waiter, may bool) {
	p := s.pools[w.dial.use]
	if p == nil {
		return
	}
	i := slices.Index(p.waiting, w)
	if i < 0 {
		return
	}
	p.waiting = slices.Delete(p.waiting, i, i+1)
	w.may = may
	w.dial.waiting.Add(-1)
	w.dial.use.Pending.Leave()
	close(w.done)
}

// admit counts a connection for the attempt in, if there is room.
func (p *hosts) admit(c *attemptContext) bool {
	h := c.attempt.Host
	if !c.use.Connections.Enter(c.most.MaxConnections) {
		if p.open[h] > 0 && c.use.Connections.Count()-p.departed() >= int64(c.most.MaxConnections) {
			return false
		}
		c.use.Connections.Begin()
	}
	p.open[h]++
	return true
}

// departed is how many connections there are to hosts that left.
func (p *hosts) departed() (n int64) {
	for h, open := range p.open {
		if h.Left() {
			n += int64(open)
		}
	}
	return n
}
