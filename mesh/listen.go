package mesh

import (
	"fmt"
	"net"
	"sync"

	"github.com/weftmesh/weft/mesh/internal/engine"
)

// Listen announces on the address and registers this process there under its
// service ([WithService]), so that callers in the mesh find it; without
// WithService it only follows the configuration of the address. network is "tcp",
// "tcp4" or "tcp6"; ":0" chooses a free port.
//
// Serve on the listener with [Mesh.Handler] (set http.Server.Protocols to also take
// h2c) or [Mesh.ServerOptions]. Closing it, as http.Server.Shutdown and
// grpc.Server.GracefulStop do first, deregisters at once, so that callers go
// elsewhere while the last calls are served.
//
// An unspecified address (":8080") is registered as this machine's first
// address that is not loopback.
func (m *Mesh) Listen(network, addr string) (net.Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, fmt.Errorf("mesh: listen %s: network %q is not tcp", addr, network)
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	in, err := m.engine.Listen(advertised(ln.Addr().(*net.TCPAddr)))
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("mesh: listen %s: %w", addr, err)
	}
	return &listener{Listener: ln, inbound: in}, nil
}

// A listener deregisters before it stops to accept.
type listener struct {
	net.Listener
	inbound *engine.Inbound
	once    sync.Once
	err     error
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.inbound.Close()
		l.err = l.Listener.Close()
	})
	return l.err
}

// advertised is the address that callers on other machines can use.
func advertised(a *net.TCPAddr) *net.TCPAddr {
	if !a.IP.IsUnspecified() {
		return a
	}
	addrs, _ := net.InterfaceAddrs() // without any, loopback is all there is
	for _, i := range addrs {
		if n, ok := i.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return &net.TCPAddr{IP: n.IP.To4(), Port: a.Port}
		}
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: a.Port}
}
