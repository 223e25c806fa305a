package httpadapter

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// answers allows two retries after 5xx answers.
func answers() resilience.Policy {
	return resilience.Policy{Retry: resilience.Retry{Attempts: 2, On: resilience.On5xx, Base: time.Microsecond}}
}

// Answers that are followed by a retry leave their connection to it, and servers learn which try they see.
func TestRetriedAnswers(t *testing.T) {
	for name, body := range map[string]string{"no body": "", "short body": "not today", "long body": strings.Repeat("no", maxDrained)} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			var mu sync.Mutex
			var counts []string
			conns := 0
			s := started(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got, _ := io.ReadAll(r.Body)
				mu.Lock()
				counts = append(counts, r.Header.Get("X-Envoy-Attempt-Count"))
				last := len(counts) == 3
				mu.Unlock()
				if last {
					w.Write(got)
					return
				}
				w.WriteHeader(500)
				io.WriteString(w, body)
			}), func(s *httptest.Server) {
				s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
					if state == http.StateNew {
						mu.Lock()
						conns++
						mu.Unlock()
					}
				}
				s.Start()
			})
			m := newMesh(t, Config{}, true)
			m.serve(resolver.Cluster{}, answers(), addr(s))
			resp := m.do(request(t, "POST", "http://payments/", struct{ io.Reader }{strings.NewReader("hello")}))
			if got := read(t, resp.Body); got != "hello" || resp.StatusCode != 200 {
				t.Errorf("%d %q", resp.StatusCode, got)
			}
			mu.Lock()
			defer mu.Unlock()
			if strings.Join(counts, ",") != ",2,3" {
				t.Errorf("attempts counted %q", counts)
			}
			if len(body) < maxDrained && conns != 1 {
				t.Errorf("%d connections", conns)
			}
			if n := m.inFlight(); n != 0 {
				t.Errorf("%d in flight", n)
			}
		})
	}
}

// The last answer is the caller's, unread.
func TestLastAnswerIsHandedOn(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			io.WriteString(w, "not today")
		}), answers())
		resp := m.do(request(t, "GET", "http://payments/", nil))
		if got := read(t, resp.Body); got != "not today" || resp.StatusCode != 503 || len(m.watcher.attempts) != 3 {
			t.Errorf("%d %q after %d attempts", resp.StatusCode, got, len(m.watcher.attempts))
		}
	})
}

// An answer is dropped for a retry that is then not to be made.
func TestAnswerBeforeTheHostsLeft(t *testing.T) {
	m := newMesh(t, Config{}, true)
	s := wires[0].start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		m.serve(resolver.Cluster{}, answers())
		w.WriteHeader(503)
		io.WriteString(w, strings.Repeat("no", maxDrained))
	}))
	m.serve(resolver.Cluster{}, answers(), addr(s))
	_, err := m.RoundTrip(request(t, "GET", "http://payments/", nil))
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != engine.NoHost {
		t.Errorf("got %v", err)
	}
}

// A host that does not answer costs a try; how long an answer is read does not count.
func TestTryTimeout(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		const try = 800 * time.Millisecond
		dumb := make(chan struct{})
		stuck := w.start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-dumb:
			}
		}))
		defer close(dumb)
		good := w.start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hello")
			http.NewResponseController(w).Flush()
			if r.URL.Path == "/slow" {
				timer := time.NewTimer(2 * try)
				defer timer.Stop()
				<-timer.C
			}
			io.WriteString(w, " world")
		}))
		m := newMesh(t, Config{}, true)
		c := w.cluster
		if w.tls {
			c.TLS = demandOf(good)
		}
		p := resilience.Policy{Retry: resilience.Retry{Attempts: 4, On: resilience.OnReset, TryTimeout: try, Base: time.Microsecond}}
		m.serve(c, p, addr(stuck), addr(good))
		for _, path := range []string{"/", "/slow"} {
			for range 2 {
				if got := read(t, m.do(request(t, "GET", "http://payments"+path, nil)).Body); got != "hello world" {
					t.Errorf("%s: %q", path, got)
				}
			}
		}
		late := 0
		for _, o := range m.watcher.attempts {
			if o.Cause == resilience.TryTimeout {
				late++
			}
		}
		if late == 0 {
			t.Errorf("nobody met the host that does not answer: %+v", m.watcher.attempts)
		}
		p.Retry.Attempts = 1
		m.serve(c, p, addr(stuck))
		resp, err := m.RoundTrip(request(t, "POST", "http://payments/", strings.NewReader("once")))
		var e *engine.Error
		if !errors.As(err, &e) || e.Kind != engine.Deadline || e.Attempts != 1 {
			t.Errorf("got %v, %v", resp, err)
		}
		req := request(t, "POST", "http://payments/", strings.NewReader("twice"))
		req.Header.Set("Idempotency-Key", "1")
		if _, err = m.RoundTrip(req); !errors.As(err, &e) || e.Kind != engine.Deadline || e.Attempts != 2 {
			t.Errorf("with a key %v", err)
		}
		if n := m.inFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}

// A server that notices that its caller gave up may answer to that, in time to be read: that is no answer.
func TestEmptyAnswerToATryThatIsOver(t *testing.T) {
	for _, body := range []io.ReadCloser{http.NoBody, io.NopCloser(strings.NewReader("x"))} {
		m := newMesh(t, Config{}, false)
		p := resilience.Policy{Retry: resilience.Retry{TryTimeout: time.Nanosecond}}
		m.serve(resolver.Cluster{}, p, "127.0.0.1:1")
		x := &overdue{exchange: newExchange(m.RoundTripper, request(t, "GET", "http://payments/", nil)), body: body}
		_, err := m.engine.Service("payments").Do(t.Context(), &x.call, x)
		x.discard()
		var e *engine.Error
		if !errors.As(err, &e) || e.Kind != engine.Deadline {
			t.Errorf("got %v", err)
		}
	}
}

// overdue is an exchange whose answer comes once its try is over.
type overdue struct {
	*exchange
	body io.ReadCloser
}

func (x *overdue) Send(ctx context.Context, a *engine.Attempt) resilience.Outcome {
	<-ctx.Done()
	return x.answered(ctx, &http.Response{StatusCode: 200, Body: x.body}, a, nil)
}

func TestFullClusterAndRate(t *testing.T) {
	s := wires[0].start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	m := newMesh(t, Config{}, true)
	full := &[resilience.Priorities]resilience.Thresholds{{MaxRequests: 1}}
	m.serve(resolver.Cluster{Thresholds: full}, answers(), addr(s))
	reading := m.do(request(t, "GET", "http://payments/", nil))
	_, err := m.RoundTrip(request(t, "GET", "http://payments/", nil))
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != engine.Overloaded {
		t.Errorf("got %v", err)
	}
	read(t, reading.Body)
	p := answers()
	p.Rate = &resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 1, FillInterval: time.Hour}}
	m.serve(resolver.Cluster{Thresholds: full}, p, addr(s))
	read(t, m.do(request(t, "GET", "http://payments/", nil)).Body)
	if _, err = m.RoundTrip(request(t, "GET", "http://payments/", nil)); !errors.As(err, &e) || e.Kind != engine.RateLimited {
		t.Errorf("got %v", err)
	}
}

func TestFailingServerIsEjected(t *testing.T) {
	var mu sync.Mutex
	var asked int
	bad := wires[0].start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		w.WriteHeader(500)
	}))
	good := wires[0].start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	m := newMesh(t, Config{}, false)
	two := uint32(2)
	m.serve(resolver.Cluster{Outlier: &balancer.Outlier{Consecutive5xx: &two}}, resilience.Policy{}, addr(bad), addr(good))
	for range 20 {
		m.do(request(t, "GET", "http://payments/", nil)).Body.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
