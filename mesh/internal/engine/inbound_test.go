package engine

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func tcp(port int) *net.TCPAddr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }

func TestInbound(t *testing.T) {
	e, m := newEngine(t, nil)
	in, err := e.Listen(tcp(8080))
	if err != nil {
		t.Fatal(err)
	}
	call := &InboundCall{Local: tcp(8080)}
	if in.Value() != nil || e.Inbound(call) != nil {
		t.Error("a value before the first report")
	}
	v := &resolver.Inbound{Addr: "127.0.0.1:8080"}
	sink := m.inbounds["127.0.0.1:8080"]
	sink(v, nil)
	sink(nil, errors.New("no control plane"))
	sink(nil, &resolver.UnknownError{})
	sink(nil, nil)
	if in.Value() != v || e.Inbound(call) != v {
		t.Errorf("value %v, of the call %v", in.Value(), e.Inbound(call))
	}
	if e.Inbound(&InboundCall{}) != nil || e.Inbound(&InboundCall{Local: tcp(81)}) != nil {
		t.Error("a call of another port has this one's configuration")
	}
	in.Close()
	in.Close()
	if len(m.inbounds) != 0 || e.Inbound(call) != nil || m.stops != 1 {
		t.Errorf("registered after Close, which stopped it %d times", m.stops)
	}
}

func TestListenAgainstClose(t *testing.T) {
	for range 50 {
		m := &moving{}
		e := New(Config{Resolver: m, Logger: slog.New(slog.DiscardHandler)})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if in, err := e.Listen(tcp(8080 + i)); err == nil {
					in.Close()
				} else if !errors.Is(err, errClosed) {
					t.Error(err)
				}
			})
		}
		wg.Go(e.Close)
		wg.Wait()
		if len(m.inbounds) != 0 {
			t.Fatalf("%d registrations after Close", len(m.inbounds))
		}
	}
}

func TestServingElsewhereThanTheMeshListensIsSaidOnce(t *testing.T) {
	var log strings.Builder
	m := &moving{}
	e := New(Config{Resolver: m, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	in, err := e.Listen(tcp(8080))
	if err != nil {
		t.Fatal(err)
	}
	serve := func(local net.Addr) {
		e.Serve(t.Context(), &InboundCall{Local: local}, func(context.Context) resilience.Outcome { return resilience.Outcome{} })
	}
	serve(tcp(8080))
	serve(nil)
	in.Close()
	serve(tcp(8080)) // one of the last calls
	if log.Len() > 0 {
		t.Errorf("said of the mesh's own listener: %s", log.String())
	}
	serve(tcp(9090))
	serve(tcp(9091))
	if n := strings.Count(log.String(), "Mesh.Listen"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
	e.Close()
}
