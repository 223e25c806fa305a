package tcpadapter

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// moving is a resolver of one service, which tests change.
type moving struct {
	mu   sync.Mutex
	now  *resolver.Service
	sink func(*resolver.Service, error)
}

func (m *moving) Watch(name string, sink func(*resolver.Service, error)) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == nil || m.now.Name != name {
		sink(nil, &resolver.UnknownError{Name: name})
		return func() {}
	}
	m.sink = sink
	sink(m.now, nil)
	return func() {}
}

func (m *moving) Serve(string, func(*resolver.Inbound, error)) (stop func()) { return func() {} }

func (m *moving) set(c resolver.Cluster, p resilience.Policy, addrs ...string) {
	c.Name = "ledger"
	for _, a := range addrs {
		c.Endpoints = append(c.Endpoints, balancer.Endpoint{Addr: a})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = &resolver.Service{
		Name: "ledger",
		VirtualHosts: []resolver.VirtualHost{{Domains: []string{"*"}, Routes: []resolver.Route{{
			To: []resolver.Target{{Cluster: "ledger", Weight: 1}}, Policy: p,
		}}}},
		Clusters: map[string]resolver.Cluster{"ledger": c},
	}
	if m.sink != nil {
		m.sink(m.now, nil)
	}
}

func newEngine(t *testing.T) (*engine.Engine, *moving) {
	m := new(moving)
	e := engine.New(engine.Config{Resolver: m, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(e.Close)
	return e, m
}

func inFlight(e *engine.Engine) (n int64) {
	for _, h := range e.Service("ledger").Hosts() {
		n += h.InFlight()
	}
	return n
}

// echo serves connections by sending back what comes until the other side's end.
func echo(t *testing.T, conf *tls.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if conf != nil {
		ln = tls.NewListener(ln, conf)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); running.Wait() })
	return ln.Addr().String()
}

func dead(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// silent is an address at which connecting neither succeeds nor fails: a listener
// that accepts nothing, its queue full.
func silent(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
	c, err := net.Dial("tcp", addr) // a queue of 0 holds one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return addr
}

var retry = resilience.Policy{Retry: resilience.Retry{Attempts: 2, On: resilience.OnConnectFailure}}

// talk sends, ends its side, and reads what comes back.
func talk(t *testing.T, c net.Conn) {
	t.Helper()
	io.WriteString(c, "hello")
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); string(b) != "hello" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestConnectionCountsUntilItIsClosed(t *testing.T) {
	e, m := newEngine(t)
	m.set(resolver.Cluster{}, resilience.Policy{Timeout: time.Minute}, echo(t, nil))
	ctx, cancel := context.WithCancel(context.Background())
	c, err := Dial(ctx, e, "tcp", "ledger")
	if err != nil {
		t.Fatal(err)
	}
	cancel() // is about dialing alone
	talk(t, c)
	if n := inFlight(e); n != 1 {
		t.Errorf("%d in flight while open", n)
	}
	c.Close()
	c.Close()
	if n := inFlight(e); n != 0 {
		t.Errorf("%d in flight after Close", n)
	}
}

func TestOneOfTwoHostsDead(t *testing.T) {
	e, m := newEngine(t)
	m.set(resolver.Cluster{}, retry, dead(t), echo(t, nil))
	for range 10 {
		c, err := Dial(context.Background(), e, "tcp", "ledger")
		if err != nil {
			t.Fatal(err)
		}
		talk(t, c)
		c.Close()
	}
	if n := inFlight(e); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	roots := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	addr := echo(t, &tls.Config{Certificates: s.TLS.Certificates})
	for name, c := range map[string]struct {
		demand identity.ClientTLS
		ok     bool
	}{
		"name":            {identity.ClientTLS{ServerName: "example.com", RootCAs: roots}, true},
		"san":             {identity.ClientTLS{SubjectAltNames: identity.ExactNames("example.com"), RootCAs: roots}, true},
		"other name":      {identity.ClientTLS{RootCAs: roots}, false}, // the name called, ledger
		"other san":       {identity.ClientTLS{ServerName: "example.com", SubjectAltNames: identity.ExactNames("ledger"), RootCAs: roots}, false},
		"other root":      {identity.ClientTLS{ServerName: "example.com"}, false},
		"san, other root": {identity.ClientTLS{SubjectAltNames: identity.ExactNames("example.com")}, false},
	} {
		e, m := newEngine(t)
		m.set(resolver.Cluster{TLS: &c.demand}, resilience.Policy{}, addr)
		conn, err := Dial(context.Background(), e, "tcp", "ledger")
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			talk(t, conn)
			conn.Close()
		}
		if n := inFlight(e); n != 0 {
			t.Errorf("%s: %d in flight", name, n)
		}
	}
}

func TestErrors(t *testing.T) {
	unmoved := silent(t)
	for name, c := range map[string]struct {
		service string
		cluster resolver.Cluster
		addrs   []string
		timeout time.Duration // the caller's
		want    engine.Kind
	}{
		"unknown":          {service: "nobody", want: engine.NoService},
		"no host":          {service: "ledger", want: engine.NoHost},
		"refused":          {service: "ledger", addrs: []string{dead(t)}, want: engine.Unreachable},
		"connect timeout":  {service: "ledger", cluster: resolver.Cluster{ConnectTimeout: 10 * time.Millisecond}, addrs: []string{unmoved}, want: engine.Unreachable},
		"caller's timeout": {service: "ledger", addrs: []string{unmoved}, timeout: 10 * time.Millisecond, want: engine.Deadline},
		"no roots":         {service: "ledger", cluster: resolver.Cluster{TLS: &identity.ClientTLS{RootCAs: "x"}}, addrs: []string{unmoved}, want: engine.Unreachable},
	} {
		e, m := newEngine(t)
		m.set(c.cluster, resilience.Policy{}, c.addrs...)
		ctx := context.Background()
		if c.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.timeout)
			defer cancel()
		}
		_, err := Dial(ctx, e, "tcp", c.service)
		var failed *engine.Error
		if !errors.As(err, &failed) || failed.Kind != c.want || c.timeout > 0 && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestHostThatLeavesReleasesItsDial(t *testing.T) {
	e, m := newEngine(t)
	m.set(resolver.Cluster{}, resilience.Policy{}, silent(t))
	dialed := make(chan error, 1)
	go func() {
		c, err := Dial(context.Background(), e, "tcp", "ledger")
		if err == nil {
			c.Close()
		}
		dialed <- err
	}()
	for inFlight(e) == 0 {
		runtime.Gosched() // lets the dial begin
	}
	m.set(resolver.Cluster{}, resilience.Policy{}, echo(t, nil))
	if err := <-dialed; err != nil {
		t.Error(err)
	}
}

// Connections beyond the threshold are refused, and not tried again; those that are closed, or could not be made, make room.
func TestConnectionsAreBounded(t *testing.T) {
	e, m := newEngine(t)
	one := resolver.Cluster{Thresholds: &[resilience.Priorities]resilience.Thresholds{{MaxConnections: 1, MaxRequests: 10}}}
	m.set(one, retry, dead(t))
	for range 2 {
		var failed *engine.Error
		if _, err := Dial(t.Context(), e, "tcp", "ledger"); !errors.As(err, &failed) || failed.Kind != engine.Unreachable {
			t.Errorf("got %v", err)
		}
	}
	m.set(one, retry, echo(t, nil))
	for range 2 {
		c, err := Dial(t.Context(), e, "tcp", "ledger")
		if err != nil {
			t.Fatal(err)
		}
		var failed *engine.Error
		if _, err := Dial(t.Context(), e, "tcp", "ledger"); !errors.As(err, &failed) || failed.Kind != engine.Overloaded || failed.Attempts != 1 {
			t.Errorf("got %v", err)
		}
		talk(t, c)
		c.Close()
		c.Close()
	}
	if n := inFlight(e); n != 0 {
		t.Errorf("%d in flight", n)
	}
}
