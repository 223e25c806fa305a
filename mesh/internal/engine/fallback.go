package engine

import (
	"slices"
	"strconv"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// Keeps reports whether an answer to the call that ended so, with a body of so many bytes, is to be handed
// to Keep. Who reads a body asks as it grows: it is false from the first byte too many on.
func (c *Call) Keeps(o resilience.Outcome, bytes int) bool {
	return c.route != nil && c.route.kept != nil && c.route.Policy.Fallback.Keeps(o, bytes)
}

// Keep keeps a good answer, to be given in place of a failure to calls of the same key (see
// [Answerer]). Neither a nor what it holds is modified afterwards. It may be called while the call runs
// and after it has ended, from any goroutine.
func (c *Call) Keep(key string, a *resilience.Answer) {
	if c.route != nil && c.route.kept != nil {
		c.route.kept.Keep(key, time.Now(), a)
	}
}

// fallback is the answer to give in place of a failure; nil if there is none. It is for the servers' failures, and for those of getting
// at them: a caller that asks too often is to know it, and so is one whose configuration is wrong.
func (c *Call) fallback(out resilience.Outcome, failed *Error, now time.Time) *resilience.Answer {
	if c.route == nil || c.route.Policy.Fallback == nil || !c.route.Policy.Fallback.Applies(out) {
		return nil
	}
	f := c.route.Policy.Fallback
	if failed != nil {
		switch failed.Kind {
		case NoService, NoRoute, RateLimited, Injected, Canceled:
			return nil
		}
	}
	t, ok := c.transport.(Answerer)
	// What has changed something is not to be answered as if it had been done. Of gRPC's methods only the route can know.
	if !ok || c.Protocol == HTTP && c.Request.Method != "GET" && c.Request.Method != "HEAD" { //nolint:usestdlibvars // net/http is for adapters
		return nil
	}
	if c.base != nil && c.base.Err() != nil { // the caller's own time is up: nobody waits
		return nil
	}
	store := c.route.kept
	key, ok := t.Key()
	if !ok {
		store = nil
	}
	a, age := f.Choose(store, key, now)
	if a == nil || a.GRPC != (c.Protocol == GRPC) {
		return nil
	}
	said := "configured"
	if a != f.Answer {
		said = "last-good; age=" + strconv.FormatInt(int64(age/time.Second), 10)
	}
	answer := *a
	answer.Header = append(slices.Clone(a.Header), resilience.Entry{Key: fallbackHeader, Value: said})
	return &answer
}

// fallbackHeader says that an answer is a fallback, and which.
const fallbackHeader = "x-weft-fallback"
