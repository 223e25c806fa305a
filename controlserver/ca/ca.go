// Package ca is the certificate authority of a trust domain: a root that signs a short-lived intermediate, which signs certificates that are
// shorter-lived still, for callers who prove who they are. Nothing of what a caller asks for says who it is; that is what its proof says.
//
// All that lasts stands in a state directory. It is changed by one process at a time, be it the control server or a command beside it,
// and the server takes up what others have changed.
package ca

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/time/rate"

	"github.com/weftmesh/weft/identity"
)

const (
	rootLife         = 10 * 365 * 24 * time.Hour
	intermediateLife = 30 * 24 * time.Hour
	longestLeaf      = 24 * time.Hour

	// watch is how often the state is looked at, which another process may have changed.
	watch = time.Second
	// sweepEvery is how often what is over is removed, and what is amiss is said again.
	sweepEvery = time.Minute
)

// Config is what a CA is made of. TrustDomain must be set.
type Config struct {
	TrustDomain spiffeid.TrustDomain
	// Dir is the state directory, which is made if it is not there and must be open to nobody else; empty keeps all in memory, so that a
	// restart makes another authority, which nobody believes yet.
	Dir string
	// Keys are what is needed to sign besides. If the key of the intermediate can't be read, New fails; that of the root may be missing as
	// long as the intermediate is good, which is said in the log until it is there again.
	Keys Keys

	// RootTTL is the life of new roots: 10 years. IntermediateTTL is that of intermediates, 30 days, which is the most it may be; they are
	// renewed at half of it. LeafTTL is that of certificates, 1 hour, and MaxLeafTTL the longest that a caller may ask for, 24 hours, which is
	// the most it may be.
	RootTTL, IntermediateTTL, LeafTTL, MaxLeafTTL time.Duration
	// Overlap is how long a new root must have been in the bundle before it may sign. 0 means the life of the longest-lived certificate, within which
	// every process has asked for another one and got the bundle with it; where bundles reach all by other ways, minutes will do.
	Overlap time.Duration

	// Issuers are whose tokens prove identities.
	Issuers []Issuer
	// Plaintext takes tokens over connections without TLS as well, where anybody may read them: on laptops alone.
	Plaintext bool
	// Revoked says who is not believed any more. It is asked for each call, and may be nil.
	Revoked func() *identity.Revoked
	// Rate is how many certificates one identity gets a second, 50, and Burst how many at once, 500.
	Rate  float64
	Burst int

	// Federation are the other trust domains that are believed.
	Federation []Federation
	// Logger: nil means slog.Default().
	Logger *slog.Logger
}

func (c *Config) lives() lives { return lives{root: c.RootTTL, intermediate: c.IntermediateTTL} }

// check fills in defaults and says what is wrong.
func (c *Config) check() error {
	def(&c.RootTTL, rootLife)
	def(&c.IntermediateTTL, intermediateLife)
	def(&c.LeafTTL, time.Hour)
	def(&c.MaxLeafTTL, max(c.LeafTTL, longestLeaf))
	def(&c.Rate, 50)
	def(&c.Burst, 500)
	var errs []error
	say := func(format string, args ...any) { errs = append(errs, fmt.Errorf("ca: "+format, args...)) }
	if c.TrustDomain.IsZero() {
		say("the trust domain is missing")
	}
	if c.IntermediateTTL > intermediateLife {
		say("IntermediateTTL is %v, more than %v", c.IntermediateTTL, intermediateLife)
	}
	if c.MaxLeafTTL > longestLeaf {
		say("MaxLeafTTL is %v, more than %v", c.MaxLeafTTL, longestLeaf)
	}
	if c.LeafTTL > c.MaxLeafTTL {
		say("LeafTTL is %v, more than MaxLeafTTL, %v", c.LeafTTL, c.MaxLeafTTL)
	}
	if c.LeafTTL < time.Second || c.IntermediateTTL < 2*c.MaxLeafTTL || c.RootTTL < c.IntermediateTTL {
		say("lives must be LeafTTL, of 1 s at least, < IntermediateTTL, which is twice MaxLeafTTL at least, <= RootTTL: they are %v, %v, %v", c.LeafTTL, c.IntermediateTTL, c.RootTTL)
	}
	return errors.Join(errs...)
}

func def[T time.Duration | float64 | int](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// A CA is the authority of a trust domain. Its methods are safe for concurrent use.
type CA struct {
	config    Config
	log       *slog.Logger
	store     store
	issuance  *issueLog // nil in memory
	issuers   *issuers
	federated *federation
	admission *admission
	limits    *limits
	chatter   *rate.Limiter
	unlock    func()

	live   atomic.Pointer[authority]
	issued atomic.Uint64

	changing sync.Mutex // held to change the state
	keyTried time.Time  // when the root's key was last
	keyErr   error

	listing sync.Mutex
	signed  *signed // nil before somebody asks for it

	mu      sync.Mutex
	news    chan struct{} // closed and replaced when a bundle changes
	trouble string        // what operators must know of; empty is well

	stop context.CancelFunc
	done sync.WaitGroup
}

var (
	errClosed = errors.New("ca: it is closed")
	errNoKey  = errors.New("ca: the key of the intermediate is missing")
)

// New opens the authority of a state directory, or makes one, and runs it until Close. No other server may run on the directory. It
// fails if there are keys that can't be read: a control server without its authority serves nobody, and had better say so.
func New(cfg Config) (*CA, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &CA{
		config: cfg, log: cmp.Or(cfg.Logger, slog.Default()), admission: newAdmission(), chatter: rate.NewLimiter(5, 20),
		limits: &limits{rate: rate.Limit(cfg.Rate), burst: cfg.Burst, of: map[spiffeid.ID]*rate.Limiter{}},
		news:   make(chan struct{}), unlock: func() {},
	}
	var err error
	if c.issuers, err = newIssuers(cfg.Issuers, cfg.TrustDomain, c.log); err != nil {
		return nil, err
	}
	if err := c.open(); err != nil {
		c.shut()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	if c.federated, err = newFederation(cfg, c); err != nil {
		stop()
		c.shut()
		return nil, err
	}
	c.done.Go(func() { c.run(ctx) })
	c.federated.run(ctx, &c.done)
	return c, nil
}

// open opens the store and has the authority ready.
func (c *CA) open() error {
	if c.config.Dir == "" {
		c.store = newMemory()
		c.log.Warn("the authority is kept in memory: after a restart nobody believes its certificates")
	} else {
		d, err := openDirectory(c.config.Dir)
		if err != nil {
			return err
		}
		c.store = d
		if c.unlock, err = lock(d.sub("lock")); err != nil {
			c.unlock = func() {}
			return err
		}
		if c.issuance, err = openLog(c.config.Dir, func(what string) { c.log.Warn("issuance log: " + what) }); err != nil {
			return err
		}
	}
	s, err := c.store.load()
	if err != nil {
		return err
	}
	if s == nil {
		if err := c.found(); err != nil {
			return err
		}
	} else if s.TrustDomain != c.config.TrustDomain {
		return fmt.Errorf("ca: the state directory is of trust domain %s, not of %s", s.TrustDomain, c.config.TrustDomain)
	}
	if err := c.reload(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.upkeep(); err != nil {
		if a := c.live.Load(); a == nil || a.key == nil {
			return err
		}
		c.alarm(err)
	}
	return nil
}

// found makes the first root and intermediate.
func (c *CA) found() error {
	s := &state{Number: 1, TrustDomain: c.config.TrustDomain, Sequence: 1, Longest: inSeconds(c.config.LeafTTL), Switched: time.Now()}
	r, err := c.config.Keys.newRoot(c.store, s.TrustDomain, c.config.RootTTL, nil)
	if err != nil {
		return err
	}
	s.Roots, s.Signing = []root{r}, r.Key
	if s.Intermediate, err = c.config.Keys.newIntermediate(c.store, s.TrustDomain, r, c.config.IntermediateTTL); err != nil {
		return err
	}
	if err := c.store.commit(s); err != nil {
		return err
	}
	c.log.Info("a new authority", "trust domain", s.TrustDomain.Name(), "dir", c.config.Dir)
	return nil
}

// Close stops it, and returns when what was begun is done.
func (c *CA) Close() {
	c.stop()
	c.done.Wait()
	c.shut()
}

func (c *CA) shut() {
	if c.issuance != nil {
		c.issuance.close()
	}
	c.unlock()
}

// TrustDomain is whose authority it is.
func (c *CA) TrustDomain() spiffeid.TrustDomain { return c.config.TrustDomain }

// Bundle is what certificates of the trust domain are verified by. It is the caller's.
func (c *CA) Bundle() *spiffebundle.Bundle { return c.live.Load().bundle.Clone() }

// Bundles are Bundle and those of the other trust domains, as far as they are known: what a process of this one is to believe.
func (c *CA) Bundles() []*spiffebundle.Bundle {
	return append([]*spiffebundle.Bundle{c.Bundle()}, c.federated.bundles()...)
}

// GetX509BundleForTrustDomain makes it a source of bundles (go-spiffe).
func (c *CA) GetX509BundleForTrustDomain(d spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if d == c.TrustDomain() {
		return c.live.Load().believed, nil
	}
	return c.federated.bundle(d)
}

// Changed is closed when Bundles, or who signs RevocationLists, is another than at the call.
func (c *CA) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.news
}

func (c *CA) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.news)
	c.news = make(chan struct{})
}

// run keeps it up: it takes up what other processes have changed, renews the intermediate, and removes what is over.
func (c *CA) run(ctx context.Context) {
	every := watch
	if c.config.Dir == "" {
		every = sweepEvery // nobody else can change it
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	swept, failed := time.Now(), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		again := time.Since(swept) >= sweepEvery
		n, err := c.store.newest()
		if err == nil && n != c.live.Load().state.Number && (n != failed || again) {
			c.changing.Lock()
			err = c.reload()
			c.changing.Unlock()
			if failed = 0; err != nil {
				failed = n
			}
		}
		if !again {
			continue
		}
		swept = time.Now()
		c.store.tokens().sweep(swept)
		c.alarm(errors.Join(err, c.upkeep()))
	}
}

// upkeep renews the intermediate at half its life, or when its key is missing, and writes down what the configuration says.
func (c *CA) upkeep() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	a := c.live.Load()
	now := time.Now()
	var errs []error
	if left := a.intermediate.NotAfter.Sub(now); a.key == nil || left < c.config.IntermediateTTL/2 && a.intermediate.NotAfter.Before(a.signing.NotAfter) {
		if err := c.change(c.renew); err != nil {
			errs = append(errs, fmt.Errorf("ca: the intermediate, which ends in %v, can't be renewed: %w", left.Round(time.Minute), err))
		}
	} else if err := c.rootKey(a, now); err != nil {
		errs = append(errs, fmt.Errorf("ca: the key of the root can't be used; certificates can be signed for %v still: %w", left.Round(time.Minute), err))
	}
	if slices.ContainsFunc(c.live.Load().state.Former, func(f former) bool { return !now.Before(f.Until) }) {
		errs = append(errs, c.change(func(n *state) error { n.forget(now); return nil }))
	}
	if want := inSeconds(cmp.Or(c.config.Overlap, a.state.Longest.duration())); a.state.Overlap != want {
		errs = append(errs, c.change(func(n *state) error { n.Overlap = want; return nil }))
	}
	if life := a.signing.NotAfter.Sub(a.signing.NotBefore); a.signing.NotAfter.Sub(now) < life/5 {
		errs = append(errs, fmt.Errorf("ca: the root ends at %v: rotate it", a.signing.NotAfter))
	}
	return errors.Join(errs...)
}

// rootKey tries once an hour whether the key of the root is at hand: with a passphrase that costs something.
func (c *CA) rootKey(a *authority, now time.Time) error {
	if c.keyTried.IsZero() || now.Sub(c.keyTried) >= time.Hour || c.keyErr != nil && now.Sub(c.keyTried) >= 5*time.Minute {
		c.keyTried = now
		_, c.keyErr = c.config.Keys.signer(c.store, a.state.Signing)
	}
	return c.keyErr
}

func (c *CA) renew(n *state) error {
	return n.replace(c.config.Keys, c.store, n.TrustDomain, c.config.IntermediateTTL, time.Now())
}

// lengthen has the state know of the longest life that is given to a certificate, before it is.
func (c *CA) lengthen(life time.Duration) error {
	want := inSeconds(life + time.Second - 1)
	if c.live.Load().state.Longest >= want {
		return nil
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.live.Load().state.Longest >= want {
		return nil
	}
	return c.change(func(n *state) error { n.Longest = want; return nil })
}

// change makes another state of the newest one, which another process may have made. changing is held.
func (c *CA) change(how func(*state) error) error {
	for range 5 {
		s, err := c.store.load()
		if err != nil {
			return err
		}
		n := s.next()
		if err := how(n); err != nil {
			return err
		}
		err = c.store.commit(n)
		if errors.Is(err, errOutdated) {
			continue
		}
		if err != nil {
			return err
		}
		return errors.Join(c.reload(), c.store.sweep(n, s))
	}
	return errOutdated
}

// reload takes up the newest state. changing is held, or nobody else is there yet.
func (c *CA) reload() error {
	s, err := c.store.load()
	if err != nil {
		return err
	}
	a, err := newAuthority(s, c.config.Keys, c.store)
	if a == nil {
		return err
	}
	old := c.live.Load()
	if err != nil && old != nil {
		return err // what signs now is better than nothing
	}
	c.live.Store(a)
	if old != nil && old.state.Sequence != s.Sequence {
		c.log.Info("the bundle has changed", "sequence", s.Sequence, "roots", len(s.Roots), "stage", string(s.stage()))
	}
	if old != nil && (old.state.Sequence != s.Sequence || old.state.Intermediate != s.Intermediate || len(old.state.Former) != len(s.Former)) {
		c.changed()
	}
	return err
}

// alarm says what is amiss, each time, and that it is over, once.
func (c *CA) alarm(err error) {
	text := ""
	if err != nil {
		text = err.Error()
		c.log.Error("the authority needs attention", "err", text)
	}
	c.mu.Lock()
	before := c.trouble
	c.trouble = text
	c.mu.Unlock()
	if before != "" && text == "" {
		c.log.Info("the authority is well again")
	}
}

// Status is what an operator should know of an authority.
type Status struct {
	TrustDomain spiffeid.TrustDomain
	Stage       Stage
	// Next is when the next step of a rotation may be taken, if Stage is not Steady.
	Next  time.Time
	Roots []RootStatus
	// Intermediate is when the intermediate ends.
	Intermediate time.Time
	Sequence     uint64
	// Issued are the certificates since the start.
	Issued uint64
	// Trouble is what needs attention; empty if nothing does.
	Trouble string
}

// A RootStatus is one root of the bundle.
type RootStatus struct {
	Serial         string
	Since          time.Time // in the bundle
	NotAfter       time.Time
	Signs          bool
	CertificatePEM string
}

// Status is how it stands.
func (c *CA) Status() Status {
	s := c.live.Load().status()
	s.Issued = c.issued.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Trouble = c.trouble
	return s
}

func (a *authority) status() Status {
	s := Status{TrustDomain: a.state.TrustDomain, Stage: a.state.stage(), Intermediate: a.intermediate.NotAfter, Sequence: a.state.Sequence}
	for i, cert := range a.roots {
		s.Roots = append(s.Roots, RootStatus{
			Serial: identity.Serial(cert.SerialNumber), Since: a.state.Roots[i].Since, NotAfter: cert.NotAfter,
			Signs: cert == a.signing, CertificatePEM: a.state.Roots[i].Certificate,
		})
	}
	switch s.Stage {
	case Steady:
	case Announced:
		s.Next = a.state.Roots[1].Since.Add(a.state.Overlap.duration())
	case Switched:
		s.Next = a.state.Switched.Add(a.state.Longest.duration() + takeUp)
	}
	return s
}
