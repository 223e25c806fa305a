package httpadapter

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// Servers learn how long their caller waits, which is never longer than it said.
func TestDeadlineGoesOut(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"))
		}), resilience.Policy{})
		const long = time.Hour
		for name, c := range map[string]struct {
			ctx, route time.Duration
			said       string
			want       string // empty means what is left of an hour
		}{
			"caller's":          {ctx: long},
			"route's":           {route: long},
			"shorter one":       {ctx: 2 * long, route: long},
			"said to be less":   {ctx: long, said: "1234", want: "1234"},
			"said to be more":   {ctx: long, said: "9999999999"},
			"said badly":        {ctx: long, said: "soon"},
			"none":              {want: "none"},
			"none, but is said": {said: "77", want: "77"},
		} {
			m.again(resilience.Policy{Timeout: c.route})
			req := request(t, "GET", "http://payments/", nil)
			if c.said != "" {
				req.Header.Set("X-Envoy-Expected-Rq-Timeout-Ms", c.said)
			}
			if c.ctx > 0 {
				ctx, cancel := context.WithTimeout(t.Context(), c.ctx)
				defer cancel()
				req = req.WithContext(ctx)
			}
			got := read(t, m.do(req).Body)
			if got == "" {
				got = "none"
			}
			ms, _ := strconv.Atoi(got)
			left := time.Duration(ms) * time.Millisecond
			if c.want != "" && got != c.want || c.want == "" && (left > long || left < long-10*time.Minute) {
				t.Errorf("%s: %s, want %q", name, got, c.want)
			}
			if req.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms") != c.said {
				t.Errorf("%s: the caller's header was changed", name)
			}
		}
	})
}

// What a caller says of its deadline holds for the handler, shortens what there is, and is passed over where it makes no sense.
func TestDeadlineComesIn(t *testing.T) {
	m := newMesh(t, Config{}, false)
	for name, c := range map[string]struct {
		header http.Header
		parent time.Duration
		want   time.Duration // 0: none
	}{
		"envoy":          {http.Header{"X-Envoy-Expected-Rq-Timeout-Ms": {"3600000"}}, 0, time.Hour},
		"grpc":           {http.Header{"Grpc-Timeout": {"1H"}}, 0, time.Hour},
		"shortest":       {http.Header{"Grpc-Timeout": {"1H"}, "X-Envoy-Expected-Rq-Timeout-Ms": {"7200000"}}, 0, time.Hour},
		"shortest too":   {http.Header{"Grpc-Timeout": {"2H"}, "X-Envoy-Expected-Rq-Timeout-Ms": {"3600000"}}, 0, time.Hour},
		"never extended": {http.Header{"Grpc-Timeout": {"9H"}}, time.Hour, time.Hour},
		"for ever":       {http.Header{"X-Envoy-Expected-Rq-Timeout-Ms": {"18446744073709551615"}}, time.Hour, time.Hour},
		"bad":            {http.Header{"Grpc-Timeout": {"1h"}, "X-Envoy-Expected-Rq-Timeout-Ms": {"-1"}}, 0, 0},
		"no limit":       {http.Header{"X-Envoy-Expected-Rq-Timeout-Ms": {"0"}}, 0, 0},
		"one is bad":     {http.Header{"Grpc-Timeout": {"?"}, "X-Envoy-Expected-Rq-Timeout-Ms": {"3600000"}}, 0, time.Hour},
		"upgrade":        {http.Header{"Grpc-Timeout": {"1H"}, "Upgrade": {"websocket"}}, 0, 0},
		"nothing":        {http.Header{}, 0, 0},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header = c.header
		if c.parent > 0 {
			ctx, cancel := context.WithTimeout(t.Context(), c.parent)
			defer cancel()
			r = r.WithContext(ctx)
		}
		Handler(m.engine, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			d, ok := r.Context().Deadline()
			left := time.Until(d)
			if ok != (c.want > 0) || ok && (left > c.want || left < c.want-10*time.Minute) {
				t.Errorf("%s: %v left (%v), want %v", name, left, ok, c.want)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
	}
}

// A deadline goes through a service to those it calls.
func TestDeadlineIsHandedOn(t *testing.T) {
	m := newMesh(t, Config{}, false)
	leaf := wires[0].start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"))
	}))
	m.serve(wires[0].cluster, resilience.Policy{}, addr(leaf))
	front := m.listen(wires[0], resilience.Serving{}, func(w http.ResponseWriter, r *http.Request) {
		req := request(t, "GET", "http://payments/", nil).WithContext(r.Context())
		resp, err := m.RoundTrip(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		io.Copy(w, resp.Body)
	})
	req := request(t, "GET", front.URL, nil)
	req.Header.Set("Grpc-Timeout", "60000S")
	resp, err := front.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if ms, _ := strconv.Atoi(read(t, resp.Body)); ms > 60_000_000 || ms < 59_000_000 {
		t.Errorf("the leaf has %d ms", ms)
	}
}

// Work that came too late is refused.
func TestLateWork(t *testing.T) {
	m := newMesh(t, Config{}, false)
	late := &resilience.Lateness{MaxPercent: 100}
	s := m.listen(wires[0], resilience.Serving{Late: late}, func(http.ResponseWriter, *http.Request) { t.Error("was done all the same") })
	req := request(t, "GET", s.URL, nil)
	req.Header.Set("Grpc-Timeout", "0n")
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("status %d", resp.StatusCode)
	}
}
