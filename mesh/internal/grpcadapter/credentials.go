package grpcadapter

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/mesh/internal/engine"
)

// transportCredentials make each connection what the cluster of its host
// demands: plaintext, or TLS. The demand comes with the address.
type transportCredentials struct{}

// ClientHandshake implements credentials.TransportCredentials.
func (transportCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	n := connOf(ctx)
	if n == nil {
		return insecure.NewCredentials().ClientHandshake(ctx, authority, raw)
	}
	ctx, cancel := n.bound(ctx)
	defer cancel()
	if n.tls == nil {
		c, info, err := insecure.NewCredentials().ClientHandshake(ctx, authority, raw)
		if err != nil {
			return nil, nil, err
		}
		return n.listen(c), info, nil
	}
	made := n.tls.Make(func(error) { raw.Close() }) // its calls fail
	n.made.Store(made)
	c, info, err := shake(ctx, n.tls, authority, raw)
	if err != nil {
		made.Forget()
		return nil, nil, err
	}
	c = &vouched{c, made}
	if t, ok := info.(credentials.TLSInfo); ok {
		if err := made.Prove(t.State.PeerCertificates); err != nil {
			c.Close()
			return nil, nil, err
		}
	}
	return n.listen(c), info, nil
}

// vouched is a connection that ends when its server is not believed any more.
type vouched struct {
	net.Conn
	made *engine.Made
}

// Close implements net.Conn.
func (c *vouched) Close() error {
	defer c.made.Forget()
	return c.Conn.Close()
}

// shake makes of a connection what is demanded.
func shake(ctx context.Context, demand *engine.Demand, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	called, _, err := net.SplitHostPort(authority)
	if err != nil {
		called = authority // without a port
	}
	config, err := demand.Config(called)
	if err != nil {
		return nil, nil, err
	}
	// gRPC's own credentials put the name they are given over the one in the configuration.
	return credentials.NewTLS(config).ClientHandshake(ctx, config.ServerName, raw)
}

// ServerHandshake implements credentials.TransportCredentials; servers have others.
func (transportCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("credentials of clients only")
}

// Info implements credentials.TransportCredentials. Which protocol is spoken is
// known for each connection only; gRPC asks that for calls that carry secrets.
func (transportCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "mesh"}
}

// Clone implements credentials.TransportCredentials.
func (c transportCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (transportCredentials) OverrideServerName(string) error {
	return errors.New("the server name is the cluster's to say")
}
