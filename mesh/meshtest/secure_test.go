package meshtest_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
)

// tellers serve who calls them.
var teller = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if p, ok := mesh.PeerFromContext(r.Context()); ok {
		fmt.Fprint(w, p.ID)
	}
})

func TestSecureKit(t *testing.T) {
	kit := meshtest.Secure(t, `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: payments, namespace: shop}
spec:
  action: ALLOW
  rules:
  - from: [{source: {principals: [mesh.test/ns/shop/sa/orders]}}]
`)
	addr, _ := kit.HTTPBackend("payments.shop", nil, teller)
	get := func(as mesh.Option) (int, string) {
		t.Helper()
		client := &http.Client{Transport: kit.Mesh(as).RoundTripper()}
		resp, err := client.Get("http://payments.shop/charge")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := get(mesh.WithIdentity(kit.Identity("shop", "orders"))); code != 200 || body != "spiffe://mesh.test/ns/shop/sa/orders" {
		t.Errorf("orders get %d %q", code, body)
	}
	if code, body := get(mesh.WithIdentity(kit.Identity("shop", "till"))); code != 403 {
		t.Errorf("the till gets %d %q", code, body)
	}
	if resp, err := http.Get("http://" + addr + "/charge"); err == nil {
		t.Errorf("a stranger gets %s", resp.Status)
		resp.Body.Close()
	}
}
