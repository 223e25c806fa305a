package engine

import (
	"context"
	"log/slog"
	"testing"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A server is an Engine that serves port 8080 as a test says.
type server struct {
	*Engine
	*Inbound
	resolver *moving
}

func newServer(tb testing.TB, s resilience.Serving, config ...func(*Config)) *server {
	tb.Helper()
	m := &moving{}
	c := Config{Resolver: m, Logger: slog.New(slog.DiscardHandler)}
	for _, set := range config {
		set(&c)
	}
	e := New(c)
	tb.Cleanup(e.Close)
	in, err := e.Listen(tcp(8080))
	if err != nil {
		tb.Fatal(err)
	}
	out := &server{e, in, m}
	out.set(s)
	return out
}

// set reports a new configuration.
func (s *server) set(v resilience.Serving) {
	s.resolver.inbounds["127.0.0.1:8080"](&resolver.Inbound{Addr: "127.0.0.1:8080", Serving: v}, nil)
}

// header is the headers of a call that is served.
type header map[string]string

func (h header) Values(n resolver.HeaderName) []string {
	if v, ok := h[n.Lower]; ok {
		return []string{v}
	}
	return nil
}

func inboundCall(path string, h header) *InboundCall {
	return &InboundCall{Local: tcp(8080), Request: resolver.Request{Method: "GET", Path: path, Header: h}}
}

func answer200(context.Context) resilience.Outcome { return resilience.Outcome{Status: 200} }

// idleServer wants nothing to be left of calls that have all ended.
func idleServer(t *testing.T, s *server) {
	t.Helper()
	if st := s.State(); st.InFlight != 0 || st.Queued != 0 || st.Faulted != 0 {
		t.Errorf("after all calls have ended: %+v", st)
	}
	if g := s.gradient; g != nil && g.InFlight() != 0 {
		t.Errorf("after all calls have ended %d are in the gradient", g.InFlight())
	}
	for i := range s.queue.lines {
		if l := s.queue.lines[i]; l.oldest != nil || l.newest != nil {
			t.Errorf("a queue of length 0 has a line %v", l)
		}
	}
}
