package engine

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/weftmesh/weft/identity"
)

// denials are said in the log, so that operators learn what callers must not: which policy and why. Of many, some are left out.
type denials struct {
	log     *slog.Logger
	mu      sync.Mutex
	second  int64
	said    int
	leftOut int
}

// mostLines is how many denials a second are said.
const mostLines = 10

// note says what was decided, if it was against the caller or only tried.
func (n *denials) note(port int, r *identity.Request, d *identity.Decision) {
	if d.Allowed && len(d.Shadow) == 0 {
		return
	}
	leftOut, ok := n.may(time.Now())
	if !ok {
		return
	}
	log := n.log.With("port", port, "caller", callerOf(r), "method", r.Method, "path", r.Path)
	if leftOut > 0 {
		log = log.With("leftOut", leftOut)
	}
	if !d.Allowed {
		log.Warn("call denied", "step", d.Step, "policy", d.Policy, "reason", d.Reason)
	}
	for _, s := range d.Shadow {
		if s.Action == identity.Log { // AUDIT; and CUSTOM that is only tried, of which nobody was asked
			log.Info("call noted", "step", s.Step, "policy", s.Policy)
			continue
		}
		log.Info("policy is only tried", "step", s.Step, "policy", s.Policy, "action", s.Action.String(), "wouldAllow", s.Allowed)
	}
}

// turned says why a connection was not let in.
func (n *denials) turned(port int, why Unwelcome, remote *net.TCPAddr, err error) {
	leftOut, ok := n.may(time.Now())
	if !ok {
		return
	}
	log := n.log.With("port", port, "caller", addrPort(remote).Addr(), "why", why.String())
	if leftOut > 0 {
		log = log.With("leftOut", leftOut)
	}
	if err != nil {
		log = log.With("err", err)
	}
	log.Warn("connection not let in")
}

// may reports whether another line may be said, and how many were left out before it.
func (n *denials) may(now time.Time) (leftOut int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if second := now.Unix(); second != n.second {
		n.second, n.said = second, 0
	}
	if n.said >= mostLines {
		n.leftOut++
		return 0, false
	}
	n.said++
	leftOut, n.leftOut = n.leftOut, 0
	return leftOut, true
}

// callerOf names who calls: by identity, or else by address.
func callerOf(r *identity.Request) string {
	if r.Peer != nil && !r.Peer.ID.IsZero() {
		return r.Peer.ID.String()
	}
	if r.Source != (netip.AddrPort{}) {
		return r.Source.Addr().String()
	}
	return "unknown"
}
