package grpcadapter

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// hedging sends a call again when it is not answered at once, up to n times.
func hedging(n uint32) resilience.Policy {
	return resilience.Policy{Hedge: &resilience.Hedge{Delay: time.Millisecond, Max: n}}
}

// affluent is a service whose budget has room for any hedge.
func affluent(p resilience.Policy, addrs ...string) *resolver.Service {
	v := oneRoute(p, addrs...)
	c := v.Clusters["c"]
	c.Budget = &resilience.Budget{Percent: 100, MinConcurrent: 1000}
	v.Clusters["c"] = c
	return v
}

// A sticker answers until it is stuck; from then on it answers nothing, but for who it is, before its caller gives up.
type sticker struct {
	backend
	stuck       atomic.Bool
	heard, gone chan struct{} // calls that it did not answer
}

func sticking(tb testing.TB, name string) *sticker {
	tb.Helper()
	s := &sticker{heard: make(chan struct{}, 100), gone: make(chan struct{}, 100)}
	s.name = name
	s.unary = func(ctx context.Context, q *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		if !s.stuck.Load() {
			return &pb.SimpleResponse{Payload: q.Payload}, nil
		}
		s.heard <- struct{}{}
		_ = grpc.SendHeader(ctx, metadata.Pairs("who", name, "stuck", "yes"))
		<-ctx.Done()
		s.gone <- struct{}{}
		return nil, ctx.Err()
	}
	s.serve(tb)
	return s
}

// stick waits until cc is connected to so many hosts, which are called in turn, and makes s be stuck.
func (s *sticker) stick(tb testing.TB, cc *grpc.ClientConn, hosts int) {
	tb.Helper()
	for seen := map[string]bool{}; len(seen) < hosts; {
		var from peer.Peer
		if err := kinds["unary"](soon(tb), pb.NewTestServiceClient(cc), grpc.Peer(&from)); err != nil {
			tb.Fatal(err)
		}
		seen[from.Addr.String()] = true
	}
	s.stuck.Store(true)
}

// The first answer counts, whichever attempt it comes by, and the caller sees one call.
func TestHedgedCallIsAnsweredByTheFirst(t *testing.T) {
	slow := sticking(t, "a")
	b := signed(&backend{name: "b"}).serve(t)
	r := &moving{}
	r.report(affluent(resilience.Policy{}, slow.addr, b.addr), nil)
	seen := &witness{}
	cc := dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...)
	c := pb.NewTestServiceClient(cc)
	slow.stick(t, cc, 2)
	r.report(affluent(hedging(1), slow.addr, b.addr), nil)
	before := seen.calls()
	const calls = 20
	for i := range calls {
		var header, trailer, twice metadata.MD
		var from peer.Peer
		var ends []error
		got, err := c.UnaryCall(soon(t), &pb.SimpleRequest{Payload: body(i)}, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from), grpc.Header(&twice),
			grpc.OnFinish(func(err error) { ends = append(ends, err) }))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Payload.GetBody()) != i || !slices.Equal(header.Get("who"), []string{"b"}) || !slices.Equal(twice.Get("who"), []string{"b"}) ||
			header.Get("stuck") != nil || !slices.Equal(trailer.Get("end"), []string{"b"}) {
			t.Errorf("reply %v, header %v and %v, trailer %v: want those of b", got, header, twice, trailer)
		}
		if from.Addr == nil || from.Addr.String() != b.addr {
			t.Errorf("peer %v, want %s", from.Addr, b.addr)
		}
		if len(ends) != 1 || ends[0] != nil {
			t.Errorf("finished with %v", ends)
		}
	}
	if n := seen.calls() - before; n != calls {
		t.Errorf("%d calls were begun or not ended, want %d", n, calls)
	}
	if len(slow.heard) == 0 {
		t.Error("no call was hedged")
	}
	receive(t, slow.gone, len(slow.heard)) // all that lost are cancelled
}

// Where all attempts fail, the caller gets one server's answer.
func TestHedgedCallThatFails(t *testing.T) {
	var hold atomic.Bool
	a := signed(&backend{name: "a", unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		if hold.CompareAndSwap(false, true) { // the first one long enough for the second to be made
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, status.Error(codes.NotFound, "no")
	}}).serve(t)
	r := &moving{}
	r.report(affluent(hedging(1), a.addr), nil)
	cc := mesh(t, r)
	await(t, cc, connectivity.Ready)
	var trailer metadata.MD
	_, err := pb.NewTestServiceClient(cc).UnaryCall(soon(t), &pb.SimpleRequest{}, grpc.Trailer(&trailer))
	if status.Code(err) != codes.NotFound || status.Convert(err).Message() != "no" || !slices.Equal(trailer.Get("end"), []string{"a"}) {
		t.Errorf("%v, trailer %v", err, trailer)
	}
}

// A caller that gives up ends all attempts.
func TestHedgedCallIsCanceled(t *testing.T) {
	slow := sticking(t, "a")
	r := &moving{}
	r.report(affluent(resilience.Policy{}, slow.addr), nil)
	cc := mesh(t, r)
	slow.stick(t, cc, 1)
	r.report(affluent(hedging(2), slow.addr), nil)
	ctx, cancel := context.WithCancel(soon(t))
	ended := make(chan error)
	go func() {
		_, err := pb.NewTestServiceClient(cc).UnaryCall(ctx, &pb.SimpleRequest{})
		ended <- err
	}()
	receive(t, slow.heard, 3)
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled || len(slow.heard) != 0 {
		t.Errorf("%v after %d attempts too many", err, len(slow.heard))
	}
	receive(t, slow.gone, 3)
}

// Only what can be had twice is hedged: streams are not, nor replies of other codecs.
func TestWhatIsNotHedged(t *testing.T) {
	if (&unary{reply: new([]byte)}).Beside() != nil {
		t.Error("a reply that is no message of protobuf's is made twice")
	}
	b := &backend{name: "b", unary: func(context.Context, *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		return &pb.SimpleResponse{Username: "bytes"}, nil
	}}
	b.serve(t)
	r := &moving{}
	r.report(affluent(hedging(1), b.addr), nil)
	cc := mesh(t, r)
	var reply []byte
	if err := cc.Invoke(soon(t), service+"UnaryCall", []byte{}, &reply, grpc.ForceCodecV2(raw{})); err != nil || len(reply) == 0 {
		t.Errorf("%v, %v", reply, err)
	}
	for kind, call := range kinds {
		if err := call(soon(t), pb.NewTestServiceClient(cc)); err != nil && kind != "unary" {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// raw is a codec of bytes.
type raw struct{}

var errNotBytes = errors.New("not bytes")

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errNotBytes
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return errNotBytes
	}
	*b = data.Materialize()
	return nil
}

func (raw) Name() string { return "proto" }
