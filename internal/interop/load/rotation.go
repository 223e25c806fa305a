package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/examples/stage"
	"github.com/weftmesh/weft/identity/enroll"
	"github.com/weftmesh/weft/mesh"
)

// How much of the figure rotation there is: each member has an HTTP and a gRPC server with an identity of its own, and each client, of
// which each has its own too, a connection to each of them.
const (
	rotating      = 100
	rotatingHosts = 5
	rotatingTTL   = 6 * time.Second
)

// rotation measures what callers notice of certificates that are renewed all the time.
func (b *bench) rotation(ctx context.Context) error {
	fmt.Printf("\n## Rotation\n\n%d clients and %d servers whose certificates live for %v; %d calls a second over each protocol.\n\n", rotating, 2*rotatingHosts, rotatingTTL, b.rate)
	return b.among(func() error {
		d, err := b.authority(ctx, rotatingTTL)
		if err != nil {
			return err
		}
		var admins []string
		for i := range rotatingHosts {
			admin, err := b.member(ctx, d, fmt.Sprintf("member-%d", i))
			if err != nil {
				return err
			}
			admins = append(admins, admin)
		}
		crowd, err := d.clients(ctx, rotating)
		if err != nil {
			return err
		}
		defer crowd.close()
		return crowd.rotate(ctx, d, admins, stretch{b.rate, b.length})
	})
}

// A domain is a trust domain whose authority is a process of its own.
type domain struct {
	control, pid, state, roots string
}

const loadDomain = "load.example"

// authority starts a control server that is an authority.
func (b *bench) authority(ctx context.Context, ttl time.Duration) (*domain, error) {
	dir, err := os.MkdirTemp(b.dir, "authority-")
	if err != nil {
		return nil, err
	}
	d := &domain{state: filepath.Join(dir, "state"), roots: filepath.Join(dir, "roots.pem")}
	policy := filepath.Join(dir, "config")
	if err := os.Mkdir(policy, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(policy, "rules.yaml"), []byte(tenRules), 0o600); err != nil {
		return nil, err
	}
	line, err := b.Start(ctx, "control", "--role", "authority", "--config", policy, "--state", d.state, "--ttl", ttl.String())
	if err != nil {
		return nil, err
	}
	d.control, d.pid, _ = strings.Cut(line, " ")
	status, err := ca.ReadStatus(d.state)
	if err != nil {
		return nil, err
	}
	var roots []byte
	for _, r := range status.Roots {
		roots = append(roots, r.CertificatePEM...)
	}
	return d, os.WriteFile(d.roots, roots, 0o600)
}

// tenRules let the clients in, by the last of ten.
var tenRules = func() string {
	var b strings.Builder
	b.WriteString("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ten, namespace: load}\nspec:\n  action: ALLOW\n  rules:\n")
	for i := range 9 {
		fmt.Fprintf(&b, "  - {from: [{source: {principals: [%s/ns/other/sa/client-%d]}}], to: [{operation: {paths: [/other/%[2]d/*]}}]}\n", loadDomain, i)
	}
	fmt.Fprintf(&b, "  - {from: [{source: {principals: [\"%s/ns/load/*\"]}}]}\n", loadDomain)
	return b.String()
}()

// serveAuthority is a control server that prints its address and process.
func (p *part) serveAuthority(ctx context.Context) error {
	s, err := controlserver.New(controlserver.Config{
		Dir: p.config, Listen: "127.0.0.1:0", Logger: stage.Quiet("control"),
		CA: &ca.Config{TrustDomain: spiffeid.RequireTrustDomainFromString(loadDomain), Dir: p.state, LeafTTL: p.ttl},
	})
	if err != nil {
		return err
	}
	fmt.Println(s.Addr(), os.Getpid())
	return s.Run(ctx)
}

// source is an identity that has a token to begin with.
func (d *domain) source(name, token string) (*enroll.Source, error) {
	return enroll.New(enroll.Config{Address: d.control, RootCAFile: d.roots, JoinToken: token, Logger: stage.Quiet(name)})
}

func (d *domain) token(name string) (string, error) {
	id, err := spiffeid.FromSegments(spiffeid.RequireTrustDomainFromString(loadDomain), "ns", "load", "sa", name)
	if err != nil {
		return "", err
	}
	return ca.CreateToken(d.state, id, 0)
}

// member starts a process with two servers, and returns where it says how many connections there are.
func (b *bench) member(ctx context.Context, d *domain, name string) (admin string, err error) {
	var tokens []string
	for _, service := range []string{"web", "rpc"} {
		token, err := d.token(service)
		if err != nil {
			return "", err
		}
		tokens = append(tokens, token)
	}
	return b.StartWith(ctx, []string{"WEFT_LOAD_TOKENS=" + strings.Join(tokens, ",")}, name,
		"--role", "member", "--name", name, "--control", d.control, "--roots", d.roots, "--work", "0")
}

// connections counts those of a process, and its certificates.
type connections struct {
	Opened, Closed, Certificates atomic.Int64
}

// A count is connections at one moment.
type count struct{ Opened, Closed, Certificates int64 }

// TagRPC implements stats.Handler, as do those below.
func (c *connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (c *connections) HandleRPC(context.Context, stats.RPCStats) {}

func (c *connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.Opened.Add(1)
	case *stats.ConnEnd:
		c.Closed.Add(1)
	}
}

func (c *connections) onHTTP(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		c.Opened.Add(1)
	case http.StateClosed, http.StateHijacked:
		c.Closed.Add(1)
	}
}

// watch counts the certificates of a source until ctx is done.
func watch(ctx context.Context, s *enroll.Source, n *atomic.Int64) {
	var last string
	for sleep(ctx, 50*time.Millisecond) == nil {
		if svid, err := s.GetX509SVID(); err == nil && svid.Certificates[0].SerialNumber.String() != last {
			last = svid.Certificates[0].SerialNumber.String()
			n.Add(1)
		}
	}
}

// serveMember runs the services "web" and "rpc", each as an identity of its own.
func (p *part) serveMember(ctx context.Context) error {
	d := &domain{control: p.control, roots: p.roots}
	tokens := strings.Split(os.Getenv("WEFT_LOAD_TOKENS"), ",")
	if len(tokens) != 2 {
		return errors.New("WEFT_LOAD_TOKENS: there are to be two")
	}
	p.oneIn.Store(1)
	var seen connections
	ended := make(chan error, 3)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for i, service := range []string{"web", "rpc"} {
		source, err := d.source(p.name, tokens[i])
		if err != nil {
			return err
		}
		defer source.Close() //nolint:errcheck // the process ends
		m, err := mesh.New(ctx, mesh.WithControlServer(p.control), mesh.WithIdentity(source), mesh.WithService(service+".load", map[string]string{"app": service}),
			mesh.WithLogger(stage.Quiet(p.name)))
		if err != nil {
			return err
		}
		defer m.Close() //nolint:errcheck // the process ends
		ln, err := m.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go watch(ctx, source, &seen.Certificates)
		if service == "web" {
			srv := &http.Server{Handler: m.Handler(http.HandlerFunc(p.handle)), ReadHeaderTimeout: patience, ConnState: seen.onHTTP}
			context.AfterFunc(ctx, func() { srv.Close() })
			go func() {
				if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
					ended <- err
					return
				}
				ended <- nil
			}()
			continue
		}
		srv := grpc.NewServer(append(m.ServerOptions(), grpc.UnknownServiceHandler(p.stream), grpc.StatsHandler(&seen))...)
		go func() { ended <- stage.ServeGRPC(ctx, ln, srv) }()
	}
	admin, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(admin.Addr())
	go func() {
		ended <- stage.ServeHTTP(ctx, admin, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(w).Encode(count{seen.Opened.Load(), seen.Closed.Load(), seen.Certificates.Load()})
		}))
	}()
	return errors.Join(<-ended, <-ended, <-ended)
}

// ask sums what members have counted.
func ask(ctx context.Context, admins []string) (sum count, err error) {
	for _, admin := range admins {
		text, err := get(ctx, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+admin+"/", nil)
		if err != nil {
			return sum, err
		}
		var one count
		if err := json.Unmarshal([]byte(text), &one); err != nil {
			return sum, err
		}
		sum.Opened += one.Opened
		sum.Closed += one.Closed
		sum.Certificates += one.Certificates
	}
	return sum, nil
}

// A crowd is clients, each with an identity and connections of its own.
type crowd struct {
	sides        []*side
	certificates atomic.Int64
	closing      []func()
}

func (d *domain) clients(ctx context.Context, n int) (*crowd, error) {
	c := &crowd{}
	ctx, stop := context.WithCancel(ctx)
	c.closing = append(c.closing, stop)
	for i := range n {
		name := fmt.Sprintf("client-%d", i)
		token, err := d.token(name)
		if err == nil {
			err = c.add(ctx, d, name, token)
		}
		if err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (c *crowd) add(ctx context.Context, d *domain, name, token string) error {
	source, err := d.source(name, token)
	if err != nil {
		return err
	}
	c.closing = append(c.closing, func() { source.Close() }) //nolint:errcheck // measured it has
	m, err := mesh.New(ctx, mesh.WithControlServer(d.control), mesh.WithIdentity(source), mesh.WithService(name+".load", map[string]string{"app": name}),
		mesh.WithLogger(stage.Quiet(name)))
	if err != nil {
		return err
	}
	c.closing = append(c.closing, func() { m.Close() }) //nolint:errcheck // measured it has
	if err := m.Ready(ctx); err != nil {
		return err
	}
	cc, err := grpc.NewClient("mesh:///rpc.load", m.DialOptions()...)
	if err != nil {
		return err
	}
	c.closing = append(c.closing, func() { cc.Close() })
	client := &http.Client{Transport: m.RoundTripper()}
	c.sides = append(c.sides, &side{
		http: func(ctx context.Context, h http.Header) (string, error) {
			return get(ctx, client, "http://web.load/", h)
		},
		grpc: overGRPC(cc),
	})
	go watch(ctx, source, &c.certificates)
	return nil
}

func (c *crowd) close() {
	for _, f := range slices.Backward(c.closing) {
		f()
	}
}

// turns calls one client after the other.
func (c *crowd) turns(of func(*side) caller) caller {
	var n atomic.Uint64
	return func(ctx context.Context, h http.Header) (string, error) {
		return of(c.sides[n.Add(1)%uint64(len(c.sides))])(ctx, h)
	}
}

func overHTTP(s *side) caller { return s.http }
func overRPC(s *side) caller  { return s.grpc }

// rotate makes calls for so long, and says what became of them.
func (c *crowd) rotate(ctx context.Context, d *domain, admins []string, calls stretch) error {
	protocols := []func(*side) caller{overHTTP, overRPC}
	// The same client comes again after all others, and is to have called each host: then there is a connection to each.
	for range 3 {
		for _, of := range protocols {
			drive(ctx, c.turns(of), 4*patience, nil, stretch{100, time.Duration(rotatingHosts*len(c.sides)/100+1) * time.Second})
		}
	}
	before, err := ask(ctx, admins)
	if err != nil {
		return err
	}
	issued, _, err := ca.VerifyLog(d.state)
	if err != nil {
		return err
	}
	own := c.certificates.Load()
	results := make([][]sample, len(protocols))
	var wg sync.WaitGroup
	for i, of := range protocols {
		wg.Go(func() { results[i] = drive(ctx, c.turns(of), patience, nil, calls) })
	}
	wg.Wait()
	after, err := ask(ctx, admins)
	if err != nil {
		return err
	}
	signed, _, err := ca.VerifyLog(d.state)
	if err != nil {
		return err
	}
	fmt.Printf("%v, %d rotations of clients and %d of servers (the authority's log has %d certificates more).\n", calls.length, c.certificates.Load()-own, after.Certificates-before.Certificates, signed-issued)
	fmt.Printf("Connections at the servers: %d open before, %d opened and %d closed meanwhile, %d open after.\n\n",
		before.Opened-before.Closed, after.Opened-before.Opened, after.Closed-before.Closed, after.Opened-after.Closed)
	fmt.Println("| protocol | calls | failed | p50 ms | p99 ms | p99.9 ms |")
	fmt.Println("|---|---:|---:|---:|---:|---:|")
	for i, name := range []string{"HTTP", "gRPC"} {
		all := results[i]
		fmt.Printf("| %s | %d | %d | %.1f | %.1f | %.1f |\n", name, len(all), failed(all), millis(percentile(all, 50, answered)), millis(percentile(all, 99, answered)), millis(percentile(all, 99.9, answered)))
		why(all, 0, calls.length)
	}
	return nil
}
