package grpcadapter

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
)

const (
	// connectTimeout bounds the making of one connection of a cluster that says nothing
	// of it. gRPC's own 20 s keep a call of a channel that has just begun from
	// learning for so long that a host does not answer.
	connectTimeout = 5 * time.Second
	// maxConnectTimeout is what gRPC gives a connection; a cluster that asks for more gets this.
	maxConnectTimeout = 20 * time.Second
)

// connecting is how long the making of a connection may take, from the dial to the first that the
// server says (Envoy connect_timeout).
type connecting struct {
	timeout  atomic.Int64 // in nanoseconds; it follows the configuration
	deadline atomic.Int64 // in UnixNano, of the attempt that is being made
}

// within sets the timeout for the next attempts. Where clusters share a connection, the
// shortest of theirs holds.
func (c *connecting) within(d time.Duration, first bool) {
	if d <= 0 {
		d = connectTimeout
	}
	if first || int64(d) < c.timeout.Load() {
		c.timeout.Store(int64(d))
	}
}

// begin starts the time of an attempt.
func (c *connecting) begin() { c.deadline.Store(time.Now().UnixNano() + c.timeout.Load()) }

// bound is ctx until the attempt's time is up.
func (c *connecting) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if d := c.deadline.Load(); d != 0 {
		return context.WithDeadline(ctx, time.Unix(0, d))
	}
	return ctx, func() {} // a dialer of the user's
}

// listen makes the connection fail if the server has not said anything when the attempt's time is up.
func (c *connecting) listen(raw net.Conn) net.Conn {
	d := c.deadline.Load()
	if d == 0 || raw.SetReadDeadline(time.Unix(0, d)) != nil {
		return raw
	}
	return &silent{Conn: raw}
}

type connKey struct{}

// connOf is what gRPC connects, by the address's attributes; nil if it is not ours.
func connOf(ctx context.Context) *conn {
	n, _ := credentials.ClientHandshakeInfoFromContext(ctx).Attributes.Value(connKey{}).(*conn)
	return n
}

// connect dials as gRPC does by default, within the time that the host's cluster gives.
func connect(ctx context.Context, addr string) (net.Conn, error) {
	if n := connOf(ctx); n != nil {
		n.begin()
		var cancel context.CancelFunc
		ctx, cancel = n.bound(ctx)
		defer cancel()
	}
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}} // the system's
	return d.DialContext(ctx, "tcp", addr)
}

// A silent connection has a deadline for the first that is read from it.
type silent struct {
	net.Conn
	heard bool
}

// Read implements net.Conn.
func (s *silent) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if n > 0 && !s.heard {
		s.heard = true
		if err := s.SetReadDeadline(time.Time{}); err != nil {
			return n, err
		}
	}
	return n, err
}
