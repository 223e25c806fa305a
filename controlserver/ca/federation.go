package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	gospiffe "github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

const (
	// Bundles of others are fetched as often as they say, within these bounds; what fails is tried again after the shortest.
	oftenest = 30 * time.Second
	rarest   = time.Hour
)

// A Profile is how a bundle endpoint proves that it is the right one (SPIFFE Federation 5.2).
type Profile string

// The profiles.
const (
	HTTPSWeb    Profile = "https_web"    // by a certificate that browsers believe too
	HTTPSSPIFFE Profile = "https_spiffe" // by an X509-SVID of EndpointID
)

// A Federation is another trust domain whose certificates are believed, by the bundle that it publishes.
type Federation struct {
	TrustDomain spiffeid.TrustDomain
	URL         string // "https://..."
	Profile     Profile
	// EndpointID is who serves the bundle (https_spiffe).
	EndpointID spiffeid.ID
	// BundleFile is a file of that bundle in SPIFFE's form, to begin with: https_spiffe with an EndpointID of the same trust domain can't do without.
	BundleFile string
	// RootCAFile is a file of PEM certificates in place of the system's (https_web).
	RootCAFile string
}

// BundleHandler serves the bundle of the trust domain (SPIFFE bundle endpoint). Its server's TLS is the caller's: [CA.TLS] for https_spiffe.
func (c *CA) BundleHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, err := gospiffe.NewHandler(c.TrustDomain(), c.Bundle())
		if err != nil {
			http.Error(w, "there is no bundle", http.StatusInternalServerError)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// federation follows the bundles of other trust domains.
type federation struct {
	dir   string // of what was fetched last; empty keeps nothing
	log   *slog.Logger
	ca    *CA
	peers []*foreign
}

// A foreign is another trust domain.
type foreign struct {
	Federation

	client *http.Client

	mu     sync.Mutex
	bundle *spiffebundle.Bundle // nil before there is one
}

func newFederation(cfg Config, c *CA) (*federation, error) {
	f := &federation{log: c.log, ca: c}
	if cfg.Dir != "" && len(cfg.Federation) > 0 {
		f.dir = filepath.Join(cfg.Dir, "federation")
		if err := os.MkdirAll(f.dir, 0o700); err != nil {
			return nil, fmt.Errorf("ca: federation: %w", err)
		}
	}
	var errs []error
	for _, entry := range cfg.Federation {
		p := &foreign{Federation: entry}
		if err := f.prepare(p, cfg.TrustDomain); err != nil {
			errs = append(errs, fmt.Errorf("ca: federation with %q: %w", entry.TrustDomain.Name(), err))
		}
		f.peers = append(f.peers, p)
	}
	return f, errors.Join(errs...)
}

func (f *federation) prepare(p *foreign, own spiffeid.TrustDomain) error {
	u, err := url.Parse(p.URL)
	switch {
	case p.TrustDomain.IsZero() || p.TrustDomain == own:
		return errors.New("the name of another trust domain is missing")
	case f.of(p.TrustDomain) != nil:
		return errors.New("it is there twice")
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		return fmt.Errorf("URL %q: it must be https://HOST/PATH", p.URL)
	}
	switch p.Profile {
	case HTTPSWeb:
		if !p.EndpointID.IsZero() {
			return errors.New("EndpointID is of profile https_spiffe")
		}
		if p.client, err = newClient(p.RootCAFile); err != nil {
			return err
		}
	case HTTPSSPIFFE:
		if p.EndpointID.IsZero() || p.RootCAFile != "" {
			return errors.New("https_spiffe needs an EndpointID and takes no RootCAFile")
		}
		conf := tlsconfig.TLSClientConfig(f.ca, tlsconfig.AuthorizeID(p.EndpointID))
		conf.MinVersion = tls.VersionTLS12
		p.client = boundedClient(conf)
	default:
		return fmt.Errorf("profile %q: there are %s and %s", p.Profile, HTTPSWeb, HTTPSSPIFFE)
	}
	return f.restore(p)
}

// restore begins with what was fetched last, or else with what the configuration has: whichever is newer.
func (f *federation) restore(p *foreign) error {
	if p.BundleFile != "" {
		b, err := spiffebundle.Load(p.TrustDomain, p.BundleFile)
		if err == nil {
			err = p.accept(b)
		}
		if err != nil {
			return fmt.Errorf("BundleFile: %w", err)
		}
	}
	if f.dir == "" {
		return nil
	}
	b, err := spiffebundle.Load(p.TrustDomain, f.file(p))
	if err == nil {
		err = p.accept(b)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.log.Warn("the bundle of another trust domain that was kept is not used", "trust domain", p.TrustDomain.Name(), "err", err)
	}
	return nil
}

func (f *federation) file(p *foreign) string {
	return filepath.Join(f.dir, p.TrustDomain.Name()+".json")
}

func (f *federation) of(d spiffeid.TrustDomain) *foreign {
	for _, p := range f.peers {
		if p.TrustDomain == d {
			return p
		}
	}
	return nil
}

// bundle is that of another trust domain.
func (f *federation) bundle(d spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if p := f.of(d); p != nil {
		if b := p.current(); b != nil {
			return b.X509Bundle(), nil
		}
		return nil, fmt.Errorf("ca: the bundle of trust domain %q has not come yet", d.Name())
	}
	return nil, fmt.Errorf("ca: trust domain %q is not believed", d.Name())
}

func (f *federation) bundles() (out []*spiffebundle.Bundle) {
	for _, p := range f.peers {
		if b := p.current(); b != nil {
			out = append(out, b.Clone())
		}
	}
	return out
}

// run follows them all until ctx is done.
func (f *federation) run(ctx context.Context, done *sync.WaitGroup) {
	for _, p := range f.peers {
		done.Go(func() { f.follow(ctx, p) })
	}
}

func (f *federation) follow(ctx context.Context, p *foreign) {
	told := ""
	for {
		err := f.refresh(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != told {
			f.log.Warn("the bundle of another trust domain can't be taken, the one of before stays in use", "trust domain", p.TrustDomain.Name(), "err", err)
		}
		pause := time.NewTimer(p.next(err))
		told = ""
		if err != nil {
			told = err.Error()
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// refresh fetches one. go-spiffe's own FetchBundle reads without bound, waits without bound and follows redirects out of TLS.
func (f *federation) refresh(ctx context.Context, p *foreign) error {
	text, err := fetch(ctx, p.client, p.URL, "")
	if err != nil {
		return err
	}
	b, err := spiffebundle.Parse(p.TrustDomain, text)
	if err != nil {
		return err
	}
	if old := p.current(); old != nil && old.Equal(b) {
		return nil
	}
	if err := p.accept(b); err != nil {
		return err
	}
	f.log.Info("the bundle of another trust domain has changed", "trust domain", p.TrustDomain.Name(), "authorities", len(b.X509Authorities()))
	if f.dir != "" {
		if err := writeFile(f.file(p), text); err != nil {
			f.log.Warn("the bundle of another trust domain can't be kept", "trust domain", p.TrustDomain.Name(), "err", err)
		}
	}
	f.ca.changed()
	return nil
}

func (p *foreign) current() *spiffebundle.Bundle {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bundle
}

// accept takes a bundle in place of the one there is, unless it is older, empty, or of another trust domain.
func (p *foreign) accept(b *spiffebundle.Bundle) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	authorities := b.X509Authorities()
	if len(authorities) == 0 {
		return errors.New("it has no X.509 authority")
	}
	for _, a := range authorities {
		if err := p.fits(a); err != nil {
			return err
		}
	}
	if p.bundle != nil {
		was, counted := p.bundle.SequenceNumber()
		is, counts := b.SequenceNumber()
		if counted && (!counts || is < was) {
			return fmt.Errorf("its sequence number is %d, lower than that of the one before, %d", is, was)
		}
	}
	p.bundle = b
	return nil
}

// fits refuses authorities that say that they are of another trust domain: a document does not.
func (p *foreign) fits(a *x509.Certificate) error {
	if !a.IsCA {
		return errors.New("one of its certificates is of no authority")
	}
	if len(a.URIs) == 0 || slices.ContainsFunc(a.URIs, func(u *url.URL) bool { return u.String() == p.TrustDomain.IDString() }) {
		return nil
	}
	return fmt.Errorf("one of its authorities is of %s", a.URIs[0])
}

// next is how long to wait until the next fetch, with a little chance so that not all come at once.
func (p *foreign) next(err error) time.Duration {
	d := oftenest
	if b := p.current(); err == nil && b != nil {
		d = refresh
		if hint, ok := b.RefreshHint(); ok {
			d = min(max(hint, oftenest), rarest)
		}
	}
	return d - time.Duration(rand.Int64N(int64(d/10)))
}
