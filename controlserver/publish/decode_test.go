package publish

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// policies are what TrafficPolicies can say of bounded's services.
const policies = bounded + `
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payments, namespace: shop}
spec:
  hosts: [payments]
  http:
  - name: broken
    match: [{uri: {prefix: /broken}}]
    route: [{destination: {host: payments, subset: v1}}]
    fault: {delay: {percentage: {value: 0.1}, fixedDelay: 1s}, abort: {percentage: {value: 33.3333}, grpcStatus: INTERNAL}}
  - name: rest
    route: [{destination: {host: payments}}]
    retries: {attempts: 2, retryOn: "5xx,503"}
---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: payments, namespace: shop}
spec:
  target: {service: payments}
  client:
    rateLimit: {requests: 100, per: 1s, burst: 200, limits: [{match: {method: POST, path: /x}, by: ["header:x-user"], requests: 10, per: 1500ms}], common: others, headers: true}
    globalRateLimit: {limits: [{by: ["header:x-tenant"], requests: 1000, per: 60s}, {requests: 5, per: 1s}], failClosed: true, lease: {batch: 9, ahead: 3}, timeout: 1s}
    hedge: {delay: 50ms, percentile: 95, max: 3, chance: 1.5}
    breaker: {percent: 50, volume: 3, window: 3s, open: 1s, probes: 2}
    hostBreaker: {failures: 5}
    admission: {threshold: 50.5, aggression: 1.5, minRate: 2, maxPercent: 99, window: 5s}
    fallback: {maxAge: 1m, answer: {httpStatus: 200, body: "{}", headers: {content-type: application/json}}}
    fault: {delay: {duration: 1s, percent: 0.01}, responseRate: {bytesPerSecond: 3kB, percent: 50}, connection: {break: slowBody, after: 1KiB, pause: 1s, percent: 1}, byHeader: true, maxActive: 4}
    bandwidth: {request: {bytesPerSecond: 1MB, fill: 100ms}, response: {bytesPerSecond: 1MiB}}
    idleTimeout: 5m
  server:
    rateLimit: {limits: [{by: [caller], requests: 50, per: 1s}, {by: [remote_address, path], requests: 50, per: 1s}], maxKeys: 9}
    globalRateLimit: {limits: [{by: [caller], requests: 5000, per: 1s}]}
    concurrency: {adaptive: {percentile: 90, min: 5, max: 50, update: 1s, remeasure: 2m, jitter: 20, samples: 20, buffer: 50}}
    shedding: {target: 1ms, interval: 50ms}
    lateness: {tolerance: 5ms, maxPercent: 50, interval: 1s}
    fault: {abort: {httpStatus: 500, percent: 1}, connection: {break: refused, percent: 1}}
    bandwidth: {request: {bytesPerSecond: 1KiB}}
    healthPaths: [/ready, /live]
---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: port, namespace: shop}
spec:
  target: {service: payments, port: 81}
  client: {hedge: {delay: 5ms}}
  server: {concurrency: {max: 7}}
---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: web, namespace: shop}
spec:
  from: {labels: {app: web}, serviceAccount: web}
  client: {admission: {}, rateLimit: {requests: 1, per: 1s}}
---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: kill, namespace: istio-system}
spec: {disable: [budgets, deadlines]}
`

// configurations are the YAML that other tests have, by a name.
func configurations(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"shop": shop, "bounded": bounded, "policies": policies}
	files, err := filepath.Glob(filepath.Join("testdata", "istiod", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no configuration of istiod's: %v", err)
	}
	for _, f := range files {
		yaml, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = string(yaml)
	}
	return all
}

// decode reads a resource as a client of ours does; warnings of what has no effect are returned.
func decode(typeURL string, a *anypb.Any) (value any, warnings []string, err error) {
	switch typeURL {
	case wire.ListenerType:
		l, err := wire.DecodeListener(a)
		if err != nil {
			return nil, nil, err
		}
		warnings, l.Warnings = l.Warnings, nil
		return *l, warnings, nil
	case wire.RouteType:
		r, err := wire.DecodeRouteTable(a)
		if err != nil {
			return nil, nil, err
		}
		warnings, r.Warnings = r.Warnings, nil
		return *r, warnings, nil
	case wire.ClusterType:
		c, err := wire.DecodeCluster(a)
		if err != nil {
			return nil, nil, err
		}
		warnings, c.Warnings = c.Warnings, nil
		return *c, warnings, nil
	}
	e, err := wire.DecodeEndpoints(a)
	if err != nil {
		return nil, nil, err
	}
	warnings, e.Warnings = e.Warnings, nil
	return *e, warnings, nil
}

// resources are the values that a view has for all names there are, by type and name.
func resources(v *View) map[[2]string]any {
	out := map[[2]string]any{}
	add := func(typeURL, name string, value any, ok bool) {
		if ok {
			out[[2]string{typeURL, name}] = value
		}
	}
	listeners := append(v.listenerNames(), sidecarListener, inboundPrefix+"10.0.0.1:80", inboundPrefix+"10.0.0.1:81", inboundPrefix+"0.0.0.0:9")
	for _, name := range listeners {
		l, ok := v.Listener(name)
		add(wire.ListenerType, name, l, ok)
		if ok && l.RouteConfig != "" {
			t, ok := v.RouteTable(l.RouteConfig)
			add(wire.RouteType, l.RouteConfig, t, ok)
		}
	}
	for _, name := range v.clusterNames() {
		c, ok := v.Cluster(name)
		add(wire.ClusterType, name, c, ok)
		e, ok := v.Endpoints(name)
		add(wire.EndpointType, name, e, ok)
	}
	return out
}

// meaning is a value in words; of a Fraction 0 and 100 mean the same.
func meaning(value any) string { return strings.ReplaceAll(printed(value), `"Per":100}`, `"Per":0}`) }

func TestEverythingThatIsPublishedIsTakenByOurOwnClient(t *testing.T) {
	for name, yaml := range configurations(t) {
		p := publisher(t, yaml)
		p.config.RateLimits = "10.9.9.9:18000"
		for _, namespace := range []string{"shop", "demo"} {
			for _, dialect := range []Dialect{Weft, GRPC, GRPCLeast, Envoy} {
				v := p.View(Client{Dialect: dialect, Namespace: namespace, Listen: "127.0.0.1:15001", ServiceAccount: "web", Labels: map[string]string{"app": "web"}})
				for at, value := range resources(v) {
					text := fmt.Sprintf("%s, %v in %s: %s", name, dialect, namespace, strings.Join(at[:], " "))
					m := v.Message(at[0], at[1])
					if m == nil {
						t.Errorf("%s: there is a value and no message", text)
						continue
					}
					a, err := wire.Marshal(m)
					if err != nil {
						t.Fatal(err)
					}
					got, warnings, err := decode(at[0], a)
					if err != nil {
						t.Errorf("%s: %v", text, err)
						continue
					}
					same := at[0] == wire.EndpointType || meaning(got) == meaning(value) // endpoints get weights of localities
					if dialect == Weft && (len(warnings) > 0 || !same) {
						t.Errorf("%s:\n%s\nand %q, want\n%s", text, meaning(got), warnings, meaning(value))
					}
				}
			}
		}
	}
}

func TestServersAreToldTheirDemands(t *testing.T) {
	v := publisher(t, policies).View(Client{Namespace: "shop"})
	for addr, want := range map[string]func(resilience.Serving) bool{
		"10.0.0.1:80": func(s resilience.Serving) bool {
			return s.Rate != nil && len(s.Rate.Descriptors) == 2 && s.Global != nil && s.Adaptive != nil && s.Shedding != nil && s.Late != nil &&
				s.Fault != nil && s.Bandwidth.Request.BytesPerSecond == 1024 && len(s.HealthPaths) == 2 && s.MaxRequests == 0
		},
		"10.0.0.1:81": func(s resilience.Serving) bool { return s.MaxRequests == 7 && s.Adaptive == nil && s.Rate != nil },
		"10.0.0.2:80": func(s resilience.Serving) bool {
			return reflect.DeepEqual(s, resilience.Serving{Off: resilience.NoBudgets | resilience.NoDeadlines})
		},
	} {
		l, ok := v.Listener(inboundPrefix + addr)
		if !ok || l.Inbound.Addr != addr || !want(l.Inbound.Serving) {
			t.Errorf("%s is told %s", addr, printed(l.Inbound))
		}
	}
	if _, ok := publisher(t, policies).View(Client{Dialect: Envoy, Namespace: "shop"}).Listener(inboundPrefix + "10.0.0.1:80"); ok {
		t.Error("a proxy has an inbound listener")
	}
	far, _ := publisher(t, policies).View(Client{Namespace: "elsewhere"}).Listener(inboundPrefix + "10.0.0.1:80")
	if far.Inbound.Serving.Rate != nil {
		t.Error("a process is told what holds for the servers of another namespace")
	}
}

func TestCallersAreToldApartWherePoliciesDo(t *testing.T) {
	for name, yaml := range map[string]string{"from": policies, "none": bounded} {
		p := publisher(t, yaml)
		web := p.View(Client{Namespace: "shop", ServiceAccount: "web", Labels: map[string]string{"app": "web"}})
		for _, other := range []Client{
			{Namespace: "shop", ServiceAccount: "x", Labels: map[string]string{"app": "web"}},
			{Namespace: "shop", ServiceAccount: "web", Labels: map[string]string{"app": "x"}},
		} {
			v := p.View(other)
			if same := v == web; same != (name == "none") {
				t.Errorf("%s: %+v shares the view: %v", name, other, same)
			}
		}
	}
	s, err := publisher(t, policies).View(Client{Namespace: "shop", ServiceAccount: "web", Labels: map[string]string{"app": "web"}}).Service("payments:82")
	if err != nil {
		t.Fatal(err)
	}
	if r := s.VirtualHosts[0].Routes[0].Policy.Rate; r == nil || r.MaxTokens != 200 {
		t.Errorf("the service's own policy counts before the namespace's: %+v", r)
	}
}

func TestProxiesAskTheRateLimitServiceWhereThereAreLimits(t *testing.T) {
	for _, tc := range []struct {
		yaml, address string
		dialect       Dialect
		want          string
	}{
		{policies, "10.9.9.9:18000", Envoy, "10.9.9.9:18000"},
		{policies, "[fd00::1]:18000", Envoy, "[fd00::1]:18000"},
		{policies, "control.shop:18000", Envoy, "10.1.1.1:18000 10.1.1.2:18000"},
		{policies, "", Envoy, "none"},
		{bounded, "10.9.9.9:18000", Envoy, "none"},
		{policies, "10.9.9.9:18000", Weft, "none"},
		{policies, "10.9.9.9:18000", GRPCLeast, "none"},
	} {
		p := publisher(t, tc.yaml)
		p.config.RateLimits = tc.address
		p.config.Lookup = func(name string) []string {
			if name == "control.shop" {
				return []string{"10.1.1.1", "10.1.1.2"}
			}
			return nil
		}
		v := p.View(Client{Dialect: tc.dialect, Namespace: "shop", Listen: "127.0.0.1:15001"})
		got := "none"
		if c, ok := v.Cluster(RateLimitCluster); ok {
			var all []string
			for _, e := range c.Endpoints {
				all = append(all, e.Addr)
			}
			got = strings.Join(all, " ")
			if !c.HTTP2 || c.EndpointsName != "" {
				t.Errorf("%+v", c)
			}
		}
		l, _ := v.Listener(sidecarListener)
		listed := strings.Contains(strings.Join(v.All(wire.ClusterType), " "), RateLimitCluster)
		if has := tc.want != "none"; got != tc.want || (l.Global != nil) != has || listed != has {
			t.Errorf("%v at %q: %s, listed %v, filter %v, want %s", tc.dialect, tc.address, got, listed, l.Global != nil, tc.want)
		}
	}
	if names := Names(publisher(t, bounded).catalog, "control.shop:18000"); !names["control.shop"] {
		t.Errorf("%v", names)
	}
}
