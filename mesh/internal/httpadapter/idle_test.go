package httpadapter

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// A call on which nothing is sent ends, before its answer and within its body, whether it is read or not.
func TestIdleCallsEnd(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/body" {
				io.WriteString(w, "begin")
				http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()        // without which the server would not close
			panic(http.ErrAbortHandler) // returning would end the body well
		}), resilience.Policy{Idle: 50 * time.Millisecond})
		_, err := m.RoundTrip(request(t, "GET", "http://payments/", nil))
		var e *engine.Error
		if !errors.As(err, &e) || e.Kind != engine.Deadline || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before the answer: %v", err)
		}
		<-m.watcher.finished
		m.again(resilience.Policy{Idle: time.Hour})
		for _, reads := range []bool{true, false} {
			resp := m.do(request(t, "GET", "http://payments/body", nil))
			if reads {
				io.ReadFull(resp.Body, make([]byte, 5))
			}
			pass(resp.Body.(*responseBody).quiet)
			if reads {
				_, err := resp.Body.Read(make([]byte, 1))
				var timeout interface{ Timeout() bool }
				if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
					t.Errorf("within the body: %v", err)
				}
			}
			<-m.watcher.finished
			if o := m.watcher.calls[len(m.watcher.calls)-1]; o.Cause != resilience.Timeout || o.Status != 200 || m.inFlight() != 0 {
				t.Errorf("%+v, %d in flight", o, m.inFlight())
			}
		}
	})
}

// pass lets the time of i pass.
func pass(i *idle) {
	i.limit = 0
	i.check()
}

// What is sent now and then, either way, is not idle, however long it takes.
func TestBusyCallsAreNotIdle(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		const limit = 20 * time.Second // the clock is not the test's
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }), resilience.Policy{Idle: limit})
		ctx, quiet := newIdle(t.Context(), limit)
		before := quiet.last.Load()
		for range 3 {
			quiet.touch()
			quiet.check() // as if the time were up since it began
		}
		if quiet.last.Load() == before || ctx.Err() != nil {
			t.Error("what was sent does not count")
		}
		quiet.stop()
		quiet.check()
		if _, late := expired(ctx); late {
			t.Error("expired after its end")
		}
		for range 2 {
			pr, pw := io.Pipe()
			go func() {
				io.WriteString(pw, "hello")
				pw.Close()
			}()
			if got := read(t, m.do(request(t, "POST", "http://payments/", pr)).Body); got != "hello" {
				t.Errorf("%q", got)
			}
		}
		<-m.watcher.finished
		if o := m.watcher.calls[0]; o.Cause != resilience.None {
			t.Errorf("%+v", o)
		}
	})
}

func TestIdleUpgradeEnds(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(echoUpgrade), resilience.Policy{Idle: time.Hour})
		req := request(t, "GET", "http://payments/ws", nil)
		req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
		conn := m.do(req).Body.(*upgraded)
		io.WriteString(conn, "ping\n")
		from := bufio.NewReader(conn)
		if line, err := from.ReadString('\n'); line != "ping\n" {
			t.Errorf("%q, %v", line, err)
		}
		if conn.quiet.last.Load() == 0 {
			t.Error("what was sent does not count")
		}
		pass(conn.quiet)
		if _, err := from.ReadString('\n'); err == nil {
			t.Error("it goes on")
		}
		<-m.watcher.finished
		if o := m.watcher.calls[0]; o.Cause != resilience.Timeout || m.inFlight() != 0 {
			t.Errorf("%+v, %d in flight", o, m.inFlight())
		}
	})
}
