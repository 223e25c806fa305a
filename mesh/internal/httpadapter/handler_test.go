package httpadapter

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func TestHandlerReportsTheStatus(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		for name, c := range map[string]struct {
			handle http.HandlerFunc
			status int
			cause  resilience.Cause
		}{
			"nothing":   {func(http.ResponseWriter, *http.Request) {}, 200, resilience.None},
			"body":      {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") }, 200, resilience.None},
			"not found": {http.NotFound, 404, resilience.None},
			"hints": {func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(500)
				w.WriteHeader(200)
			}, 500, resilience.None},
			"flush first": {func(w http.ResponseWriter, _ *http.Request) {
				w.(http.Flusher).Flush()
				w.WriteHeader(500)
			}, 200, resilience.None},
			"file":  {func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, strings.NewReader("file")) }, 200, resilience.None},
			"abort": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, resilience.Reset},
		} {
			m := newMesh(t, Config{}, true)
			s := w.start(t, Handler(m.engine, c.handle))
			resp, err := s.Client().Get(s.URL)
			if (err != nil) != (name == "abort") {
				t.Fatal(name, err)
			}
			if err == nil {
				read(t, resp.Body) // closing it unread would be a client that leaves
				resp.Body.Close()
			}
			<-m.watcher.finished
			if o := m.watcher.served[0]; o.Status != c.status || o.Cause != c.cause {
				t.Errorf("%s: %+v, want status %d, cause %d", name, o, c.status, c.cause)
			}
		}
	})
}

func TestHandlerReportsTheRequest(t *testing.T) {
	m := newMesh(t, Config{}, true)
	s := wires[3].start(t, Handler(m.engine, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(watcherKey{}) == nil {
			t.Error("the handler does not have the observer's context")
		}
	})))
	req := request(t, "PUT", s.URL+"/a%2Fb?q=1", nil)
	req.Host = "payments"
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-m.watcher.finished
	got := m.watcher.inbound[0]
	if v := got.Header.Values(resolver.HeaderName{Canonical: "User-Agent"}); len(v) != 1 {
		t.Errorf("User-Agent %v", v)
	}
	got.Header = nil
	if want := (resolver.Request{Authority: "payments", Scheme: "https", Method: "PUT", Path: "/a%2Fb", Query: "q=1"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestHandlerSeesTheClientLeave(t *testing.T) {
	m := newMesh(t, Config{}, true)
	entered := make(chan struct{})
	s := wires[0].start(t, Handler(m.engine, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})))
	ctx, cancel := context.WithCancel(t.Context())
	req := request(t, "GET", s.URL, nil).WithContext(ctx)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := tr.RoundTrip(req); err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	cancel()
	<-done
	<-m.watcher.finished
	if o := m.watcher.served[0]; o.Cause != resilience.Canceled {
		t.Errorf("%+v", o)
	}
}

// What a handler can ask of its ResponseWriter is what the server offers.
func TestRecorderHasTheServersMethods(t *testing.T) {
	type offers struct{ flush, hijack, push, read bool }
	of := func(w http.ResponseWriter) (o offers) {
		_, o.flush = w.(http.Flusher)
		_, o.hijack = w.(http.Hijacker)
		_, o.push = w.(http.Pusher)
		_, o.read = w.(io.ReaderFrom)
		return o
	}
	each(t, func(t *testing.T, w wire) {
		var plain, observed offers
		m := newMesh(t, Config{}, true)
		look := func(o *offers) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				*o = of(w)
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
			})
		}
		s := w.start(t, look(&plain))
		s2 := w.start(t, Handler(m.engine, look(&observed)))
		for _, s := range []*httptest.Server{s, s2} {
			resp, err := s.Client().Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		if plain != observed {
			t.Errorf("server offers %+v, the recorder %+v", plain, observed)
		}
	})
}

func TestHandlerKeepsUpgradesAndTrailers(t *testing.T) {
	m := newMesh(t, Config{}, true)
	s := wires[0].start(t, Handler(m.engine, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			echoUpgrade(w, r)
			return
		}
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
	})))
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	read(t, resp.Body)
	if resp.Body.Close(); resp.Trailer.Get("X-Sum") != "42" {
		t.Error("no trailer")
	}
	<-m.watcher.finished
	req := request(t, "GET", s.URL+"/ws", nil)
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	if resp, err = s.Client().Do(req); err != nil {
		t.Fatal(err)
	}
	conn := resp.Body.(io.ReadWriteCloser)
	io.WriteString(conn, "ping\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "ping\n" {
		t.Errorf("%q, %v", line, err)
	}
	conn.Close()
	<-m.watcher.finished
	if o := m.watcher.served[1]; o.Status != 101 {
		t.Errorf("%+v", o)
	}
}

// The server removes the files of forms by the request that it made, which is
// not the one that the handler got.
func TestHandlerHandsFormsBack(t *testing.T) {
	m := newMesh(t, Config{}, true)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /upload", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Error(err)
		}
	})
	req := httptest.NewRequest("POST", "/upload", strings.NewReader("--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--b--\r\n"))
	req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	Handler(m.engine, mux).ServeHTTP(httptest.NewRecorder(), req)
	if req.MultipartForm == nil || req.Pattern != "POST /upload" {
		t.Errorf("form %v, pattern %q", req.MultipartForm, req.Pattern)
	}
}

func TestHandlersPanicComesThrough(t *testing.T) {
	m := newMesh(t, Config{}, false)
	boom := errors.New("boom")
	defer func() {
		if recover() != boom {
			t.Error("the handler's panic did not come through")
		}
	}()
	Handler(m.engine, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(boom)
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}
