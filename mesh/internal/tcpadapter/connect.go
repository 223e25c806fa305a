package tcpadapter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
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

// Connect makes a connection to the host of the attempt, with a TLS handshake if conf is not nil
// (the connection is a *tls.Conn then, and ends when its server is not believed any more). It gives up after the cluster's
// ConnectTimeout, handshake included, and as soon as the configuration drops the host: who waits for a
// departed host would wait in vain. The error is a [*ConnectError].
//
// closed is called once: when the connection is closed, or could not be made.
func Connect(ctx context.Context, network string, a *engine.Attempt, conf *tls.Config, closed func()) (net.Conn, error) {
	h, timeout := a.Host, a.Cluster.ConnectTimeout
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
	conn, err := dial(ctx, network, a, conf, closed)
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

func dial(ctx context.Context, network string, a *engine.Attempt, conf *tls.Config, closed func()) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, a.Host.Addr())
	if err != nil {
		closed()
		return nil, err
	}
	w := &watched{TCPConn: conn.(*net.TCPConn), closed: closed}
	if conf == nil {
		return w, nil
	}
	v := &vouched{watched: w}
	v.made = a.Make(v.shut)
	secure := tls.Client(v, conf)
	if err = secure.HandshakeContext(ctx); err == nil {
		err = v.made.Prove(secure.ConnectionState().PeerCertificates)
	}
	if err != nil {
		_ = v.Close() // the error is that of the handshake
		return nil, fmt.Errorf("tls handshake with %s: %w", a.Host.Addr(), err)
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

// vouched is a connection beneath TLS, that ends when its server is not believed any more.
type vouched struct {
	*watched
	made *engine.Made
	why  atomic.Pointer[error] // it was ended; nil if it was not
}

// shut ends it, without a farewell, which might wait.
func (c *vouched) shut(why error) {
	c.why.CompareAndSwap(nil, &why)
	_ = c.Close() // what matters is that it breaks
}

func (c *vouched) Read(p []byte) (int, error) {
	n, err := c.watched.Read(p)
	return n, c.told(err)
}

func (c *vouched) Write(p []byte) (int, error) {
	n, err := c.watched.Write(p)
	return n, c.told(err)
}

func (c *vouched) Close() error {
	err := c.watched.Close()
	c.made.Forget()
	return err
}

// told is err, and why the connection was ended.
func (c *vouched) told(err error) error {
	if why := c.why.Load(); why != nil && err != nil {
		return fmt.Errorf("%w: %w", *why, err)
	}
	return err
}
