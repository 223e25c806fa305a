package main

import (
	"fmt"
	"net"
	"strings"
)

// The services of the configuration that is measured with. Those of gRPC have port
// 9000, those of HTTP port 80.
const (
	serviceAsIs    = "asis"    // backends without the mesh's options
	serviceSimple  = "simple"  // one route
	serviceTested  = "tested"  // a route that looks at a header, then one for all
	serviceHundred = "hundred" // 100 routes that look at a header
	serviceWeb     = "web"     // HTTP/1.1
	serviceH2C     = "webh2c"  // HTTP/2
)

// entry is a service at addresses, round robin as plain gRPC's.
func entry(name, protocol string, port int, addrs []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s}
spec:
  hosts: [%[1]s]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: %d, name: main, protocol: %s}]
  endpoints:
`, name, port, protocol)
	for _, a := range addrs {
		host, p, _ := net.SplitHostPort(a) // of a listener
		fmt.Fprintf(&b, "  - {address: %s, ports: {main: %s}}\n", host, p)
	}
	fmt.Fprintf(&b, `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s}
spec:
  host: %[1]s
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
`, name)
	return b.String()
}

// headerRoutes are routes of a service for x-route: 0 and on; rest adds one for all else.
func headerRoutes(name string, n int, rest bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec:
  hosts: [%[1]s]
  http:
`, name)
	for i := range n {
		fmt.Fprintf(&b, "  - {match: [{headers: {x-route: {exact: \"%d\"}}}], route: [{destination: {host: %s}}]}\n", i, name)
	}
	if rest {
		fmt.Fprintf(&b, "  - route: [{destination: {host: %s}}]\n", name)
	}
	return b.String()
}

// timeout is a route of a service that says nothing but a time-out, in milliseconds.
func timeout(name string, ms int) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec:
  hosts: [%[1]s]
  http:
  - timeout: %dms
    route: [{destination: {host: %[1]s}}]
`, name, ms)
}
