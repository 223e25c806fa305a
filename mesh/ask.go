package mesh

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/mesh/internal/extauthz"
)

// asking is a Mesh as the door by which its servers ask services outside whether calls may be made.
type asking Mesh

// RoundTrip implements http.RoundTripper.
func (m *asking) RoundTrip(req *http.Request) (*http.Response, error) { return m.asks.RoundTrip(req) }

// dialAsker is a connection to a service that is asked by gRPC.
func (m *Mesh) dialAsker(service string) (extauthz.Conn, error) {
	return grpc.NewClient("mesh:///"+service, m.DialOptions()...)
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
