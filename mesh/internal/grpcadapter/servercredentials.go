package grpcadapter

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// serverCredentials take connections as they come. Who is on the other side of one over TLS its listener has made sure of.
type serverCredentials struct{}

// ServerHandshake implements credentials.TransportCredentials. There is nothing to be done but for connections whose listener is a plain tls.Listener.
func (serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, ok := raw.(*tls.Conn)
	if !ok {
		return insecure.NewCredentials().ServerHandshake(raw)
	}
	if err := conn.Handshake(); err != nil { //nolint:noctx // gRPC bounds it by the connection's deadline
		raw.Close()
		return nil, nil, err
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol == "http/1.1" {
		raw.Close()
		return nil, nil, errors.New("the client speaks HTTP/1.1, and this is a gRPC server")
	}
	info := credentials.TLSInfo{State: state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	if len(state.PeerCertificates) > 0 && len(state.PeerCertificates[0].URIs) == 1 && state.PeerCertificates[0].URIs[0].Scheme == "spiffe" {
		info.SPIFFEID = state.PeerCertificates[0].URIs[0]
	}
	return conn, info, nil
}

// ClientHandshake implements credentials.TransportCredentials; clients have others.
func (serverCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("credentials of servers only")
}

// Info implements credentials.TransportCredentials.
func (serverCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "mesh"}
}

// Clone implements credentials.TransportCredentials.
func (c serverCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (serverCredentials) OverrideServerName(string) error {
	return errors.New("a server has no server name to ask for")
}
