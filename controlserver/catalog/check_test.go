package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
)

const (
	echoService = `{hosts: [echo.demo.svc.cluster.local], resolution: STATIC, ports: [{number: 80, name: http}], workloadSelector: {labels: {app: echo}}}`
	echoSubsets = `{host: echo, subsets: [{name: v1, labels: {version: v1}}]}`
)

func TestCheckFindsWhatLeadsNowhere(t *testing.T) {
	se := doc("ServiceEntry", "echo", "demo", echoService)
	dr := doc("DestinationRule", "echo", "demo", echoSubsets)
	to := func(destination string) string {
		return doc("VirtualService", "echo", "demo", `{hosts: [echo], http: [{route: [{destination: {`+destination+`}}]}]}`)
	}
	tests := []struct {
		name string
		docs string
		want []string
	}{
		{"sound", se + dr + to("host: echo, subset: v1, port: {number: 80}"), nil},
		{"missing host", se + to("host: ecko"),
			[]string{`error f:9: VirtualService/demo/echo: spec.http[0].route[0].destination.host: no service has the host "ecko"; did you mean echo.demo.svc.cluster.local?`}},
		{"missing port", se + to("host: echo, port: {number: 81}"),
			[]string{"error f:9: VirtualService/demo/echo: spec.http[0].route[0].destination.port.number: echo.demo.svc.cluster.local has no port 81; there is 80"}},
		{"missing subset", se + dr + to("host: echo, subset: v2"),
			[]string{`error f:14: VirtualService/demo/echo: spec.http[0].route[0].destination.subset: DestinationRule/demo/echo at f:6 gives echo.demo.svc.cluster.local no subset "v2"; did you mean "v1"?`}},
		{"subset without a rule", se + to("host: echo, subset: v2"),
			[]string{`error f:9: VirtualService/demo/echo: spec.http[0].route[0].destination.subset: no DestinationRule gives echo.demo.svc.cluster.local the subset "v2"`}},
		{"rule of nobody", doc("DestinationRule", "d", "demo", `{host: nobody}`),
			[]string{`warning f:4: DestinationRule/demo/d: spec.host: no service has the host "nobody"`}},
		{"two VirtualServices for one host", se + doc("VirtualService", "b", "demo", `{hosts: [echo], http: [{route: [{destination: {host: echo}}]}]}`) + doc("VirtualService", "a", "demo", `{hosts: [echo.demo], http: [{route: [{destination: {host: echo}}]}]}`),
			[]string{`warning f:9: VirtualService/demo/b: spec.hosts[0]: host "echo.demo.svc.cluster.local" already belongs to VirtualService/demo/a at f:11: this one is not used for it`}},
		{"two ServiceEntries that agree", se + doc("ServiceEntry", "zwei", "demo", echoService),
			[]string{"warning f:9: ServiceEntry/demo/zwei: spec.hosts[0]: host is also declared by ServiceEntry/demo/echo at f:1: they are merged"}},
		{"two ServiceEntries that do not", se + doc("ServiceEntry", "zwei", "demo", strings.Replace(echoService, "STATIC", "DNS", 1)),
			[]string{`error f:9: ServiceEntry/demo/zwei: spec.resolution: DNS differs from STATIC at f:4, which declares the same host "echo.demo.svc.cluster.local" and is older`}},
		{"two rules with one subset", se + dr + doc("DestinationRule", "zwei", "demo", echoSubsets),
			[]string{`warning f:14: DestinationRule/demo/zwei: spec.subsets[0].name: "v1" is also given by DestinationRule/demo/echo at f:6, which is older: this one is not used`}},
		{"subset of nobody", se + dr + doc("WorkloadEntry", "w", "demo", "{address: 10.0.0.1, labels: {app: echo, version: v2}}"),
			[]string{`warning f:9: DestinationRule/demo/echo: spec.subsets[0].labels: subset "v1" selects none of the workloads of echo.demo.svc.cluster.local`}},
		{"workload of nobody", doc("WorkloadEntry", "w", "demo", "{address: 10.0.0.1, labels: {app: echo}}"),
			[]string{"warning f:4: WorkloadEntry/demo/w: spec.labels: no ServiceEntry of namespace demo selects it"}},
		{"service of nobody", doc("ServiceEntry", "s", "demo", `{hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: http}]}`),
			[]string{"warning f:4: ServiceEntry/demo/s: spec: has neither endpoints nor a workloadSelector: nothing serves a.com"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strs(merge(t, tt.docs).Check()); !slices.Equal(got, tt.want) {
				t.Errorf("findings\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
			}
		})
	}
}

func TestOneNameInTwoFiles(t *testing.T) {
	a := fragment(t, "a", doc("WorkloadEntry", "w", "demo", "{address: 10.0.0.1}"))
	b := fragment(t, "b", doc("WorkloadEntry", "w", "demo", "{address: 10.0.0.2}"))
	want := "error b:1: WorkloadEntry/demo/w: metadata.name: name already taken at a:1; the first one is used"
	if got := strs(catalog.Merge(a, b).Check()); !slices.Contains(got, want) {
		t.Errorf("Merge: %q", got)
	}
	var last catalog.LastGood
	c, findings := last.Merge(a, b)
	if got := strs(findings); !slices.Contains(got, want) {
		t.Errorf("LastGood: %q", got)
	}
	if len(c.Objects()) != 1 || c.Objects()[0].Position.File != "a" {
		t.Errorf("objects %v", c.Objects())
	}
}

func TestLastGood(t *testing.T) {
	se := doc("ServiceEntry", "echo", "demo", echoService)
	subsets := func(names ...string) string {
		var all []string
		for _, n := range names {
			all = append(all, "{name: "+n+", labels: {version: "+n+"}}")
		}
		return doc("DestinationRule", "echo", "demo", "{host: echo, subsets: ["+strings.Join(all, ", ")+"]}")
	}
	to := func(subset string) string {
		return doc("VirtualService", "echo", "demo", `{hosts: [echo], http: [{route: [{destination: {host: echo, subset: `+subset+`}}]}]}`)
	}
	type step struct {
		does   string
		files  map[string]string
		route  string // the subset that is routed to
		rule   string // the subsets there are
		errors []string
	}
	var last catalog.LastGood
	for _, s := range []step{
		{"start", map[string]string{"se": se, "dr": subsets("v1", "v2"), "vs": to("v1")}, "v1", "v1 v2", nil},
		{"a good change", map[string]string{"se": se, "dr": subsets("v1", "v2"), "vs": to("v2")}, "v2", "v1 v2", nil},
		{"a route to a missing subset waits", map[string]string{"se": se, "dr": subsets("v1", "v2"), "vs": to("v3")}, "v2", "v1 v2",
			[]string{"VirtualService/demo/echo"}},
		{"until the subset is there", map[string]string{"se": se, "dr": subsets("v1", "v2", "v3"), "vs": to("v3")}, "v3", "v1 v2 v3", nil},
		{"a subset in use is not taken away", map[string]string{"se": se, "dr": subsets("v1", "v2"), "vs": to("v3")}, "v3", "v1 v2 v3",
			[]string{"DestinationRule/demo/echo"}},
		{"until nobody needs it", map[string]string{"se": se, "dr": subsets("v1", "v2"), "vs": to("v1")}, "v1", "v1 v2", nil},
		{"an invalid version waits", map[string]string{"se": se, "dr": subsets("v1", "bad name"), "vs": to("v2")}, "v2", "v1 v2",
			[]string{"DestinationRule/demo/echo", "DestinationRule/demo/echo"}},
		{"a file that is no YAML keeps its objects", map[string]string{"se": se, "dr": subsets("v1", "v2"), "vs": "a: ["}, "v2", "v1 v2",
			[]string{""}},
		{"a kind misspelt keeps them too", map[string]string{"se": se, "dr": subsets("v1", "v2"), "vs": strings.Replace(to("v1"), "VirtualS", "VirtualZ", 1)}, "v2", "v1 v2",
			[]string{"VirtualZervice/demo/echo"}},
		{"a file that is gone takes them away", map[string]string{"se": se, "dr": subsets("v1", "v2")}, "", "v1 v2", nil},
		{"without an earlier version it is used as it is", map[string]string{"se": se, "dr": subsets("v1", "v2"), "vs": to("v9")}, "v9", "v1 v2",
			[]string{"VirtualService/demo/echo"}},
		{"a rule that is gone is gone", map[string]string{"se": se, "vs": to("v1")}, "v1", "", []string{"VirtualService/demo/echo"}},
	} {
		var fragments []catalog.Fragment
		for _, file := range []string{"se", "dr", "vs"} {
			if text, ok := s.files[file]; ok {
				fragments = append(fragments, fragment(t, file, text))
			}
		}
		c, findings := last.Merge(fragments...)
		service, _ := c.Service("demo", "echo")
		route, rule := "", []string{}
		if vs := c.VirtualService("demo", service.Host); vs != nil {
			route = vs.Spec.GetHttp()[0].GetRoute()[0].GetDestination().GetSubset()
		}
		if dr := c.DestinationRule("demo", service); dr != nil {
			for _, sub := range dr.Spec.GetSubsets() {
				rule = append(rule, sub.GetName())
			}
		}
		var errors []string
		for _, f := range findings {
			if f.Severity == catalog.Error {
				errors = append(errors, strings.TrimSuffix(strings.TrimRight(f.Key().String(), "/"), "//"))
			}
		}
		if route != s.route || strings.Join(rule, " ") != s.rule || !slices.Equal(errors, s.errors) {
			t.Errorf("%s: routed to %q with subsets %q, errors %q; want %q, %q, %q\n%s", s.does, route, rule, errors, s.route, s.rule, s.errors,
				strings.Join(strs(findings), "\n"))
		}
	}
}
