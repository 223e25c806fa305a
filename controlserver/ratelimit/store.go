package ratelimit

import (
	"context"
	"time"
)

// A store keeps counts. It is safe for concurrent use.
type store interface {
	// take counts the hits of each want that fit whole, and appends to levels what then is, in order. An error
	// may leave some counted.
	take(ctx context.Context, wants []want, levels []level) ([]level, error)
	close()
}

// A want is what a descriptor asks for.
type want struct {
	key   key
	limit uint32
	per   time.Duration
	hits  int64 // less than 0 gives back; 0 only asks
}

// A level is what is known of a limit.
type level struct {
	ok    bool
	left  uint32
	reset time.Duration // until the window ends; its whole length if none has begun
}
