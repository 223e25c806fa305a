// Package dns keeps the IP addresses of names current, for endpoints that are
// configured by name (ServiceEntry resolution DNS).
package dns

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// Config says how names are looked up. The zero value uses the system's resolver.
type Config struct {
	// Lookup returns the addresses of a name; nil means net.DefaultResolver.
	Lookup func(ctx context.Context, name string) ([]string, error)
	// Interval between two look-ups of a name; 0 means 5 s (Envoy dns_refresh_rate).
	Interval time.Duration
	// Timeout of one look-up; 0 means 5 s.
	Timeout time.Duration
	// Logger must not be nil.
	Logger *slog.Logger
}

// A Resolver looks names up again and again. It is safe for concurrent use.
type Resolver struct {
	config  Config
	changed func()

	mu    sync.Mutex
	names map[string]*entry
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

type entry struct {
	addresses []string
	failed    bool
	tried     chan struct{} // closed after the first look-up
	stop      context.CancelFunc
}

// New returns a Resolver that calls changed, from goroutines of its own, after
// addresses of a name have changed.
func New(c Config, changed func()) *Resolver {
	if c.Lookup == nil {
		c.Lookup = func(ctx context.Context, name string) ([]string, error) {
			ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
			if err != nil {
				return nil, err
			}
			out := make([]string, len(ips))
			for i, ip := range ips {
				out[i] = ip.Unmap().String()
			}
			return out, nil
		}
	}
	if c.Interval <= 0 {
		c.Interval = 5 * time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	r := &Resolver{config: c, changed: changed, names: map[string]*entry{}}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Want makes the Resolver follow exactly these names.
func (r *Resolver) Want(names map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return
	}
	maps.DeleteFunc(r.names, func(name string, e *entry) bool {
		if !names[name] {
			e.stop()
		}
		return !names[name]
	})
	for name := range names {
		if r.names[name] != nil {
			continue
		}
		ctx, stop := context.WithCancel(r.ctx)
		e := &entry{stop: stop, tried: make(chan struct{})}
		r.names[name] = e
		r.wg.Go(func() { r.follow(ctx, name, e) })
	}
}

// Tried waits until every name that is followed was looked up once, with or
// without success.
func (r *Resolver) Tried(ctx context.Context) {
	r.mu.Lock()
	entries := slices.Collect(maps.Values(r.names))
	r.mu.Unlock()
	for _, e := range entries {
		select {
		case <-e.tried:
		case <-ctx.Done():
			return
		}
	}
}

// Known returns the addresses of every name that is followed, as known now; the
// map is the caller's. A failed look-up does not take away what an earlier one has found.
func (r *Resolver) Known() map[string][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := make(map[string][]string, len(r.names))
	for name, e := range r.names {
		known[name] = e.addresses
	}
	return known
}

// Close ends all look-ups and waits for them.
func (r *Resolver) Close() {
	r.stop()
	r.wg.Wait()
}

func (r *Resolver) follow(ctx context.Context, name string, e *entry) {
	tick := time.NewTicker(r.config.Interval)
	defer tick.Stop()
	r.look(ctx, name, e)
	close(e.tried)
	for {
		select {
		case <-tick.C:
			r.look(ctx, name, e)
		case <-ctx.Done():
			return
		}
	}
}

func (r *Resolver) look(ctx context.Context, name string, e *entry) {
	one, cancel := context.WithTimeout(ctx, r.config.Timeout)
	defer cancel()
	addresses, err := r.config.Lookup(one, name)
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	if err != nil {
		if !e.failed { // once, not at every try
			r.config.Logger.Warn("dns: name not resolved; what was known stays in use", "name", name, "err", err)
		}
		e.failed = true
		r.mu.Unlock()
		return
	}
	slices.Sort(addresses)
	addresses = slices.Compact(addresses)
	changed := !slices.Equal(addresses, e.addresses)
	e.addresses, e.failed = addresses, false
	r.mu.Unlock()
	if changed {
		r.changed()
	}
}
