// Package jwt verifies the tokens of requests, as an [identity.JWT] says: signed JWTs in compact form (RFC 7519), by keys that are configured
// or fetched. A token that verifies says who asks; it lets nobody in by itself: that is for rules to decide.
package jwt

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/identity"
)

// Config is what an Authenticator is made of.
type Config struct {
	// Fetch gets the keys of a provider: what is at uri, from the mesh's service of that name if service is not empty. It returns when ctx
	// ends. nil fetches nothing, so that only configured keys are known.
	Fetch func(ctx context.Context, service, uri string) ([]byte, error)
	// Logger is told when keys can't be had. nil discards.
	Logger *slog.Logger
}

// An Authenticator verifies tokens. Keys that it has fetched outlive configurations, by the place that they are fetched from. It is safe
// for concurrent use, and is to be closed.
type Authenticator struct {
	config Config
	seen   seen
	made   atomic.Pointer[map[*identity.JWT]*verifier] // copied on write

	ctx    context.Context // of fetches
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	remotes map[source]*remote
	fetches sync.WaitGroup
}

// New returns an Authenticator.
func New(c Config) *Authenticator {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Authenticator{config: c, remotes: map[source]*remote{}}
	a.made.Store(&map[*identity.JWT]*verifier{})
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Verify verifies the tokens of a request, as far as the requirement asks for them that counts for its path. j is not modified as long as
// it is used. It may wait for keys to be fetched, until ctx ends. A j that Check finds fault with lets nothing through, but for inline
// keys that are none, by which no token verifies.
func (a *Authenticator) Verify(ctx context.Context, j *identity.JWT, r *identity.Request) Result {
	if j == nil || r.Connection {
		return Result{}
	}
	v := a.verifier(j)
	res := Result{Remove: v.own}
	if v.fault != nil {
		return refused(v.fault)
	}
	for i := range v.requirements {
		q := &v.requirements[i]
		fits, err := q.path.fits(ctx, r)
		switch {
		case err != nil:
			return refused(err)
		case fits && q.need.kind != identity.NeedNothing:
			v.judge(ctx, a, q, r, &res)
			return res
		case fits:
			return res
		}
	}
	return res
}

// Close ends fetches and waits for them. What is verified after that knows only the keys that are there. It never fails.
func (a *Authenticator) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.fetches.Wait()
	return nil
}

// forgotten is how long what no request has needed is kept.
const forgotten = time.Hour

// verifier is j made ready, which it is once.
func (a *Authenticator) verifier(j *identity.JWT) *verifier {
	now := time.Now()
	if v := (*a.made.Load())[j]; v != nil {
		v.touch(now)
		return v
	}
	v, faults := newVerifier(j)
	if len(faults) > 0 {
		a.config.Logger.Error("tokens: configuration is at fault", "err", faults[0], "faults", len(faults))
	}
	v.touch(now)
	a.mu.Lock()
	defer a.mu.Unlock()
	was := *a.made.Load()
	if other := was[j]; other != nil {
		return other
	}
	next := make(map[*identity.JWT]*verifier, len(was)+1)
	for k, old := range was {
		if now.Sub(time.Unix(old.used.Load(), 0)) < forgotten {
			next[k] = old
		}
	}
	next[j] = v
	a.made.Store(&next)
	return v
}
