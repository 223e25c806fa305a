package tcpadapter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// connectTimeout bounds the making of a connection where the cluster does not (Envoy connect_timeout).
const connectTimeout = 5 * time.Second

// A ConnectError says why there is no connection to a host. Nothing was sent to it.
type ConnectError struct {
	// Cause is, from Connect, HostLeft or ConnectFailure.
	Cause resilience.Cause
	Err   error
}

func (e *ConnectError) Error() string { return e.Err.Error() }

func (e *ConnectError) Unwrap() error { return e.Err }

var errLeft = errors.New("the host left the configuration while it was being connected to")

// Connect makes a connection to the host, with a TLS handshake if conf is not nil
// (the connection is a *tls.Conn then). It gives up after the cluster's
// ConnectTimeout, handshake included, and as soon as the configuration drops the host: who waits for a
// departed host would wait in vain. The error is a [*ConnectError].
//
// closed, if it is not nil, is called once: when the connection is closed, or could not be made.
func Connect(ctx context.Context, network string, h *balancer.Host, c *resolver.Cluster, conf *tls.Config, closed func()) (net.Conn, error) {
	timeout := c.ConnectTimeout
	if timeout <= 0 {
		timeout = connectTimeout
	}
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-h.Gone():
			cancel(errLeft)
		case <-ctx.Done():
		}
	}()
	conn, err := dial(ctx, network, h.Addr(), conf, closed)
	cancel(nil)
	<-watched
	switch {
	case err == nil:
		return conn, nil
	case h.Left():
		return nil, &ConnectError{resilience.HostLeft, fmt.Errorf("%w: %w", errLeft, err)}
	default:
		return nil, &ConnectError{resilience.ConnectFailure, err}
	}
}

func dial(ctx context.Context, network, addr string, conf *tls.Config, closed func()) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	switch {
	case err != nil && closed != nil:
		closed()
	case closed != nil:
		conn = &watched{TCPConn: conn.(*net.TCPConn), closed: closed}
	}
	if err != nil || conf == nil {
		return conn, err
	}
	secure := tls.Client(conn, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("tls handshake with %s: %w", addr, err)
	}
	return secure, nil
}

// watched is a connection that says when it is closed. All else is the connection's own, splice and
// half-close included.
type watched struct {
	*net.TCPConn
	closed func()
	once   sync.Once
}

func (c *watched) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(c.closed)
	return err
}
