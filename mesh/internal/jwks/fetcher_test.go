package jwks

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// fetcher is one whose mesh is not to be used, and its server.
func fetcher(t *testing.T, server func(http.Handler) *httptest.Server, answer http.HandlerFunc) (*Fetcher, *httptest.Server) {
	t.Helper()
	s := server(answer)
	t.Cleanup(s.Close)
	f := New(roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("the mesh was asked") }))
	t.Cleanup(func() { f.Close() })
	return f, s
}

// patiently is in place of the 5 s, which a machine that is busy may take.
func patiently(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestFetchesDirectly(t *testing.T) {
	ctx := patiently(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 4 {
		_, _ = io.WriteString(z, strings.Repeat("x", mostKeys))
	}
	_ = z.Close()
	var away *httptest.Server
	answers := map[string]http.HandlerFunc{
		"/keys": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Accept")) },
		"/long": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", mostKeys+1)) },
		"/bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		},
		"/500":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"/204":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"/here":   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) },
		"/loop":   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) },
		"/away":   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, away.URL+"/keys", http.StatusFound) },
		"/header": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 2*mostHeader)) },
		"/cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			io.WriteString(w, "x")
		},
	}
	serve := func(w http.ResponseWriter, r *http.Request) { answers[r.URL.Path](w, r) }
	f, s := fetcher(t, httptest.NewServer, serve)
	away = httptest.NewServer(http.HandlerFunc(serve))
	defer away.Close()
	for path, want := range map[string]string{"/keys": "application/json", "/here": "application/json"} {
		if got, err := f.Fetch(ctx, "", s.URL+path); string(got) != want || err != nil {
			t.Errorf("%s: %q %v", path, got, err)
		}
	}
	for path, want := range map[string]string{
		"/long": "more than", "/bomb": "more than", "/500": "500", "/204": "204", "/loop": "too many", "/away": "another host", "/header": "exceeded", "/cut": "EOF",
	} {
		if got, err := f.Fetch(ctx, "", s.URL+path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
	for _, uri := range []string{"", "file:///etc/passwd", "/keys", "https://", "http://user:secret@127.0.0.1/", "gopher://x/", "http://a b/"} {
		if _, err := f.Fetch(ctx, "", uri); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", uri, err)
		}
	}
}

func TestServersAreVerified(t *testing.T) {
	f, s := fetcher(t, httptest.NewTLSServer, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "keys") })
	s.Config.ErrorLog = nil
	f.own.TLSHandshakeTimeout = time.Minute
	if got, err := f.Fetch(patiently(t), "", s.URL); err == nil {
		t.Errorf("of a stranger: %q", got)
	}
	f.own.TLSClientConfig.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if got, err := f.Fetch(patiently(t), "", s.URL); err != nil || string(got) != "keys" {
		t.Errorf("control: %q %v", got, err)
	}
}

func TestFetchesFromServices(t *testing.T) {
	var asked *http.Request
	answer := func(code int) *Fetcher {
		return New(roundTripper(func(r *http.Request) (*http.Response, error) {
			asked = r
			return &http.Response{StatusCode: code, Header: http.Header{"Location": {"http://elsewhere/"}}, Body: io.NopCloser(strings.NewReader("keys"))}, nil
		}))
	}
	got, err := answer(200).Fetch(t.Context(), "keys.auth:8443", "https://issuer.example/jwks?a=b")
	if err != nil || string(got) != "keys" || asked.URL.String() != "https://keys.auth:8443/jwks?a=b" || asked.Host != "issuer.example" {
		t.Errorf("%q %v: %s %s", got, err, asked.URL, asked.Host)
	}
	if got, err := answer(302).Fetch(t.Context(), "keys.auth:8443", "https://issuer.example/jwks"); err == nil || asked.URL.Host != "keys.auth:8443" {
		t.Errorf("redirected: %q %v", got, err)
	}
	if _, err := New(nil).Fetch(t.Context(), "keys.auth", "http://issuer.example/"); err == nil {
		t.Error("there is no mesh")
	}
}

func TestFetchesHaveATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		for limit, want := range map[time.Duration]time.Duration{0: patience, time.Second: time.Second, time.Minute: time.Minute} {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if limit > 0 {
				ctx, cancel = context.WithTimeout(ctx, limit)
			}
			before := time.Now()
			_, err := f.Fetch(ctx, "keys", "http://issuer.example/")
			if d := time.Since(before); d != want || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %s, %v", limit, d, err)
			}
			cancel()
		}
	})
}
