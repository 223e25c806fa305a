package httpadapter

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// lastGood falls back to the last good answer, and retries once before that.
func lastGood() resilience.Policy {
	p := answers()
	p.Fallback = &resilience.Fallback{MaxAge: time.Hour, MaxBytes: 1000}
	return p
}

// A moody server fails while it is down.
type moody struct {
	down   atomic.Bool
	answer http.HandlerFunc
}

func (s *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.down.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "down")
		return
	}
	s.answer(w, r)
}

// A good answer is given again, as it was, to the same request while there is no better one.
func TestLastGoodAnswer(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		s := &moody{answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header()["X-Two"] = []string{"a", "b"}
			w.Header().Set("Vary", "Accept, Cookie")
			if r.Method != "HEAD" && r.URL.Path != "/empty" {
				io.WriteString(w, "good "+r.URL.RawQuery)
			}
		}}
		m := w.to(t, s, lastGood())
		for _, method := range []string{"GET", "HEAD"} {
			for _, path := range []string{"/?1", "/?2", "/empty"} {
				s.down.Store(false)
				good := m.do(request(t, method, "http://payments"+path, nil))
				body := read(t, good.Body)
				good.Header["X-Two"][0] = "changed" // which is the caller's own
				s.down.Store(true)
				for range 2 {
					req := request(t, method, "http://payments"+path, nil)
					req.Header.Set("Traceparent", "of this one only")
					resp := m.do(req)
					got := read(t, resp.Body)
					if resp.StatusCode != 200 || resp.Status != "200 OK" || got != body || resp.ContentLength != good.ContentLength || resp.Request != req ||
						strings.Join(resp.Header["X-Two"], "") != "ab" || !strings.HasPrefix(resp.Header.Get("X-Weft-Fallback"), "last-good; age=") {
						t.Errorf("%s %s: %d %q (%d) %v", method, path, resp.StatusCode, got, resp.ContentLength, resp.Header)
					}
					resp.Header.Set("X-Two", "changed")
				}
			}
		}
		if n := m.inFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}

// What may not be given again is not kept.
func TestAnswersThatAreNotKept(t *testing.T) {
	type change struct {
		method, path string
		header       http.Header
		body         io.Reader
	}
	for name, c := range map[string]struct {
		first  change // is good
		second change // fails
		answer func(http.ResponseWriter)
		unread bool
		kept   bool
	}{
		"same":                  {kept: true},
		"traces":                {first: change{header: http.Header{"Traceparent": {"1"}, "X-Request-Id": {"1"}}}, second: change{header: http.Header{"Traceparent": {"2"}, "X-Request-Id": {"2"}}}, kept: true},
		"path":                  {second: change{path: "/other"}},
		"query":                 {second: change{path: "/?q"}},
		"method":                {second: change{method: "HEAD"}},
		"credentials":           {first: change{header: http.Header{"Authorization": {"me"}}}, second: change{header: http.Header{"Authorization": {"you"}}}},
		"cookie":                {first: change{header: http.Header{"Cookie": {"a=1"}}}},
		"language":              {second: change{header: http.Header{"Accept-Language": {"de"}}}},
		"own way to say who":    {first: change{header: http.Header{"X-User": {"me"}}}, second: change{header: http.Header{"X-User": {"you"}}}},
		"two for one":           {first: change{header: http.Header{"Accept": {"a", "b"}}}, second: change{header: http.Header{"Accept": {"ab"}}}},
		"POST":                  {first: change{method: "POST"}, second: change{method: "POST"}},
		"range":                 {first: change{header: http.Header{"Range": {"bytes=0-1"}}}, second: change{header: http.Header{"Range": {"bytes=0-1"}}}},
		"asked not to be":       {first: change{header: http.Header{"Cache-Control": {"max-age=0, No-Store"}}}},
		"GET with a body":       {first: change{body: strings.NewReader("x")}, second: change{body: strings.NewReader("x")}},
		"no-store":              {answer: func(w http.ResponseWriter) { w.Header().Set("Cache-Control", "no-store") }},
		"private":               {answer: func(w http.ResponseWriter) { w.Header().Set("Cache-Control", `max-age=1, private="x"`) }},
		"max-age":               {answer: func(w http.ResponseWriter) { w.Header().Set("Cache-Control", "max-age=0") }, kept: true},
		"sets a cookie":         {answer: func(w http.ResponseWriter) { w.Header().Set("Set-Cookie", "a=1") }},
		"varies by all":         {answer: func(w http.ResponseWriter) { w.Header().Set("Vary", "Accept, *") }},
		"varies by what passes": {answer: func(w http.ResponseWriter) { w.Header().Set("Vary", "x-request-id") }},
		"not good":              {answer: func(w http.ResponseWriter) { w.WriteHeader(404) }},
		"too long":              {answer: func(w http.ResponseWriter) { w.Write(make([]byte, 1001)) }},
		"too long, unannounced": {answer: func(w http.ResponseWriter) { w.(http.Flusher).Flush(); w.Write(make([]byte, 1001)) }},
		"as long as may be":     {answer: func(w http.ResponseWriter) { w.(http.Flusher).Flush(); w.Write(make([]byte, 1000)) }, kept: true},
		"not read":              {unread: true},
	} {
		s := &moody{answer: func(w http.ResponseWriter, _ *http.Request) {
			if c.answer != nil {
				c.answer(w)
				return
			}
			io.WriteString(w, "good")
		}}
		m := wires[0].to(t, s, lastGood())
		send := func(c change) *http.Response {
			method := c.method
			if method == "" {
				method = "GET"
			}
			req := request(t, method, "http://payments"+c.path, c.body)
			if c.header != nil {
				req.Header = c.header
			}
			return m.do(req)
		}
		first := send(c.first)
		if c.unread {
			first.Body.Close()
		} else {
			read(t, first.Body)
		}
		s.down.Store(true)
		if resp := send(c.second); (resp.StatusCode == 200) != c.kept {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
	}
}

// A configured answer stands in for servers that are not there, for what only reads.
func TestConfiguredAnswer(t *testing.T) {
	m := newMesh(t, Config{}, true)
	p := resilience.Policy{Fallback: &resilience.Fallback{Answer: &resilience.Answer{
		Status: 203, Header: []resilience.Entry{{Key: "content-type", Value: "application/json"}}, Body: []byte("{}"),
	}}}
	m.serve(resolver.Cluster{}, p, deadAddr(t))
	for method, body := range map[string]string{"GET": "{}", "HEAD": ""} {
		resp := m.do(request(t, method, "http://payments/", nil))
		if got := read(t, resp.Body); resp.StatusCode != 203 || got != body || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("X-Weft-Fallback") != "configured" {
			t.Errorf("%s: %d %q %v", method, resp.StatusCode, got, resp.Header)
		}
	}
	body := &countingBody{Reader: strings.NewReader("x")}
	if resp, err := m.RoundTrip(request(t, "POST", "http://payments/", body)); err == nil || body.closes.Load() != 1 {
		resp.Body.Close()
		t.Errorf("a POST got %d", resp.StatusCode)
	}
	if n := m.inFlight(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

// A fault answers in the server's place, which sees nothing of it.
func TestAbortedCall(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		always := resilience.Fraction{Numerator: 100}
		m := w.to(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("was asked") }),
			resilience.Policy{Fault: &resilience.Fault{Abort: resilience.Abort{Status: 503}, AbortPercent: always}})
		for range 2 {
			body := &countingBody{Reader: strings.NewReader("x")}
			resp := m.do(request(t, "POST", "http://payments/", body))
			if got := read(t, resp.Body); resp.StatusCode != 503 || got != "fault filter abort" || resp.Header.Get("Content-Type") != "text/plain" || body.closes.Load() != 1 {
				t.Errorf("%d %q %v, body closed %d times", resp.StatusCode, got, resp.Header, body.closes.Load())
			}
		}
		m.again(resilience.Policy{Fault: &resilience.Fault{Abort: resilience.Abort{GRPC: true, Code: 5}, AbortPercent: always}})
		if resp := m.do(request(t, "GET", "http://payments/", nil)); resp.StatusCode != 404 {
			t.Errorf("NOT_FOUND became %d", resp.StatusCode)
		}
	})
}
