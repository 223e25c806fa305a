package interop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
)

// sharedYAML has the services payments and ledger in the namespace default, and what a TrafficPolicy says of them.
func sharedYAML(spec string) string {
	return serviceYAML("payments") + serviceYAML("ledger") + policyYAML("shared", spec)
}

func serviceYAML(name string) string {
	return fmt.Sprintf(`
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s, namespace: default}
spec:
  hosts: [%[1]s.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: any}]
  workloadSelector: {labels: {app: %[1]s}}
`, name)
}

func policyYAML(name, spec string) string {
	return fmt.Sprintf(`
---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: %s, namespace: default}
spec: %s
`, name, spec)
}

// backends serves payments by HTTP and ledger by gRPC, in processes of their own.
func backends(t *testing.T, k *meshtest.Kit) {
	t.Helper()
	k.HTTPBackend("payments", map[string]string{"app": "payments"}, &backend{name: "payments"})
	ledger := &backend{name: "ledger"}
	k.GRPCBackend("ledger", map[string]string{"app": "ledger"}, func(*grpc.Server) {}, grpc.UnknownServiceHandler(ledger.serveGRPC))
}

// A caller is a process that calls payments by HTTP and ledger by gRPC.
type caller struct{ http, grpc door }

func callerOf(t *testing.T, m *mesh.Mesh) caller {
	t.Helper()
	return caller{httpDoor(&http.Client{Transport: m.RoundTripper()}, "http://payments"), grpcDoor(dialWeft(t, m, "ledger"))}
}

// passes reports whether a call is answered; otherwise it must be refused for its rate.
func passes(t *testing.T, d door) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	_, err := d(ctx, request{})
	var refused *mesh.Error
	switch {
	case err == nil:
		return true
	case errors.As(err, &refused) && refused.Kind == mesh.RateLimited, status.Code(err) == codes.ResourceExhausted:
	default:
		t.Errorf("neither an answer nor the limit: %v", err)
	}
	return false
}

func TestMeshesShareALimit(t *testing.T) {
	const limit = 300
	k := meshtest.New(t, sharedYAML(fmt.Sprintf(
		`{client: {globalRateLimit: {limits: [{requests: %d, per: 1h}], lease: {batch: 20}, timeout: 30s, failClosed: true}}}`, limit)))
	backends(t, k)
	var callers []caller
	for range 2 {
		callers = append(callers, callerOf(t, k.Mesh()))
	}
	var passed atomic.Int64
	var wg sync.WaitGroup
	for _, c := range callers {
		for _, d := range []door{c.http, c.grpc} {
			wg.Go(func() {
				for range limit / 2 {
					if passes(t, d) {
						passed.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	// Which tokens are still in hand depends on who was faster; in the end all are used, and no more.
	if !eventually(func() bool {
		for _, c := range callers {
			if passes(t, c.http) {
				passed.Add(1)
			}
		}
		return passed.Load() >= limit
	}) {
		t.Errorf("%d calls passed, want %d", passed.Load(), limit)
	}
	for _, c := range callers {
		for range 20 {
			if passes(t, c.http) || passes(t, c.grpc) {
				passed.Add(1)
			}
		}
	}
	if n := passed.Load(); n != limit {
		t.Errorf("%d calls passed, want %d", n, limit)
	}
}

// What all servers take together is counted by them, for each caller.
func TestServersShareALimit(t *testing.T) {
	k := meshtest.New(t, sharedYAML(`{target: {service: payments}, server: {globalRateLimit: {limits: [{by: ["header:x-user"], requests: 10, per: 1h}], timeout: 30s}}}`))
	for range 2 {
		k.HTTPBackend("payments", map[string]string{"app": "payments"}, &backend{name: "payments"})
	}
	client := &http.Client{Transport: k.Mesh().RoundTripper()}
	for _, who := range []string{"a", "b"} {
		answers := map[int]int{}
		for range 40 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://payments/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-User", who)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			answers[resp.StatusCode]++
			if said := resp.Header.Get("X-Envoy-Ratelimited"); (resp.StatusCode == http.StatusTooManyRequests) != (said == "true") {
				t.Errorf("status %d says x-envoy-ratelimited: %q", resp.StatusCode, said)
			}
		}
		if answers[http.StatusOK] != 10 || answers[http.StatusTooManyRequests] != 30 {
			t.Errorf("%s: answers are %v, want 10 of status 200 and 30 of 429", who, answers)
		}
	}
}

// A replaceable is a control server that can go away and come back at its address.
type replaceable struct {
	*controlserver.Server

	stop func()
}

func startReplaceable(t *testing.T, dir, store, addr string) replaceable {
	t.Helper()
	cfg := controlserver.Config{Dir: dir, RateLimitStore: store, Listen: addr, Logger: slog.New(slog.DiscardHandler)}
	s, err := controlserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r := replaceable{s, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})}
	t.Cleanup(r.stop)
	return r
}

// yamlDir is a directory with one file.
func yamlDir(t *testing.T, yaml string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// member serves name as a member of the mesh.
func (r replaceable) member(t *testing.T, name string, serve func(*mesh.Mesh, net.Listener) *backend) {
	t.Helper()
	m := newMesh(t, mesh.WithControlServer(r.Addr()), mesh.WithService(name, map[string]string{"app": strings.TrimSuffix(name, ".shop")}))
	ln, err := m.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := serve(m, ln)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Registered(ctx, b.addr); err != nil {
		t.Fatal(err)
	}
}

func TestLimitsWhileTheControlServerIsGone(t *testing.T) {
	dir := yamlDir(t, serviceYAML("payments")+serviceYAML("ledger")+
		policyYAML("open", `{target: {service: payments}, client: {globalRateLimit: {limits: [{requests: 1000, per: 1h}], lease: {batch: 1, again: 50ms}, timeout: 30s}}}`)+
		policyYAML("closed", `{target: {service: ledger}, client: {globalRateLimit: {limits: [{requests: 1000, per: 1h}], lease: {batch: 1, again: 50ms}, timeout: 30s, failClosed: true}}}`))
	s := startReplaceable(t, dir, "", "127.0.0.1:0")
	s.member(t, "payments", func(m *mesh.Mesh, ln net.Listener) *backend { return startHTTP(t, "payments", ln, m.Handler) })
	s.member(t, "ledger", func(m *mesh.Mesh, ln net.Listener) *backend { return startGRPC(t, "ledger", ln, m.ServerOptions()...) })
	c := callerOf(t, newMesh(t, mesh.WithControlServer(s.Addr())))
	answered := func(d door) bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := d(ctx, request{})
		return err == nil
	}
	for _, d := range []door{c.http, c.grpc} {
		if !eventually(func() bool { return answered(d) }) {
			t.Fatal("a service is not there")
		}
	}
	s.stop()
	for range 20 {
		if !passes(t, c.http) {
			t.Error("a call is refused by a limit that fails open")
		}
		if passes(t, c.grpc) {
			t.Error("a call passes a limit that fails closed")
		}
	}
	startReplaceable(t, dir, "", s.Addr())
	if !eventually(func() bool { return answered(c.grpc) }) {
		t.Error("the control server that is back is not asked")
	}
}

// Two control servers count in one Redis, for meshes and for a real Envoy alike.
func TestEnvoyAndMeshShareALimit(t *testing.T) {
	const limit = 60
	r := startRedis(t, false)
	yaml := sharedYAML(fmt.Sprintf(`{client: {globalRateLimit: {limits: [{requests: %d, per: 1h}], lease: {batch: 5}, timeout: 30s, failClosed: true}}}`, limit))
	dir := yamlDir(t, strings.ReplaceAll(yaml, "default", "shop"))
	first := startReplaceable(t, dir, "redis://"+r.addr+"/1", "127.0.0.1:0")
	second := startReplaceable(t, dir, "redis://"+r.addr+"/1", "127.0.0.1:0")
	for _, s := range []replaceable{first, second} {
		s.member(t, "payments.shop", func(m *mesh.Mesh, ln net.Listener) *backend { return startHTTP(t, "payments", ln, m.Handler) })
	}
	m := newMesh(t, mesh.WithBootstrap(bootstrap(second.Addr(), "weft-shared")))
	library := httpDoor(&http.Client{Transport: m.RoundTripper()}, "http://payments")

	e := startEnvoyAt(t, first.Addr(), "envoy-shared", "DELTA_GRPC")
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	proxied := httpDoor(&http.Client{Transport: transport}, e.proxy)

	counts := map[string]int{}
	for range limit {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := proxied(ctx, request{host: "payments"})
		cancel()
		switch {
		case err == nil:
			counts["Envoy"]++
		case !strings.Contains(err.Error(), "status 429"):
			t.Fatal(err)
		}
		if passes(t, library) {
			counts["library"]++
		}
	}
	if counts["Envoy"]+counts["library"] != limit || counts["Envoy"] < limit/4 || counts["library"] < limit/4 {
		t.Errorf("passed: %v, want %d in all", counts, limit)
	}
	e.content(t)
}
