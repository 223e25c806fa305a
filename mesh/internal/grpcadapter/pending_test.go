package grpcadapter

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// unanswered is an address where connections are taken and nothing is ever said.
func unanswered(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tb.Cleanup(func() { _ = c.Close() })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return l.Addr().String()
}

// A gauger keeps the first attempt it sees, by which to read what the cluster has in use.
type gauger struct {
	witness
	mu    sync.Mutex
	first *engine.Attempt
}

func (g *gauger) AttemptStarted(ctx context.Context, c *engine.Call, a *engine.Attempt) context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first == nil {
		g.first = a
	}
	return g.witness.AttemptStarted(ctx, c, a)
}

func (g *gauger) pending() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, _ := g.first.InUse()
	return now.Pending.Count()
}

// Of the calls that wait for a connection, those beyond max_pending fail at once.
func TestPendingCallsAreBounded(t *testing.T) {
	const callers, most = 6, 2
	addr := unanswered(t)
	for _, p := range []resilience.Policy{{}, retrying} {
		for kind, call := range kinds {
			v := oneRoute(p, addr)
			c := v.Clusters["c"]
			c.ConnectTimeout = time.Minute
			thresholds := resilience.DefaultThresholds()
			thresholds.MaxPending = most
			c.Thresholds = &[resilience.Priorities]resilience.Thresholds{thresholds, thresholds}
			v.Clusters["c"] = c
			r := &moving{}
			r.report(v, nil)
			seen := &gauger{}
			client := pb.NewTestServiceClient(dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...))
			ctx, cancel := context.WithCancel(soon(t))
			ended := make(chan error, callers)
			for range callers {
				go func() { ended <- call(ctx, client) }()
			}
			for range callers - most {
				err := <-ended
				var e *engine.Error
				if !errors.As(err, &e) || e.Kind != engine.Overloaded || e.Attempts != 1 || status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "max_pending") {
					t.Errorf("%s, %d retries: %v", kind, p.Retry.Attempts, err)
				}
			}
			if n := seen.pending(); n != most {
				t.Errorf("%s: %d calls wait, want %d", kind, n, most)
			}
			cancel()
			for range most {
				if err := <-ended; status.Code(err) != codes.Canceled {
					t.Errorf("%s, %d retries: %v", kind, p.Retry.Attempts, err)
				}
			}
			if n := seen.pending(); n != 0 {
				t.Errorf("%s: %d calls are still said to wait", kind, n)
			}
		}
	}
}

// Who has waited and got a connection waits no more.
func TestPendingCallsThatGetAConnection(t *testing.T) {
	b := (&backend{name: "b"}).serve(t)
	for kind, call := range kinds {
		r := &moving{}
		r.endpoints(resilience.Policy{}, unanswered(t))
		seen := &gauger{}
		cc := dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...)
		await(t, cc, connectivity.Connecting)
		ended := make(chan error)
		go func() { ended <- call(soon(t), pb.NewTestServiceClient(cc)) }()
		r.endpoints(resilience.Policy{}, b.addr) // the call may or may not have begun to wait
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if n := seen.pending(); n != 0 {
			t.Errorf("%s: %d calls are still said to wait", kind, n)
		}
	}
}
