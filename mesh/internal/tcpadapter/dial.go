// Package tcpadapter connects to the services of the engine over TCP.
package tcpadapter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Dial connects to a host of the service, over TLS if its cluster demands it.
// The connection is the call: it counts at the host until it is closed. ctx and the route's
// timeout bound the dialing alone; the cluster's threshold of connections bounds how many there are. CloseWrite and the other methods
// of *net.TCPConn, or *tls.Conn, are there. Over TLS it is closed when its server is not believed any more: who reads from it is told.
//
// Routes see the service's name as authority and the path "/". The error is an [*engine.Error].
func Dial(ctx context.Context, e *engine.Engine, network, service string) (net.Conn, error) {
	d := &dialing{engine: e, network: network}
	d.call.Protocol = engine.TCP
	d.call.Request = resolver.Request{Authority: service, Scheme: "tcp", Path: "/"}
	if _, err := e.Service(service).Do(ctx, &d.call, d); err != nil {
		return nil, err
	}
	return d.conn, nil
}

// dialing is one Dial.
type dialing struct {
	engine  *engine.Engine
	call    engine.Call
	network string
	conn    net.Conn
}

// Send connects to the host of the attempt.
func (d *dialing) Send(ctx context.Context, a *engine.Attempt) resilience.Outcome {
	if d.conn != nil {
		d.conn.Close()
		d.conn = nil
	}
	conf, err := d.tls(a)
	if err != nil {
		return resilience.Outcome{Err: err, Cause: resilience.Unsent}
	}
	// A connection beyond the threshold is refused and does not wait, as by Envoy's TCP proxy.
	use, most := a.InUse()
	if !use.Connections.Enter(most.MaxConnections) {
		err := fmt.Errorf("%w: %d connections are open, the most there may be (max_connections)", engine.ErrFull, most.MaxConnections)
		return resilience.Outcome{Err: err, Cause: resilience.Unsent}
	}
	conn, err := Connect(ctx, d.network, a, conf, use.Connections.Leave)
	if err != nil {
		return outcome(ctx, err)
	}
	if !a.Hold() {
		conn.Close()
		return outcome(ctx, ctx.Err())
	}
	switch c := conn.(type) {
	case *watched:
		d.conn = &plain{c, a}
	case *tls.Conn:
		v := c.NetConn().(*vouched)
		a.ProvedBy(v.made.Principal())
		d.conn = &secure{c, a, v}
	}
	return resilience.Outcome{}
}

// Replayable is true: nothing is sent before the caller has the connection.
func (d *dialing) Replayable() bool { return true }

// Connected is true of every host: each attempt makes its own connection.
func (d *dialing) Connected(*balancer.Host) bool { return true }

func (d *dialing) tls(a *engine.Attempt) (*tls.Config, error) {
	demand, err := a.TLS()
	if demand == nil || err != nil {
		return nil, err
	}
	called := d.call.Service()
	if host, _, err := net.SplitHostPort(called); err == nil {
		called = host
	}
	conf, err := d.engine.Demand(demand).Config(called)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: tls: %w", a.Cluster.Name, err)
	}
	return conf, nil
}

func outcome(ctx context.Context, err error) resilience.Outcome {
	out := resilience.Outcome{Err: err, Cause: resilience.ConnectFailure}
	var connect *ConnectError
	ended := ctx.Err()
	if d, ok := ctx.Deadline(); ok && ended == nil && !time.Now().Before(d) {
		ended = context.DeadlineExceeded // the dialer keeps the deadline by a timer of its own, which may be first
	}
	switch {
	case ended == context.DeadlineExceeded:
		out.Cause = resilience.Timeout
	case ended != nil:
		out.Cause = resilience.Canceled
	case errors.As(err, &connect):
		out.Cause = connect.Cause
	}
	if ended != nil && !errors.Is(err, ended) { // net says "operation was canceled" in its own words
		out.Err = fmt.Errorf("%w: %w", ended, err)
	}
	return out
}
