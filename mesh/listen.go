package mesh

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/mesh/internal/tcpadapter"
)

// Listen announces on the address and registers this process there under its
// service ([WithService]), so that callers in the mesh find it; without
// WithService it only follows the configuration of the address. network is "tcp",
// "tcp4" or "tcp6"; ":0" chooses a free port.
//
// Serve on the listener with [Mesh.Handler] (set http.Server.Protocols to also take
// h2c; a server that does not take HTTP/2 over TLS does not do) or [Mesh.ServerOptions]. It is the one door by which identities come in: a Handler on
// another listener knows no callers, and is not registered, which the log says; rules are those of the port it was called at, and where the mesh does not
// listen there are none. Closing it, as http.Server.Shutdown and
// grpc.Server.GracefulStop do first, deregisters at once, and returns when callers
// have had the time to hear of it (200 ms, if there were any), so that they go
// elsewhere before their connections are closed.
//
// Whether connections are mutual TLS the configuration says: STRICT alone, which is the default for a process with an identity; PERMISSIVE,
// both, told apart by the first byte; or DISABLE, plaintext alone, which is the default without an identity, and where TLS is the server's own to
// speak. A change holds for new connections at once, and within a second for those that are there, which end when they are idle. A change to
// DISABLE ends none, and mutual TLS is told from plaintext for 30 seconds yet, as callers hear of it later. Those over TLS are *tls.Conn,
// and their handshake is done. It is given 10 seconds, and 2,048 connections of a process may wait for it. A process with an identity lets
// nobody in before it knows what is demanded, and nobody where STRICT is demanded of a process without one.
//
// Where a server speaks first, a permissive listener can't see what a silent client waits for: it takes it for plaintext after 3
// seconds. Such a port is better STRICT or DISABLE. While permissive, [Mesh.DebugHandler] and the log say who still speaks plaintext.
//
// An unspecified address (":8080") is registered as this machine's first
// address that is not loopback.
func (m *Mesh) Listen(network, addr string) (net.Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, fmt.Errorf("mesh: listen %s: network %q is not tcp", addr, network)
	}
	ln, err := net.Listen(network, addr) //nolint:noctx // the frozen face has no context, and binding does not wait
	if err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	in, err := m.engine.Listen(advertised(ln.Addr().(*net.TCPAddr)))
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("mesh: listen %s: %w", addr, err)
	}
	return &listener{Listener: tcpadapter.NewListener(ln, in, &m.lobby), inbound: in, registered: m.settings.service != ""}, nil
}

// A listener deregisters before it stops to accept.
type listener struct {
	net.Listener
	inbound    *engine.Inbound
	registered bool
	served     atomic.Bool
	once       sync.Once
	err        error
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil && !l.served.Load() {
		l.served.Store(true)
	}
	return c, err
}

// drainTime is how long callers may take to hear that a process has left.
const drainTime = 200 * time.Millisecond

func (l *listener) Close() error {
	l.once.Do(func() {
		l.inbound.Close()
		if l.registered && l.served.Load() {
			<-time.After(drainTime)
		}
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
