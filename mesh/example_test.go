package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Without any control plane: what a control server would say is said in code.
func ExampleWithResolver() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "paid") }))
	defer server.Close()
	payments := &resolver.Service{
		VirtualHosts: []resolver.VirtualHost{{Domains: []string{"*"}, Routes: []resolver.Route{{
			To:     []resolver.Target{{Cluster: "payments"}},
			Policy: resilience.Policy{Retry: resilience.Retry{Attempts: 2, On: resilience.OnConnectFailure | resilience.OnGatewayError}},
		}}}},
		Clusters: map[string]resolver.Cluster{"payments": {
			Endpoints: []balancer.Endpoint{{Addr: strings.TrimPrefix(server.URL, "http://")}},
		}},
	}
	m, err := mesh.New(context.Background(), mesh.WithResolver(resolver.Static{"payments": payments}), mesh.WithLogger(nil))
	if err != nil {
		panic(err)
	}
	defer m.Close()

	resp, err := (&http.Client{Transport: m.RoundTripper()}).Get("http://payments/charge")
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(body), err)
	// Output: 200 OK paid <nil>
}

// Whoever wants to know why there is no answer asks the error, over HTTP, gRPC and TCP alike.
func ExampleError() {
	m, err := mesh.New(context.Background(), mesh.WithResolver(resolver.Static{}), mesh.WithLogger(nil))
	if err != nil {
		panic(err)
	}
	defer m.Close()

	_, err = m.Dial(context.Background(), "tcp", "ledger")
	var failed *mesh.Error
	if errors.As(err, &failed) && failed.Kind == mesh.NoService {
		fmt.Println(failed.Service, "is no service of the mesh")
	}
	// Output: ledger is no service of the mesh
}

// A handler knows who calls it, whatever the protocol.
func ExamplePeerFromContext() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, ok := mesh.PeerFromContext(r.Context())
		if !ok {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		fmt.Fprintln(w, "hello,", peer.ID) // spiffe://shop.example/ns/shop/sa/orders
	})
	// Usually: http.Serve(ln, m.Handler(handler)), on a listener of m.Listen. Without these nobody has proved anything.
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", http.NoBody))
	fmt.Print(answer.Code, " ", answer.Body)
	// Output: 401 who are you?
}
