package tcpadapter

import (
	"crypto/tls"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// plain is a connection that ends its attempt when it is closed. All else is the
// connection's own, splice and half-close included.
type plain struct {
	*watched
	attempt *engine.Attempt
}

func (c *plain) Close() error {
	err := c.watched.Close()
	c.attempt.Finish(resilience.Outcome{})
	return err
}

// secure is plain over TLS.
type secure struct {
	*tls.Conn
	attempt *engine.Attempt
	beneath *vouched
}

func (c *secure) Close() error {
	err := c.Conn.Close()
	var out resilience.Outcome
	if why := c.beneath.why.Load(); why != nil {
		out.Err, out.Cause = *why, resilience.Reset
	}
	c.attempt.Finish(out)
	return err
}
