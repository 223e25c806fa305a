package httpadapter

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func TestOneOfTwoHostsDead(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		s := w.start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
		m := newMesh(t, Config{}, false)
		c := w.cluster
		if w.tls {
			c.TLS = demandOf(s)
		}
		m.serve(c, retryAll, addr(s), deadAddr(t))
		for i := range 20 {
			var body io.Reader = strings.NewReader("hello")
			if i%2 == 0 {
				body = struct{ io.Reader }{body} // no GetBody: the transport closes it unread at the dead host
			}
			if got := read(t, m.do(request(t, "POST", "http://payments/", body)).Body); got != "hello" {
				t.Errorf("call %d: %q", i, got)
			}
		}
		if n := m.inFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}

func TestUnreachable(t *testing.T) {
	m := newMesh(t, Config{}, true)
	m.serve(resolver.Cluster{}, retryAll, deadAddr(t))
	body := &countingBody{Reader: strings.NewReader("x")}
	_, err := m.RoundTrip(request(t, "POST", "http://payments/", body))
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != engine.Unreachable || e.Attempts != 3 {
		t.Errorf("got %v", err)
	}
	if body.closes.Load() != 1 {
		t.Errorf("body closed %d times", body.closes.Load())
	}
	for i, o := range m.watcher.attempts {
		if o.Cause != resilience.ConnectFailure {
			t.Errorf("attempt %d: cause %d", i+1, o.Cause)
		}
	}
}

func TestBodyIsClosedWithoutAHost(t *testing.T) {
	m := newMesh(t, Config{}, false)
	m.serve(resolver.Cluster{}, retryAll)
	body := &countingBody{Reader: strings.NewReader("x")}
	_, err := m.RoundTrip(request(t, "POST", "http://payments/", body))
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != engine.NoHost || body.closes.Load() != 1 {
		t.Errorf("%v, body closed %d times", err, body.closes.Load())
	}
}

func TestTLSThatDoesNotProveTheName(t *testing.T) {
	s := wires[3].start(t, http.NotFoundHandler())
	for name, c := range map[string]struct {
		names []string
		ok    bool
	}{
		"san":       {names: []string{"spiffe://td/x", "example.com"}, ok: true},
		"other san": {names: []string{"spiffe://td/x"}},
	} {
		m := newMesh(t, Config{}, false)
		demand := demandOf(s)
		demand.SubjectAltNames, demand.ServerName = identity.ExactNames(c.names...), "payments.internal"
		m.serve(resolver.Cluster{TLS: demand}, resilience.Policy{}, addr(s))
		resp, err := m.RoundTrip(request(t, "GET", "http://payments/", nil))
		if c.ok {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			resp.Body.Close()
			continue
		}
		var e *engine.Error
		if !errors.As(err, &e) || e.Kind != engine.Unreachable || !strings.Contains(e.Error(), "none of its names") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLSRootsThatAreNone(t *testing.T) {
	m := newMesh(t, Config{}, false)
	demand := demandOf(wires[3].start(t, http.NotFoundHandler()))
	demand.RootCAs = "not PEM"
	m.serve(resolver.Cluster{TLS: demand}, resilience.Policy{}, deadAddr(t))
	if _, err := m.RoundTrip(request(t, "GET", "http://payments/", nil)); err == nil || !strings.Contains(err.Error(), "cluster payments: tls: root CAs") {
		t.Errorf("got %v", err)
	}
}

// A scripted server speaks as little as it takes.
func scripted(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var conns sync.Map
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Store(c, true)
			running.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		running.Wait()
	})
	return ln.Addr().String()
}

// refuse2 is an HTTP/2 server that answers each request's headers with these frames.
func refuse2(answer func(stream uint32) []byte) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		preface := make([]byte, 24)
		if _, err := io.ReadFull(r, preface); err != nil {
			return
		}
		c.Write(frame(4, 0, 0, nil)) // SETTINGS
		for {
			head := make([]byte, 9)
			if _, err := io.ReadFull(r, head); err != nil {
				return
			}
			size := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
			if _, err := r.Discard(size); err != nil {
				return
			}
			switch head[3] {
			case 1: // HEADERS
				c.Write(answer(binary.BigEndian.Uint32(head[5:])))
			case 4:
				if head[4] == 0 {
					c.Write(frame(4, 1, 0, nil)) // its acknowledgement
				}
			}
		}
	}
}

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

func refusedStreamFrame(stream uint32) []byte {
	return frame(3, 0, stream, binary.BigEndian.AppendUint32(nil, refusedStream)) // RST_STREAM
}

func goAwayFrame(uint32) []byte { return frame(7, 0, 0, make([]byte, 8)) } // last stream 0, NO_ERROR

func TestRefusedBodyGoesToAnotherHost(t *testing.T) {
	for name, answer := range map[string]func(uint32) []byte{"REFUSED_STREAM": refusedStreamFrame, "GOAWAY": goAwayFrame} {
		t.Run(name, func(t *testing.T) {
			w := wires[1]
			s := w.start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
			m := newMesh(t, Config{}, true)
			m.serve(w.cluster, retryAll, scripted(t, refuse2(answer)), addr(s))
			for range 6 {
				body := struct{ io.Reader }{strings.NewReader("once")}
				if got := read(t, m.do(request(t, "POST", "http://payments/", body)).Body); got != "once" {
					t.Errorf("got %q", got)
				}
			}
			refused := 0
			for _, o := range m.watcher.attempts {
				if o.Cause == resilience.Refused {
					refused++
				}
			}
			if refused == 0 {
				t.Errorf("no attempt was refused: %+v", m.watcher.attempts)
			}
		})
	}
}

// Without a body net/http itself would dial such a host for ever.
func TestHostThatOnlyShutsDownIsLeft(t *testing.T) {
	w := wires[1]
	s := w.start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	m := newMesh(t, Config{}, true)
	m.serve(w.cluster, retryAll, scripted(t, refuse2(goAwayFrame)), addr(s))
	for range 4 {
		if got := read(t, m.do(request(t, "GET", "http://payments/", nil)).Body); got != "hello" {
			t.Errorf("got %q", got)
		}
	}
	if n := len(m.watcher.attempts); n <= 4 {
		t.Errorf("%d attempts: the host was not met", n)
	}
}

func TestResetIsNotRepeated(t *testing.T) {
	var seen atomic.Int32
	m := newMesh(t, Config{}, true)
	m.serve(resolver.Cluster{}, retryAll, scripted(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			seen.Add(1)
		}
		c.(*net.TCPConn).SetLinger(0)
	}))
	_, err := m.RoundTrip(request(t, "GET", "http://payments/", nil))
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != engine.Reset || seen.Load() != 1 {
		t.Errorf("%v after %d requests", err, seen.Load())
	}
}

func TestBrokenCallersBody(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }), retryAll)
		broken := errors.New("disk on fire")
		body := struct{ io.Reader }{io.MultiReader(strings.NewReader("some"), errReader{broken})}
		_, err := m.RoundTrip(request(t, "POST", "http://payments/", body))
		var e *engine.Error
		if !errors.As(err, &e) || e.Kind != engine.Canceled || !errors.Is(err, broken) || e.Attempts != 1 {
			t.Errorf("got %v", err)
		}
	})
}

type errReader struct{ error }

func (r errReader) Read([]byte) (int, error) { return 0, r.error }

// The host is never answered by; when the configuration drops it, the waiting call moves to the next.
func TestHostThatLeavesReleasesItsCall(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		if w.tls {
			testLeaving(t, w, scripted(t, func(c net.Conn) { io.Copy(io.Discard, c) })) // accepts, but shakes no hands
		} else {
			testLeaving(t, w, silent(t))
		}
	})
}

func testLeaving(t *testing.T, w wire, away string) {
	s := w.start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	m := newMesh(t, Config{}, true)
	c := w.cluster
	if w.tls {
		c.TLS = demandOf(s)
	}
	m.serve(c, resilience.Policy{}, away) // no retries: moving is not one
	answered := make(chan string, 1)
	go func() {
		resp, err := m.RoundTrip(request(t, "POST", "http://payments/", struct{ io.Reader }{strings.NewReader("hello")}))
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answered <- string(b)
	}()
	for m.inFlight() == 0 {
		runtime.Gosched() // lets the caller begin
	}
	m.serve(c, resilience.Policy{}, addr(s))
	if got := <-answered; got != "hello" {
		t.Errorf("got %q", got)
	}
}

// Endpoints are replaced under callers; one of them answers no connection. Nobody notices.
func TestReplacedEndpointsLoseNoCall(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
		a, b := w.start(t, h), w.start(t, h)
		dead := silent(t)
		m := newMesh(t, Config{}, false)
		c := w.cluster
		if w.tls {
			c.TLS = demandOf(a)
		}
		sets := [][]string{{addr(a), dead}, {addr(b)}, {dead}, {addr(a), addr(b), dead}, {dead, addr(b)}}
		m.serve(c, resilience.Policy{}, sets[0]...)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var running sync.WaitGroup
		var calls atomic.Int64
		for range 8 {
			running.Go(func() {
				for ctx.Err() == nil {
					resp, err := m.RoundTrip(request(t, "POST", "http://payments/", struct{ io.Reader }{strings.NewReader("hello")}))
					if err != nil {
						t.Error(err)
						return
					}
					if body, err := io.ReadAll(resp.Body); string(body) != "hello" {
						t.Errorf("%q, %v", body, err)
					}
					resp.Body.Close()
					calls.Add(1)
				}
			})
		}
		every := time.NewTicker(3 * time.Millisecond)
		defer every.Stop()
		for i := 1; ctx.Err() == nil; i++ {
			<-every.C
			if w.tls {
				c.TLS = demandOf(a) // a new pointer, as each update brings
			}
			m.serve(c, resilience.Policy{}, sets[i%len(sets)]...)
		}
		m.serve(c, resilience.Policy{}, addr(a))
		running.Wait()
		t.Logf("%d calls", calls.Load())
		if n := m.inFlight(); n != 0 || calls.Load() == 0 {
			t.Errorf("%d in flight after %d calls", n, calls.Load())
		}
	})
}
