package httpadapter

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// A carrier takes attempts of one request to their hosts, one at a time, and has the answer of
// the newest. It is the engine's Transport of attempts that write nothing in common with those of
// other carriers.
type carrier struct {
	pool  *pool
	req   *http.Request // the caller's; only read
	body  requestBody
	resp  *http.Response // of the newest attempt; nil if there is none
	held  responseBody   // its body, if the attempt goes on
	first outgoing
}

// Send sends the request to the host of the attempt and waits for the response's header.
func (c *carrier) Send(ctx context.Context, a *engine.Attempt) resilience.Outcome {
	c.discard()
	upgrade := upgrades(c.req.Header)
	wanted, err := a.TLS()
	if err != nil {
		return resilience.Outcome{Err: err, Cause: resilience.Unsent}
	}
	transport, secure, err := c.pool.transport(a.Cluster, wanted, c.req.URL, upgrade)
	if err != nil {
		return resilience.Outcome{Err: err, Cause: resilience.Unsent}
	}
	policy := &a.Call().Route().Policy
	keep := int64(0)
	if policy.Retry.Attempts > 0 || policy.Hedge != nil {
		keep = maxKept
	}
	body, err := c.body.next(ctx, keep)
	if err != nil {
		return failure(ctx, err)
	}
	var quiet *idle
	if policy.Idle > 0 {
		ctx, quiet = newIdle(ctx, policy.Idle)
	}
	o := c.outgoing(ctx, a, upgrade)
	req := o.request(c.req, body, secure)
	if body != nil {
		watchSending(req, a.Flow(), quiet)
	}
	resp, err := transport.RoundTrip(req) //nolint:bodyclose // the caller does
	o.ctx.got()
	if err != nil {
		out := c.failure(ctx, err)
		quiet.stop()
		return out
	}
	return c.answered(ctx, resp, a, quiet)
}

// Replayable reports whether the body can be sent again.
func (c *carrier) Replayable() bool { return c.body.replayable() }

// Connected is true of every host: connections are made when they are wanted.
func (c *carrier) Connected(*balancer.Host) bool { return true }

// answered takes the response of the attempt. ctx is what it was sent with.
func (c *carrier) answered(ctx context.Context, resp *http.Response, a *engine.Attempt, quiet *idle) resilience.Outcome {
	quiet.touch()
	resp.Request = c.req
	c.resp = resp
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		a.Proved(resp.TLS.PeerCertificates[0])
	}
	if resp.Body == http.NoBody {
		quiet.stop()
		if !a.Answered() {
			return resilience.Outcome{Err: errLate, Cause: resilience.Canceled}
		}
	} else {
		if !a.Hold() {
			quiet.stop()
			return resilience.Outcome{Err: errLate, Cause: resilience.Canceled}
		}
		if conn, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
			resp.Body = newUpgraded(conn, a, quiet)
		} else {
			c.held.hold(ctx, resp, a, quiet)
			resp.Body = &c.held
		}
	}
	out := resilience.Outcome{Status: resp.StatusCode}
	if a.Call().Route().Policy.Retry.Attempts > 0 || !out.OK() {
		out.Header = header(resp.Header)
	}
	return out
}

var errLate = errors.New("the answer came too late")

const (
	maxDrained = 16 << 10
	drainTime  = 50 * time.Millisecond
)

// discard drops the answer of the attempt before, if there is one. A short one is read first, so
// that its connection can be used again.
func (c *carrier) discard() {
	if c.resp == nil {
		return
	}
	body := c.resp.Body
	if body == &c.held {
		body = c.held.release() // what becomes of it is of no interest any more
	}
	if n := c.resp.ContentLength; c.resp.StatusCode != http.StatusSwitchingProtocols && n >= -1 && n <= maxDrained {
		stuck := time.AfterFunc(drainTime, func() { body.Close() })
		_, _ = io.CopyN(io.Discard, body, maxDrained) // an answer that is longer, or breaks, costs its connection
		stuck.Stop()
	}
	body.Close()
	c.resp = nil
}

// failure is the outcome of an attempt that got no response.
func (c *carrier) failure(ctx context.Context, err error) resilience.Outcome {
	out := failure(ctx, err)
	if broken := c.body.broken(); broken != nil && ctx.Err() == nil {
		return resilience.Outcome{Err: broken, Cause: resilience.Canceled}
	}
	select {
	case <-c.req.Cancel: //nolint:staticcheck // deprecated, but http.Client's Timeout still uses it
		out.Cause = resilience.Canceled
	default:
	}
	return out
}
