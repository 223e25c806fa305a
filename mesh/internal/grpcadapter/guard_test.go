package grpcadapter

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// Whatever comes through begins the idle time anew.
func TestGuardCountsFromTheLastMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t.Context(), nil, time.Second)
		defer g.end()
		for range 5 {
			time.Sleep(time.Second - 1)
			g.touch()
		}
		time.Sleep(time.Second - 1)
		synctest.Wait()
		if b := g.breach.Load(); b != nil || g.ctx.Err() != nil {
			t.Fatalf("%+v after less than a second without a message", b)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if b := g.breach.Load(); b == nil || b.cause != resilience.Timeout || g.ctx.Err() == nil {
			t.Fatalf("%+v after a second without a message", b)
		}
		g.touch() // which must not begin it again
	})
}

// A call that has ended is not idle, however late its last message is noted.
func TestGuardLeavesEndedCallsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t.Context(), nil, time.Second)
		g.end()
		g.touch()
		time.Sleep(time.Hour)
		synctest.Wait()
		if b := g.breach.Load(); b != nil {
			t.Errorf("%+v of a call that had ended", b)
		}
	})
}

// A call on which nobody says anything ends, whatever its kind, and is not tried again.
func TestIdleCallsEnd(t *testing.T) {
	stop := make(chan struct{})
	b := mute(stop).serve(t)
	defer close(stop)
	for _, p := range []resilience.Policy{{}, retrying} {
		p.Idle = 100 * time.Millisecond
		p.Retry.On |= resilience.OnDeadlineExceeded
		for kind, call := range kinds {
			r := &moving{}
			r.endpoints(p, b.addr)
			seen := &witness{}
			cc := dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...)
			err := call(soon(t), pb.NewTestServiceClient(cc))
			var e *engine.Error
			if !errors.As(err, &e) || e.Kind != engine.Deadline || e.Service != "s" || e.Cluster != "c" || e.Host != b.addr || e.Attempts != 1 ||
				status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "idle timeout") {
				t.Errorf("%s, %d retries: %v", kind, p.Retry.Attempts, err)
			}
			if out := seen.call(t); out.Cause != resilience.Timeout {
				t.Errorf("%s, %d retries: ended as %+v", kind, p.Retry.Attempts, out)
			}
			if n := seen.calls(); n != 1 {
				t.Errorf("%s: %d calls were begun or not ended", kind, n)
			}
		}
	}
}

// A stream ends too if it falls silent after it has begun.
func TestStreamThatFallsSilentEnds(t *testing.T) {
	b := (&backend{name: "b"}).serve(t)
	for _, p := range []resilience.Policy{{}, retrying} {
		p.Idle = 200 * time.Millisecond
		r := &moving{}
		r.endpoints(p, b.addr)
		seen := &witness{}
		cc := dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...)
		await(t, cc, connectivity.Ready)
		s, err := pb.NewTestServiceClient(cc).FullDuplexCall(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&pb.StreamingOutputCallRequest{Payload: body(2)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
		_, err = s.Recv()
		var e *engine.Error
		if !errors.As(err, &e) || e.Kind != engine.Deadline || status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%d retries: %v", p.Retry.Attempts, err)
		}
		if out := seen.call(t); out.Cause != resilience.Timeout {
			t.Errorf("%d retries: ended as %+v", p.Retry.Attempts, out)
		}
	}
}

// Calls that do say something are none of the guard's business, and it leaves nothing behind.
func TestGuardedCallsAreAnswered(t *testing.T) {
	b := signed(&backend{name: "b"}).serve(t)
	for _, p := range []resilience.Policy{{}, retrying} {
		p.Idle = time.Minute
		p.Bandwidth = resilience.Bandwidths{Request: resilience.Bandwidth{BytesPerSecond: 1 << 30}, Response: resilience.Bandwidth{BytesPerSecond: 1 << 30}}
		r := &moving{}
		r.endpoints(p, b.addr)
		seen := &witness{}
		c := pb.NewTestServiceClient(dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...))
		for kind, call := range kinds {
			for range 3 {
				if err := call(soon(t), c); err != nil {
					t.Errorf("%s, %d retries: %v", kind, p.Retry.Attempts, err)
				}
			}
		}
		if n := seen.calls(); n != 3*len(kinds) {
			t.Errorf("%d calls were begun or not ended", n)
		}
	}
}
