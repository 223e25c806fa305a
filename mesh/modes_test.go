package mesh_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
)

// once has no call be tried again: that a call fails must be seen.
const once = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: SERVICE, namespace: shop}
spec:
  hosts: [SERVICE.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: any}]
  workloadSelector: {labels: {app: SERVICE}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: SERVICE, namespace: shop}
spec:
  hosts: [SERVICE]
  http:
  - retries: {attempts: 0}
    route: [{destination: {host: SERVICE}}]
---
`

// modeOf has all servers of the namespace take connections so.
func modeOf(mode string) string {
	var out string
	for _, service := range []string{"accounts", "payments"} {
		out += strings.ReplaceAll(once, "SERVICE", service)
	}
	return out + `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: ` + mode + `}}
`
}

// A tide of calls goes on without a pause. Each caller counts those it has ended.
type tide struct {
	t       *testing.T
	stop    context.CancelFunc
	running sync.WaitGroup
	ended   []*atomic.Int64

	plain, secure atomic.Int64 // calls at handlers
}

// flow adds a caller.
func (f *tide) flow(ctx context.Context, name string, call func() error) {
	n := new(atomic.Int64)
	f.ended = append(f.ended, n)
	f.running.Go(func() {
		for ctx.Err() == nil {
			if err := call(); err != nil {
				f.t.Errorf("%s, call %d: %v", name, n.Load(), err)
			}
			n.Add(1)
		}
	})
}

// turn waits until every caller has ended two more calls, the second of which began after turn did.
func (f *tide) turn() {
	f.t.Helper()
	for i, n := range f.ended {
		before := n.Load()
		eventually(f.t, "calls of each", func() bool { return f.ended[i].Load() >= before+2 })
	}
}

func (f *tide) arrive(ctx context.Context) {
	if p, ok := mesh.PeerFromContext(ctx); ok && p.ID.String() == "spiffe://mesh.test/ns/shop/sa/till" {
		f.secure.Add(1)
	} else {
		f.plain.Add(1)
	}
}

type tidal struct {
	*health.Server
	*tide
}

func (s tidal) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	s.arrive(ctx)
	return s.Server.Check(ctx, r)
}

// Between members no change of modes fails a call or ends a stream: neither the way to strict, nor the way back, nor straight from there.
func TestNoModeFailsACall(t *testing.T) {
	kit := meshtest.Secure(t, modeOf("DISABLE"))
	f := &tide{t: t}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = sync.OnceFunc(func() { stop(); f.running.Wait() })
	t.Cleanup(f.stop) // before the servers stop, whose cleanups are others
	for range 2 {
		kit.HTTPBackend("accounts.shop", map[string]string{"app": "accounts"}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { f.arrive(r.Context()) }))
		kit.GRPCBackend("payments.shop", map[string]string{"app": "payments"}, func(s *grpc.Server) { healthpb.RegisterHealthServer(s, tidal{health.NewServer(), f}) })
	}
	till := kit.Mesh(mesh.WithIdentity(kit.Identity("shop", "till")))
	cc, err := grpc.NewClient("mesh:///payments.shop", till.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	defer f.stop()
	client := healthpb.NewHealthClient(cc)
	for range 2 {
		f.flow(ctx, "HTTP", func() error { return visit(till, false) })
		f.flow(ctx, "HTTP, each on its own connection", func() error { return visit(till, true) })
		f.flow(ctx, "gRPC", func() error {
			_, err := client.Check(context.Background(), &healthpb.HealthCheckRequest{})
			return err
		})
	}
	f.turn()
	if n := f.secure.Load(); n > 0 {
		t.Errorf("%d calls over mTLS while it is disabled", n)
	}
	var streams []func()
	for _, mode := range []string{"PERMISSIVE", "STRICT", "PERMISSIVE", "DISABLE", "PERMISSIVE", "DISABLE", "PERMISSIVE", "STRICT", "DISABLE"} {
		kit.Apply(modeOf(mode))
		f.turn() // those that were on their way
		was := [2]int64{f.plain.Load(), f.secure.Load()}
		f.turn()
		plain, secure := f.plain.Load()-was[0], f.secure.Load()-was[1]
		if mode == "DISABLE" && (plain == 0 || secure > 0) || mode != "DISABLE" && (plain > 0 || secure == 0) {
			t.Errorf("%s: %d calls over plaintext, %d over mTLS", mode, plain, secure)
		}
		if mode != "DISABLE" && len(streams) < 3 {
			streams = append(streams, lasting(t, client))
		}
	}
	for _, end := range streams {
		end()
	}
	f.stop()
	t.Logf("%d calls over plaintext, %d over mTLS", f.plain.Load(), f.secure.Load())
}

// visit calls accounts.
func visit(m *mesh.Mesh, alone bool) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://accounts.shop/", nil)
	if err != nil {
		return err
	}
	req.Close = alone
	resp, err := m.RoundTripper().RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return err
}

// lasting begins a stream, which must not end before end ends it.
func lasting(t *testing.T, client healthpb.HealthClient) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Errorf("a stream does not begin: %v", err)
	}
	over := make(chan error, 1)
	go func() { _, err := stream.Recv(); over <- err }()
	return func() {
		select {
		case err := <-over:
			t.Errorf("a stream was ended: %v", err)
			cancel()
		default:
			cancel()
			<-over
		}
	}
}
