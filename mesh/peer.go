package mesh

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

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

// mostKeys bounds an answer with the keys of a token's issuer.
const mostKeys = 1 << 20

// keys gets the keys of an issuer of tokens: from that service of the mesh, or, if service is empty, from where uri says.
func (m *Mesh) keys(ctx context.Context, service, uri string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, err
	}
	if service != "" {
		req.Host, req.URL.Host = req.URL.Host, service
	}
	resp, err := m.http.RoundTrip(req) // and not by a Client: keys come from nowhere else than it is written
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostKeys+1))
	if err == nil && len(body) > mostKeys {
		err = fmt.Errorf("more than %d bytes", mostKeys)
	}
	return body, err
}
