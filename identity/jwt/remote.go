package jwt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// A source is where keys are fetched from.
type source struct{ service, uri string }

// A remote is the keys of a source: the last good ones, for as long as they may be used. It asks for others only while tokens come.
type remote struct {
	source
	current atomic.Pointer[fetched] // nil before the first

	used     atomic.Int64 // unix seconds
	mu       sync.Mutex   // may be held when the Authenticator's is taken, not the other way round
	ahead    float64      // at which part of their time keys are fetched anew
	failed   time.Time
	failures int       // since the last success
	sought   time.Time // when keys were last fetched for want of one
	flight   chan struct{}
	err      error // of the last flight
}

type fetched struct {
	keys *keySet
	at   time.Time
}

const (
	mostFetched = 1 << 20        // bytes of a JWK set
	unused      = 24 * time.Hour // after which a remote is forgotten
	// seldom is how often keys are fetched for want of one, or again after a failure: whoever makes up names of keys must not make us ask.
	seldom = 30 * time.Second
)

var errNoFetch = errors.New("keys: there is nothing to fetch them by")

// remote is the remote of a source, which is made if it is not known. Those that nobody uses are forgotten then.
func (a *Authenticator) remote(s source) *remote {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.remotes[s]
	if r == nil {
		for k, old := range a.remotes {
			if now.Sub(time.Unix(old.used.Load(), 0)) > unused {
				delete(a.remotes, k)
			}
		}
		r = &remote{source: s}
		a.remotes[s] = r
	}
	r.used.Store(now.Unix())
	return r
}

// keys are the keys of the provider's source, which it waits for if there are none, if it is time for others, or if lacking, a set that
// did not have the key of a token, is still the one there is.
func (a *Authenticator) keys(ctx context.Context, p *provider, lacking *keySet) (*keySet, error) {
	r := p.remote.Load()
	if r == nil {
		r = a.remote(source{p.Service, p.URI})
		p.remote.Store(r)
	}
	now := time.Now()
	if f := r.current.Load(); f != nil && lacking == nil && now.Sub(f.at) < p.CacheFor/2 {
		return f.keys, nil
	}
	if flight, wait := a.refresh(r, p, lacking, now); wait {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, errors.New("keys: the request ended before they were there")
		}
	}
	f := r.current.Load()
	if f == nil || time.Since(f.at) >= p.CacheFor+p.MaxStale {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.err == nil {
			return nil, errors.New("keys: there are none")
		}
		return nil, fmt.Errorf("keys: there are none: %w", r.err)
	}
	return f.keys, nil
}

// refresh begins to fetch keys if it is time, and says whether to wait for them.
func (a *Authenticator) refresh(r *remote, p *provider, lacking *keySet, now time.Time) (flight <-chan struct{}, wait bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used.Store(now.Unix())
	f := r.current.Load()
	sought := lacking != nil && f != nil && f.keys == lacking
	var begin bool
	switch {
	case f == nil || now.Sub(f.at) >= p.CacheFor+p.MaxStale:
		begin, wait = r.mayRetry(now, f != nil), true
	case now.Sub(f.at) >= p.CacheFor:
		begin, wait = r.mayRetry(now, true), r.failures == 0 // else the last good ones serve until it succeeds
	case sought:
		if begin = r.mayRetry(now, true) && (r.sought.IsZero() || now.Sub(r.sought) >= seldom); begin {
			r.sought = now
		}
		wait = begin || r.flight != nil
	case now.Sub(f.at) >= time.Duration(float64(p.CacheFor)*r.ahead):
		begin = r.mayRetry(now, true)
	}
	if begin && r.flight == nil {
		a.start(r, p.Timeout)
	}
	return r.flight, wait && r.flight != nil
}

// mayRetry reports whether enough time has passed since a failure. Without any keys that is less, since nobody is let in.
func (r *remote) mayRetry(now time.Time, have bool) bool {
	if r.failures == 0 {
		return true
	}
	pause := seldom
	if !have {
		pause = min(seldom, time.Second<<min(r.failures-1, 5))
	}
	return now.Sub(r.failed) >= pause
}

// start fetches keys, beside whoever needs them. r is locked.
func (a *Authenticator) start(r *remote, timeout time.Duration) {
	a.mu.Lock()
	closed := a.closed
	if !closed {
		a.fetches.Add(1)
	}
	a.mu.Unlock()
	if closed {
		return
	}
	flight := make(chan struct{})
	r.flight = flight
	go func() {
		defer a.fetches.Done()
		ctx, cancel := context.WithTimeout(a.ctx, timeout)
		defer cancel()
		keys, err := a.fetch(ctx, r.source)
		r.land(keys, err)
		close(flight)
		if err != nil && a.ctx.Err() == nil {
			a.config.Logger.Warn("tokens: keys not fetched; those known stay in use for a time", "uri", r.uri, "service", r.service, "err", err)
		}
	}()
}

func (a *Authenticator) fetch(ctx context.Context, s source) (*keySet, error) {
	if a.config.Fetch == nil {
		return nil, errNoFetch
	}
	data, err := a.config.Fetch(ctx, s.service, s.uri)
	if err != nil {
		return nil, err
	}
	if len(data) > mostFetched {
		return nil, fmt.Errorf("JWKS: has %d bytes, more than %d", len(data), mostFetched)
	}
	return parseKeys(data, true)
}

// land ends a flight. What is no set of keys leaves the last good one where it is.
func (r *remote) land(keys *keySet, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.flight, r.err = nil, err
	if err != nil {
		r.failures++
		r.failed = now
		return
	}
	r.failures = 0
	r.ahead = 0.75 + 0.15*rand.Float64() // processes that began together do not ask together
	if f := r.current.Load(); f != nil && f.keys.equal(keys) {
		keys = f.keys // what was verified by them stays verified
	}
	r.current.Store(&fetched{keys, now})
}
