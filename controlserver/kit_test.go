package controlserver

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/web"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds"
)

// patience bounds every wait; what takes longer fails the test.
const patience = 90 * time.Second

// within returns a context that ends the test rather than let it hang.
func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// A running is a server that runs until the test ends, or stop is called.
type running struct {
	*Server
	logs *logs
	stop func() error // waits for Run and returns what it returned
}

func run(tb testing.TB, cfg Config) *running {
	tb.Helper()
	r := &running{logs: &logs{}}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(r.logs, nil))
	}
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	r.Server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	tb.Cleanup(func() {
		if err := r.stop(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Log(r.logs.String())
		}
	})
	return r
}

// knows waits until what the server works with is as wanted, and every client
// has answered for it.
func (r *running) knows(tb testing.TB, what string, f func(web.Status) bool) {
	tb.Helper()
	ctx := within(tb)
	if err := r.await(ctx, func(state) bool { return f(r.Status()) }); err != nil {
		tb.Fatalf("%s: %v; the status is %+v", what, err, r.Status())
	}
	if err := r.ads.Settled(ctx); err != nil {
		tb.Fatal(err)
	}
}

// finds waits for a finding with the text.
func (r *running) finds(tb testing.TB, text string) {
	tb.Helper()
	r.knows(tb, "finding "+text, func(s web.Status) bool { return strings.Contains(findings(s), text) })
}

// clean waits until nothing is wrong.
func (r *running) clean(tb testing.TB) {
	tb.Helper()
	r.knows(tb, "no finding", func(s web.Status) bool { return len(s.Findings) == 0 })
}

func findings(s web.Status) string {
	var b strings.Builder
	for _, f := range s.Findings {
		fmt.Fprintf(&b, "%s: %s\n", f.Severity, f.Text)
	}
	return b.String()
}

// logs collects what is logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// save writes a file as editors and configuration tools do: beside, then renamed.
func save(tb testing.TB, dir, name, text string) {
	tb.Helper()
	tmp := filepath.Join(dir, "."+name+".tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		tb.Fatal(err)
	}
}

func dial(tb testing.TB, addr string, cfg xds.Config) *xds.Client {
	tb.Helper()
	b, err := xds.BootstrapFor(addr)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Bootstrap = b
	c, err := xds.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// A watched keeps what a client was told of a service.
type watched struct {
	name string
	stop func()

	mu      sync.Mutex
	history []told
	news    chan struct{}
}

type told struct {
	service *resolver.Service
	err     error
}

func watch(tb testing.TB, r resolver.Resolver, name string) *watched {
	tb.Helper()
	w := &watched{name: name, news: make(chan struct{})}
	w.stop = r.Watch(name, func(s *resolver.Service, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.history = append(w.history, told{s, err})
		close(w.news)
		w.news = make(chan struct{})
	})
	return w
}

func (w *watched) last() told {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.history) == 0 {
		return told{}
	}
	return w.history[len(w.history)-1]
}

// updates is how often the client was told something.
func (w *watched) updates() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.history)
}

// until waits until the client has what is wanted.
func (w *watched) until(tb testing.TB, what string, f func(s *resolver.Service) bool) *resolver.Service {
	tb.Helper()
	return w.untilTold(tb, what, func(s *resolver.Service, err error) bool { return s != nil && err == nil && f(s) }).service
}

func (w *watched) untilTold(tb testing.TB, what string, f func(*resolver.Service, error) bool) told {
	tb.Helper()
	ctx := within(tb)
	for {
		w.mu.Lock()
		news := w.news
		w.mu.Unlock()
		if last := w.last(); f(last.service, last.err) {
			return last
		}
		select {
		case <-news:
		case <-ctx.Done():
			last := w.last()
			tb.Fatalf("%s: not told: %s; last told: %+v, %v", w.name, what, last.service, last.err)
		}
	}
}

// addrs are the endpoints of all clusters that the routes lead to.
func addrs(s *resolver.Service) string {
	var out []string
	for _, vh := range s.VirtualHosts {
		for _, r := range vh.Routes {
			for _, to := range r.To {
				for _, e := range s.Clusters[to.Cluster].Endpoints {
					out = append(out, e.Addr)
				}
			}
		}
	}
	return strings.Join(out, " ")
}

// timeout is the time-out of the first route.
func timeout(s *resolver.Service) time.Duration {
	if len(s.VirtualHosts) == 0 || len(s.VirtualHosts[0].Routes) == 0 {
		return 0
	}
	return s.VirtualHosts[0].Routes[0].Policy.Timeout
}

// service is a document of one service on port 80.
func service(name string, addresses ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s}
spec:
  hosts: [%[1]s]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
`, name)
	if len(addresses) > 0 {
		b.WriteString("  endpoints:\n")
	}
	for _, a := range addresses {
		fmt.Fprintf(&b, "  - {address: %s}\n", a)
	}
	return b.String()
}

// route is a document that gives all calls of a service a time-out.
func route(name string, timeout time.Duration) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec:
  hosts: [%[1]s]
  http:
  - timeout: %s
    route: [{destination: {host: %[1]s}}]
`, name, timeout)
}

// A source reports what the test says.
type source struct {
	fragments chan catalog.Fragment
	reported  chan struct{}
}

func newSource() *source { return &source{make(chan catalog.Fragment), make(chan struct{})} }

// says reports documents, and returns when that was done.
func (s *source) says(tb testing.TB, yaml string) {
	tb.Helper()
	objects, findings := catalog.Parse("test.yaml", []byte(yaml))
	s.fragments <- catalog.Fragment{Objects: objects, Findings: findings}
	<-s.reported
}

func (s *source) Run(ctx context.Context, report func(catalog.Fragment)) error {
	for {
		select {
		case f := <-s.fragments:
			report(f)
			s.reported <- struct{}{}
		case <-ctx.Done():
			return nil
		}
	}
}
