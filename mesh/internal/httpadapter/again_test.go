package httpadapter

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A server that drops connections sees no more tries than are configured, be the first on a kept connection, under which net/http
// would send a request that does no harm twice once more by itself.
func TestTriesOnKeptConnections(t *testing.T) {
	for _, w := range []wire{wires[0], wires[1], wires[3]} {
		t.Run(w.name, func(t *testing.T) {
			for _, tc := range []struct {
				name, method, key string
				body              string
				on                resilience.Conditions
				attempts          uint32
				want              int32
			}{
				{name: "get", method: "GET", on: resilience.OnReset, attempts: 2, want: 3},
				{name: "get, where it is no reason", method: "GET", on: resilience.OnConnectFailure, attempts: 1, want: 2},
				{name: "put", method: "PUT", body: "x", on: resilience.On5xx, attempts: 2, want: 3},
				{name: "post", method: "POST", body: "x", on: resilience.On5xx, attempts: 2, want: 1},
				{name: "post with a key", method: "POST", key: "1", body: "x", on: resilience.On5xx, attempts: 2, want: 3},
			} {
				var hits atomic.Int32
				m := w.to(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					if r.URL.Path != "/warm" {
						hits.Add(1)
						panic(http.ErrAbortHandler)
					}
				}), resilience.Policy{Retry: resilience.Retry{Attempts: tc.attempts, On: tc.on, Base: time.Nanosecond}})
				read(t, m.do(request(t, "GET", "http://payments/warm", nil)).Body)
				req := request(t, tc.method, "http://payments/", strings.NewReader(tc.body))
				if tc.key != "" {
					req.Header.Set("Idempotency-Key", tc.key)
				}
				_, err := m.RoundTrip(req)
				var e *engine.Error
				if !errors.As(err, &e) || e.Kind != engine.Reset {
					t.Errorf("%s: %v", tc.name, err)
				}
				if n := hits.Load(); n > tc.want || n < tc.want && w.name == "http1" {
					t.Errorf("%s: %d tries, want %d", tc.name, n, tc.want)
				}
				if n := m.inFlight(); n != 0 {
					t.Errorf("%s: %d in flight", tc.name, n)
				}
			}
		})
	}
}

// A request on a kept connection that has died goes to another host without a reset being a reason to repeat it: the server is
// nearly always gone from before. It is one of the tries.
func TestStaleConnectionCostsATry(t *testing.T) {
	var dies atomic.Bool // with the next request
	s := wires[0].start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if dies.Swap(false) {
			panic(http.ErrAbortHandler)
		}
	}))
	other := wires[0].start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	m := newMesh(t, Config{}, true)
	p := resilience.Policy{Retry: resilience.Retry{Attempts: 1, On: resilience.OnConnectFailure}}
	m.serve(resolver.Cluster{}, p, addr(s), addr(other))
	for range 4 {
		read(t, m.do(request(t, "GET", "http://payments/", nil)).Body)
	}
	dies.Store(true)
	for range 4 {
		if resp := m.do(request(t, "GET", "http://payments/", nil)); resp.StatusCode != http.StatusOK {
			t.Errorf("answered %d", resp.StatusCode)
		}
	}
	stale := 0
	for _, o := range m.watcher.attempts {
		if o.Cause == resilience.Stale {
			stale++
		}
	}
	if stale != 1 || len(m.watcher.attempts) != 9 {
		t.Errorf("%d attempts, %d on a connection that had died", len(m.watcher.attempts), stale)
	}
}
