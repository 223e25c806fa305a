package grpcadapter

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A connection is made within the time of its cluster, from the dial to the server's first word.
func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n connecting
		n.within(3*time.Second, true)
		n.within(2*time.Second, false) // of another cluster that has the host
		n.within(4*time.Second, false)
		ours, theirs := net.Pipe()
		defer func() { _ = theirs.Close() }()

		n.begin()
		begun := time.Now()
		time.Sleep(time.Second) // the dial
		ctx, cancel := n.bound(t.Context())
		defer cancel()
		if d, ok := ctx.Deadline(); !ok || !d.Equal(begun.Add(2*time.Second)) {
			t.Errorf("handshake until %v, %v", d, ok)
		}
		if _, err := n.listen(ours).Read(make([]byte, 1)); err == nil || time.Since(begun) != 2*time.Second {
			t.Errorf("%v after %v, want an end after 2 s", err, time.Since(begun))
		}

		n.begin() // the next attempt
		c := n.listen(ours)
		go func() {
			_, _ = theirs.Write([]byte{1})
			time.Sleep(time.Hour)
			_, _ = theirs.Write([]byte{1})
		}()
		for range 2 {
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Errorf("%v: a server that has spoken may take its time", err)
			}
		}
		_ = ours.Close()
	})
}

// A host that takes connections and says nothing is none.
func TestSilentHostIsUnreachable(t *testing.T) {
	r := &moving{}
	r.report(patient(unanswered(t), 50*time.Millisecond), nil)
	err := kinds["unary"](soon(t), pb.NewTestServiceClient(mesh(t, r)))
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != engine.Unreachable || !strings.Contains(err.Error(), "i/o timeout") {
		t.Errorf("%v, want no connection", err)
	}
}

// A new timeout holds for the next attempt, and costs no connection that there is.
func TestConnectTimeoutFollowsTheConfiguration(t *testing.T) {
	a := (&backend{name: "a"}).serve(t)
	r := &moving{}
	r.report(patient(a.addr, time.Minute), nil)
	c := &client{engine: newEngine(t, r, nil)}
	c.channels.Store(&map[*grpc.ClientConn]*channel{})
	cc := dial(t, "mesh:///s", grpc.WithResolvers(c), grpc.WithTransportCredentials(transportCredentials{}), grpc.WithUnaryInterceptor(c.unary))
	if err := kinds["unary"](soon(t), pb.NewTestServiceClient(cc)); err != nil {
		t.Fatal(err)
	}
	ch := c.channelOf(cc)
	before := ch.picker.Load()
	r.report(patient(a.addr, 50*time.Millisecond), nil)
	for ctx := soon(t); ch.picker.Load() == before && ctx.Err() == nil; {
		runtime.Gosched()
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if list := ch.conns[a.addr]; len(list) != 1 || list[0].now() != connectivity.Ready || list[0].timeout.Load() != int64(50*time.Millisecond) {
		t.Errorf("%d connections, want the one there was with a new timeout", len(list))
	}
}

// patient is a service whose host has so long to take a connection.
func patient(addr string, d time.Duration) *resolver.Service {
	v := oneRoute(resilience.Policy{}, addr)
	c := v.Clusters["c"]
	c.ConnectTimeout = d
	v.Clusters["c"] = c
	return v
}
