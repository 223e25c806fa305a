package mesh_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A backend is an instance of a scenario's service, which answers with its name.
type backend struct {
	name  string
	code  atomic.Int64                  // HTTP status, 0 for 200
	delay atomic.Int64                  // nanoseconds
	gate  atomic.Pointer[chan struct{}] // what calls wait for; nil if nothing
	came  chan struct{}                 // a call that waits for the gate
	ended chan struct{}                 // closed when the instance stops
	end   func()                        // closes ended, once
	stop  func()
}

func (s *stage) backend(name, service string, labels map[string]string) {
	b := &backend{name: name, came: make(chan struct{}, 1), ended: make(chan struct{})}
	b.end = sync.OnceFunc(func() { close(b.ended) })
	s.t.Cleanup(b.release)
	if s.protocol == "grpc" {
		_, b.stop = s.kit.GRPCBackend(service, labels, func(*grpc.Server) {}, grpc.UnknownServiceHandler(b.serveGRPC))
	} else {
		_, b.stop = s.kit.HTTPBackend(service, labels, b)
	}
	shut := b.stop
	b.stop = func() { b.end(); shut() }
	s.t.Cleanup(b.end) // before the kit's own, which waits for the calls
	s.backends[name] = b
}

func (b *backend) hold() {
	gate := make(chan struct{})
	b.gate.Store(&gate)
}

func (b *backend) release() {
	if gate := b.gate.Swap(nil); gate != nil {
		close(*gate)
	}
}

// answer waits as it was told to and returns the status to answer with. It does
// not answer a call whose time is up: the server may see that before the client.
func (b *backend) answer(ctx context.Context) int {
	if d := time.Duration(b.delay.Load()); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			<-b.ended
		}
	}
	if gate := b.gate.Load(); gate != nil {
		select {
		case b.came <- struct{}{}:
		case <-ctx.Done():
			<-b.ended
		}
		select {
		case <-*gate:
		case <-ctx.Done():
			<-b.ended
		}
	}
	return int(b.code.Load())
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if code := b.answer(r.Context()); code != 0 && code != http.StatusOK {
		w.WriteHeader(code)
		return
	}
	w.Write([]byte(b.name))
}

func (b *backend) serveGRPC(_ any, stream grpc.ServerStream) error {
	if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
		return err
	}
	if code := b.answer(stream.Context()); code != 0 && code != http.StatusOK {
		return status.Error(codes.Unavailable, "told to fail")
	}
	return stream.SendMsg(wrapperspb.String(b.name))
}
