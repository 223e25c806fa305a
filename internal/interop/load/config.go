package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// entry is a service whose endpoints are at addresses, and how it is called.
func entry(name, protocol string, port int, target string, addrs []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %[1]s, namespace: load}
spec:
  hosts: [%[1]s.load.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: %[3]d, name: %[2]s, protocol: %[4]s}]
  endpoints:
`, name, strings.ToLower(protocol), port, protocol)
	for _, a := range addrs {
		fmt.Fprintf(&b, "  - {address: %s, ports: {%s: %s}}\n", a, strings.ToLower(protocol), target)
	}
	return b.String()
}

// both are the services "api" and "rpc" of the same backends.
func both(addrs []string) string {
	return entry("api", "HTTP", 80, httpPort, addrs) + entry("rpc", "GRPC", 9000, grpcPort, addrs)
}

// rules are a DestinationRule, a VirtualService and, unless it is empty, a TrafficPolicy for a service; each is
// the inside of a spec.
func rules(service, destination, route, traffic string) string {
	text := fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s, namespace: load}
spec:
  host: %[1]s
  trafficPolicy: {%[2]s}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s, namespace: load}
spec:
  hosts: [%[1]s]
  http:
  - {name: all, %[3]s, route: [{destination: {host: %[1]s}}]}
`, service, destination, route)
	if traffic != "" {
		text += fmt.Sprintf(`---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: %[1]s, namespace: load}
spec:
  target: {service: %[1]s}
  %[2]s
`, service, traffic)
	}
	return text
}

// alike are rules for both services.
func alike(destination, route, traffic string) string {
	return rules("api", destination, route, traffic) + rules("rpc", destination, route, traffic)
}

// control starts a control server over a configuration.
func (b *bench) control(ctx context.Context, yaml string) (addr string, err error) {
	dir, err := os.MkdirTemp(b.dir, "config-")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "load.yaml"), []byte(yaml), 0o600); err != nil {
		return "", err
	}
	return b.Start(ctx, "control", "--role", "control", "--config", dir)
}

// backends starts so many of them at 127.0.0.2 and on; control may be empty for such without the mesh.
func (b *bench) backends(ctx context.Context, n int, control string, args ...string) (addrs []string, err error) {
	for i := range n {
		ip := backendIP(i)
		if err := b.backend(ctx, ip, control, args...); err != nil {
			return nil, err
		}
		addrs = append(addrs, ip)
	}
	return addrs, nil
}

func backendIP(i int) string { return fmt.Sprintf("127.0.0.%d", i+2) }

func (b *bench) backend(ctx context.Context, ip, control string, args ...string) error {
	_, err := b.Start(ctx, ip, append([]string{"--role", "backend", "--name", ip, "--ip", ip, "--control", control}, args...)...)
	return err
}
