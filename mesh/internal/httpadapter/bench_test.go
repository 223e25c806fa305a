package httpadapter

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

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

// exchanges are the requests that cost is measured by.
func exchanges(t testing.TB, cancelable bool) map[string]func(side) {
	ctx := context.Background()
	if cancelable {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		t.Cleanup(cancel)
	}
	payload := bytes.Repeat([]byte("x"), 1024)
	send := func(s side, req *http.Request, err error) {
		if err != nil {
			t.Fatal(err)
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

// The ceiling of +6 allocations over a plain http.Transport; the figures are in the log.
func TestAllocationsOverPlainTransport(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const ceiling = 6.5 // connections' own goroutines make for fractions
	for _, w := range wires[:2] {
		two := sides(t, w)
		for _, cancelable := range []bool{false, true} {
			for name, send := range exchanges(t, cancelable) {
				for _, s := range two {
					send(s) // connects
				}
				plain := testing.AllocsPerRun(300, func() { send(two[0]) })
				mesh := testing.AllocsPerRun(300, func() { send(two[1]) })
				t.Logf("%s %s, cancelable %v: %.0f plain, %.0f mesh: %+.0f", w.name, name, cancelable, plain, mesh, mesh-plain)
				if mesh-plain > ceiling {
					t.Errorf("%s %s, cancelable %v: %+.1f allocations", w.name, name, cancelable, mesh-plain)
				}
			}
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, w := range wires[:2] {
		two := sides(b, w)
		for name, send := range exchanges(b, true) {
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
