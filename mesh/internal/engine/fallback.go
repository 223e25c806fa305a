package engine

import (
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
