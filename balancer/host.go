package balancer

import (
	"sync/atomic"
	"time"
)

// A Host is the live side of an [Endpoint]. It belongs to one [Group], is kept
// while its address stays configured there, and is safe for concurrent use.
type Host struct {
	addr     string
	group    *Group
	endpoint atomic.Pointer[Endpoint]
	inFlight atomic.Int64
	record   record
	gone     chan struct{}
}

func newHost(g *Group, e *Endpoint) *Host {
	h := &Host{addr: e.Addr, group: g, gone: make(chan struct{})}
	h.endpoint.Store(e)
	return h
}

// Addr is the address to dial; it never changes.
func (h *Host) Addr() string { return h.addr }

// Endpoint is what the newest configuration says of the host. Not to be modified.
func (h *Host) Endpoint() *Endpoint { return h.endpoint.Load() }

// Begin counts an attempt in.
func (h *Host) Begin() { h.inFlight.Add(1) }

// Finish counts out what Begin counted in. r is what came of it and may eject
// the host; took is how long that lasted.
func (h *Host) Finish(r Result, took time.Duration) {
	h.inFlight.Add(-1)
	if d := h.group.detection.Load(); d != nil {
		h.note(d, r)
	}
}

// InFlight is the number of attempts between Begin and Finish.
func (h *Host) InFlight() int64 { return h.inFlight.Load() }

// Ejected reports whether the host is out of service because it failed. Its calls may
// go on, and it may still be picked if too few would be left. One whose time is up
// counts as ejected until its group is used again.
func (h *Host) Ejected() bool { return h.record.out.Load() }

// Ejections is how often the host was ejected.
func (h *Host) Ejections() uint64 { return h.record.ejections.Load() }

// Gone is closed when the configuration has dropped the host. Calls that still
// wait for a connection to it should go elsewhere; calls it is serving may end there.
func (h *Host) Gone() <-chan struct{} { return h.gone }

// Left reports whether Gone is closed.
func (h *Host) Left() bool {
	select {
	case <-h.gone:
		return true
	default:
		return false
	}
}
