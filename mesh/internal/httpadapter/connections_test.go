package httpadapter

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A bar is a handler whose requests stay until they are told to leave, and which remembers their connections.
type bar struct {
	entered, leave chan struct{}

	mu    sync.Mutex
	conns map[string]bool
}

func newBar() *bar {
	return &bar{entered: make(chan struct{}, 1000), leave: make(chan struct{}), conns: map[string]bool{}}
}

func (b *bar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.conns[r.RemoteAddr] = true
	b.mu.Unlock()
	if r.URL.Path == "/close" {
		w.Header().Set("Connection", "close")
	}
	b.entered <- struct{}{}
	select {
	case <-b.leave:
	case <-r.Context().Done():
	}
	io.WriteString(w, "hello")
}

func (b *bar) connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.conns)
}

// limited is the cluster with these thresholds.
func limited(c resolver.Cluster, connections, pending uint32) resolver.Cluster {
	c.Thresholds = &[resilience.Priorities]resilience.Thresholds{{MaxConnections: connections, MaxPending: pending, MaxRequests: 1000, MaxRetries: 3}}
	return c
}

// behind is a mesh whose service "payments" is that handler at one host, with these thresholds.
func (w wire) behind(t *testing.T, h http.Handler, connections, pending uint32) *mesh {
	limits := w
	limits.cluster = limited(w.cluster, connections, pending)
	return limits.to(t, h, answers())
}

// call sends a request and reports how it ended.
func (m *mesh) call(ctx context.Context, path string) chan error {
	ended := make(chan error, 1)
	req := request(m.t, "GET", "http://payments"+path, nil).WithContext(ctx)
	go func() {
		resp, err := m.RoundTrip(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		ended <- err
	}()
	return ended
}

// awaits waits until the gauge of an attempt's cluster is at n.
func (m *mesh) awaits(n int64, of func(*resilience.InUse) *resilience.Gauge) {
	for {
		m.watcher.mu.Lock()
		use := m.watcher.use
		m.watcher.mu.Unlock()
		if use != nil && of(use).Count() == n {
			return
		}
		runtime.Gosched()
	}
}

func pending(u *resilience.InUse) *resilience.Gauge { return &u.Pending }
func open(u *resilience.InUse) *resilience.Gauge    { return &u.Connections }

// closes wants nothing to be left once all connections are closed.
func (m *mesh) closes() {
	m.t.Helper()
	m.awaits(0, pending)
	m.CloseIdleConnections()
	m.awaits(0, open)
	m.pool.connections.mu.Lock()
	defer m.pool.connections.mu.Unlock()
	if n := len(m.pool.connections.pools); n != 0 {
		m.t.Errorf("%d clusters are remembered", n)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		b := newBar()
		m := w.behind(t, b, 2, 100)
		var calls []chan error
		for range 20 {
			calls = append(calls, m.call(t.Context(), "/"))
		}
		at := 2
		if w.proto == "HTTP/2.0" {
			at = 20
		}
		for range at {
			<-b.entered
		}
		m.awaits(int64(20-at), pending)
		close(b.leave)
		for _, c := range calls {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
		if n := b.connections(); n > 2 {
			t.Errorf("%d connections", n)
		}
		m.closes()
	})
}

// Calls beyond those that may wait are refused and not repeated. Who is handed another's connection waits no more.
func TestPendingCallsAreBounded(t *testing.T) {
	b := newBar()
	m := wires[0].behind(t, b, 1, 1)
	first := m.call(t.Context(), "/")
	<-b.entered
	var second chan error
	for range 3 {
		second = m.call(t.Context(), "/")
		m.awaits(1, pending)
		err := <-m.call(t.Context(), "/")
		var e *engine.Error
		if !errors.As(err, &e) || e.Kind != engine.Overloaded || e.Attempts != 1 || !strings.Contains(err.Error(), "max_pending_requests") {
			t.Errorf("got %v", err)
		}
		b.leave <- struct{}{}
		if err := <-first; err != nil {
			t.Error(err)
		}
		<-b.entered
		m.awaits(0, pending) // though the second is not answered yet
		first = second
	}
	b.leave <- struct{}{}
	if err := <-first; err != nil {
		t.Error(err)
	}
	if n := b.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	m.closes()
}

func TestWhoWaitsForAConnectionIsLetGo(t *testing.T) {
	t.Run("when its caller leaves", func(t *testing.T) {
		b := newBar()
		m := wires[0].behind(t, b, 1, 1)
		first := m.call(t.Context(), "/")
		<-b.entered
		for range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			second := m.call(ctx, "/")
			m.awaits(1, pending)
			cancel()
			if err := <-second; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			m.awaits(0, pending)
		}
		close(b.leave)
		<-first
		m.closes()
	})
	t.Run("when a connection closes", func(t *testing.T) {
		b := newBar()
		m := wires[0].behind(t, b, 1, 1)
		first := m.call(t.Context(), "/close")
		<-b.entered
		second := m.call(t.Context(), "/")
		m.awaits(1, pending)
		b.leave <- struct{}{}
		<-b.entered
		close(b.leave)
		if err := errors.Join(<-first, <-second); err != nil || b.connections() != 2 {
			t.Errorf("%d connections, %v", b.connections(), err)
		}
		m.closes()
	})
	t.Run("when its host leaves", func(t *testing.T) {
		old, b := newBar(), newBar()
		m := wires[0].behind(t, old, 1, 1)
		first := m.call(t.Context(), "/")
		<-old.entered
		second := m.call(t.Context(), "/")
		m.awaits(1, pending)
		s := wires[0].start(t, b)
		m.serve(limited(resolver.Cluster{}, 1, 1), answers(), addr(s))
		<-b.entered // the connection to the host that left does not count against it
		third := m.call(t.Context(), "/")
		m.awaits(1, pending)
		close(b.leave)
		close(old.leave)
		if err := errors.Join(<-first, <-second, <-third); err != nil || b.connections() != 1 {
			t.Errorf("%d connections, %v", b.connections(), err)
		}
		m.closes()
	})
}

// A host that has no connection gets one, however many there are to others: there would be none to wait for.
func TestEachHostHasAConnection(t *testing.T) {
	b := newBar()
	m := newMesh(t, Config{}, true)
	var addrs []string
	for range 3 {
		addrs = append(addrs, addr(wires[0].start(t, b)))
	}
	m.serve(limited(resolver.Cluster{}, 1, 0), answers(), addrs...)
	var calls []chan error
	for range 3 {
		calls = append(calls, m.call(t.Context(), "/"))
		<-b.entered
	}
	close(b.leave)
	for _, c := range calls {
		if err := <-c; err != nil {
			t.Error(err)
		}
	}
	m.closes()
}

func TestConnectionsThatFailDoNotCount(t *testing.T) {
	m := newMesh(t, Config{}, true)
	s := wires[2].start(t, http.NotFoundHandler())
	wrong := demandOf(s)
	wrong.ServerName = "elsewhere.example"
	for name, c := range map[string]resolver.Cluster{"refused": {}, "certificate": {TLS: wrong}} {
		to := deadAddr(t)
		if name == "certificate" {
			to = addr(s)
		}
		m.serve(limited(c, 1, 1), resilience.Policy{}, to)
		for range 3 {
			var e *engine.Error
			if err := <-m.call(t.Context(), "/"); !errors.As(err, &e) || e.Kind != engine.Unreachable {
				t.Errorf("%s: %v", name, err)
			}
		}
		m.closes()
	}
}

// Callers that come and leave as they like leave nothing behind.
func TestCrowdOnFewConnections(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		b := newBar()
		close(b.leave)
		m := w.behind(t, b, 3, 1000)
		paths := []string{"/", "/close"}
		if w.proto == "HTTP/2.0" {
			paths[1] = "/" // a connection that is to close takes a second for that
		}
		var crowd sync.WaitGroup
		for i := range 40 {
			crowd.Go(func() {
				for j := range 10 {
					ctx, cancel := context.WithCancel(t.Context())
					ended := m.call(ctx, paths[i%2])
					if (i+j)%3 == 0 {
						cancel()
					}
					if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					cancel()
				}
			})
		}
		crowd.Wait()
		m.closes()
		if n := m.inFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}
