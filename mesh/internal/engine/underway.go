package engine

import "sync/atomic"

// An underway holds the calls that are being served on one connection, so that they can be found. To come and to go takes no lock: the calls of
// a connection are few, and most connections have one at a time. The zero underway is empty.
type underway struct {
	some [4]atomic.Pointer[InboundCall]
	more atomic.Pointer[underway]
}

// add makes the call findable until its slot is emptied.
func (u *underway) add(c *InboundCall) {
	for {
		for i := range u.some {
			if slot := &u.some[i]; slot.Load() == nil && slot.CompareAndSwap(nil, c) {
				c.slot = slot
				return
			}
		}
		if u.more.Load() == nil {
			u.more.CompareAndSwap(nil, new(underway))
		}
		u = u.more.Load()
	}
}

// each calls do for all that are there. Some may have ended by then.
func (u *underway) each(do func(*InboundCall)) {
	for ; u != nil; u = u.more.Load() {
		for i := range u.some {
			if c := u.some[i].Load(); c != nil {
				do(c)
			}
		}
	}
}
