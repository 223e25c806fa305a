package engine

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A PlaintextPeer is a machine from which connections were made without TLS though it could be spoken.
type PlaintextPeer struct {
	Addr        netip.Addr
	Connections uint64
	Last        time.Time // when one was made, or used
}

// mostPeers bounds how many machines are kept apart.
const mostPeers = 1024

// plaintext knows who still speaks plaintext, so that strict can be switched on knowing the answer.
type plaintext struct {
	mu    sync.Mutex
	peers map[netip.Addr]*PlaintextPeer
}

// note counts a connection, once, and says in the log when it is the first of its machine.
func (p *plaintext) note(log *slog.Logger, port int, c *Connection) {
	if c.noted.Swap(true) {
		return
	}
	addr := addrPort(c.Remote).Addr()
	p.mu.Lock()
	peer := p.peers[addr]
	first := peer == nil
	if first {
		if len(p.peers) >= mostPeers {
			p.mu.Unlock()
			return
		}
		if p.peers == nil {
			p.peers = map[netip.Addr]*PlaintextPeer{}
		}
		peer = &PlaintextPeer{Addr: addr}
		p.peers[addr] = peer
	}
	peer.Connections++
	peer.Last = time.Now()
	p.mu.Unlock()
	if first {
		log.Warn("a caller speaks plaintext, which STRICT would refuse", "port", port, "caller", addr)
	}
}

// list is all that is known, the newest first.
func (p *plaintext) list(open *connections) []PlaintextPeer {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	open.each(func(c *Connection) {
		if c.noted.Load() {
			if peer, used := p.peers[addrPort(c.Remote).Addr()], c.inUse(now); peer != nil && used.After(peer.Last) {
				peer.Last = used
			}
		}
	})
	out := make([]PlaintextPeer, 0, len(p.peers))
	for _, peer := range p.peers {
		out = append(out, *peer)
	}
	slices.SortFunc(out, func(a, b PlaintextPeer) int { return b.Last.Compare(a.Last) })
	return out
}
