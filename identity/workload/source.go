// Package workload is an identity that an agent on this machine gives to the process, by the SPIFFE Workload API (SPIRE and others).
package workload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/weftmesh/weft/identity"
)

// A Config says whom to ask.
type Config struct {
	// Address of the Workload API: "unix:///run/spire/agent.sock" or "tcp://127.0.0.1:8000". Empty means what SPIFFE_ENDPOINT_SOCKET says.
	Address string
	// Hint chooses among several SVIDs the one that the agent gave this hint. Empty means the first.
	Hint string
	// Logger hears of an agent that does not answer, once for each reason; nil means slog.Default.
	Logger *slog.Logger
}

// A Source is an [identity.Source] and [identity.Waiter] that has what the agent last said. It asks until Close, through outages too; unlike a
// [workloadapi.X509Source] it exists before there is an answer, and survives every answer that is an error.
type Source struct {
	config Config
	client *workloadapi.Client
	stop   context.CancelFunc
	asking sync.WaitGroup

	mu      sync.Mutex
	svid    *x509svid.SVID
	bundles *x509bundle.Set
	err     error         // of the last answer; nil if it was none
	changed chan struct{} // closed by a change; nil if nobody waits
	closed  bool
}

// New begins to ask. It does not wait for an answer: see Ready. The error is of the address.
func New(c Config) (*Source, error) {
	if c.Address == "" {
		c.Address, _ = workloadapi.GetDefaultAddress()
	}
	if c.Address == "" {
		return nil, fmt.Errorf("workload api: no address: neither Config.Address nor %s says one", workloadapi.SocketEnv)
	}
	if err := workloadapi.ValidateAddress(c.Address); err != nil {
		return nil, fmt.Errorf("workload api: %s: %w", c.Address, err)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	ctx, stop := context.WithCancel(context.Background())
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(c.Address), workloadapi.WithBackoffStrategy(pauses{}), workloadapi.WithDialOptions(
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: firstPause, Multiplier: 2, Jitter: 0.5, MaxDelay: maxPause}, MinConnectTimeout: maxPause}),
		grpc.WithNoProxy(), // keys come this way
	))
	if err != nil {
		stop()
		return nil, fmt.Errorf("workload api: %s: %w", c.Address, err)
	}
	s := &Source{config: c, client: client, stop: stop, err: errors.New("no answer yet")}
	s.asking.Go(func() { s.ask(ctx) })
	return s, nil
}

// Ready waits until there is an SVID.
func (s *Source) Ready(ctx context.Context) error {
	for {
		s.mu.Lock()
		svid, err, closed := s.svid, s.err, s.closed
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		switch {
		case closed:
			return errClosed
		case svid != nil:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("workload api: %s: no identity: %w (%w)", s.config.Address, err, ctx.Err())
		}
	}
}

// GetX509SVID implements [identity.Source].
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errClosed
	case s.svid == nil:
		return nil, fmt.Errorf("workload api: %s: no identity: %w", s.config.Address, s.err)
	}
	return s.svid, nil
}

// GetX509BundleForTrustDomain implements [identity.Source].
func (s *Source) GetX509BundleForTrustDomain(d spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	s.mu.Lock()
	bundles, err, closed := s.bundles, s.err, s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return nil, errClosed
	case bundles == nil:
		return nil, fmt.Errorf("workload api: %s: no bundle: %w", s.config.Address, err)
	}
	return bundles.GetX509BundleForTrustDomain(d)
}

// Close ends the asking. The source has nothing any more.
func (s *Source) Close() error {
	s.stop()
	s.asking.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.tell()
	return s.client.Close()
}

var errClosed = errors.New("workload api: the source is closed")

// ask watches until ctx ends. go-spiffe's watch ends for good when an agent that goes away cancels it, or refuses the process as one that it
// does not know, as happens while an agent starts; here it is begun again.
func (s *Source) ask(ctx context.Context) {
	again := pauses{}.NewBackoff()
	for {
		begun := time.Now()
		_ = s.client.WatchX509Context(ctx, s) // which tells s what was wrong
		if time.Since(begun) > maxPause {
			again.Reset()
		}
		timer := time.NewTimer(again.Next())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// OnX509ContextUpdate implements [workloadapi.X509ContextWatcher]; it is called by go-spiffe alone.
func (s *Source) OnX509ContextUpdate(x *workloadapi.X509Context) {
	svid, err := s.choose(x.SVIDs)
	if err == nil {
		_, err = x.Bundles.GetX509BundleForTrustDomain(svid.ID.TrustDomain())
	}
	if err != nil {
		s.OnX509ContextWatchError(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil && s.svid != nil {
		s.config.Logger.Info("workload api answers again", "address", s.config.Address)
	}
	s.svid, s.bundles, s.err = svid, x.Bundles, nil
	s.tell()
}

// OnX509ContextWatchError implements [workloadapi.X509ContextWatcher]; it is called by go-spiffe alone.
func (s *Source) OnX509ContextWatchError(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil || s.err != nil && s.err.Error() == err.Error() {
		return
	}
	s.err = err
	s.tell()
	if !isEnd(err) {
		s.config.Logger.Warn("workload api: what it said before is kept", "address", s.config.Address, "error", err)
	}
}

func (s *Source) choose(all []*x509svid.SVID) (*x509svid.SVID, error) {
	for _, svid := range all {
		if s.config.Hint != "" && svid.Hint != s.config.Hint {
			continue
		}
		if _, err := identity.IDOf(svid.Certificates[0]); err != nil {
			return nil, fmt.Errorf("svid: %w", err)
		}
		return svid, nil
	}
	return nil, fmt.Errorf("none of %d SVIDs has the hint %q", len(all), s.config.Hint)
}

// tell wakes who waits for a change. The caller has the lock.
func (s *Source) tell() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
