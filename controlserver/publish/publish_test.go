package publish

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

const shop = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payments, namespace: shop}
spec:
  hosts: [payments.shop.svc.cluster.local]
  addresses: [240.0.0.9]
  resolution: STATIC
  location: MESH_INTERNAL
  ports:
  - {number: 9000, name: grpc, protocol: GRPC}
  - {number: 80, name: http, protocol: HTTP, targetPort: 8080}
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1}, weight: 3, locality: eu/a}
  - {address: 10.0.0.2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ledger, namespace: shop}
spec:
  hosts: [ledger.shop.svc.cluster.local]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{number: 7000, name: tcp, protocol: TCP}]
  endpoints: [{address: 10.0.0.3}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payments, namespace: shop}
spec:
  host: payments
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    portLevelSettings:
    - {port: {number: 9000}, loadBalancer: {simple: ROUND_ROBIN}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payments, namespace: shop}
spec:
  hosts: [payments]
  http:
  - name: testers
    match:
    - name: header
      headers: {x-tester: {exact: "yes"}}
    - name: other
      sourceLabels: {app: qa}
    route:
    - destination: {host: payments, subset: v2}
  - name: get
    match:
    - method: {exact: GET}
      queryParams: {v: {exact: "2"}}
    route:
    - destination: {host: payments, subset: v2}
  - name: no-robots
    match:
    - withoutHeaders: {x-robot: {exact: "yes"}}
      uri: {prefix: /v1}
    timeout: 3s
    retries: {attempts: 5}
    route:
    - destination: {host: payments, subset: v1}
      weight: 90
    - destination: {host: payments, subset: v2}
      weight: 10
  - name: rest
    retries: {attempts: 0}
    route:
    - destination: {host: payments.shop.svc.cluster.local, subset: v1, port: {number: 80}}
  - name: never
    route:
    - destination: {host: payments}
`

func publisher(t *testing.T, yaml string) *Publisher {
	t.Helper()
	return publisherWith(t, yaml, Config{})
}

func publisherWith(t *testing.T, yaml string, config Config) *Publisher {
	t.Helper()
	objects, findings := catalog.Parse("test.yaml", []byte(yaml))
	for _, f := range findings {
		if f.Severity == catalog.Error {
			t.Fatal(f)
		}
	}
	return New(catalog.Merge(catalog.Fragment{Objects: objects}), config)
}

func names(routes []resolver.Route) string {
	var out []string
	for _, r := range routes {
		out = append(out, r.Name)
	}
	return strings.Join(out, " ")
}

func TestEveryNameOfAServiceReachesIt(t *testing.T) {
	v := publisher(t, shop).View(Client{Namespace: "shop"})
	for _, name := range []string{
		"payments", "payments:9000", "payments.shop", "payments.shop:80", "payments.shop.svc", "PAYMENTS.shop.svc.cluster.local",
		"payments.shop.svc.cluster.local:9000", "240.0.0.9", "ledger", "ledger:7000",
	} {
		if _, err := v.Service(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := publisher(t, shop).View(Client{Namespace: "elsewhere"})
	if _, err := other.Service("payments"); err == nil {
		t.Error("a short name reaches into another namespace")
	}
	if _, err := other.Service("payments.shop"); err != nil {
		t.Error(err)
	}
}

func TestUnknownNamesAreAnsweredWithTheNearest(t *testing.T) {
	v := publisher(t, shop).View(Client{Namespace: "shop"})
	for name, want := range map[string]string{
		"paymnts":       `no service "paymnts"; nearest: payments.shop.svc.cluster.local`,
		"payments:1234": `service "payments:1234" has no port 1234; it has 9000, 80`,
		"zzzzzzzz":      `no service "zzzzzzzz"`,
	} {
		_, err := v.Service(name)
		var unknown *resolver.UnknownError
		if !errors.As(err, &unknown) || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func TestRoutesFollowTheVirtualService(t *testing.T) {
	p := publisher(t, shop)
	s, err := p.View(Client{Namespace: "shop"}).Service("payments")
	if err != nil {
		t.Fatal(err)
	}
	routes := s.VirtualHosts[0].Routes
	if got := names(routes); got != "testers.header get no-robots rest" {
		t.Fatalf("routes %q", got)
	}
	v1, v2 := "outbound|80|v1|payments.shop.svc.cluster.local", "outbound|80|v2|payments.shop.svc.cluster.local"
	if got := routes[2].To; !slices.Equal(got, []resolver.Target{{Cluster: v1, Weight: 90}, {Cluster: v2, Weight: 10}}) {
		t.Errorf("weighted clusters %v", got)
	}
	if p := routes[2].Policy; p.Timeout != 3*time.Second || p.Retry.Attempts != 5 || p.Retry.On != defaultRetry.On {
		t.Errorf("policy %+v", p)
	}
	if p := routes[3].Policy; p.Retry != (resilience.Retry{}) {
		t.Errorf("attempts: 0 leaves %+v", p.Retry)
	}
	if p := routes[0].Policy; p.Retry != defaultRetry {
		t.Errorf("without retries: %+v", p.Retry)
	}
	if got := s.Clusters[v1].Endpoints; len(got) != 1 || got[0].Addr != "10.0.0.1:8080" || got[0].Weight != 3 ||
		got[0].Locality != (balancer.Locality{Region: "eu", Zone: "a"}) {
		t.Errorf("endpoints of v1: %+v", got)
	}
	qa, err := p.View(Client{Namespace: "shop", Labels: map[string]string{"app": "qa"}}).Service("payments")
	if err != nil {
		t.Fatal(err)
	}
	if got := names(qa.VirtualHosts[0].Routes); got != "testers.header testers.other" {
		t.Errorf("routes of a caller with the label: %q", got)
	}
}

func TestBalancingIsOfThePortThenTheSubset(t *testing.T) {
	v := publisher(t, shop).View(Client{Namespace: "shop"})
	for name, want := range map[string]balancer.Kind{
		"outbound|80||payments.shop.svc.cluster.local":     balancer.Random,
		"outbound|80|v1|payments.shop.svc.cluster.local":   balancer.Random,
		"outbound|80|v2|payments.shop.svc.cluster.local":   balancer.LeastRequest,
		"outbound|9000|v1|payments.shop.svc.cluster.local": balancer.RoundRobin,
		"outbound|7000||ledger.shop.svc.cluster.local":     balancer.LeastRequest,
	} {
		c, ok := v.Cluster(name)
		if !ok || c.Balance.Kind != want {
			t.Errorf("%s: %v %v, want %v", name, ok, c.Balance.Kind, want)
		}
	}
	for _, name := range []string{"outbound|80|v3|payments.shop.svc.cluster.local", "outbound|81||payments.shop.svc.cluster.local", "x"} {
		if _, ok := v.Cluster(name); ok {
			t.Errorf("%s exists", name)
		}
	}
}

func TestGRPCIsToldNothingItRefuses(t *testing.T) {
	v := publisher(t, shop).View(Client{Dialect: GRPCLeast, Namespace: "shop"})
	s, err := v.Service("payments:9000")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range s.VirtualHosts[0].Routes {
		if len(r.Match.Query) > 0 || r.Match.Path.Kind == resolver.PathSegmentPrefix {
			t.Errorf("route %s: %+v", r.Name, r.Match)
		}
		text := r.Name
		for _, h := range r.Match.Headers {
			if h.MissingAsEmpty || strings.HasPrefix(h.Name, ":") {
				t.Errorf("route %s: %+v", r.Name, h)
			}
			text += fmt.Sprintf(" %s/%d/%v", h.Name, h.Is.Kind, h.Invert)
		}
		got = append(got, text)
	}
	// "withoutHeaders" is two routes: the header is absent, or is not equal.
	want := []string{"testers.header x-tester/0/false", "no-robots x-robot/5/true", "no-robots x-robot/0/true", "rest"}
	if !slices.Equal(got, want) {
		t.Errorf("routes %q, want %q", got, want)
	}
}

func TestGRPCIsToldOnlyBalancingItHas(t *testing.T) {
	const random, least, unset = "outbound|80|v1|payments.shop.svc.cluster.local", "outbound|80|v2|payments.shop.svc.cluster.local",
		"outbound|7000||ledger.shop.svc.cluster.local"
	for _, tc := range []struct {
		agent, cluster string
		want           balancer.Kind
	}{
		{"gRPC Go", random, balancer.RoundRobin},
		{"gRPC Go", least, balancer.LeastRequest},
		{"gRPC Java", unset, balancer.LeastRequest},
		{"gRPC Node Pure JS", random, balancer.RoundRobin},
		{"gRPC Node Pure JS", least, balancer.RoundRobin},
		{"gRPC C-core", unset, balancer.RoundRobin},
	} {
		d := DialectOf(&corev3.Node{UserAgentName: tc.agent})
		c, ok := publisher(t, shop).View(Client{Dialect: d, Namespace: "shop"}).Cluster(tc.cluster)
		if !ok || c.Balance.Kind != tc.want {
			t.Errorf("%s, %s: %v %v, want %v", tc.agent, tc.cluster, ok, c.Balance.Kind, tc.want)
		}
	}
}

func TestAbsentHeadersDoNotMultiplyWithoutBound(t *testing.T) {
	var m resolver.Match
	for i := range 30 {
		m.Headers = append(m.Headers, resolver.HeaderMatch{
			Name: fmt.Sprintf("x-%d", i), Is: resolver.StringMatch{Kind: resolver.StringExact, Value: "a"}, Invert: true, MissingAsEmpty: true,
		})
	}
	if got := len(forGRPC(resolver.Route{Match: m})); got != mostPhrased {
		t.Errorf("%d routes", got)
	}
}

func TestSegmentPrefixIsTwoRoutesForGRPC(t *testing.T) {
	got := forGRPC(resolver.Route{Match: resolver.Match{Path: resolver.PathMatch{Kind: resolver.PathSegmentPrefix, Value: "/shop.Payments"}}})
	if len(got) != 2 || got[0].Match.Path != (resolver.PathMatch{Kind: resolver.PathExact, Value: "/shop.Payments"}) ||
		got[1].Match.Path != (resolver.PathMatch{Kind: resolver.PathPrefix, Value: "/shop.Payments/"}) {
		t.Errorf("%+v", got)
	}
}

// Two namespaces have a service of one name, on different ports: each client means its own.
func TestSidecarMeansByANameWhatOthersMean(t *testing.T) {
	const api = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: %s}
spec:
  hosts: [api.example.com]
  resolution: STATIC
  ports: [{number: %d, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.7}]
`
	p := publisher(t, fmt.Sprintf(api+"---"+api, "elsewhere", 8080, "shop", 9090))
	for namespace, want := range map[string]string{"elsewhere": "api.example.com:8080", "shop": "api.example.com:9090"} {
		v := p.View(Client{Dialect: Envoy, Namespace: namespace})
		table, _ := v.RouteTable("outbound")
		if len(table.VirtualHosts) != 1 {
			t.Fatalf("in %s: %+v", namespace, table.VirtualHosts)
		}
		vh := table.VirtualHosts[0]
		if !slices.Equal(vh.Domains, []string{want, "api.example.com"}) {
			t.Errorf("in %s: domains %q, want %s with and without its port", namespace, vh.Domains, want)
		}
		if _, ok := v.Cluster(vh.Routes[0].To[0].Cluster); !ok {
			t.Errorf("in %s: no cluster %s", namespace, vh.Routes[0].To[0].Cluster)
		}
	}
}

func TestSidecarGetsOneListenerForAllHTTPServices(t *testing.T) {
	v := publisher(t, shop).View(Client{Dialect: Envoy, Namespace: "shop", Listen: "127.0.0.1:15001"})
	if got := v.All(wire.ListenerType); !slices.Equal(got, []string{"outbound"}) {
		t.Fatalf("listeners %q", got)
	}
	table, ok := v.RouteTable("outbound")
	if !ok {
		t.Fatal("no routes")
	}
	seen := map[string]string{}
	for _, vh := range table.VirtualHosts {
		for _, d := range vh.Domains {
			if seen[d] != "" {
				t.Errorf("domain %s in %s and %s", d, seen[d], vh.Name)
			}
			seen[d] = vh.Name
		}
	}
	if seen["payments"] != "payments.shop.svc.cluster.local:80" || seen["payments:9000"] != "payments.shop.svc.cluster.local:9000" {
		t.Errorf("domains %v", seen)
	}
	if seen["ledger"] != "" {
		t.Error("a TCP service has a virtual host")
	}
	for _, name := range v.All(wire.ClusterType) {
		if v.Message(wire.ClusterType, name) == nil || v.Message(wire.EndpointType, name) == nil {
			t.Errorf("cluster %s is listed and cannot be had", name)
		}
	}
}
