package mesh

import (
	"context"
	"net"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/mesh/internal/tcpadapter"
)

// PeerFromContext is who makes the call that ctx is of, in a handler of [Mesh.Handler] or [Mesh.ServerOptions], as far as he has proved it:
// by the certificate of his connection, and by tokens, whose claims it has. It is not ok if he has proved nothing. The Peer is not to be modified.
func PeerFromContext(ctx context.Context) (*identity.Peer, bool) {
	c := engine.Caused(ctx)
	if c == nil || c.Peer == nil {
		return nil, false
	}
	return c.Peer, true
}

// PeerFromConn is who is on the other side of a connection that a listener of [Mesh.Listen] has accepted, for servers that speak
// neither HTTP nor gRPC. It is not ok over plaintext.
func PeerFromConn(conn net.Conn) (*identity.Peer, bool) {
	p := tcpadapter.PeerOf(conn)
	return p, p != nil
}
