// Package controlserver is a control plane for the mesh: it reads configuration,
// keeps a register of the processes that serve, and tells every client over xDS
// what it needs to know.
//
// It is one [Server], which a process can embed; meshctl serve is little more.
// The rooms below do the work and know nothing of each other: sources report
// fragments, catalog makes one value of them, publish phrases it for each kind of
// client, ads sends it; ratelimit counts the calls that all clients may make together.
package controlserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weftmesh/weft/controlserver/ads"
	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/dns"
	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/controlserver/ratelimit"
	"github.com/weftmesh/weft/controlserver/source/registry"
	"github.com/weftmesh/weft/controlserver/source/yamldir"
	"github.com/weftmesh/weft/controlserver/web"
	"github.com/weftmesh/weft/identity"
)

// A Source reports all that it knows at every change, until ctx is done. Its
// first report must come soon: nothing is served before.
type Source interface {
	Run(ctx context.Context, report func(catalog.Fragment)) error
}

// Config is what a Server is made of. The zero Config serves, on a free port of
// loopback, only what registers.
type Config struct {
	// Dir holds the configuration as YAML files; empty means none.
	Dir string
	// Sources are further sources.
	Sources []Source
	// Listen is the address for xDS clients; empty means "127.0.0.1:0".
	Listen string
	// Listener is used instead of Listen if it is not nil.
	Listener net.Listener
	// Advertise is where clients reach the server, "host:port": proxies are told to ask its rate limits there. Empty means
	// Listen, with an address of this machine where that is none.
	Advertise string
	// Web is the address of the status page; empty means none.
	Web string
	// Grace is how long a process stays registered whose stream broke; 0 means 10 s.
	// For as long after its start the server leaves clients that bring
	// configuration from before with what they have, while the processes that
	// serve find their way back and register again.
	Grace time.Duration
	// RateLimitStore is where calls are counted that are limited for all processes together: empty means in memory,
	// which is each server's own, "redis://[user][:password]@host[:port][/db]" or "rediss://..." in a Redis that servers
	// share. While it can't be asked, clients do as the limit says for that.
	RateLimitStore string
	// CA makes the server the authority of a trust domain, which its clients must be of: they prove who they are by mTLS, get their
	// certificates here, and are told to speak mTLS with each other. TrustDomain must be set; Revoked is the server's own. nil is for
	// laptops: nobody proves anything, and the log says so.
	CA *ca.Config
	// DefaultMTLS is how servers of the trust domain take connections of which no PeerAuthentication says anything; zero means Strict, so that no
	// stranger gets in (Istio: Permissive).
	DefaultMTLS identity.Mode
	// BundleEndpoint is the address where other trust domains fetch the bundle of this one (SPIFFE bundle endpoint, https_spiffe); empty means
	// none.
	BundleEndpoint string
	// Lookup resolves names of endpoints; nil means the system's resolver.
	Lookup func(ctx context.Context, name string) ([]string, error)
	// Logger: nil means slog.Default().
	Logger *slog.Logger
}

// A Server is a control server. Its methods are safe for concurrent use.
type Server struct {
	config   Config
	log      *slog.Logger
	listener net.Listener
	web      net.Listener // nil without a status page
	bundle   net.Listener // nil without a bundle endpoint
	ads      *ads.Server
	limits   *ratelimit.Server
	registry *registry.Registry
	dns      *dns.Resolver
	ca       *ca.CA          // nil for a mesh without identities
	own      identity.Source // then nil too
	revoked  atomic.Pointer[identity.Revoked]
	sources  []Source
	started  time.Time

	kick chan struct{} // something was reported

	mu        sync.Mutex
	fragments []*catalog.Fragment // of each source, nil before its first report
	reports   uint64              // how many there were
	worked    state
	news      chan struct{} // closed and replaced when worked changes

	lostMu sync.Mutex
	saidOf map[string]bool // losses that are in the log
}

// state is what the server makes of the newest reports.
type state struct {
	reports    uint64 // how many are in it
	generation uint64
	changed    time.Time
	catalog    *catalog.Catalog
	findings   []catalog.Finding
	publisher  *publish.Publisher // of the catalog; nil before there is one
}

// New opens the server's addresses, so that Addr is known. Nothing is served
// before Run, which also closes them.
func New(cfg Config) (*Server, error) {
	s := &Server{
		config:  cfg,
		log:     cmp.Or(cfg.Logger, slog.Default()),
		kick:    make(chan struct{}, 1),
		news:    make(chan struct{}),
		saidOf:  map[string]bool{},
		started: time.Now(),
	}
	if cfg.Dir != "" {
		switch info, err := os.Stat(cfg.Dir); {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("controlserver: configuration directory %s does not exist", cfg.Dir)
		case err != nil:
			return nil, fmt.Errorf("controlserver: configuration directory: %w", err)
		case !info.IsDir():
			return nil, fmt.Errorf("controlserver: configuration: %s is not a directory", cfg.Dir)
		}
		s.sources = append(s.sources, yamldir.New(cfg.Dir, yamldir.WithLogger(s.log)))
	}
	s.sources = append(s.sources, cfg.Sources...)
	s.registry = registry.New(registry.Config{Grace: cfg.Grace, Logger: s.log})
	s.sources = append(s.sources, s.registry)
	s.fragments = make([]*catalog.Fragment, len(s.sources))

	var err error
	if s.limits, err = ratelimit.New(ratelimit.Config{Store: cfg.RateLimitStore, Logger: s.log}); err != nil {
		return nil, fmt.Errorf("controlserver: %w", err)
	}
	if s.listener = cfg.Listener; s.listener == nil {
		if s.listener, err = listen(cmp.Or(cfg.Listen, "127.0.0.1:0")); err != nil {
			s.shut()
			return nil, fmt.Errorf("controlserver: address for xDS: %w", err)
		}
	}
	if cfg.Web != "" {
		if s.web, err = listen(cfg.Web); err != nil {
			s.shut()
			return nil, fmt.Errorf("controlserver: status page: %w", err)
		}
	}
	if cfg.BundleEndpoint != "" && cfg.CA != nil {
		if s.bundle, err = listen(cfg.BundleEndpoint); err != nil {
			s.shut()
			return nil, fmt.Errorf("controlserver: bundle endpoint: %w", err)
		}
	}
	if err := s.authority(); err != nil {
		s.shut()
		return nil, fmt.Errorf("controlserver: %w", err)
	}
	admission := ads.Config{Observer: registration{s.registry}, Warmup: cmp.Or(cfg.Grace, 10*time.Second), Logger: s.log}
	if s.ca != nil {
		admission.Identify, admission.Admit = s.identify, s.admit
	}
	s.ads = ads.New(admission)
	s.dns = dns.New(dns.Config{Lookup: cfg.Lookup, Logger: s.log}, s.republish)
	return s, nil
}

// shut closes what a Server that does not come to be has opened.
func (s *Server) shut() {
	s.limits.Close()
	for _, ln := range []net.Listener{s.listener, s.web, s.bundle} {
		if ln != nil {
			ln.Close()
		}
	}
}

func listen(addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
}

// Addr is the address for xDS clients.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// WebAddr is the address of the status page; empty without one.
func (s *Server) WebAddr() string {
	if s.web == nil {
		return ""
	}
	return s.web.Addr().String()
}

// advertised is where clients on other machines reach the server.
func (s *Server) advertised() string {
	if s.config.Advertise != "" {
		return s.config.Advertise
	}
	a, ok := s.listener.Addr().(*net.TCPAddr)
	if !ok || !a.IP.IsUnspecified() {
		return s.Addr()
	}
	ip := net.IPv4(127, 0, 0, 1)
	addrs, _ := net.InterfaceAddrs() // without any, loopback is all there is
	for _, i := range addrs {
		if n, ok := i.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			ip = n.IP.To4()
			break
		}
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(a.Port))
}

// Run serves until ctx is done, then drains: clients are sent away one after
// the other and keep what they have. It returns nil after that, or why it could
// not serve, and is called once.
func (s *Server) Run(ctx context.Context) error {
	run, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	failed := make(chan error, len(s.sources)+2)
	task := func(what string, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil && run.Err() == nil {
				failed <- fmt.Errorf("controlserver: %s: %w", what, err)
			}
		})
	}
	for i, src := range s.sources {
		task(fmt.Sprintf("source %T", src), func() error {
			return src.Run(run, func(f catalog.Fragment) { s.report(i, f) })
		})
	}
	wg.Go(func() { s.work(run) })

	if s.ca != nil {
		wg.Go(func() { s.follow(run) })
	}
	server := grpc.NewServer(s.serverOptions()...)
	s.ads.Register(server)
	if s.ca != nil {
		s.ca.Register(server)
	}
	s.limits.Register(server)
	healthpb.RegisterHealthServer(server, health.NewServer())
	task("xDS", func() error { return server.Serve(s.listener) })
	page := &http.Server{Handler: web.Handler(s.Status), ReadHeaderTimeout: 10 * time.Second}
	if s.web != nil {
		task("status page", func() error {
			if err := page.Serve(s.web); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	if s.bundle != nil {
		task("bundle endpoint", func() error { return s.serveBundle(run) })
	}
	s.log.Info("control server is up", "xds", s.Addr(), "web", s.WebAddr(), "config", s.config.Dir)
	if s.ca == nil {
		s.log.Warn("clients are NOT authenticated: whoever reaches the address sees all configuration, can register as any service and use up every limit", "xds", s.Addr())
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if e := s.ads.Drain(drain, drainTime/2); e != nil {
		s.log.Warn("clients did not leave in time", "err", e)
	}
	stop()
	server.Stop()
	s.limits.Close()
	_ = s.ads.Close() // never fails
	_ = page.Close()  // its listener is done with
	s.dns.Close()
	wg.Wait()
	if s.ca != nil {
		s.ca.Close()
	}
	return err
}

// drainTime bounds how long Run takes to end.
const drainTime = 2 * time.Second

// report takes what a source knows.
func (s *Server) report(i int, f catalog.Fragment) {
	s.mu.Lock()
	s.fragments[i] = &f
	s.reports++
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// work makes and publishes a catalog after reports. Reports that come meanwhile are taken together.
func (s *Server) work(ctx context.Context) {
	var good catalog.LastGood
	told, names := map[string]bool{}, map[string]bool{}
	for {
		select {
		case <-s.kick:
		case <-ctx.Done():
			return
		}
		fragments, reports := s.newest()
		if len(fragments) < len(s.sources) {
			continue // a mesh without half of its configuration is served to nobody
		}
		c, findings := good.Merge(fragments...)
		findings = append(findings, c.CheckAuthority(s.believes())...)
		s.tell(told, findings)
		old := names
		names = publish.Names(c, s.advertised())
		s.resolve(ctx, old, names)
		s.revoke(c.Revoked())
		s.limits.Set(sharedLimits(c)) // before anybody is told to ask for them
		s.publish(func(w *state) {
			w.catalog, w.findings, w.reports, w.changed = c, findings, reports, time.Now()
		})
		s.dns.Want(names)
	}
}

func sharedLimits(c *catalog.Catalog) (out []ratelimit.Limit) {
	for _, l := range c.SharedLimits() {
		out = append(out, ratelimit.Limit{Name: l.Name, Domain: l.Domain, Entries: l.Entries, Requests: l.Requests, Per: l.Per})
	}
	return out
}

// newest returns what the sources reported last; those that have not yet reported are left out.
func (s *Server) newest() (fragments []catalog.Fragment, reports uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.fragments {
		if f != nil {
			fragments = append(fragments, *f)
		}
	}
	return fragments, s.reports
}

// resolve has new names followed beside the old ones, which are served until
// then, and gives them a moment to be found: a service whose endpoints got other
// names would have none otherwise.
func (s *Server) resolve(ctx context.Context, old, names map[string]bool) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	both := maps.Clone(old)
	maps.Copy(both, names)
	s.dns.Want(both)
	s.dns.Tried(ctx)
}

// lookupTime bounds how long a change waits for names to be resolved.
const lookupTime = 500 * time.Millisecond

// republish publishes the same catalog with what is known of names now.
func (s *Server) republish() { s.publish(func(*state) {}) }

// publish changes what the server works with, and serves that from now on.
func (s *Server) publish(change func(*state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.worked)
	if s.worked.catalog == nil {
		return
	}
	s.worked.generation++
	generation := s.worked.generation
	known := s.dns.Known() // a view must not change with time
	cfg := publish.Config{
		Lookup:     func(name string) []string { return known[name] },
		RateLimits: s.advertised(),
		Lost:       s.lost,
	}
	if s.ca != nil {
		cfg.TrustDomain, cfg.DefaultMode = s.ca.TrustDomain().Name(), cmp.Or(s.config.DefaultMTLS, identity.Strict)
		if r := s.worked.catalog.Revoked(); r != nil {
			cfg.RevocationLists = s.ca.RevocationLists(r.Serials)
		}
	}
	p := publish.New(s.worked.catalog, cfg)
	s.worked.publisher = p
	trust := s.trust()
	var mu sync.Mutex
	snapshots := map[*publish.View]*snapshot{}
	s.ads.Publish(func(n *ads.Node) ads.Snapshot {
		v := p.View(client(n))
		mu.Lock()
		defer mu.Unlock()
		if snapshots[v] == nil {
			snapshots[v] = newSnapshot(v, generation, s.unpublishable)
			snapshots[v].trust = trust
		}
		return snapshots[v]
	})
	close(s.news)
	s.news = make(chan struct{})
}

func (s *Server) unpublishable(typeURL, name string, err error) {
	s.log.Error("resource cannot be published", "type", shortType(typeURL), "name", name, "err", err)
}

// lost logs once what clients of a kind can't do of what they asked for.
func (s *Server) lost(l publish.Loss) {
	text := l.String()
	key := l.Dialect.String() + " " + text
	s.lostMu.Lock()
	said := s.saidOf[key]
	if len(s.saidOf) >= mostSaid {
		clear(s.saidOf)
	}
	s.saidOf[key] = true
	s.lostMu.Unlock()
	if !said {
		s.log.Warn("a client asked for what its kind cannot do all of", "client", l.Dialect.String(), "loss", text)
	}
}

// mostSaid bounds what is remembered of the log.
const mostSaid = 10_000

// tell logs each finding once for as long as it lasts.
func (s *Server) tell(told map[string]bool, findings []catalog.Finding) {
	now := map[string]bool{}
	for _, f := range findings {
		text := f.String()
		now[text] = true
		if told[text] {
			continue
		}
		told[text] = true
		if f.Severity == catalog.Error {
			s.log.Error("configuration refused; its last good version, if there was one, stays in use", "finding", text)
		} else {
			s.log.Warn("configuration", "finding", text)
		}
	}
	for text := range told {
		if !now[text] {
			delete(told, text)
			s.log.Info("configuration finding is gone", "finding", text)
		}
	}
}
