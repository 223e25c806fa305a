package httpadapter

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/weftmesh/weft/resilience"
)

// again is asked by net/http for a proxy each time it is about to send a request by HTTP/1.1, and so also when it sends one
// once more: if a kept connection breaks under a request that does no harm twice, it tries another, of its own accord. The
// server may have seen the first. So that there are never more tries than are configured, where the policy
// repeats calls they are left to it.
func again(req *http.Request) (*url.URL, error) {
	if c, ok := req.Context().Value(attemptKey{}).(*attemptContext); ok {
		if c.sends++; c.sends > 1 && c.counted() {
			return nil, errStale
		}
	}
	return nil, nil //nolint:nilnil // no proxy
}

var errStale = errors.New("the kept connection broke when the request was sent")

// counted reports whether the retry policy has the say in sending the attempt's request once more: it would do so,
// or has done so as often as it may.
func (c *attemptContext) counted() bool {
	call := c.attempt.Call()
	retry := &call.Route().Policy.Retry
	if retry.Attempts == 0 || !call.Idempotent {
		return false
	}
	made := uint32(c.attempt.Retries)
	_, may := retry.Next(made+1, resilience.Outcome{Err: errStale, Cause: resilience.Stale, Idempotent: true})
	return may || made >= retry.Attempts
}
