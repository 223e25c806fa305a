package tcpadapter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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
func Connect(ctx context.Context, network string, h *balancer.Host, c *resolver.Cluster, conf *tls.Config) (net.Conn, error) {
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
	conn, err := dial(ctx, network, h.Addr(), conf)
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

func dial(ctx context.Context, network, addr string, conf *tls.Config) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
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
