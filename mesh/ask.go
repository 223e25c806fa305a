package mesh

import (
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
