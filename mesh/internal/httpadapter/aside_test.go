package httpadapter

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// hedged sends a call a second time as soon as it has not been answered for a moment.
var hedged = resilience.Policy{Hedge: &resilience.Hedge{Delay: time.Millisecond}}

// A call that one host does not answer is answered by another, and the attempt that lost is cancelled.
func TestHedge(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		stuck := w.start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			if r.Method == "PUT" {
				<-r.Context().Done() // without which the server would not close
			}
		}))
		quick := w.start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Count", r.Header.Get("X-Envoy-Attempt-Count"))
			io.WriteString(w, "quick"+string(b))
		}))
		m := newMesh(t, Config{}, true)
		c := w.cluster
		c.Budget = &resilience.Budget{MinConcurrent: 100}
		if w.tls {
			c.TLS = demandOf(quick)
		}
		m.serve(c, hedged, addr(stuck), addr(quick))
		for _, body := range []string{"", "hello"} {
			second := 0
			for i := 0; i < 100 && second == 0; i++ {
				if i%2 == 0 { // not hedged, so that another host's turn comes
					read(t, m.do(request(t, "POST", "http://payments/", nil)).Body)
					<-m.watcher.finished
				}
				req := request(t, "PUT", "http://payments/", strings.NewReader(body))
				resp := m.do(req)
				if got := read(t, resp.Body); got != "quick"+body || resp.Request != req {
					t.Errorf("%q", got)
				}
				<-m.watcher.finished
				if resp.Header.Get("X-Count") == "2" {
					second++
				}
			}
			if second == 0 {
				t.Error("nobody met the host that does not answer")
			}
		}
		if n := m.inFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}

// The answer of a second attempt is the call's like any other: it counts until it was read.
func TestHedgesAnswerIsHeld(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		stuck := w.start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		quick := w.start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "begin")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}))
		m := newMesh(t, Config{}, true)
		c := w.cluster
		if w.tls {
			c.TLS = demandOf(quick)
		}
		m.serve(c, hedged, addr(stuck), addr(quick))
		for range 2 {
			resp := m.do(request(t, "GET", "http://payments/", nil))
			b := make([]byte, 5)
			if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "begin" {
				t.Errorf("%q, %v", b, err)
			}
			if n := m.inFlight(); n != 1 {
				t.Errorf("%d in flight while the body is open", n)
			}
			resp.Body.Close()
			<-m.watcher.finished
			if n := m.inFlight(); n != 0 {
				t.Errorf("%d in flight after Close", n)
			}
		}
	})
}

// When all attempts fail, the last one's answer is the call's, and what they leave can be sent again.
func TestHedgesThatAllFail(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		bad := func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(503)
			io.WriteString(w, "not today")
		}
		one, two := w.start(t, http.HandlerFunc(bad)), w.start(t, http.HandlerFunc(bad))
		m := newMesh(t, Config{}, true)
		c := w.cluster
		if w.tls {
			c.TLS = demandOf(one)
		}
		p := answers()
		p.Hedge = &resilience.Hedge{Delay: time.Microsecond, Max: 2}
		m.serve(c, p, addr(one), addr(two))
		for range 20 {
			resp := m.do(request(t, "PUT", "http://payments/", struct{ io.Reader }{strings.NewReader("hello")}))
			if got := read(t, resp.Body); got != "not today" || resp.StatusCode != 503 {
				t.Errorf("%d %q", resp.StatusCode, got)
			}
		}
		if n := m.inFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}

// What can be sent beside itself is what can be read twice, now.
func TestBeside(t *testing.T) {
	m := newMesh(t, Config{}, false)
	whole := struct{ io.Reader }{strings.NewReader("hello")}
	for name, c := range map[string]struct {
		body    io.Reader
		read    int64
		upgrade bool
		want    string
	}{
		"none":       {nil, 0, false, ""},
		"GetBody":    {strings.NewReader("hello"), 0, false, "hello"},
		"unread":     {whole, 0, false, "no"},
		"half read":  {struct{ io.Reader }{strings.NewReader("hello")}, 3, false, "no"},
		"read":       {struct{ io.Reader }{strings.NewReader("hello")}, 6, false, "hello"},
		"beyond all": {struct{ io.Reader }{strings.NewReader(strings.Repeat("x", maxKept+1))}, maxKept + 2, false, "no"},
		"upgrade":    {nil, 0, true, "no"},
	} {
		req := request(t, "PUT", "http://payments/", c.body)
		if c.upgrade {
			req.Header = http.Header{"Upgrade": {"websocket"}}
		}
		x := newExchange(m.RoundTripper, req)
		body, err := x.body.next(t.Context(), maxKept)
		if err != nil {
			t.Fatal(err)
		}
		if c.read > 0 {
			io.Copy(io.Discard, io.LimitReader(body, c.read))
		}
		for range 2 {
			beside := x.Beside()
			if (beside == nil) != (c.want == "no") {
				t.Errorf("%s: %v", name, beside)
			}
			if beside == nil || c.body == nil {
				continue
			}
			other, err := beside.(*aside).body.next(t.Context(), maxKept)
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, other); got != c.want || !beside.Replayable() {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
}

// A body that was got for an attempt that was not made is closed.
func TestDiscardOfWhatWasNotSent(t *testing.T) {
	m := newMesh(t, Config{}, false)
	var second *countingBody
	req := request(t, "PUT", "http://payments/", strings.NewReader("hello"))
	req.GetBody = func() (io.ReadCloser, error) {
		second = &countingBody{Reader: strings.NewReader("hello")}
		return second, nil
	}
	x := newExchange(m.RoundTripper, req)
	x.Beside().Discard()
	if second.closes.Load() != 1 {
		t.Errorf("closed %d times", second.closes.Load())
	}
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("no more") }
	if x = newExchange(m.RoundTripper, req); x.Beside() != engine.Aside(nil) {
		t.Error("sent without its body")
	}
}
