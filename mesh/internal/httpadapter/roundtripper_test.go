package httpadapter

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func TestGet(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Host", r.Host)
			w.Header().Set("X-Proto", r.Proto)
			w.Header().Set("X-Uri", r.RequestURI)
			io.WriteString(w, "hello "+r.Header.Get("X-Who"))
		}), resilience.Policy{})
		req := request(t, "GET", "http://payments/a%2Fb/c?q=1", nil)
		req.Header.Set("X-Who", "you")
		before := req.Clone(context.Background())
		resp := m.do(req)
		if got := read(t, resp.Body); got != "hello you" {
			t.Errorf("body %q", got)
		}
		for name, want := range map[string]string{"X-Host": "payments", "X-Proto": w.proto, "X-Uri": "/a%2Fb/c?q=1"} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s %q, want %q", name, got, want)
			}
		}
		if resp.Request != req {
			t.Error("Response.Request is not the caller's request")
		}
		if req.URL.String() != before.URL.String() || req.Host != before.Host || len(req.Header) != 1 {
			t.Errorf("the caller's request was changed: %v %v", req.URL, req.Header)
		}
		if n := m.inFlight(); n != 0 {
			t.Errorf("%d in flight after the body was read", n)
		}
		r := m.watcher.requests[0]
		r.Header = nil
		if want := (resolver.Request{Authority: "payments", Scheme: "http", Method: "GET", Path: "/a%2Fb/c", Query: "q=1"}); r != want {
			t.Errorf("routes saw %+v, want %+v", r, want)
		}
	})
}

func TestHostHeaderIsTheCallers(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }), resilience.Policy{})
		req := request(t, "GET", "http://payments/", nil)
		req.Host = "shop.example:8443"
		if got := read(t, m.do(req).Body); got != req.Host {
			t.Errorf("server saw Host %q", got)
		}
		if got := m.watcher.requests[0].Authority; got != req.Host {
			t.Errorf("routes saw authority %q", got)
		}
	})
}

func TestNamesOfAService(t *testing.T) {
	s := wires[0].start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }))
	for _, host := range []string{"payments", "payments:9000", "payments.shop.svc.cluster.local", "payments.shop.svc.cluster.local:80", "Payments", "payments:"} {
		m := newMesh(t, Config{}, false)
		m.serve(resolver.Cluster{}, resilience.Policy{}, addr(s))
		svc := *m.resolver.services["payments"]
		svc.Name = serviceName(host)
		m.resolver.set(&svc)
		if got := read(t, m.do(request(t, "GET", "http://"+host+"/", nil)).Body); got != strings.TrimSuffix(host, ":") {
			t.Errorf("%s: server saw Host %q", host, got)
		}
	}
}

func TestLargeBodiesBothWays(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if rc := http.NewResponseController(w); r.ProtoMajor == 1 {
				rc.EnableFullDuplex()
			}
			io.Copy(w, r.Body)
		}), retryAll)
		data := make([]byte, 10<<20)
		rand.Read(data)
		for name, body := range map[string]io.Reader{
			"GetBody": bytes.NewReader(data), "stream": struct{ io.Reader }{bytes.NewReader(data)},
		} {
			if got := read(t, m.do(request(t, "POST", "http://payments/", body)).Body); got != string(data) {
				t.Errorf("%s: %d bytes came back, not what was sent", name, len(got))
			}
		}
		if n := m.inFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}

func TestStreamsBothWaysAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			if r.ProtoMajor == 1 {
				rc.EnableFullDuplex()
			}
			rc.Flush()
			buf := make([]byte, 4)
			for {
				if _, err := io.ReadFull(r.Body, buf); err != nil {
					return
				}
				w.Write(buf)
				rc.Flush()
			}
		}), retryAll)
		pr, pw := io.Pipe()
		resp := m.do(request(t, "POST", "http://payments/", pr))
		for range 3 {
			if _, err := pw.Write([]byte("ping")); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 4)
			if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "ping" {
				t.Fatalf("%q, %v", buf, err)
			}
		}
		if n := m.inFlight(); n != 1 {
			t.Errorf("%d in flight while streaming", n)
		}
		pw.Close()
		read(t, resp.Body)
		if n := m.inFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}

func TestTrailers(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Trailer", "X-Sum")
			io.WriteString(w, "body")
			w.Header().Set("X-Sum", r.Trailer.Get("X-Sent"))
		}), resilience.Policy{})
		req := request(t, "POST", "http://payments/", struct{ io.Reader }{strings.NewReader("x")})
		req.Trailer = http.Header{"X-Sent": {"42"}}
		resp := m.do(req)
		read(t, resp.Body)
		if got := resp.Trailer.Get("X-Sum"); got != "42" {
			t.Errorf("trailer %q", got)
		}
	})
}

func TestExpectContinue(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/no" {
				w.Header().Set("Connection", "close")
				w.WriteHeader(http.StatusExpectationFailed)
				return
			}
			io.Copy(w, r.Body)
		}), resilience.Policy{})
		for path, want := range map[string]int{"/yes": 200, "/no": 417} {
			body := &countingBody{Reader: strings.NewReader("secret")} // the transport may close it after the answer
			req := request(t, "POST", "http://payments"+path, body)
			req.ContentLength = 6
			req.Header.Set("Expect", "100-continue")
			resp := m.do(req)
			if resp.StatusCode != want {
				t.Errorf("%s: status %d, want %d", path, resp.StatusCode, want)
			}
			read(t, resp.Body)
			if path == "/no" && body.reads.Load() != 0 && w.proto == "HTTP/1.1" {
				t.Error("the body was sent though the server declined it")
			}
		}
	})
}

type countingBody struct {
	io.Reader
	reads, closes atomic.Int32
}

func (b *countingBody) Read(p []byte) (int, error) { b.reads.Add(1); return b.Reader.Read(p) }
func (b *countingBody) Close() error               { b.closes.Add(1); return nil }

func TestHeadAndInformational(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Content-Length", "7")
			if r.Method != "HEAD" {
				io.WriteString(w, "content")
			}
		}), resilience.Policy{})
		hints := 0
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
			hints += code
			return nil
		}}
		req := request(t, "HEAD", "http://payments/", nil)
		resp := m.do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
		if hints != 103 {
			t.Errorf("1xx seen by httptrace: %d", hints)
		}
		if resp.ContentLength != 7 || read(t, resp.Body) != "" {
			t.Errorf("HEAD: length %d", resp.ContentLength)
		}
		if n := m.inFlight(); n != 0 {
			t.Errorf("%d in flight after HEAD", n)
		}
	})
}

func TestCompressionIsAsWithoutTheMesh(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "gzip" {
				return
			}
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, "squeezed")
			z.Close()
		}), resilience.Policy{})
		resp := m.do(request(t, "GET", "http://payments/", nil))
		if !resp.Uncompressed || read(t, resp.Body) != "squeezed" {
			t.Error("the response was not decompressed")
		}
	})
}

func TestCancelEndsTheAttempt(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		left, reached := make(chan struct{}, 2), make(chan struct{})
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/body" {
				io.WriteString(w, "begin")
				http.NewResponseController(w).Flush()
			} else {
				close(reached)
			}
			<-r.Context().Done()
			left <- struct{}{}
			panic(http.ErrAbortHandler) // returning would end the body well
		}), resilience.Policy{})

		ctx, cancel := context.WithCancel(context.Background())
		resp := m.do(request(t, "GET", "http://payments/body", nil).WithContext(ctx))
		buf := make([]byte, 5)
		io.ReadFull(resp.Body, buf)
		if m.inFlight() != 1 {
			t.Error("not in flight while its body is open")
		}
		cancel()
		<-m.watcher.finished // though nobody reads or closes the body
		<-left
		if o := m.watcher.calls[0]; o.Cause != resilience.Canceled || o.Status != 200 || m.inFlight() != 0 {
			t.Errorf("after cancel: %+v, %d in flight", o, m.inFlight())
		}
		if _, err := resp.Body.Read(buf); !errors.Is(err, context.Canceled) {
			t.Errorf("read after cancel: %v", err)
		}

		_, err := m.RoundTrip(request(t, "GET", "http://payments/header", nil).WithContext(overdueFrom{context.Background(), reached}))
		<-left
		var e *engine.Error
		if !errors.As(err, &e) || e.Kind != engine.Deadline || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deadline before the header: %v", err)
		}
	})
}

// overdueFrom is a context whose deadline passes when from is closed.
type overdueFrom struct {
	context.Context
	from <-chan struct{}
}

func (o overdueFrom) Done() <-chan struct{} { return o.from }

func (o overdueFrom) Err() error {
	select {
	case <-o.from:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestRouteTimeoutCoversTheBody(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "begin")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // returning would end the body well
		}), resilience.Policy{Timeout: 3 * time.Second})
		_, err := io.ReadAll(m.do(request(t, "GET", "http://payments/", nil)).Body)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		<-m.watcher.finished
		if o := m.watcher.calls[0]; o.Cause != resilience.Timeout || m.inFlight() != 0 {
			t.Errorf("%+v, %d in flight", o, m.inFlight())
		}
	})
}

func TestCloseEndsTheAttempt(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Write(make([]byte, 1<<20))
		}), resilience.Policy{})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		resp := m.do(request(t, "GET", "http://payments/", nil).WithContext(ctx))
		if m.inFlight() != 1 {
			t.Error("not in flight before Close")
		}
		resp.Body.Close()
		resp.Body.Close()
		if o := m.watcher.calls; len(o) != 1 || o[0].Cause != resilience.None || m.inFlight() != 0 {
			t.Errorf("after Close: %+v, %d in flight", o, m.inFlight())
		}
	})
}

func TestServersAnswerIsNotAnError(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }), retryAll)
		if resp := m.do(request(t, "GET", "http://payments/", nil)); resp.StatusCode != 503 {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}

func TestAttemptHeadersAreAdded(t *testing.T) {
	m := wires[0].to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Join(r.Header["Traceparent"], "|"))
	}), resilience.Policy{})
	m.watcher.header = []engine.Field{{Name: "traceparent", Value: "new"}}
	req := request(t, "GET", "http://payments/", nil)
	req.Header.Set("Traceparent", "old")
	if got := read(t, m.do(req).Body); got != "new" {
		t.Errorf("server saw %q", got)
	}
	if !slices.Equal(req.Header["Traceparent"], []string{"old"}) {
		t.Error("the caller's header was changed")
	}
}

func TestTraceHooksSeeTheHost(t *testing.T) {
	m := wires[3].to(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), resilience.Policy{})
	var got []string
	trace := &httptrace.ClientTrace{
		GetConn:      func(hostPort string) { got = append(got, hostPort) },
		ConnectStart: func(_, addr string) { got = append(got, addr) },
		GotConn:      func(i httptrace.GotConnInfo) { got = append(got, i.Conn.RemoteAddr().String()) },
	}
	req := request(t, "GET", "http://payments/", nil)
	m.do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	host := m.engine.Service("payments").Hosts()[0].Addr()
	if !slices.Equal(got, []string{host, host, host}) {
		t.Errorf("hooks saw %v, want %s three times", got, host)
	}
}

func TestConnectIsRefused(t *testing.T) {
	m := wires[0].to(t, http.NotFoundHandler(), resilience.Policy{})
	body := &countingBody{Reader: strings.NewReader("x")}
	req := request(t, "CONNECT", "http://payments/", body)
	_, err := m.RoundTrip(req)
	if err == nil || !strings.Contains(err.Error(), "CONNECT is not supported") || body.closes.Load() != 1 {
		t.Errorf("%v, body closed %d times", err, body.closes.Load())
	}
}

func TestResponseHeaderLimit(t *testing.T) {
	m := wires[0].to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Much", strings.Repeat("x", maxResponseHeader+1))
	}), resilience.Policy{})
	if _, err := m.RoundTrip(request(t, "GET", "http://payments/", nil)); err == nil || !strings.Contains(err.Error(), "headers exceeded") {
		t.Errorf("got %v", err)
	}
}
