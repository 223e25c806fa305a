package httpadapter

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// side is one way to send: plainly to the server, or to its service.
type side struct {
	name string
	rt   http.RoundTripper
	url  string
}

func sides(t testing.TB, w wire) []side {
	s := w.start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "hello")
	}))
	m := newMesh(t, Config{}, false)
	m.serve(w.cluster, resilience.Policy{}, addr(s))
	plain := newTransport()
	plain.DialContext = nil
	plain.Protocols = new(http.Protocols)
	plain.Protocols.SetHTTP1(!w.cluster.HTTP2)
	plain.Protocols.SetUnencryptedHTTP2(w.cluster.HTTP2)
	t.Cleanup(plain.CloseIdleConnections)
	return []side{{"plain", plain, s.URL}, {"mesh", m, "http://payments"}}
}

// The contexts that requests have: that of nobody, of a caller that may leave, and of one that waits for so long.
const (
	background = iota
	cancelable
	deadline
	contexts
)

// exchanges are the requests that cost is measured by.
func exchanges(t testing.TB, kind int) map[string]func(side) {
	ctx, cancel := context.Background(), func() {}
	switch kind {
	case cancelable:
		ctx, cancel = context.WithCancel(ctx)
	case deadline:
		ctx, cancel = context.WithTimeout(ctx, time.Hour)
	}
	t.Cleanup(cancel)
	said := []string{"3600000"}
	payload := bytes.Repeat([]byte("x"), 1024)
	send := func(s side, req *http.Request, err error) {
		if err != nil {
			t.Fatal(err)
		}
		if kind == deadline && s.name == "plain" { // so that it costs both sides' server the same
			req.Header[expectedTimeout.Canonical] = said
		}
		resp, err := s.rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return map[string]func(side){
		"GET": func(s side) {
			req, err := http.NewRequestWithContext(ctx, "GET", s.url, nil)
			send(s, req, err)
		},
		"POST": func(s side) {
			req, err := http.NewRequestWithContext(ctx, "POST", s.url, bytes.NewReader(payload))
			send(s, req, err)
		},
		"POST without GetBody": func(s side) {
			req, err := http.NewRequestWithContext(ctx, "POST", s.url, struct{ io.Reader }{bytes.NewReader(payload)})
			send(s, req, err)
		},
	}
}

// The ceiling of +6 allocations over a plain http.Transport, and of the header in addition that says how long
// the caller waits; the figures are in the log.
func TestAllocationsOverPlainTransport(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	ceilings := [contexts]float64{6.5, 6.5, 8.5} // connections' own goroutines make for fractions
	for _, w := range wires[:2] {
		two := sides(t, w)
		for kind, ceiling := range ceilings {
			for name, send := range exchanges(t, kind) {
				for _, s := range two {
					send(s) // connects
				}
				plain := testing.AllocsPerRun(300, func() { send(two[0]) })
				mesh := testing.AllocsPerRun(300, func() { send(two[1]) })
				t.Logf("%s %s, context %d: %.0f plain, %.0f mesh: %+.0f", w.name, name, kind, plain, mesh, mesh-plain)
				if mesh-plain > ceiling {
					t.Errorf("%s %s, context %d: %+.1f allocations", w.name, name, kind, mesh-plain)
				}
			}
		}
	}
}

// What a Handler costs over the handler itself: its call, the request with its context, and a deadline if there is one.
func TestAllocationsOfHandler(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	m := newMesh(t, Config{}, false)
	h := Handler(m.engine, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	for name, c := range map[string]struct {
		header  http.Header
		ceiling float64
	}{
		"plain":    {http.Header{}, 2},
		"deadline": {http.Header{expectedTimeout.Canonical: {"3600000"}}, 6},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header = c.header
		w := &nowhere{http.Header{}}
		n := testing.AllocsPerRun(300, func() { h.ServeHTTP(w, r) })
		t.Logf("%s: %.0f", name, n)
		if n > c.ceiling {
			t.Errorf("%s: %.0f allocations", name, n)
		}
	}
}

// nowhere is a ResponseWriter of which nothing is kept.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header       { return n.header }
func (*nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (*nowhere) WriteHeader(int)             {}

func BenchmarkRoundTrip(b *testing.B) {
	for _, w := range wires[:2] {
		two := sides(b, w)
		for name, send := range exchanges(b, cancelable) {
			for _, s := range two {
				b.Run(w.name+"/"+name+"/"+s.name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						send(s)
					}
				})
			}
		}
	}
}
