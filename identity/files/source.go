// Package files is an identity that stands in PEM files, which something else renews: cert-manager's, a sidecar's agent, a person.
package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// A Config says where the files are. All are PEM, and may be symbolic links that are changed. Who writes them does best to rename them into place.
type Config struct {
	// Certificate is the chain, leaf first, which is an X509-SVID, and Key is the leaf's key.
	Certificate, Key string
	// Bundle are the authorities of the identity's own trust domain, Federated those of others by the name of the trust domain.
	Bundle    string
	Federated map[string]string
	// Interval is how often they are looked at; 0 means 10 s.
	Interval time.Duration
	// Logger hears what is wrong with the files, once for each reason; nil means slog.Default.
	Logger *slog.Logger
}

// A Source is an [identity.Source] and [identity.Waiter] that has what the files say. Certificate and key are read together, and what is not whole, does
// not fit together, is over, or is no X509-SVID leaves what was there before; so does each bundle. A file that is taken away is believed until Close: trust
// ends by a bundle without the authority in it.
type Source struct {
	config  Config
	domains []spiffeid.TrustDomain // of Federated, as the names are sorted
	logger  *slog.Logger
	stop    context.CancelFunc
	stopped chan struct{}

	told map[string]string // by what is wrong; the poller's

	mu      sync.Mutex
	set     set
	changed chan struct{} // closed by a change; nil if nobody waits
	closed  bool
}

// A set is what the files said. It is not modified.
type set struct {
	svid    *x509svid.SVID
	bundles map[spiffeid.TrustDomain]*x509bundle.Bundle
	own     []byte // PEM of Bundle
	missing error  // why there is not all that is needed; nil if there is
}

// New reads the files and keeps looking at them until Close. That they are not there, or not whole, is no error of New: see Ready.
func New(c Config) (*Source, error) {
	if c.Certificate == "" || c.Key == "" || c.Bundle == "" {
		return nil, errors.New("files: certificate, key and bundle must be named")
	}
	if c.Interval < 0 {
		return nil, errors.New("files: interval is negative")
	}
	if c.Interval == 0 {
		c.Interval = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s := &Source{config: c, logger: c.Logger, stopped: make(chan struct{}), told: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(c.Federated)) {
		d, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return nil, fmt.Errorf("files: federated trust domain %q: %w", name, err)
		}
		s.domains = append(s.domains, d)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.look()
	go s.poll(ctx)
	return s, nil
}

// Ready waits until there are an SVID and a bundle of its trust domain.
func (s *Source) Ready(ctx context.Context) error {
	for {
		s.mu.Lock()
		missing, closed := s.set.missing, s.closed
		if missing == nil && !closed {
			s.mu.Unlock()
			return nil
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		if closed {
			return errClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("files: %w (%w)", missing, ctx.Err())
		}
	}
}

// GetX509SVID implements [identity.Source].
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	now, err := s.now()
	if err != nil {
		return nil, err
	}
	if now.svid == nil {
		return nil, fmt.Errorf("files: %w", now.missing)
	}
	return now.svid, nil
}

// GetX509BundleForTrustDomain implements [identity.Source].
func (s *Source) GetX509BundleForTrustDomain(d spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	now, err := s.now()
	if err != nil {
		return nil, err
	}
	if b := now.bundles[d]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("files: no bundle of trust domain %q", d.Name())
}

// Close ends the looking. The source has nothing any more.
func (s *Source) Close() error {
	s.stop()
	<-s.stopped
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.tell()
	return nil
}

var errClosed = errors.New("files: the source is closed")

func (s *Source) now() (set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return set{}, errClosed
	}
	return s.set, nil
}

func (s *Source) poll(ctx context.Context) {
	defer close(s.stopped)
	ticker := time.NewTicker(s.config.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.look()
		}
	}
}

// look reads all files. They are small, and their content is the only thing that surely tells whether they changed.
func (s *Source) look() {
	next := s.set // which nobody else writes
	next.bundles = map[spiffeid.TrustDomain]*x509bundle.Bundle{}

	svid, err := readSVID(s.config.Certificate, s.config.Key, next.svid)
	s.report("certificate and key", err)
	if err == nil {
		next.svid = svid
	}
	next.missing = nil
	if next.svid == nil {
		next.missing = err
	}
	own, err := os.ReadFile(s.config.Bundle)
	if err == nil {
		_, err = authorities(own)
	}
	if err == nil {
		next.own = own
	} else {
		err = fmt.Errorf("bundle %s: %w", s.config.Bundle, err)
	}
	s.report("bundle", err)
	if next.own == nil {
		next.missing = errors.Join(next.missing, err)
	}
	for i, path := range s.federated() {
		d := s.domains[i]
		b, err := readBundle(d, path, s.set.bundles[d])
		s.report("bundle of "+d.Name(), err)
		if b != nil {
			next.bundles[d] = b
		}
	}
	if next.svid != nil && next.own != nil {
		d := next.svid.ID.TrustDomain()
		next.bundles[d], _ = keep(d, next.own, s.set.bundles[d]) // read above
	}
	if info, err := os.Stat(s.config.Key); err == nil { // else it is said already
		s.report("mode of the key", readable(s.config.Key, info.Mode().Perm()))
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = next
	s.tell()
}

// tell wakes who waits for a change. The caller has the lock.
func (s *Source) tell() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// federated are the paths of domains.
func (s *Source) federated() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.config.Federated)) {
		out = append(out, s.config.Federated[name])
	}
	return out
}

// report logs what is wrong when it was not so before.
func (s *Source) report(what string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if s.told[what] == text {
		return
	}
	s.told[what] = text
	if err != nil {
		s.logger.Warn("identity files: "+what, "error", err)
	} else {
		s.logger.Info("identity files: " + what + ": well again")
	}
}

// readable says that everybody may read a key.
func readable(key string, mode fs.FileMode) error {
	if mode&0o004 != 0 {
		return fmt.Errorf("key %s is readable by every user of this machine (%v)", key, mode)
	}
	return nil
}
