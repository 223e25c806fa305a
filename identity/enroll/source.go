// Package enroll is an identity.Source that asks a certificate authority: the control server's own, or istiod's, by
// istio.v1.auth.IstioCertificateService. It proves who it is by a join token or a token in a file, and, once it has a
// certificate, by that.
package enroll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/weftmesh/weft/identity"
)

const (
	// Renewing: at half the life left, give or take a tenth.
	renewAt     = 0.5
	renewJitter = 0.1

	// What fails is tried again after a second at first and 3.5 s at most, so that a certificate is renewed within 5 s of the authority's return.
	firstPause  = time.Second
	mostPause   = 3500 * time.Millisecond
	pauseFactor = 1.6
	pauseJitter = 0.2
	// mostPushback bounds for how long an authority may send us away.
	mostPushback = 30 * time.Second

	// askTime bounds one attempt. An authority may be slow: asking again would make it slower.
	askTime = time.Minute
)

// Config is what a Source is made of. Address must be set, one of RootCAs, RootCAFile and Plaintext, and a token unless Dir has a
// certificate.
type Config struct {
	// Address of the authority, "host:port".
	Address string
	// RootCAs are PEM certificates that its certificate is verified by, RootCAFile a file of such, which is read at each attempt. They are
	// for that alone: what peers are verified by comes with the certificate.
	RootCAs    []byte
	RootCAFile string
	// ServerName is the name that its certificate must be for, ServerID the SPIFFE ID. Without either it must be for the host of Address, or, if it
	// has a SPIFFE ID, that of a control server: /ns/weft-system/sa/control-server.
	ServerName string
	ServerID   spiffeid.ID
	// TLS12 lets it speak TLS 1.2, as istiod may.
	TLS12 bool
	// Plaintext asks without TLS: whoever listens may use the token, and whoever answers is believed. For laptops alone.
	Plaintext bool

	// JoinToken is good once, for the first certificate. TokenFile is a file with a token that is read each time, such as Kubernetes keeps
	// fresh: /var/run/secrets/tokens/istio-token.
	JoinToken string
	TokenFile string
	// ClusterID is sent to istiod along with the token; empty sends none.
	ClusterID string

	// TrustDomain, if it is not zero, is the only one that a certificate may be of, and ID the only identity. Without, the first answer decides.
	TrustDomain spiffeid.TrustDomain
	ID          spiffeid.ID
	// TTL is the life that is asked for; 0 leaves it to the authority.
	TTL time.Duration
	// Dir is a directory of this process alone, where its key and certificate are kept for a restart, for the owner's eyes alone: others must not be able to write to it. Empty keeps them in memory.
	Dir string

	// Dial connects to the authority; nil means TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Logger: nil means slog.Default().
	Logger *slog.Logger
}

// FromEnv is the configuration that the environment has, and whether there is any: WEFT_CA is the address of the authority, WEFT_ROOT_CA
// the file of certificates that it is verified by, WEFT_JOIN_TOKEN and WEFT_TOKEN_FILE the tokens, WEFT_IDENTITY_DIR the directory that keeps key and certificate.
func FromEnv() (Config, bool) {
	return Config{
		Address:    os.Getenv("WEFT_CA"),
		RootCAFile: os.Getenv("WEFT_ROOT_CA"),
		JoinToken:  os.Getenv("WEFT_JOIN_TOKEN"),
		TokenFile:  os.Getenv("WEFT_TOKEN_FILE"),
		Dir:        os.Getenv("WEFT_IDENTITY_DIR"),
	}, os.Getenv("WEFT_CA") != ""
}

// check says what is wrong.
func (c *Config) check() error {
	var errs []error
	say := func(format string, args ...any) { errs = append(errs, fmt.Errorf("enroll: "+format, args...)) }
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" {
		say("address %q of the authority is not host:port (WEFT_CA)", c.Address)
	}
	roots := 0
	for _, given := range []bool{len(c.RootCAs) > 0, c.RootCAFile != "", c.Plaintext} {
		if given {
			roots++
		}
	}
	if roots != 1 {
		say("one of RootCAs, RootCAFile (WEFT_ROOT_CA) and Plaintext must say how the authority is verified")
	}
	if c.ServerName != "" && !c.ServerID.IsZero() {
		say("ServerName and ServerID are two ways to say one thing")
	}
	if !c.ID.IsZero() && !c.TrustDomain.IsZero() && !c.ID.MemberOf(c.TrustDomain) {
		say("ID %s is not of trust domain %s", c.ID, c.TrustDomain)
	}
	if c.JoinToken == "" && c.TokenFile == "" && c.Dir == "" {
		say("there is nothing to prove who this process is: JoinToken (WEFT_JOIN_TOKEN) or TokenFile (WEFT_TOKEN_FILE) is missing")
	}
	return errors.Join(errs...)
}

// A Source has the certificate that an authority gives, and renews it until Close. Its methods are safe for concurrent use.
type Source struct {
	config Config
	log    *slog.Logger

	mu      sync.Mutex
	held    *held // nil before the first certificate
	bundles map[spiffeid.TrustDomain]*x509bundle.Bundle
	state   State
	news    chan struct{} // closed and replaced when held or state changes

	joined    bool  // the join token was used; of run alone
	spent     error // why that led to no certificate; of run alone
	stop      context.CancelFunc
	done      chan struct{}
	closeOnce sync.Once
}

var (
	_ identity.Source = (*Source)(nil)
	_ identity.Waiter = (*Source)(nil)
)

// State is how a Source stands.
type State struct {
	ID       spiffeid.ID
	NotAfter time.Time // of the certificate
	Renewal  time.Time // when it will be renewed, or the next attempt be made
	Failures int       // attempts since the last that worked
	// Err is why the last attempt failed; nil if it worked.
	Err error
}

var errNone = errors.New("no attempt has ended yet")

// New starts a Source. It does not wait for a certificate: see [Source.Ready].
func New(cfg Config) (*Source, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Source{
		config: cfg, log: cmp.Or(cfg.Logger, slog.Default()), stop: stop, done: make(chan struct{}),
		bundles: map[spiffeid.TrustDomain]*x509bundle.Bundle{}, state: State{Err: errNone}, news: make(chan struct{}),
	}
	if cfg.Dir != "" {
		h, err := load(cfg.Dir)
		if err == nil && h != nil {
			err = s.accept(h)
		}
		if err != nil {
			stop()
			return nil, fmt.Errorf("enroll: kept in %s: %w", cfg.Dir, err)
		}
	}
	if cfg.Plaintext {
		s.log.Warn("the authority is asked WITHOUT TLS: anybody on the way can take this process's identity", "address", cfg.Address)
	}
	go s.run(ctx)
	return s, nil
}

// GetX509SVID implements identity.Source.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		return nil, s.missing()
	}
	if !time.Now().Before(s.held.leaf().NotAfter) {
		return nil, fmt.Errorf("enroll: the certificate of %s has expired, and %s does not renew it: %w", s.held.svid.ID, s.config.Address, s.why())
	}
	return s.held.svid, nil
}

// GetX509BundleForTrustDomain implements identity.Source.
func (s *Source) GetX509BundleForTrustDomain(d spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bundles[d]; b != nil {
		return b, nil
	}
	if s.held == nil {
		return nil, s.missing()
	}
	return nil, fmt.Errorf("enroll: trust domain %q is not believed", d.Name())
}

// SetBundles says what other trust domains are believed by, in place of what an earlier call said. One of the own trust domain is used until the
// next answer of the authority, which brings its own. Bundles without an authority are left out.
func (s *Source) SetBundles(bundles ...*x509bundle.Bundle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[spiffeid.TrustDomain]*x509bundle.Bundle, len(bundles)+1)
	if s.held != nil {
		if own := s.bundles[s.held.domain()]; own != nil {
			all[s.held.domain()] = own
		}
	}
	for _, b := range bundles {
		if !b.Empty() {
			all[b.TrustDomain()] = b.Clone()
		}
	}
	s.bundles = all
}

// State is how it stands.
func (s *Source) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Ready waits until there is a certificate. The error says in one sentence why there is none.
func (s *Source) Ready(ctx context.Context) error {
	for {
		s.mu.Lock()
		held, news, why := s.held, s.news, s.missing()
		s.mu.Unlock()
		if held != nil && time.Now().Before(held.leaf().NotAfter) {
			return nil
		}
		select {
		case <-news:
		case <-s.done:
			return errors.New("enroll: the source is closed")
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", why, ctx.Err())
		}
	}
}

// missing is why there is no certificate. mu is held.
func (s *Source) missing() error {
	return fmt.Errorf("enroll: no certificate from %s: %w", s.config.Address, s.why())
}

func (s *Source) why() error { return cmp.Or(s.state.Err, errNone) }

// Close ends the renewing, and returns when it has ended. The certificate stays as it is.
func (s *Source) Close() error {
	s.closeOnce.Do(s.stop)
	<-s.done
	return nil
}

// run asks whenever it is time to, one attempt after the other.
func (s *Source) run(ctx context.Context) {
	defer close(s.done)
	next := time.Now()
	if h := s.now(); h != nil {
		next = h.renewal
	}
	pause := time.Duration(0)
	for {
		s.set(func(st *State) { st.Renewal = next })
		timer := time.NewTimer(time.Until(next))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		h, wait, err := s.ask(ctx)
		if err != nil && ctx.Err() != nil {
			return
		}
		if err != nil {
			pause = min(max(firstPause, time.Duration(float64(pause)*pauseFactor)), mostPause)
			next = time.Now().Add(max(jittered(pause, pauseJitter), min(wait, mostPushback)))
			s.failed(err)
			continue
		}
		pause, next = 0, h.renewal
		if s.config.Dir != "" {
			if err := save(s.config.Dir, h); err != nil {
				s.log.Error("the certificate can't be kept for a restart", "err", err)
			}
		}
		s.log.Info("a certificate", "id", h.svid.ID.String(), "until", h.leaf().NotAfter, "renewal", next)
	}
}

func (s *Source) now() *held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// accept puts an answer into use, unless it is not what may follow the one before.
func (s *Source) accept(h *held) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := h.svid.ID
	switch {
	case !s.config.TrustDomain.IsZero() && !id.MemberOf(s.config.TrustDomain):
		return fmt.Errorf("a certificate of %s, which is not of trust domain %s", id, s.config.TrustDomain)
	case !s.config.ID.IsZero() && id != s.config.ID:
		return fmt.Errorf("a certificate of %s, and not of %s", id, s.config.ID)
	case s.held != nil && id != s.held.svid.ID:
		return fmt.Errorf("a certificate of %s, while this process is %s", id, s.held.svid.ID)
	}
	s.held = h
	s.bundles[h.domain()] = x509bundle.FromX509Authorities(h.domain(), h.roots)
	s.state = State{ID: id, NotAfter: h.leaf().NotAfter, Renewal: h.renewal}
	s.tell()
	return nil
}

func (s *Source) failed(err error) {
	first := false
	s.set(func(st *State) {
		first = st.Failures == 0 || st.Err == nil || st.Err.Error() != err.Error()
		st.Failures++
		st.Err = err
	})
	if first {
		s.log.Warn("no certificate; it is tried again and again", "address", s.config.Address, "err", err)
	}
}

func (s *Source) set(change func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
	s.tell()
}

// tell wakes those who wait. mu is held.
func (s *Source) tell() {
	close(s.news)
	s.news = make(chan struct{})
}

func jittered(d time.Duration, by float64) time.Duration {
	return time.Duration(float64(d) * (1 + by*(2*rand.Float64()-1)))
}
