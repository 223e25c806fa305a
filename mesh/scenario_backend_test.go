package mesh_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
)

// A backend is an instance of a scenario's service, which answers with its name.
type backend struct {
	name    string
	addr    string
	log     gossip
	next    string               // the service that it calls first; empty if none
	caller  *caller              // which does so
	code    atomic.Int64         // HTTP status, 0 for 200
	delay   atomic.Int64         // nanoseconds
	gate    atomic.Pointer[gate] // nil if calls need not wait
	reached atomic.Int64         // calls
	seen    atomic.Value         // what the last of them was like
	ended   chan struct{}        // closed when the instance stops
	end     func()               // closes ended, once
	stop    func()
}

// A gate is what calls wait for.
type gate struct {
	came chan struct{} // a call that waits
	open chan struct{}
}

func (s *stage) backend(kit *meshtest.Kit, name, service, next string, labels map[string]string) {
	b := &backend{name: name, next: next, ended: make(chan struct{})}
	region, zone, _ := strings.Cut(labels[":locality"], "/")
	delete(labels, ":locality")
	kit = kit.In(balancer.Locality{Region: region, Zone: zone}).With(mesh.WithLogger(slog.New(slog.NewJSONHandler(&b.log, nil))))
	b.end = sync.OnceFunc(func() { close(b.ended) })
	if next != "" {
		b.caller = s.newCaller(s.kit.Mesh(append(s.identity(service), mesh.WithService(service, labels), mesh.WithOutbound(mesh.RegistryOnly))...))
	}
	s.t.Cleanup(b.release)
	if s.protocol == "grpc" {
		b.addr, b.stop = kit.GRPCBackend(service, labels, func(srv *grpc.Server) { srv.RegisterService(b.desc(), nil) }, grpc.UnknownServiceHandler(b.serveStream))
	} else {
		b.addr, b.stop = kit.HTTPBackend(service, labels, b)
	}
	shut := b.stop
	b.stop = func() { b.end(); shut() }
	s.t.Cleanup(b.end) // before the kit's own, which waits for the calls
	s.backends[name] = b
}

func (b *backend) hold() {
	b.gate.Store(&gate{make(chan struct{}, 1), make(chan struct{})})
}

// holds is of a call that the backend holds.
func (b *backend) holds() chan struct{} {
	if g := b.gate.Load(); g != nil {
		return g.came
	}
	return nil
}

func (b *backend) release() {
	if g := b.gate.Swap(nil); g != nil {
		close(g.open)
	}
}

// healthPath is answered at once, whatever the backend was told.
const healthPath = "/a/health"

// answer does what the backend was told to do and returns what to answer with. It does
// not answer a call whose time is up: the server may see that before the client.
func (b *backend) answer(ctx context.Context, path string, h func(name string) string) (who string, code int) {
	b.seen.Store(look(ctx, h))
	b.reached.Add(1)
	if path == healthPath {
		return b.name, http.StatusOK
	}
	if d := time.Duration(b.delay.Load()); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			<-b.ended
		}
	}
	if g := b.gate.Load(); g != nil {
		select {
		case g.came <- struct{}{}:
		case <-g.open:
		case <-ctx.Done():
			<-b.ended
		}
		select {
		case <-g.open:
		case <-ctx.Done():
			<-b.ended
		}
	}
	if code = int(b.code.Load()); code == 0 {
		code = http.StatusOK
	}
	who = b.name
	if b.next != "" && code == http.StatusOK {
		a := b.caller.askWithin(ctx, b.next, path, nil)
		if a.how() == words[codes.DeadlineExceeded] {
			<-b.ended
		}
		if a.err != nil {
			code = http.StatusServiceUnavailable
		}
		who += ">" + a.who
	}
	return who, code
}

// look is what a call is like. How long its caller waits is rounded up, by far.
func look(ctx context.Context, h func(name string) string) string {
	attempt := 1
	for name, before := range map[string]int{"x-envoy-attempt-count": 0, "grpc-previous-rpc-attempts": 1} {
		if n, err := strconv.Atoi(h(name)); err == nil {
			attempt = n + before
		}
	}
	out := fmt.Sprintf("attempt %d\n", attempt)
	if v := h("x-weft-criticality"); v != "" {
		out += v + "\n"
	}
	out += proofs(ctx, h)
	if deadline, ok := ctx.Deadline(); ok {
		within, left := 15*time.Second, time.Until(deadline)
		for within < left {
			within *= 2
		}
		out += fmt.Sprintf("within %v\n", within)
	}
	return out
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, code := b.answer(r.Context(), r.URL.Path, r.Header.Get)
	w.WriteHeader(code)
	if code == http.StatusOK {
		io.WriteString(w, who)
	}
}

func (b *backend) answerGRPC(ctx context.Context, path string) (*wrapperspb.StringValue, error) {
	who, code := b.answer(ctx, path, func(name string) string { return strings.Join(metadata.ValueFromIncomingContext(ctx, name), ",") })
	if code != http.StatusOK {
		return nil, status.Error(codeOf(code), "told to fail")
	}
	return wrapperspb.String(who), nil
}

// desc are unary methods; the others are served as streams.
func (b *backend) desc() *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: "a"}
	for _, name := range []string{"b", "health"} {
		info := &grpc.UnaryServerInfo{FullMethod: "/a/" + name}
		handle := func(ctx context.Context, _ any) (any, error) { return b.answerGRPC(ctx, info.FullMethod) }
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			in := new(emptypb.Empty)
			if err := decode(in); err != nil {
				return nil, err
			}
			return intercept(ctx, in, info, handle)
		}})
	}
	return desc
}

func (b *backend) serveStream(_ any, stream grpc.ServerStream) error {
	if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
		return err
	}
	method, _ := grpc.MethodFromServerStream(stream)
	if method == authv3.Authorization_Check_FullMethodName {
		return stream.SendMsg(b.authorize())
	}
	reply, err := b.answerGRPC(stream.Context(), method)
	if err != nil {
		return err
	}
	return stream.SendMsg(reply)
}
