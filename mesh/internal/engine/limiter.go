package engine

import (
	"context"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// A Limiter keeps the limits of all processes together. It is safe for concurrent use.
type Limiter interface {
	// Take asks for tokens of the limit that the entries name, and blocks until there is an answer or
	// ctx ends. granted may be fewer, or none; holds is how long they are good, or how long there will be
	// none, and 0 if the limiter does not say. No such limit is no limit: all are granted.
	Take(ctx context.Context, domain string, entries []resilience.Entry, tokens uint32) (granted uint32, holds time.Duration, err error)
}
