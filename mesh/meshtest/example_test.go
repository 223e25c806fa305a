package meshtest_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/weftmesh/weft/mesh/meshtest"
)

// routing is the configuration under test: testers get version 2.
const routing = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payments}
spec:
  host: payments
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payments}
spec:
  hosts: [payments]
  http:
  - match:
    - headers: {x-tester: {exact: "yes"}}
    route:
    - destination: {host: payments, subset: v2}
  - route:
    - destination: {host: payments, subset: v1}
`

// services declares who is called: processes with the label belong to it.
const services = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payments}
spec:
  hosts: [payments]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: payments}}
`

// An application tests its routing as it runs: with a control server, members
// that serve, and a client, all in the test's process.
func Example() {
	t := &exampleT{} // a test has its own
	defer t.end()
	kit := meshtest.New(t, services, routing)
	for _, version := range []string{"v1", "v2"} {
		kit.HTTPBackend("payments", map[string]string{"app": "payments", "version": version},
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "charged by", version) }))
	}
	client := &http.Client{Transport: kit.Mesh().RoundTripper()}
	for _, tester := range []string{"no", "yes"} {
		req, err := http.NewRequest(http.MethodGet, "http://payments/charge", nil)
		if err != nil {
			panic(err)
		}
		req.Header.Set("X-Tester", tester)
		resp, err := client.Do(req)
		if err != nil {
			panic(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Printf("tester %s: %s", tester, body)
		if err != nil {
			panic(err)
		}
	}
	// Output:
	// tester no: charged by v1
	// tester yes: charged by v2
}

// exampleT is what a test's T is to an Example, which has none.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (*exampleT) Helper()            {}
func (t *exampleT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }
func (*exampleT) Fatal(args ...any)  { panic(fmt.Sprint(args...)) }
func (*exampleT) Error(args ...any)  { panic(fmt.Sprint(args...)) }
func (t *exampleT) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}
