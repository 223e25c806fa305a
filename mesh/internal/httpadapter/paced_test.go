package httpadapter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// once lets allowed bytes through at once, and then one a second.
var once = resilience.Bandwidth{BytesPerSecond: 1, Fill: allowed * time.Second}

const (
	allowed = 40_000
	more    = 1_000 // what may come in addition while a test takes its time
)

// steps is a pass that lets n bytes through at a time, and counts how often it was asked.
func steps(n int, asked *int) func(context.Context, int) (int, error) {
	return func(_ context.Context, want int) (int, error) {
		*asked++
		return min(n, want), nil
	}
}

func TestPacedBodies(t *testing.T) {
	text := strings.Repeat("0123456789", 5000)
	for _, step := range []int{1, 7, 4096, 1 << 20} {
		var asked int
		body := &countingBody{Reader: strings.NewReader(text)}
		p := newPaced(t.Context(), body, steps(step, &asked))
		if got := read(t, p); got != text {
			t.Errorf("by %d: %d bytes", step, len(got))
		}
		if asked < len(text)/step {
			t.Errorf("by %d: asked %d times", step, asked)
		}
		if p.ctx.Err() == nil {
			t.Error("its context goes on")
		}
		p.Close()
		if body.closes.Load() != 1 {
			t.Errorf("closed %d times", body.closes.Load())
		}
		var out bytes.Buffer
		flushes := 0
		asked = 0
		if n, err := write(t.Context(), &out, []byte(text), steps(step, &asked), func() { flushes++ }); n != len(text) || err != nil || out.String() != text || flushes != asked-1 {
			t.Errorf("by %d: wrote %d, %v, flushed %d times of %d", step, n, err, flushes, asked)
		}
	}
}

// A body that has ended has not gone before all of it may.
func TestPacedBodyEndsAtItsPace(t *testing.T) {
	waits := func(ctx context.Context, _ int) (int, error) { return 1, ctx.Err() }
	if text := "the end comes with the last bytes"; read(t, newPaced(t.Context(), io.NopCloser(iotest.DataErrReader(strings.NewReader(text))), waits)) != text {
		t.Error("it was cut")
	}
}

// Who waits for the pace is let go by Close.
func TestPacedBodyIsClosedWhileItWaits(t *testing.T) {
	entered := make(chan struct{})
	p := newPaced(context.Background(), io.NopCloser(strings.NewReader("x")), func(ctx context.Context, _ int) (int, error) {
		close(entered)
		<-ctx.Done()
		return 0, ctx.Err()
	})
	go func() {
		<-entered
		p.Close()
	}()
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The bandwidth of a route holds for what is sent and for what is answered. Who waits for it is let go when the call ends.
func TestBandwidthOfARoute(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		data := make([]byte, allowed+2*more)
		got, rest := make(chan error, 2), make(chan int64, 2)
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" {
				w.Write(data)
				return
			}
			_, err := io.ReadFull(r.Body, make([]byte, allowed))
			got <- err
			n, _ := io.Copy(io.Discard, r.Body)
			rest <- n
		}), resilience.Policy{})
		m.again(resilience.Policy{Bandwidth: resilience.Bandwidths{Request: once, Response: once}})

		ctx, cancel := context.WithCancel(t.Context())
		resp := m.do(request(t, "GET", "http://payments/", nil).WithContext(ctx))
		if n, err := io.ReadFull(resp.Body, make([]byte, allowed)); err != nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
		cancel()
		if b, err := io.ReadAll(resp.Body); !errors.Is(err, context.Canceled) || len(b) > more {
			t.Errorf("read %d bytes more, %v", len(b), err)
		}

		ctx, cancel = context.WithCancel(t.Context())
		go func() {
			if err := <-got; err != nil {
				t.Error(err)
			}
			cancel()
		}()
		_, err := m.RoundTrip(request(t, "POST", "http://payments/", bytes.NewReader(data)).WithContext(ctx))
		if n := <-rest; !errors.Is(err, context.Canceled) || n > more {
			t.Errorf("%d bytes came at once, then %v", allowed+n, err)
		}
		if n := m.inFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}

// A body that is broken off fails to be read where it broke, like that of a connection that was reset.
func TestBodyBrokenOff(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 100)) }), resilience.Policy{})
		fault := &resilience.Fault{Break: resilience.Break{Kind: resilience.BodyReset, After: 10}, BreakPercent: resilience.Fraction{Numerator: 100}}
		m.again(resilience.Policy{Fault: fault})
		b, err := io.ReadAll(m.do(request(t, "GET", "http://payments/", nil)).Body)
		if len(b) != 10 || err == nil || !strings.Contains(err.Error(), "broken off") {
			t.Errorf("read %d bytes, %v", len(b), err)
		}
		<-m.watcher.finished
		if o := m.watcher.calls[0]; o.Cause != resilience.Reset || o.Status != 200 || m.inFlight() != 0 {
			t.Errorf("%+v, %d in flight", o, m.inFlight())
		}
	})
}

// A server's bandwidth holds for all ways to write an answer, that by which files are sent too.
func TestBandwidthOfAServer(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		data := make([]byte, allowed+more)
		text := string(data)
		for name, answer := range map[string]func(http.ResponseWriter){
			"Write":       func(w http.ResponseWriter) { w.Write(data) },
			"WriteString": func(w http.ResponseWriter) { io.WriteString(w, text) },
			"ReadFrom":    func(w http.ResponseWriter) { io.Copy(w, bytes.NewReader(data)) },
		} {
			m := newMesh(t, Config{}, true)
			var err error
			s := m.listen(w, resilience.Serving{Bandwidth: resilience.Bandwidths{Response: once}}, func(w http.ResponseWriter, r *http.Request) { answer(w) })
			req := request(t, "GET", s.URL, nil)
			ctx, cancel := context.WithCancel(t.Context())
			resp, err := s.Client().Do(req.WithContext(ctx))
			if err != nil {
				t.Fatal(name, err)
			}
			n, err := io.ReadFull(resp.Body, make([]byte, allowed))
			if err != nil {
				t.Errorf("%s: %d bytes, %v", name, n, err)
			}
			cancel() // of which the server learns, and stops to wait
			resp.Body.Close()
			<-m.watcher.finished
			if o := m.watcher.served[0]; o.Cause != resilience.Reset {
				t.Errorf("%s: %+v", name, o)
			}
		}
	})
}

func TestBandwidthOfAServersRequests(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := newMesh(t, Config{}, false)
		s := m.listen(w, resilience.Serving{Bandwidth: resilience.Bandwidths{Request: once}}, func(w http.ResponseWriter, r *http.Request) {
			n, err := io.ReadFull(r.Body, make([]byte, allowed))
			if err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
		resp, err := s.Client().Post(s.URL, "", bytes.NewReader(make([]byte, allowed)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	})
}

// A server's answer that is broken off arrives as far as it goes, and is no whole one.
func TestServersBodyBrokenOff(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		fault := &resilience.Fault{Break: resilience.Break{Kind: resilience.BodyReset, After: 10}, BreakPercent: resilience.Fraction{Numerator: 100}}
		m := newMesh(t, Config{}, true)
		s := m.listen(w, resilience.Serving{Fault: fault}, func(w http.ResponseWriter, _ *http.Request) {
			if n, err := w.Write(make([]byte, 100)); n != 10 || err == nil {
				t.Errorf("wrote %d, %v", n, err)
			}
		})
		resp, err := s.Client().Do(request(t, "GET", s.URL, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); len(b) != 10 || err == nil {
			t.Errorf("read %d bytes, %v", len(b), err)
		}
		<-m.watcher.finished
		if o := m.watcher.served[0]; o.Cause != resilience.Reset {
			t.Errorf("%+v", o)
		}
	})
}
