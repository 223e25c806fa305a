package httpadapter

import (
	"crypto/tls"
	"net"
	"sync"

	"github.com/weftmesh/weft/mesh/internal/engine"
)

// opened are the connections of a transport over TLS, so that those to servers that are not believed any more can be closed.
type opened struct {
	mu    sync.Mutex
	conns map[*opening]net.Conn
}

// An opening is a connection from before it is there.
type opening struct{ closed bool } // under opened.mu

// add keeps a connection, unless it was closed already.
func (o *opened) add(n *opening, c net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n.closed {
		return
	}
	if o.conns == nil {
		o.conns = map[*opening]net.Conn{}
	}
	o.conns[n] = c
}

func (o *opened) remove(n *opening) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n.closed = true
	delete(o.conns, n)
}

// shut closes the connections to servers whom d does not believe any more. Calls on them fail.
func (o *opened) shut(d *engine.Demand) {
	for _, c := range o.list() {
		if s, ok := c.(*tls.Conn); ok && d.Revokes(s.ConnectionState().PeerCertificates) != nil {
			s.NetConn().Close() // without a farewell, which might wait
		}
	}
}

func (o *opened) list() []net.Conn {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]net.Conn, 0, len(o.conns))
	for _, c := range o.conns {
		out = append(out, c)
	}
	return out
}
