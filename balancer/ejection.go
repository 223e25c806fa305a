package balancer

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A detection is the rules a group's hosts are under. It is replaced when the
// rules change. Its moments are nanoseconds since its epoch.
type detection struct {
	rules
	counting bool
	epoch    time.Time    // the same for all detections that follow each other
	due      atomic.Int64 // the moment of the next thing to do
}

const never = math.MaxInt64

func (d *detection) now() int64 { return int64(time.Since(d.epoch)) }

// Detect makes the group eject hosts by o from now on; nil, as at first, ejects none and
// takes back those that are out. o is not kept. If it says what was said before, nothing
// happens; otherwise hosts that are out stay until their time is up, failures in a row count on, and
// an interval begins.
//
// There is no timer: time is looked at by Pick and by the other methods of the group,
// and only when a host is out or success rates are compared. So an ejection ends with the first
// call after it, and an interval with the first call after that; what follows from it is
// as if it had been looked at in time.
func (g *Group) Detect(o *Outlier) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.detection.Load()
	if o == nil {
		if old == nil {
			return
		}
		g.detection.Store(nil)
		for _, h := range g.list {
			h.record.forget()
			h.record.out.Store(false)
			h.record.times = 0
		}
		g.settle()
		return
	}
	r := newRules(o)
	if old != nil && old.rules == r {
		return
	}
	d := &detection{rules: r, counting: r.counts(), epoch: time.Now()}
	if old != nil {
		g.advance(old)
		d.epoch = old.epoch
	}
	g.boundary = never
	if d.counting {
		g.boundary = d.now() + int64(d.interval)
		for _, h := range g.list {
			h.record.calls.clear()
			h.record.reaches.clear()
		}
	}
	g.detection.Store(d)
	g.settle()
}

// Ejected is the number of hosts that are ejected.
func (g *Group) Ejected() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refresh()
	return g.out
}

// Return is how long it is until the first of the ejected hosts comes back; ok is false if
// none is ejected. Who waits for a host must ask again then: nobody is told.
func (g *Group) Return() (wait time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refresh()
	if g.out == 0 {
		return 0, false
	}
	return time.Duration(g.back - g.detection.Load().now()), true
}

// sweep does what is due. Of those who find it due at a time one does it; the others go on.
func (g *Group) sweep(d *detection, due int64) {
	if !d.due.CompareAndSwap(due, never) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refresh()
}

// refresh does what is due. The lock is held.
func (g *Group) refresh() {
	d := g.detection.Load()
	if d == nil {
		return
	}
	if g.advance(d) {
		g.settle()
	} else {
		g.schedule(d)
	}
}

// strikeOut ejects a host that has failed too often in a row, if it still has under the lock.
func (g *Group) strikeOut(h *Host, k kind) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.detection.Load()
	if d == nil {
		return
	}
	l := d.limits[k]
	if l.row == 0 || h.record.rows[k].Load() < l.row {
		return
	}
	h.record.rows[k].Store(0)
	changed := g.advance(d)
	if g.eject(d, h, l.enforcing, d.now()) || changed {
		g.settle()
	}
}

// advance ends the interval if it is over, takes back the hosts whose time is up, and
// reports whether that changed who is out. The lock is held.
func (g *Group) advance(d *detection) (changed bool) {
	now := d.now()
	if now >= g.boundary {
		// As of then, not of now: who would be back already is not sent away on old news.
		changed = g.compare(d, g.boundary)
		g.boundary = now + int64(d.interval) - (now-g.boundary)%int64(d.interval)
	}
	if !changed && now < g.back {
		return false
	}
	for _, h := range g.list {
		if c := &h.record; h.Ejected() && c.until <= now {
			c.forget()
			c.since = c.until
			c.out.Store(false)
			g.out--
			changed = true
		}
	}
	return changed
}

// recovered takes a host back that was ejected, and has been found to be well since. The lock is held; settle must follow.
func (g *Group) recovered(h *Host) {
	d := g.detection.Load()
	if d == nil || d.stay || !h.Ejected() {
		return
	}
	h.record.forget()
	h.record.since = d.now()
	h.record.out.Store(false)
}

// compare looks at the calls of an interval that ended at a moment, and reports whether a host was ejected.
func (g *Group) compare(d *detection, at int64) (changed bool) {
	calls, reaches := make([]tally, 0, len(g.list)), make([]tally, 0, len(g.list))
	for _, h := range g.list {
		called, reached := h.record.calls.take(h), h.record.reaches.take(h)
		if !h.Ejected() {
			calls, reaches = append(calls, called), append(reaches, reached)
		}
	}
	judge := func(r rate, outliers []*Host) {
		for _, h := range outliers {
			changed = g.eject(d, h, r.enforcing, at) || changed
		}
	}
	judge(d.success, d.success.below(calls))
	judge(d.failure, d.failure.above(calls))
	judge(d.localSuccess, d.localSuccess.below(reaches))
	judge(d.localFailure, d.localFailure.above(reaches))
	return changed
}

// eject takes a host out from a moment on and reports whether it did. The lock is held;
// settle must follow.
func (g *Group) eject(d *detection, h *Host, enforcing uint32, at int64) bool {
	c := &h.record
	if g.hosts[h.addr] != h || h.Ejected() || g.out >= d.room(len(g.list)) || !enforced(enforcing) {
		return false
	}
	if c.times > 0 {
		c.times = max(0, c.times-(at-c.since)/int64(d.interval))
	}
	c.times = d.next(c.times)
	c.until = at + int64(d.sentence(c.times)) + rand.Int64N(int64(d.jitter)+1)
	c.ejections.Add(1)
	c.out.Store(true)
	g.out++
	return true
}

// settle counts who is out and makes the picker of those who are not. The lock is held.
func (g *Group) settle() {
	g.out, g.back = 0, never
	for _, h := range g.list {
		if h.Ejected() {
			g.out++
			g.back = min(g.back, h.record.until)
		}
	}
	d := g.detection.Load()
	var minHealth uint32
	if d != nil {
		minHealth = d.minHealth
		g.schedule(d)
	}
	var picker *Picker
	if hosts := inService(g.list, minHealth); len(hosts) > 0 {
		p := newPicker(g.policy, hosts)
		picker = &p
	}
	g.picker.Store(picker)
}

// schedule sets when there is something to do. The lock is held.
func (g *Group) schedule(d *detection) { d.due.Store(min(g.boundary, g.back)) }
