package httpadapter

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
)

func get(t *testing.T, s interface{ Client() *http.Client }, url string) (*http.Response, string) {
	t.Helper()
	resp, err := s.Client().Do(request(t, "GET", url, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp, read(t, resp.Body)
}

// What a server refuses is said by status, text and headers; what it takes carries the call's headers, however it is answered.
func TestRefusals(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := newMesh(t, Config{}, true)
		rate := &resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 3, FillInterval: time.Hour}, Headers: true}
		s := m.listen(w, resilience.Serving{Rate: rate}, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/write":
				io.WriteString(w, "hello")
			case "/status":
				w.Header().Set("X-Ratelimit-Remaining", "mine")
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusTeapot)
			}
		})
		for i, path := range []string{"/", "/write", "/status", "/"} {
			resp, body := get(t, s, s.URL+path)
			want := []int{200, 200, http.StatusTeapot, 429}[i]
			left := []string{"2", "1", "0", "0"}[i]
			if resp.StatusCode != want || resp.Header.Get("X-Ratelimit-Remaining") != left || resp.Header.Get("X-Ratelimit-Limit") != "3" {
				t.Errorf("%s: %d %v", path, resp.StatusCode, resp.Header)
			}
			if i == 3 && (resp.Header.Get("X-Envoy-Ratelimited") != "true" || body == "" || resp.Header.Get("Content-Type") != "text/plain") {
				t.Errorf("refused with %q, %v", body, resp.Header)
			}
		}
		for range 4 {
			<-m.watcher.finished
		}
		if o := m.watcher.served[3]; o.Status != 429 {
			t.Errorf("observed %+v", o)
		}
	})
}

func TestFullServer(t *testing.T) {
	m := newMesh(t, Config{}, false)
	entered, leave := make(chan struct{}), make(chan struct{})
	s := m.listen(wires[0], resilience.Serving{MaxRequests: 1}, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			close(entered)
			<-leave
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		get(t, s, s.URL+"/long")
	}()
	<-entered
	if resp, body := get(t, s, s.URL); resp.StatusCode != 503 || resp.Header.Get("X-Envoy-Overloaded") != "true" || body == "" {
		t.Errorf("%d %q %v", resp.StatusCode, body, resp.Header)
	}
	if resp, _ := get(t, s, s.URL+"/healthz"); resp.StatusCode != 200 {
		t.Errorf("a health check got %d", resp.StatusCode)
	}
	close(leave)
	<-done
}

func TestFaultsOfAServer(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		always := resilience.Fraction{Numerator: 100}
		m := newMesh(t, Config{}, true)
		handled := func(http.ResponseWriter, *http.Request) { t.Error("was handled") }
		s := m.listen(w, resilience.Serving{Fault: &resilience.Fault{Abort: resilience.Abort{Status: 418}, AbortPercent: always}}, handled)
		if resp, body := get(t, s, s.URL); resp.StatusCode != 418 || body != "fault filter abort" {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		s = m.listen(w, resilience.Serving{Fault: &resilience.Fault{Break: resilience.Break{Kind: resilience.ConnectionRefused}, BreakPercent: always}}, handled)
		if resp, err := s.Client().Do(request(t, "POST", s.URL, http.NoBody)); err == nil {
			resp.Body.Close()
			t.Errorf("answered with %d", resp.StatusCode)
		}
	})
}

// A failure whose cause was repeated enough asks not to be repeated; others, and answers that are no failure, do not.
func TestSpentCallsAskForNoRetry(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := newMesh(t, Config{}, false)
		leaf := wires[0].start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }))
		m.serve(wires[0].cluster, answers(), addr(leaf))
		s := m.listen(w, resilience.Serving{}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/own" {
				resp, err := m.RoundTrip(request(t, "GET", "http://payments/", nil).WithContext(r.Context()))
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
			}
			if r.URL.Path != "/fine" {
				w.WriteHeader(502)
			}
		})
		for path, want := range map[string]string{"/": "true", "/own": "", "/fine": ""} {
			if resp, _ := get(t, s, s.URL+path); resp.Header.Get("X-Envoy-Overloaded") != want {
				t.Errorf("%s: %d %v", path, resp.StatusCode, resp.Header)
			}
		}
	})
}
