package interop

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh"
)

// startPolicies starts a control server over testdata/policies.yaml, and an instance of both services.
func startPolicies(t *testing.T) *control {
	t.Helper()
	c := startControl(t, map[string]string{"policies.yaml": read(t, "policies.yaml")})
	httpMember(t, c, "v1.http", "payments.shop", map[string]string{"app": "payments"})
	grpcMember(t, c, "v1.grpc", "ledger.shop", map[string]string{"app": "ledger"})
	return c
}

// loses checks what is said that clients of a kind can't do.
func (c *control) loses(t *testing.T, client string, blocks ...string) {
	t.Helper()
	var said []string
	for _, l := range c.server.Status().Lost {
		if l.Client == client {
			said = append(said, l.Text)
		}
	}
	for _, b := range blocks {
		if !strings.Contains(strings.Join(said, "\n"), b+": ") {
			t.Errorf("that %s loses %s is not said; said is\n%s", client, b, strings.Join(said, "\n"))
		}
	}
}

// limitedHTTP checks what policies do to calls by HTTP.
func limitedHTTP(t *testing.T, call door) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := call(ctx, request{host: "payments", path: "/broken"}); err == nil || !strings.Contains(err.Error(), "status 418") {
		t.Errorf("a call that is to be aborted: %v, want status 418", err)
	}
	for _, path := range []string{"/limited", "/shared"} {
		for range 3 {
			if _, err := call(ctx, request{host: "payments", path: path}); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		if _, err := call(ctx, request{host: "payments", path: path}); err == nil || !strings.Contains(err.Error(), "429") && !strings.Contains(err.Error(), "rate") {
			t.Errorf("%s: the call beyond the limit: %v, want status 429", path, err)
		}
	}
	for range 20 {
		call.one(t, request{host: "payments", path: "/many", header: map[string]string{"x-user": "u"}})
		call.one(t, request{host: "payments", path: "/x", method: http.MethodPost})
	}
}

func TestEnvoyTakesEveryPolicy(t *testing.T) {
	t.Parallel()
	c := startPolicies(t)
	e := startEnvoy(t, c, "envoy-policies", "DELTA_GRPC")
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	limitedHTTP(t, httpDoor(&http.Client{Transport: transport}, e.proxy))
	e.content(t)
	c.content(t, "envoy-policies")
	c.loses(t, "envoy", "spec.client.rateLimit", "spec.client.globalRateLimit", "spec.client.hedge", "spec.client.breaker",
		"spec.client.hostBreaker", "spec.client.fallback", "spec.client.fault", "spec.client.bandwidth")
}

func TestGRPCGoTakesEveryPolicy(t *testing.T) {
	t.Parallel()
	c := startPolicies(t)
	call := grpcDoor(dialGRPCGo(t, c, "grpc-go", "xds:///ledger:9000"))
	brokenGRPC(t, call)
	c.content(t, "grpc-go")
	c.loses(t, "grpc, least request", "spec.client.rateLimit", "spec.client.globalRateLimit", "spec.client.hedge", "spec.client.breaker",
		"spec.client.hostBreaker", "spec.client.fallback", "spec.client.fault", "spec.client.bandwidth", "spec.client.idleTimeout",
		"spec.trafficPolicy.outlierDetection", "spec.trafficPolicy.retryBudget", "spec.http[1].retries")
}

func brokenGRPC(t *testing.T, call door) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := call(ctx, request{path: "/shop.Ledger/Broken"}); status.Code(err) != codes.DataLoss {
		t.Errorf("a call that is to be aborted: %v, want DataLoss", err)
	}
	call.many(t, 20, request{path: "/shop.Ledger/Read"})
}

func TestWeftTakesEveryPolicy(t *testing.T) {
	t.Parallel()
	c := startPolicies(t)
	m := newMesh(t, mesh.WithBootstrap(bootstrap(c.server.Addr(), "weft-policies")))
	limitedHTTP(t, httpDoor(&http.Client{Transport: m.RoundTripper()}, "http://payments"))
	brokenGRPC(t, grpcDoor(dialWeft(t, m, "ledger:9000")))
	c.content(t, "weft-policies")
}

// Whoever calls, a server of the mesh does as its policies say; it was told so when it registered.
func TestServersDoAsTheirPoliciesSay(t *testing.T) {
	t.Parallel()
	const guarded = `
---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: guarded, namespace: shop}
spec:
  target: {service: payments, port: 80}
  server: {rateLimit: {requests: 2, per: 1h}}
`
	c := startControl(t, map[string]string{"policies.yaml": read(t, "policies.yaml") + guarded})
	b := httpMember(t, c, "v1.http", "payments.shop", map[string]string{"app": "payments"})
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	call := httpDoor(&http.Client{Transport: transport}, "http://"+b.addr)
	call.many(t, 2, request{})
	call.many(t, 5, request{path: "/ready"}) // a health check
	if _, err := call(t.Context(), request{}); err == nil || !strings.Contains(err.Error(), "status 429") {
		t.Errorf("the call beyond the limit: %v, want status 429", err)
	}
}
