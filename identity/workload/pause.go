package workload

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// An agent is on this machine and serves all processes of it: they come back soon, and not all at once.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 10 * time.Second
)

// pauses implements [workloadapi.BackoffStrategy].
type pauses struct{}

func (pauses) NewBackoff() workloadapi.Backoff { return &pause{} }

type pause struct{ last time.Duration }

// Next is twice what was last, less up to a half of it.
func (p *pause) Next() time.Duration {
	p.last = min(max(2*p.last, firstPause), maxPause)
	return p.last - rand.N(p.last/2)
}

// Reset begins anew.
func (p *pause) Reset() { p.last = 0 }

// isEnd reports whether an error only says that the asking was ended.
func isEnd(err error) bool {
	return errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled
}
