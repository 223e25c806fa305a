package balancer

import "sync/atomic"

// A record is what detection knows of one host.
type record struct {
	rows      [kinds]atomic.Uint32 // failures in a row
	calls     counts               // of the interval; counted only if the rules look at them
	reaches   counts               // where what no server answered counts apart: whether one did
	out       atomic.Bool
	ejections atomic.Uint64

	// Guarded by the group's lock. Moments are those of the group's detection.
	times int64 // how often ejected, less one for each interval in service since
	since int64 // when the host came back last
	until int64 // when it is to come back
}

// counts are what went well and badly.
type counts struct{ good, bad atomic.Uint64 }

// take takes out what was counted.
func (c *counts) take(h *Host) tally { return tally{h, c.good.Swap(0), c.bad.Swap(0)} }

func (c *counts) clear() {
	c.good.Store(0)
	c.bad.Store(0)
}

// note counts a result. It takes a lock only when the host has failed too often.
func (h *Host) note(d *detection, r Result) {
	c := &h.record
	switch {
	case r >= Neutral:
		return
	case r == LocalFailed && d.split:
		if d.counting {
			c.reaches.bad.Add(1)
		}
		h.strike(d, localError)
		return
	}
	if d.counting && d.split {
		c.reaches.good.Add(1)
	}
	c.clear(localError)
	if r == Answered {
		if d.counting {
			c.calls.good.Add(1)
		}
		c.clear(anyError)
		c.clear(gatewayError)
		return
	}
	if d.counting {
		c.calls.bad.Add(1)
	}
	if r == Failed {
		c.clear(gatewayError)
	} else {
		h.strike(d, gatewayError)
	}
	h.strike(d, anyError)
}

// strike counts a failure in a row.
func (h *Host) strike(d *detection, k kind) {
	most := d.limits[k].row
	if most > 0 && h.record.rows[k].Add(1) >= most && !h.Ejected() {
		h.group.strikeOut(h, k)
	}
}

// clear ends a row of failures. It writes only if there is one.
func (c *record) clear(k kind) {
	if c.rows[k].Load() != 0 {
		c.rows[k].Store(0)
	}
}

// forget clears what was counted.
func (c *record) forget() {
	for k := range kinds {
		c.clear(k)
	}
	c.calls.clear()
	c.reaches.clear()
}
