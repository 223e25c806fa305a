package balancer

import (
	"sync/atomic"
	"time"
)

// A Host is the live side of an [Endpoint]. It belongs to one [Group], is kept
// while its address stays configured there, and is safe for concurrent use.
type Host struct {
	addr     string
	endpoint atomic.Pointer[Endpoint]
	inFlight atomic.Int64
	gone     chan struct{}
}

func newHost(e *Endpoint) *Host {
	h := &Host{addr: e.Addr, gone: make(chan struct{})}
	h.endpoint.Store(e)
	return h
}

// Addr is the address to dial; it never changes.
func (h *Host) Addr() string { return h.addr }

// Endpoint is what the newest configuration says of the host. Not to be modified.
func (h *Host) Endpoint() *Endpoint { return h.endpoint.Load() }

// Begin counts an attempt in.
func (h *Host) Begin() { h.inFlight.Add(1) }

// Finish counts out what Begin counted in. ok says whether the host answered well;
// took is how long that lasted.
func (h *Host) Finish(ok bool, took time.Duration) { h.inFlight.Add(-1) }

// InFlight is the number of attempts between Begin and Finish.
func (h *Host) InFlight() int64 { return h.inFlight.Load() }

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
