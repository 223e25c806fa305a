package interop

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh"
)

// secureEnvoy starts the sidecar of a service account of the namespace shop, which the control server knows by its
// certificate alone. forward is the server that it stands before, if it is not empty.
func secureEnvoy(t *testing.T, c *control, account, forward string) *envoy {
	t.Helper()
	inbound := "[]"
	if forward != "" {
		inbound = fmt.Sprintf(`[{"listen": "127.0.0.1:0", "forward": %q, "port": 8080}]`, forward)
	}
	return secureEnvoyOf(t, c, account, inbound)
}

// secureEnvoyOf is secureEnvoy with what it says of servers that it stands before (WEFT_INBOUND).
func secureEnvoyOf(t *testing.T, c *control, account, inbound string) *envoy {
	t.Helper()
	k := keyringOf(t, c.identity(t, "shop", account))
	_, port, err := net.SplitHostPort(c.server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return startEnvoyWith(t, fmt.Sprintf(read(t, "envoy-secure.json"), "envoy-"+account, account, inbound, k.chain, k.key, k.roots, controlID, port))
}

// inboundListener is the name of that listener of an Envoy which stands before a server.
const inboundListener = "inbound|127.0.0.1:0"

// inbound waits for the listener before the server, and returns its port.
func (e *envoy) inbound(t *testing.T) int {
	t.Helper()
	if !eventually(func() bool { return e.listening(t) && e.ports[inboundListener] != 0 }) {
		t.Fatalf("Envoy does not listen before the server; its listeners: %v", e.ports)
	}
	return e.ports[inboundListener]
}

// legacyService is the service behind the port of an Envoy.
func legacyService(port int) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: legacy, namespace: shop}
spec:
  hosts: [legacy.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.0.1, ports: {http: %d}, labels: {app: legacy}, serviceAccount: legacy}
`, port)
}

// peerAuthentication says how all servers of the namespace take connections.
func peerAuthentication(mode string) string {
	return fmt.Sprintf(`
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: %s}}
`, mode)
}

// to calls a service, whose name is the host of a request.
func (d door) to(service string) door {
	return func(ctx context.Context, r request) (string, error) {
		r.host = service
		return d(ctx, r)
	}
}

// answer is the status of HTTP that a request gets, or "none", and the error if it is another than 200.
func (d door) answer(t *testing.T, r request) (string, error) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	_, err := d(ctx, r)
	if err == nil {
		return "200", nil
	}
	if text, ok := strings.CutPrefix(err.Error(), "status "); ok {
		return text[:3], err
	}
	return "none", err
}

// settlesAt waits until the request gets an answer.
func (d door) settlesAt(t *testing.T, r request, want string) {
	t.Helper()
	var got string
	var err error
	if !eventually(func() bool { got, err = d.answer(t, r); return got == want }) {
		t.Fatalf("%+v gets %s (%v), want %s", r, got, err, want)
	}
}

// httpClient is one of a program without a mesh. fresh makes a connection for each request.
func httpClient(t *testing.T, fresh bool) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: fresh}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// audience is the answer to a token for somebody else: Envoy's is 403, and ours 401, by RFC 6750.
const audience = "401 or 403"

// Our library and Envoys prove to each other who they are, by certificates of our authority. Who may call is the same
// whichever stands on which side.
func TestEnvoyAndWeftOverMTLS(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := startSecure(t, map[string]string{"secure.yaml": fmt.Sprintf(read(t, "secure.yaml"), i.jwks(t))})
	behind := httpBackend(t, "legacy")
	before := secureEnvoy(t, c, "legacy", behind.addr)
	c.put(t, "legacy.yaml", legacyService(before.inbound(t)))
	payments := httpMember(t, c, "payments", "payments.shop", map[string]string{"app": "payments"})
	ledger := grpcMember(t, c, "ledger", "ledger.shop", map[string]string{"app": "ledger"})
	servers := map[string]*backend{"payments.shop": payments, "legacy.shop": behind}

	sidecars := map[string]*envoy{"orders": secureEnvoy(t, c, "orders", ""), "till": secureEnvoy(t, c, "till", "")}
	callers := map[string]map[string]func(service string) door{"envoy": {}, "weft": {}}
	for account, e := range sidecars {
		callers["envoy"][account] = httpDoor(httpClient(t, false), e.proxy).to
		m := newMesh(t, mesh.WithControlServer(c.server.Addr()), mesh.WithIdentity(c.identity(t, "shop", account)))
		callers["weft"][account] = func(service string) door {
			return httpDoor(&http.Client{Transport: m.RoundTripper()}, "http://"+service)
		}
	}
	good := i.token(t, "shop", time.Hour)
	cases := []struct {
		account, path, token, want string
	}{
		{"orders", "/charge", "", "200"},
		{"till", "/charge", "", "403"},
		{"orders", "/open", "", "200"},
		{"till", "/open", "", "200"},
		{"orders", "/admin", "", "403"},
		{"orders", "/x/../admin", "", "403"},
		{"orders", "/charge", good, "200"},
		{"till", "/charge", good, "403"},
		{"orders", "/token", "", "403"},
		{"till", "/token", good, "200"},
		{"orders", "/token", good, "200"},
		{"orders", "/charge", i.token(t, "shop", -time.Hour), "401"},
		{"orders", "/charge", newIssuer(t).token(t, "shop", time.Hour), "401"},
		{"orders", "/open", "no.token.atall", "401"},
		{"orders", "/charge", i.token(t, "another", time.Hour), audience},
	}
	for service, server := range servers {
		for kind, of := range callers {
			of["orders"](service).settlesAt(t, request{path: "/charge"}, "200")
			for _, tc := range cases {
				r := request{path: tc.path}
				if tc.token != "" {
					r.header = map[string]string{"Authorization": "Bearer " + tc.token}
				}
				calls := server.calls.Load()
				want := tc.want
				if want == audience {
					want = map[string]string{"payments.shop": "401", "legacy.shop": "403"}[service]
				}
				got, err := of[tc.account](service).answer(t, r)
				if got != want {
					t.Errorf("%s of %s to %s%s with token %.12q: %s (%v), want %s", kind, tc.account, service, tc.path, tc.token, got, err, want)
				}
				if reached := server.calls.Load() > calls; reached != (want == "200") {
					t.Errorf("%s of %s to %s%s with token %.12q: that it came to the handler is %t", kind, tc.account, service, tc.path, tc.token, reached)
				}
			}
		}
	}
	for account, want := range map[string]codes.Code{"orders": codes.OK, "till": codes.PermissionDenied} {
		_, address, _ := strings.Cut(sidecars[account].proxy, "http://")
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("ledger.shop:9000"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		ctx, cancel := within(t)
		defer cancel()
		if _, err := grpcDoor(conn)(ctx, request{}); status.Code(err) != want {
			t.Errorf("gRPC by the Envoy of %s: %v, want %v", account, err, want)
		}
	}
	if got := ledger.calls.Load(); got != 1 {
		t.Errorf("%d calls came to the gRPC server, want 1", got)
	}
	for _, e := range append([]*envoy{before}, sidecars["orders"], sidecars["till"]) {
		e.accepted(t)
	}

	// Strangers, who have no certificate.
	stranger := httpClient(t, true)
	doors := map[string]door{
		"weft":  httpDoor(stranger, "http://"+payments.addr),
		"envoy": httpDoor(stranger, fmt.Sprintf("http://127.0.0.1:%d", before.ports[inboundListener])),
	}
	check := func(open, charge string) {
		t.Helper()
		for kind, d := range doors {
			d.settlesAt(t, request{path: "/open"}, open)
			if got, err := d.answer(t, request{path: "/charge"}); got != charge {
				t.Errorf("a stranger gets %s (%v) of %s, want %s", got, err, kind, charge)
			}
		}
		for service := range servers {
			for kind, of := range callers {
				if got, err := of["orders"](service).answer(t, request{path: "/charge"}); got != "200" {
					t.Errorf("%s of orders gets %s (%v) of %s", kind, got, err, service)
				}
			}
		}
	}
	check("none", "none")
	c.put(t, "mode.yaml", peerAuthentication("PERMISSIVE"))
	check("200", "403")
	c.put(t, "mode.yaml", peerAuthentication("STRICT"))
	check("none", "none")
}
