package catalog_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/trafficpolicy"
	"github.com/weftmesh/weft/identity"
)

const header = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: demo}
`

// rule is a VirtualService with one rule.
func rule(text string) string { return header + "spec:\n  hosts: [a]\n  http:\n  - " + text + "\n" }

func strs(findings []catalog.Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, f.Severity.String()+" "+f.String())
	}
	return out
}

func TestParseFindings(t *testing.T) {
	const route = "route: [{destination: {host: a}}]"
	tests := []struct {
		name, text string
		want       []string // all findings
	}{
		{"good", rule(route), nil},
		{"empty", "", []string{"error f: file is empty"}},
		{"white", " \n\n", []string{"error f: file is empty"}},
		{"comments only", "# nothing\n---\n# here\n", nil},
		{"byte order mark and CRLF", "\ufeff" + strings.ReplaceAll(rule(route), "\n", "\r\n"), nil},
		{"no UTF-8", "kind: a\nname: \xff\n", []string{"error f:2: not UTF-8: byte 0xff"}},
		{"half-written", header + "spec: {hosts: [a", []string{"error f:4: not YAML: did not find expected ',' or ']'"}},
		{"no object", "- a\n", []string{"error f:1: document must be an object with apiVersion, kind, metadata and spec, not a list"}},
		{"no kind", "apiVersion: networking.istio.io/v1\nmetadata: {name: x}\n", []string{"error f:1: kind is missing"}},
		{"no apiVersion", "kind: VirtualService\nmetadata: {name: x}\n", []string{"error f:1: VirtualService/default/x: apiVersion is missing"}},
		{"no name", strings.Replace(rule(route), "name: v, ", "", 1), []string{"error f:1: VirtualService: metadata.name: is missing"}},
		{"no spec", header, []string{"error f:1: VirtualService/demo/v: spec: is missing"}},
		{"name that is a boolean", strings.Replace(rule(route), "name: v", "name: y", 1),
			[]string{"error f:3: VirtualService: metadata.name: `y` is a boolean in YAML 1.1: quote it"}},
		{"wrong version", strings.Replace(rule(route), "/v1", "/v2", 1),
			[]string{"error f:1: VirtualService/demo/v: apiVersion: networking.istio.io/v2 is not one of networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3"}},
		{"wrong group", strings.Replace(rule(route), "networking.istio.io/v1", "apps/v1", 1),
			[]string{"error f:1: VirtualService/demo/v: apiVersion: apps/v1 is not one of networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3"}},
		{"unknown kind", strings.Replace(rule(route), "kind: VirtualService", "kind: VirtualServce", 1),
			[]string{`error f:2: VirtualServce/demo/v: unknown kind "VirtualServce"; did you mean "VirtualService"?`}},
		{"kind of another issue", "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: p}\nspec: {}\n",
			[]string{"warning f:2: Sidecar/default/p: kind Sidecar is not supported yet"}},
		{"unknown field", rule(route + "\n    tiemout: 1s"),
			[]string{`error f:8: VirtualService/demo/v: spec.http[0].tiemout: unknown field "tiemout"; did you mean "timeout"?`}},
		{"field of another issue", rule(route + "\n    rewrite: {uri: /x}"),
			[]string{"warning f:8: VirtualService/demo/v: spec.http[0].rewrite: not supported yet"}},
		{"key given twice", rule(route + "\n    timeout: 1s\n    timeout: 2s"),
			[]string{`error f:9: VirtualService/demo/v: spec.http[0].timeout: key "timeout" given twice`}},
		{"boolean for a string", rule("match: [{headers: {x: {exact: off}}}]\n    " + route),
			[]string{"error f:7: VirtualService/demo/v: spec.http[0].match[0].headers[x].exact: `off` is a boolean in YAML 1.1: quote it"}},
		{"boolean for a key", rule("match: [{headers: {y: {exact: a}}}]\n    " + route),
			[]string{"error f:7: VirtualService/demo/v: spec.http[0].match[0].headers.y: key `y` is a boolean in YAML 1.1: quote it"}},
		{"quoted, no boolean", rule(`match: [{headers: {"y": {exact: "off"}}}]` + "\n    " + route), nil},
		{"number for a string", rule("match: [{headers: {x: {exact: 1}}}]\n    " + route),
			[]string{"error f:7: VirtualService/demo/v: spec.http[0].match[0].headers[x].exact: `1` is a number: quote it"}},
		{"two of one", rule("match: [{uri: {exact: /a, prefix: /b}}]\n    " + route),
			[]string{`error f:7: VirtualService/demo/v: spec.http[0].match[0].uri.prefix: only one of "exact" and "prefix" may be given`}},
		{"several at once", rule("match: [{uri: {regex: '('}}]\n    timeout: soon\n    route: [{destination: {host: a}, weight: -1}]"), []string{
			"error f:8: VirtualService/demo/v: spec.http[0].timeout: \"soon\" is not a duration such as \"1.5s\" or \"2m\"",
			"error f:7: VirtualService/demo/v: spec.http[0].match[0].uri.regex: \"(\" is not an RE2 expression: missing closing ): `(`",
			"error f:9: VirtualService/demo/v: spec.http[0].route[0].weight: must not be negative",
		}},
		{"weights of 0", rule("route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]"),
			[]string{"error f:7: VirtualService/demo/v: spec.http[0].route: weights sum to 0"}},
		{"weight too large", rule("route: [{destination: {host: a}, weight: 5000000000}]"),
			[]string{"error f:7: VirtualService/demo/v: spec.http[0].route[0].weight: 5000000000 is out of range: -2147483648 to 2147483647"}},
		{"weights overflow", rule("route: [{destination: {host: a}, weight: 2000000000}, {destination: {host: b}, weight: 2000000000}, {destination: {host: c}, weight: 2000000000}]"),
			[]string{"error f:7: VirtualService/demo/v: spec.http[0].route: weights sum to 6000000000; at most 4294967295"}},
		{"only for a gateway", strings.Replace(rule(route), "hosts:", "gateways: [gw]\n  hosts:", 1),
			[]string{`warning f:5: VirtualService/demo/v: spec.gateways: does not name "mesh", and gateways are not supported yet: not used`}},
		{"given twice in a file", rule(route) + "---\n" + rule(route),
			[]string{"error f:9: VirtualService/demo/v: metadata.name: name already taken at f:1; the first one is used"}},
		{"subset given twice", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec:\n  host: a\n  subsets:\n  - name: v1\n  - name: v1\n",
			[]string{`error f:8: DestinationRule/default/d: spec.subsets[1].name: "v1" given twice, first as subsets[0]`}},
		{"unknown top field", rule(route) + "specs: {}\n",
			[]string{"error f:8: VirtualService/demo/v: specs: unknown field; a document has apiVersion, kind, metadata and spec"}},
		{"enum", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: a, trafficPolicy: {loadBalancer: {simple: ROUND_ROBBIN}}}\n",
			[]string{`error f:4: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.simple: unknown value "ROUND_ROBBIN"; did you mean "ROUND_ROBIN"?`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			objects, findings := catalog.Parse("f", []byte(tt.text))
			if got := strs(findings); !slices.Equal(got, tt.want) {
				t.Errorf("findings\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
			}
			refused := slices.ContainsFunc(findings, func(f catalog.Finding) bool {
				return f.Severity == catalog.Error && !strings.Contains(f.Message, "already taken")
			})
			if refused && len(objects) > 0 {
				t.Errorf("refused, and there is %s", objects[0].Key())
			}
		})
	}
}

func TestOneBadDocumentLeavesTheOthers(t *testing.T) {
	entry := func(name string) string {
		return "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: " + name + "}\nspec: {address: 10.0.0.1}\n"
	}
	for name, bad := range map[string]string{
		"no YAML":    "a: [\n",
		"tab":        "a:\n\tb: 1\n",
		"no UTF-8":   "a: \xc3\x28\n",
		"too large":  "a: " + strings.Repeat("x", 2<<20) + "\n",
		"deep":       strings.Repeat("[", 5000) + "\n",
		"wrong kind": "apiVersion: v1\nkind: Nonsense\n",
		"alias bomb": bomb(),
		"own alias":  "a: &a {<<: *a, b: *a}\n",
		"unset":      "a: *nowhere\n",
	} {
		t.Run(name, func(t *testing.T) {
			objects, findings := catalog.Parse("f", []byte(entry("first")+"---\n"+bad+"---\n"+entry("last")))
			if len(objects) != 2 || objects[0].Name != "first" || objects[1].Name != "last" {
				t.Errorf("objects %v", objects)
			}
			if len(findings) == 0 {
				t.Error("no finding")
			}
			for _, f := range findings {
				if f.Line < 5 || f.Line > 5+strings.Count(bad, "\n") {
					t.Errorf("%s: not in the bad document", f)
				}
			}
		})
	}
}

// bomb is a document whose aliases stand for 10^9 values.
func bomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: bomb}\nspec:\n  a0: &a0 [x]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "  a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return b.String()
}

func TestTenMegabytesOfRoutes(t *testing.T) {
	var routes bytes.Buffer
	routes.WriteString(header + "spec:\n  hosts: [a]\n  http:\n")
	for i := 0; routes.Len() < 10<<20; i++ {
		fmt.Fprintf(&routes, "  - match: [{uri: {prefix: /p%d}}]\n    route: [{destination: {host: a}}]\n", i)
	}
	objects, findings := catalog.Parse("f", routes.Bytes())
	want := "f:1: document of 10.0 MiB is larger than 1.5 MiB, the most that Kubernetes stores"
	if len(objects) != 0 || len(findings) != 1 || findings[0].String() != want {
		t.Errorf("%d objects, findings %v", len(objects), findings)
	}
	if _, findings := catalog.Parse("f", make([]byte, catalog.MaxFile+1)); len(findings) != 1 || findings[0].String() != "f: file of 64.0 MiB is larger than 64.0 MiB" {
		t.Errorf("file too large: %v", findings)
	}
}

func TestManyFindingsAreCutShort(t *testing.T) {
	var b strings.Builder
	b.WriteString(header + "spec:\n  hosts: [a]\n  http:\n")
	for range 5000 {
		b.WriteString("  - timeout: never\n")
	}
	objects, findings := catalog.Parse("f", []byte(b.String()))
	if len(objects) != 0 || len(findings) != 101 || findings[100].Message != "more findings left out" {
		t.Errorf("%d objects, %d findings", len(objects), len(findings))
	}
}

func TestSpecIsDecodedWhole(t *testing.T) {
	objects, findings := catalog.Parse("f", []byte(`
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: v
  labels: {a: b}
  annotations: {"n": "1"}
  creationTimestamp: "2026-01-02T03:04:05Z"
  resourceVersion: "7"
spec:
  hosts: [a, b.demo]
  export_to: ["."]
  http:
  - name: one
    match:
    - &m
      uri: {prefix: /a}
      ignoreUriCase: yes
      headers: {x: {exact: "1"}, present: {}}
      port: "80"
    - <<: *m
      port: 81
    route:
    - destination: {host: a, subset: s, port: {number: 0x50}}
      weight: 3
    timeout: 1m
    retries: {attempts: 2, retryOn: "unavailable,connect-failure"}
`))
	if len(findings) > 0 || len(objects) != 1 {
		t.Fatalf("objects %v, findings %v", objects, findings)
	}
	o := objects[0]
	if o.Namespace != "default" || o.Labels["a"] != "b" || o.Annotations["n"] != "1" || o.Created.Year() != 2026 || o.Position.Line != 2 {
		t.Errorf("metadata %+v", o)
	}
	vs := o.Spec.(*networking.VirtualService)
	r := vs.Http[0]
	if got := vs.ExportTo; !slices.Equal(got, []string{"."}) {
		t.Errorf("exportTo %v", got)
	}
	if len(r.Match) != 2 || r.Match[0].Port != 80 || r.Match[1].Port != 81 || r.Match[1].Uri.GetPrefix() != "/a" || !r.Match[1].IgnoreUriCase {
		t.Errorf("match %v", r.Match)
	}
	if h := r.Match[0].Headers; len(h) != 2 || h["x"].GetExact() != "1" || h["present"].MatchType != nil {
		t.Errorf("headers %v", h)
	}
	if d := r.Route[0]; d.Destination.Port.Number != 80 || d.Weight != 3 || d.Destination.Subset != "s" {
		t.Errorf("route %v", d)
	}
	if r.Timeout.GetSeconds() != 60 || r.Retries.Attempts != 2 {
		t.Errorf("timeout %v, retries %v", r.Timeout, r.Retries)
	}
	for field, line := range map[string]int{
		"spec.http[0].match[1].port": 22, "spec.http[0].route[0].weight": 25, "spec.http[0].match[0].headers[x]": 19,
		"spec.http[0].nothing": 14, "metadata.name": 5, "": 2,
	} {
		if at := o.At(field); at.Line != line || at.File != "f" {
			t.Errorf("%q stands at %s, want line %d", field, at, line)
		}
	}
}

func TestListOfKubectlIsReadItemByItem(t *testing.T) {
	objects, findings := catalog.Parse("f", []byte(`apiVersion: v1
kind: List
items:
- apiVersion: networking.istio.io/v1
  kind: WorkloadEntry
  metadata: {name: a}
  spec: {address: 10.0.0.1}
- apiVersion: networking.istio.io/v1
  kind: WorkloadEntry
  metadata: {name: b}
  spec:
    address: 10.0.0.1
    ports: {x: 0}
- apiVersion: networking.istio.io/v1
  kind: WorkloadEntry
  metadata: {name: c}
  spec: {address: 10.0.0.1}
`))
	want := []string{"error f:13: WorkloadEntry/default/b: spec.ports[x]: port 0 is out of range: 1 to 65535"}
	if len(objects) != 2 || !slices.Equal(strs(findings), want) {
		t.Errorf("%d objects, findings %q", len(objects), strs(findings))
	}
	if at := objects[1].At("spec.address"); at.Line != 17 {
		t.Errorf("at %s", at)
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range append(files, "../trafficpolicy/testdata/example.yaml") {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for doc := range bytes.SplitSeq(data, []byte("---\n")) {
			f.Add(doc)
		}
	}
	f.Add([]byte(bomb()))
	f.Add([]byte("a: &a {<<: *a}"))
	f.Add([]byte("0: {0\r}\n0:"))
	for _, spec := range [...][2]string{
		{"PeerAuthentication", "{selector: {matchLabels: {a: b}}, portLevelMtls: {80: {mode: STRICT}, 0x50: {}, a: 1}}"},
		{"RequestAuthentication", `{jwtRules: [{issuer: a, presence: REQUIRED, jwks: '{"keys": [{"kty": "EC"}]}', fromHeaders: [{name: a}]}, {presence: [x]}]}`},
		{"MeshConfig", "{trustDomain: a, extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a/b, port: 1}}, {name: b, envoyExtAuthzHttp: {service: b, port: 2}}]}"},
		{"Revocation", `{serials: ["a:b", x], identities: [spiffe://a/b]}`},
		{"AuthorizationPolicy", "{selector: {matchLabels: {a: [b]}}, action: [x], rules: {}}"},
	} {
		f.Add([]byte(doc(spec[0], "p", "istio-system", spec[1])))
	}
	f.Add([]byte("kind: List\nitems: [{kind: y}, 1, *a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, findings := catalog.Parse("f", data)
		lines := 1
		for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // what ends a line in YAML
			lines += bytes.Count(data, []byte(end))
		}
		for _, x := range findings {
			if x.Message == "" || x.Line < 0 || x.Line > lines {
				t.Errorf("finding %q at line %d of %d", x, x.Line, lines)
			}
		}
		for _, o := range objects {
			specs := map[bool]int{o.Spec != nil: 1}[true] + map[bool]int{o.Traffic != nil: 1}[true] +
				map[bool]int{o.Mesh != nil: 1}[true] + map[bool]int{o.Revocation != nil: 1}[true]
			if o.Name == "" || o.Namespace == "" || specs != 1 {
				t.Errorf("object without a name or spec: %+v", o)
			}
			if o.Traffic != nil {
				sound(t, o.Traffic)
			}
		}
		c := catalog.Merge(catalog.Fragment{Objects: objects})
		c.Check()
		w := catalog.Workload{Namespace: "istio-system"}
		if mode, from := c.MutualTLS(w, 80); (mode == identity.Unset) != (from == catalog.Origin{}) {
			t.Errorf("mode %s by %s", mode, from)
		}
		c.AuthorizationPolicies(w)
		c.RequestAuthentications(w)
		if r := c.Revoked(); r != nil && slices.Contains(r.Serials, "") {
			t.Errorf("revoked %+v", r)
		}
		for _, p := range c.Mesh().ExtensionProviders {
			c.Provider(p.Name)
		}
		var last catalog.LastGood
		last.Merge(catalog.Fragment{Objects: objects, Findings: findings})
		last.Merge(catalog.Fragment{Findings: findings})
	})
}

// sound checks what a policy stands for that was found to be so.
func sound(t *testing.T, p *trafficpolicy.Spec) {
	t.Helper()
	c, s := p.Calls("n/p", "f"), p.Serving("n/p", "f")
	var found []error
	if c.Rate != nil {
		found = append(found, c.Rate.Check()...)
	}
	if s.Rate != nil {
		found = append(found, s.Rate.Check()...)
	}
	if c.Hedge != nil {
		found = append(found, c.Hedge.Check()...)
	}
	if c.Breaker != nil {
		found = append(found, c.Breaker.Check()...)
	}
	if c.Admission != nil {
		found = append(found, c.Admission.Check()...)
	}
	if c.Fallback != nil {
		found = append(found, c.Fallback.Check()...)
	}
	if c.Fault != nil {
		found = append(found, c.Fault.Check()...)
	}
	if s.Fault != nil {
		found = append(found, s.Fault.Check()...)
	}
	if s.Adaptive != nil {
		found = append(found, s.Adaptive.Check()...)
	}
	if s.Shedding != nil {
		found = append(found, s.Shedding.Check()...)
	}
	if s.Late != nil {
		found = append(found, s.Late.Check()...)
	}
	found = append(found, c.Bandwidth.Request.Check()...)
	found = append(found, c.Off.Check()...)
	if len(found) > 0 {
		t.Errorf("%+v: %v", p, found)
	}
}
