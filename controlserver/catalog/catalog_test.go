package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/catalog"
)

// doc is a document of four lines and a separator, of the group that has the kind.
func doc(kind, name, namespace, spec string) string {
	version := "networking.istio.io/v1"
	switch kind {
	case catalog.KindPeerAuthentication, catalog.KindRequestAuthentication, catalog.KindAuthorizationPolicy:
		version = "security.istio.io/v1"
	case catalog.KindMeshConfig, catalog.KindRevocation, catalog.KindTrafficPolicy:
		version = catalog.Version
	}
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %s}\nspec: %s\n---\n", version, kind, name, namespace, spec)
}

func fragment(t *testing.T, file string, docs ...string) catalog.Fragment {
	t.Helper()
	if strings.Join(docs, "") == "" {
		return catalog.Fragment{}
	}
	objects, findings := catalog.Parse(file, []byte(strings.Join(docs, "")))
	return catalog.Fragment{Objects: objects, Findings: findings}
}

func merge(t *testing.T, docs ...string) *catalog.Catalog {
	t.Helper()
	f := fragment(t, "f", docs...)
	for _, x := range f.Findings {
		if x.Severity == catalog.Error {
			t.Fatal(x)
		}
	}
	return catalog.Merge(f)
}

// addresses are the endpoints of a port as "address:port".
func addresses(s *catalog.Service, port uint32) string {
	var out []string
	for _, e := range s.Endpoints(port) {
		out = append(out, fmt.Sprintf("%s:%d", e.Address, e.Port))
	}
	return strings.Join(out, " ")
}

func TestServiceIsFoundByItsNames(t *testing.T) {
	c := merge(t,
		doc("ServiceEntry", "echo", "demo", `{hosts: [echo.demo.svc.cluster.local], addresses: [240.0.0.10, "fd00::1"], resolution: STATIC, ports: [{number: 9000, name: grpc, protocol: GRPC}, {number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {app: echo}}}`),
		doc("ServiceEntry", "short", "demo", `{hosts: [short], resolution: STATIC, ports: [{number: 8080, name: http, protocol: HTTP}], workloadSelector: {labels: {app: short}}}`),
		doc("ServiceEntry", "api", "demo", `{hosts: [api.example.com], resolution: DNS, location: MESH_EXTERNAL, ports: [{number: 443, name: tls, protocol: TLS}, {number: 444, name: tls2, protocol: TLS}]}`),
		doc("ServiceEntry", "mine", "other", `{hosts: [mine.other.svc.cluster.local], exportTo: ["."], resolution: STATIC, ports: [{number: 80, name: http}], workloadSelector: {labels: {app: x}}}`),
	)
	tests := []struct {
		namespace, name string
		host            string
		port            uint32
	}{
		{"demo", "echo", "echo.demo.svc.cluster.local", 80},
		{"demo", "ECHO.", "echo.demo.svc.cluster.local", 80},
		{"demo", "echo:9000", "echo.demo.svc.cluster.local", 9000},
		{"demo", "echo:1", "echo.demo.svc.cluster.local", 1},
		{"other", "echo", "", 0},
		{"other", "echo.demo", "echo.demo.svc.cluster.local", 80},
		{"other", "echo.demo.svc:9000", "echo.demo.svc.cluster.local", 9000},
		{"other", "echo.demo.svc.cluster.local", "echo.demo.svc.cluster.local", 80},
		{"other", "240.0.0.10:9000", "echo.demo.svc.cluster.local", 9000},
		{"other", "[fd00:0::1]:9000", "echo.demo.svc.cluster.local", 9000},
		{"other", "fd00::1", "echo.demo.svc.cluster.local", 80},
		{"demo", "short", "short.demo.svc.cluster.local", 8080},
		{"other", "short", "short.demo.svc.cluster.local", 8080},
		{"other", "short.demo", "short.demo.svc.cluster.local", 8080},
		{"demo", "api.example.com", "api.example.com", 0},
		{"demo", "example.com", "", 0},
		{"other", "mine", "mine.other.svc.cluster.local", 80},
		{"demo", "mine.other", "", 0},
		{"demo", "", "", 0},
		{"demo", ":80", "", 80},
	}
	for _, tt := range tests {
		s, port := c.Service(tt.namespace, tt.name)
		host := ""
		if s != nil {
			host = s.Host
		}
		if host != tt.host || port != tt.port {
			t.Errorf("%q from %s: %q port %d, want %q port %d", tt.name, tt.namespace, host, port, tt.host, tt.port)
		}
		if s == nil {
			continue
		}
		for _, name := range s.Names(tt.namespace) {
			if back, _ := c.Service(tt.namespace, name); back != s {
				t.Errorf("%s has the name %q in %s, and is not found by it", s.Host, name, tt.namespace)
			}
		}
	}
	s, _ := c.Service("demo", "echo")
	want := "echo.demo.svc.cluster.local echo echo.demo echo.demo.svc 240.0.0.10 fd00::1"
	if got := strings.Join(s.Names("demo"), " "); got != want {
		t.Errorf("names %q, want %q", got, want)
	}
	if got := strings.Join(s.Names("other"), " "); strings.Contains(got, " echo ") {
		t.Errorf("names in another namespace: %q", got)
	}
	if got := c.Nearest("ecko:80", 2); !slices.Equal(got, []string{"echo.demo.svc.cluster.local"}) {
		t.Errorf("nearest %q", got)
	}
	if got := c.Nearest("apI.example.com", 2); !slices.Equal(got, []string{"api.example.com"}) {
		t.Errorf("nearest %q", got)
	}
	if got := c.Expand("demo", "echo") + " " + c.Expand("demo", "Nobody") + " " + c.Expand("demo", "*.Foo"); got != "echo.demo.svc.cluster.local nobody *.foo" {
		t.Errorf("expanded %q", got)
	}
}

func TestEndpointsOfDeclaredServices(t *testing.T) {
	const ports = `ports: [{number: 80, name: http, protocol: http, targetPort: 8080}, {number: 81, name: adm, protocol: HTTP}]`
	c := merge(t,
		doc("ServiceEntry", "inline", "demo", `{hosts: [inline.com], resolution: STATIC, `+ports+`, endpoints: [{address: 10.0.0.1, weight: 3, locality: r/z/s, labels: {v: "1"}, serviceAccount: sa}, {address: 10.0.0.2, ports: {http: 7000}}]}`),
		doc("ServiceEntry", "selects", "demo", `{hosts: [selects.com], resolution: STATIC, `+ports+`, workloadSelector: {labels: {app: a}}}`),
		doc("WorkloadEntry", "w1", "demo", `{address: 10.0.1.1, labels: {app: a, version: v1}}`),
		doc("WorkloadEntry", "w2", "demo", `{address: 10.0.1.2, labels: {app: b}}`),
		doc("WorkloadEntry", "w3", "other", `{address: 10.0.1.3, labels: {app: a}}`),
		doc("ServiceEntry", "dns", "demo", `{hosts: [dns.com], resolution: DNS, `+ports+`}`),
		doc("ServiceEntry", "redis", "demo", `{hosts: [redis], resolution: DNS_ROUND_ROBIN, ports: [{number: 6379, name: r, protocol: REDIS}]}`),
		doc("ServiceEntry", "unix", "demo", `{hosts: [unix.com], resolution: STATIC, ports: [{number: 80, name: http}], endpoints: [{address: "unix:///run/x"}]}`),
	)
	tests := []struct {
		name       string
		port       uint32
		want       string
		resolution catalog.Resolution
	}{
		{"inline.com", 80, "10.0.0.1:8080 10.0.0.2:7000", catalog.Static},
		{"inline.com", 81, "10.0.0.1:81 10.0.0.2:81", catalog.Static},
		{"selects.com", 80, "10.0.1.1:8080", catalog.Static},
		{"dns.com", 80, "dns.com:8080", catalog.DNS},
		{"redis", 6379, "redis:6379", catalog.DNSRoundRobin},
		{"unix.com", 80, "unix:///run/x:0", catalog.Static},
		{"inline.com", 99, "", catalog.Static},
	}
	for _, tt := range tests {
		s, _ := c.Service("demo", tt.name)
		if s == nil {
			t.Errorf("%s: no service", tt.name)
			continue
		}
		if got := addresses(s, tt.port); got != tt.want || s.Resolution != tt.resolution {
			t.Errorf("%s:%d: %q %s, want %q %s", tt.name, tt.port, got, s.Resolution, tt.want, tt.resolution)
		}
	}
	s, _ := c.Service("demo", "inline.com")
	e := s.Endpoints(80)[0]
	if e.Weight != 3 || e.Locality != (balancer.Locality{Region: "r", Zone: "z", SubZone: "s"}) || e.ServiceAccount != "sa" || !e.Matches(map[string]string{"v": "1"}) || e.Matches(map[string]string{"v": "2"}) {
		t.Errorf("endpoint %+v", e)
	}
	if p, _ := s.Port(80); p.Protocol != catalog.HTTP || !p.Protocol.IsHTTP() || !s.External {
		t.Errorf("port %+v of %+v", p, s)
	}
}

func TestRegisteredWorkloads(t *testing.T) {
	process := func(name, ip string, labels map[string]string, ports ...catalog.WorkloadPort) catalog.Workload {
		return catalog.Workload{Name: name, Namespace: "shop", Address: ip, Labels: labels, Ports: ports, Health: balancer.Healthy}
	}
	http := func(n uint32) catalog.WorkloadPort { return catalog.WorkloadPort{Number: n, Protocol: catalog.HTTP} }
	grpc := func(n uint32) catalog.WorkloadPort { return catalog.WorkloadPort{Number: n, Protocol: catalog.GRPC} }
	v1 := map[string]string{"app": "pay", "version": "v1"}
	selecting := doc("ServiceEntry", "pay", "shop", `{hosts: [pay.shop.svc.cluster.local], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}, {number: 90, name: grpc, protocol: GRPC}], workloadSelector: {labels: {app: pay}}}`)
	owned := doc("ServiceEntry", "pay", "shop", `{hosts: [pay.shop.svc.cluster.local], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {app: pay}}, subjectAltNames: [pay.test, spiffe://td/ns/shop/sa/pay]}`)
	as := func(account, ip string) catalog.Workload {
		w := process("x", ip, v1, http(40001))
		w.ServiceAccount = account
		return w
	}
	named := doc("ServiceEntry", "pay", "shop", `{hosts: [pay], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}`)
	tests := []struct {
		name      string
		docs      string
		workloads []catalog.Workload
		want      map[uint32]string // endpoints of pay by port
	}{
		{"selected, one port of its own", selecting, []catalog.Workload{process("x", "127.0.0.1", v1, http(40001)), process("x", "127.0.0.1", v1, http(40002))},
			map[uint32]string{80: "127.0.0.1:40001 127.0.0.1:40002", 90: "127.0.0.1:40001 127.0.0.1:40002"}},
		{"selected, two ports told apart by protocol", selecting, []catalog.Workload{process("x", "127.0.0.1", v1, http(40001), grpc(40002))},
			map[uint32]string{80: "127.0.0.1:40001", 90: "127.0.0.1:40002"}},
		{"selected, two ports told apart by number", selecting, []catalog.Workload{process("x", "127.0.0.1", v1, http(80), http(90))},
			map[uint32]string{80: "127.0.0.1:80", 90: "127.0.0.1:90"}},
		{"selected, two ports told apart by name", selecting, []catalog.Workload{process("x", "127.0.0.1", v1, catalog.WorkloadPort{Number: 1, Name: "grpc"}, catalog.WorkloadPort{Number: 2, Name: "http"})},
			map[uint32]string{80: "127.0.0.1:2", 90: "127.0.0.1:1"}},
		{"selected, beside an entry of YAML", selecting + doc("WorkloadEntry", "w", "shop", `{address: 10.0.0.1, labels: {app: pay}}`), []catalog.Workload{process("x", "127.0.0.1", v1, http(40001))},
			map[uint32]string{80: "10.0.0.1:80 127.0.0.1:40001", 90: "10.0.0.1:90 127.0.0.1:40001"}},
		{"selected, of whom it says its servers are", owned, []catalog.Workload{as("pay", "127.0.0.1"), as("mallory", "127.0.0.2"), as("", "127.0.0.3")},
			map[uint32]string{80: "127.0.0.1:40001 127.0.0.3:40001"}},
		{"declared by name alone", named, []catalog.Workload{process("pay", "127.0.0.1", nil, http(40001))},
			map[uint32]string{80: "127.0.0.1:40001"}},
		{"born, ports found at run time", "", []catalog.Workload{process("pay", "127.0.0.1", v1, http(40002)), process("pay", "127.0.0.1", v1, http(40001))},
			map[uint32]string{80: "127.0.0.1:40001 127.0.0.1:40002"}},
		{"born, one process", "", []catalog.Workload{process("pay", "127.0.0.1", v1, http(40002))},
			map[uint32]string{80: "127.0.0.1:40002", 40002: "127.0.0.1:40002"}},
		{"born, the same port everywhere", "", []catalog.Workload{process("pay", "10.0.0.1", v1, http(8080)), process("pay", "10.0.0.2", v1, http(8080))},
			map[uint32]string{80: "10.0.0.1:8080 10.0.0.2:8080", 8080: "10.0.0.1:8080 10.0.0.2:8080"}},
		{"born, port 80", "", []catalog.Workload{process("pay", "10.0.0.1", v1, http(80))},
			map[uint32]string{80: "10.0.0.1:80"}},
		{"born, two ports", "", []catalog.Workload{process("pay", "10.0.0.1", v1, http(1), grpc(2))},
			map[uint32]string{80: "10.0.0.1:1", 1: "10.0.0.1:1", 2: "10.0.0.1:2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fragment(t, "f", tt.docs)
			c := catalog.Merge(f, catalog.Fragment{Source: "registry", Workloads: tt.workloads})
			s, port := c.Service("shop", "pay")
			if s == nil {
				t.Fatal("no service")
			}
			if s.Host != "pay.shop.svc.cluster.local" || port != 80 || s.Born() != (tt.docs == "") {
				t.Errorf("%s port %d, born %v", s.Host, port, s.Born())
			}
			if len(s.Ports) != len(tt.want) {
				t.Errorf("ports %v", s.Ports)
			}
			for port, want := range tt.want {
				if got := addresses(s, port); got != want {
					t.Errorf("port %d: %q, want %q", port, got, want)
				}
			}
			for _, x := range c.Check() {
				t.Errorf("finding %s", x)
			}
		})
	}
	t.Run("not claimed by a service with endpoints", func(t *testing.T) {
		f := fragment(t, "f", doc("ServiceEntry", "pay", "shop", `{hosts: [pay], resolution: STATIC, ports: [{number: 80, name: http}], endpoints: [{address: 10.0.0.1}]}`))
		c := catalog.Merge(f, catalog.Fragment{Workloads: []catalog.Workload{process("pay", "127.0.0.1", v1, http(1))}})
		if got := strs(c.Check()); len(got) != 1 || !strings.Contains(got[0], "warning f:1: ServiceEntry/shop/pay: 1 registered processes") {
			t.Errorf("findings %q", got)
		}
	})
}

func TestVirtualServiceOfAHost(t *testing.T) {
	vs := func(name, namespace, hosts, more string) string {
		return doc("VirtualService", name, namespace, `{hosts: `+hosts+`, http: [{route: [{destination: {host: x}}]}]`+more+`}`)
	}
	c := merge(t,
		doc("ServiceEntry", "echo", "demo", `{hosts: [echo.demo.svc.cluster.local], resolution: STATIC, ports: [{number: 80, name: http}], workloadSelector: {labels: {app: echo}}}`),
		vs("b-exact", "demo", "[echo]", ""),
		vs("c-exact", "demo", "[echo.demo.svc.cluster.local]", ""),
		vs("a-wide", "demo", `["*.svc.cluster.local"]`, ""),
		vs("a-wider", "demo", `["*.local"]`, ""),
		vs("gateway", "demo", "[gw.com]", ", gateways: [demo/gw]"),
		vs("both", "demo", "[both.com]", ", gateways: [demo/gw, mesh]"),
		vs("a-private", "other", "[api.com]", `, exportTo: ["."]`),
		vs("b-public", "other", "[api.com]", ""),
	)
	for _, tt := range []struct{ namespace, host, want string }{
		{"demo", "echo.demo.svc.cluster.local", "b-exact"},
		{"other", "echo.demo.svc.cluster.local", "b-exact"},
		{"demo", "else.demo.svc.cluster.local", "a-wide"},
		{"demo", "x.y.local", "a-wider"},
		{"demo", "gw.com", ""},
		{"demo", "both.com", "both"},
		{"other", "api.com", "a-private"},
		{"demo", "api.com", "b-public"},
		{"demo", "none.com", ""},
	} {
		got := ""
		if v := c.VirtualService(tt.namespace, tt.host); v != nil {
			got = v.Name
		}
		if got != tt.want {
			t.Errorf("%s from %s: %q, want %q", tt.host, tt.namespace, got, tt.want)
		}
	}
}

func TestDestinationRuleOfAService(t *testing.T) {
	dr := func(name, namespace, spec string) string { return doc("DestinationRule", name, namespace, spec) }
	service := func(host string) string {
		return doc("ServiceEntry", strings.ReplaceAll(host, ".", "-"), "demo", `{hosts: [`+host+`], resolution: STATIC, ports: [{number: 80, name: http}], workloadSelector: {labels: {app: echo}}}`)
	}
	c := merge(t,
		service("echo.demo.svc.cluster.local"), service("a.com"), service("b.com"), service("wide.org"), service("far.net"),
		dr("echo-1", "demo", `{host: echo, subsets: [{name: v1, labels: {v: "1"}}]}`),
		dr("echo-2", "demo", `{host: echo.demo.svc.cluster.local, subsets: [{name: v1, labels: {v: "9"}}, {name: v2, labels: {v: "2"}}], trafficPolicy: {loadBalancer: {simple: RANDOM}}}`),
		dr("a-service", "demo", `{host: a.com, subsets: [{name: service}]}`),
		dr("a-client", "client", `{host: a.com, subsets: [{name: client}]}`),
		dr("b-service", "demo", `{host: b.com, exportTo: ["."], subsets: [{name: service}]}`),
		dr("b-root", "istio-system", `{host: "*.com", subsets: [{name: root}]}`),
		dr("wide", "demo", `{host: "*.org", subsets: [{name: wide}]}`),
		dr("all", "demo", `{host: "*", subsets: [{name: all}]}`),
		dr("picky", "demo", `{host: far.net, workloadSelector: {matchLabels: {a: b}}, subsets: [{name: picky}]}`),
	)
	for _, tt := range []struct{ namespace, name, want string }{
		{"demo", "echo", "v1 v2"},
		{"client", "a.com", "client"},
		{"else", "a.com", "service"},
		{"demo", "b.com", "service"},
		{"client", "b.com", "all"}, // not exported; "*" of the service's namespace is before the root's
		{"demo", "wide.org", "wide"},
		{"demo", "far.net", "all"},
	} {
		s, _ := c.Service(tt.namespace, tt.name)
		d := c.DestinationRule(tt.namespace, s)
		var got []string
		for _, sub := range d.Spec.GetSubsets() {
			got = append(got, sub.GetName())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s from %s: %v, want %s", tt.name, tt.namespace, got, tt.want)
		}
	}
	s, _ := c.Service("demo", "echo")
	d := c.DestinationRule("demo", s)
	if v1, _ := d.Subset("v1"); v1.GetLabels()["v"] != "1" {
		t.Errorf("the older subset does not win: %v", v1)
	}
	if d.Spec.GetTrafficPolicy().GetLoadBalancer().GetSimple().String() != "RANDOM" || len(d.Objects) != 2 {
		t.Errorf("merged %v of %d", d.Spec, len(d.Objects))
	}
}
