package catalog_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
)

func TestMutualTLSOfAWorkload(t *testing.T) {
	pa := func(name, namespace, spec string) string { return doc("PeerAuthentication", name, namespace, spec) }
	created := func(text, when string) string {
		return strings.Replace(text, "metadata: {", "metadata: {creationTimestamp: \""+when+"\", ", 1)
	}
	const app = "selector: {matchLabels: {app: a}}"
	tests := []struct {
		name string
		docs string
		want identity.Mode
		from string
	}{
		{"nobody says", "", identity.Unset, ""},
		{"mesh", pa("m", "istio-system", "{mtls: {mode: STRICT}}"), identity.Strict, "m"},
		{"namespace before mesh", pa("m", "istio-system", "{mtls: {mode: STRICT}}") + pa("ns", "demo", "{mtls: {mode: DISABLE}}"), identity.Disable, "ns"},
		{"workload before namespace", pa("ns", "demo", "{mtls: {mode: DISABLE}}") + pa("w", "demo", "{"+app+", mtls: {mode: PERMISSIVE}}"), identity.Permissive, "w"},
		{"unset inherits", pa("m", "istio-system", "{mtls: {mode: STRICT}}") + pa("ns", "demo", "{mtls: {mode: UNSET}}") + pa("w", "demo", "{"+app+"}"), identity.Strict, "m"},
		{"port before workload", pa("w", "demo", "{"+app+", mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}, 9090: {mode: PERMISSIVE}}}"), identity.Disable, "w"},
		{"port unset is the workload's", pa("w", "demo", "{"+app+", mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: UNSET}}}"), identity.Strict, "w"},
		{"port unset is the namespace's", pa("ns", "demo", "{mtls: {mode: STRICT}}") + pa("w", "demo", "{"+app+", portLevelMtls: {8080: {}}}"), identity.Strict, "ns"},
		{"another port", pa("w", "demo", "{"+app+", portLevelMtls: {80: {mode: DISABLE}}}"), identity.Unset, ""},
		{"another workload", pa("w", "demo", "{selector: {matchLabels: {app: b}}, mtls: {mode: DISABLE}}"), identity.Unset, ""},
		{"another namespace", pa("n", "other", "{mtls: {mode: DISABLE}}"), identity.Unset, ""},
		{"the oldest", created(pa("a", "demo", "{mtls: {mode: DISABLE}}"), "2026-01-02T00:00:00Z") + created(pa("b", "demo", "{mtls: {mode: STRICT}}"), "2026-01-01T00:00:00Z"), identity.Strict, "b"},
		{"of one age by name", pa("b", "demo", "{mtls: {mode: DISABLE}}") + pa("a", "demo", "{mtls: {mode: STRICT}}"), identity.Strict, "a"},
		{"the oldest alone", pa("a", "demo", "{mtls: {mode: UNSET}}") + pa("b", "demo", "{mtls: {mode: DISABLE}}"), identity.Unset, ""},
		{"a selector of the root namespace does not count", pa("m", "istio-system", "{"+app+", mtls: {mode: DISABLE}}"), identity.Unset, ""},
		{"an empty selector is none", pa("ns", "demo", "{selector: {matchLabels: {}}, mtls: {mode: STRICT}}"), identity.Strict, "ns"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := catalog.Merge(fragment(t, "f", tt.docs))
			mode, from := c.MutualTLS(catalog.Workload{Namespace: "demo", Labels: map[string]string{"app": "a", "x": "y"}}, 8080)
			if mode != tt.want || from.Key.Name != tt.from {
				t.Errorf("got %s by %q, want %s by %q", mode, from, tt.want, tt.from)
			}
		})
	}
}

func TestPoliciesOfAWorkload(t *testing.T) {
	c := merge(t,
		doc("AuthorizationPolicy", "b", "demo", "{}"),
		doc("AuthorizationPolicy", "a", "demo", "{selector: {matchLabels: {app: a}}, action: DENY, rules: [{}]}"),
		doc("AuthorizationPolicy", "c", "demo", "{selector: {matchLabels: {app: c}}}"),
		doc("AuthorizationPolicy", "d", "other", "{}"),
		doc("AuthorizationPolicy", "e", "demo", "{targetRefs: [{kind: Service, name: x}]}"),
		strings.Replace(doc("AuthorizationPolicy", "z", "istio-system", "{rules: [{}]}"), "namespace:", `annotations: {istio.io/dry-run: "true"}, namespace:`, 1),
		doc("AuthorizationPolicy", "x", "istio-system", "{selector: {matchLabels: {app: c}}}"),
		doc("RequestAuthentication", "r", "demo", "{jwtRules: [{issuer: a, jwksUri: 'https://a'}, {issuer: b, jwksUri: 'https://b', presence: REQUIRED}, {issuer: c, jwksUri: 'https://c', presence: OPTIONAL}]}"),
		doc("RequestAuthentication", "m", "istio-system", "{jwtRules: [{issuer: a, jwksUri: 'https://a'}]}"),
	)
	names := func(w catalog.Workload) (rules, tokens []string) {
		for _, p := range c.AuthorizationPolicies(w) {
			rules = append(rules, p.Name)
		}
		for _, p := range c.RequestAuthentications(w) {
			tokens = append(tokens, p.Name)
		}
		return rules, tokens
	}
	for _, tt := range []struct {
		namespace, app string
		rules, tokens  []string
	}{
		{"demo", "a", []string{"z", "a", "b"}, []string{"r", "m"}},
		{"demo", "c", []string{"x", "z", "b", "c"}, []string{"r", "m"}},
		{"other", "", []string{"z", "d"}, []string{"m"}},
		{"istio-system", "", []string{"z"}, []string{"m"}},
		{"", "", []string{"z"}, []string{"m"}},
	} {
		rules, tokens := names(catalog.Workload{Namespace: tt.namespace, Labels: map[string]string{"app": tt.app}})
		if !slices.Equal(rules, tt.rules) || !slices.Equal(tokens, tt.tokens) {
			t.Errorf("%s/%s: got %v and %v, want %v and %v", tt.namespace, tt.app, rules, tokens, tt.rules, tt.tokens)
		}
	}
	demo := catalog.Workload{Namespace: "demo", Labels: map[string]string{"app": "a"}}
	all := c.AuthorizationPolicies(demo)
	if !all[0].DryRun || all[1].DryRun || all[1].Spec.GetAction() != security.AuthorizationPolicy_DENY || all[1].Origin().String() != "AuthorizationPolicy/demo/a at f:6" {
		t.Errorf("policies %v, from %s", all, all[1].Origin())
	}
	if got := c.RequestAuthentications(demo)[0].Required; !slices.Equal(got, []bool{false, true, false}) {
		t.Errorf("required %v", got)
	}
}

func TestMeshConfigHoldsForTheMesh(t *testing.T) {
	if m := catalog.Merge().Mesh(); m == nil || m.RootNamespace != "istio-system" {
		t.Errorf("without one: %+v", m)
	}
	c := merge(t,
		doc("MeshConfig", "mesh", "istio-system", `{trustDomain: example.org, trustDomainAliases: [old.example.org], rootNamespace: root, extensionProviders: [
  {name: authz, envoyExtAuthzGrpc: {service: authz.auth.svc.cluster.local, port: 9000, timeout: 1s, failOpen: true, statusOnError: "503", includeRequestBodyInCheck: {maxRequestBytes: 100, allowPartialMessage: true, packAsBytes: true}}},
  {name: other, envoyExtAuthzHttp: {service: auth/authz, port: 8000, pathPrefix: /check, includeRequestHeadersInCheck: [x-a, "x-b*"], includeAdditionalHeadersInCheck: {x-c: d}, headersToUpstreamOnAllow: [x-e], headersToDownstreamOnDeny: ["*-f"], headersToDownstreamOnAllow: [x-g]}},
  {name: lost, envoyExtAuthzHttp: {service: nowhere, port: 80}},
  {name: closed, envoyExtAuthzHttp: {service: auth/authz, port: 81}}]}`),
		doc("PeerAuthentication", "m", "root", "{mtls: {mode: STRICT}}"),
		doc("AuthorizationPolicy", "m", "root", "{}"),
		doc("AuthorizationPolicy", "i", "istio-system", "{}"),
		doc("Revocation", "r", "root", `{serials: ["01"]}`),
		doc("DestinationRule", "d", "root", `{host: "*", trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}`),
		doc("ServiceEntry", "authz", "auth", `{hosts: [authz], resolution: STATIC, ports: [{number: 9000, name: grpc}, {number: 8000, name: http}], endpoints: [{address: 10.0.0.1}]}`),
	)
	m := c.Mesh()
	want := catalog.ExtAuthzHTTP{
		Service: "auth/authz", Port: 8000, PathPrefix: "/check", RequestHeaders: []catalog.HeaderPattern{"x-a", "x-b*"}, AddHeaders: map[string]string{"x-c": "d"},
		UpstreamHeaders: []catalog.HeaderPattern{"x-e"}, DeniedHeaders: []catalog.HeaderPattern{"*-f"}, AllowedHeaders: []catalog.HeaderPattern{"x-g"},
	}
	if m.TrustDomain != "example.org" || m.RootNamespace != "root" || len(m.TrustDomainAliases) != 1 || !reflect.DeepEqual(*m.ExtensionProviders[1].HTTP, want) {
		t.Errorf("mesh %+v", m)
	}
	for _, tt := range []struct {
		name    string
		there   bool
		service string
		port    uint32
	}{
		{"authz", true, "authz.auth.svc.cluster.local", 9000}, {"other", true, "authz.auth.svc.cluster.local", 8000},
		{"lost", true, "", 80}, {"closed", true, "", 81}, {"nobody", false, "", 0},
	} {
		p, s, port := c.Provider(tt.name)
		host := ""
		if s != nil {
			host = s.Host
		}
		if (p != nil) != tt.there || host != tt.service || port != tt.port {
			t.Errorf("provider %s: %v, %q, %d", tt.name, p, host, port)
		}
	}
	w := catalog.Workload{Namespace: "demo"}
	mode, from := c.MutualTLS(w, 80)
	if p := c.AuthorizationPolicies(w); mode != identity.Strict || from.Key.Namespace != "root" || len(p) != 1 || p[0].Namespace != "root" || c.Revoked() == nil {
		t.Errorf("root namespace: %s by %s, policies %v, revoked %v", mode, from, p, c.Revoked())
	}
	service, _ := c.Service("auth", "authz")
	if c.DestinationRule("demo", service) == nil {
		t.Error("the root namespace's DestinationRule does not hold")
	}
}

func TestRevocationsAddUp(t *testing.T) {
	if r := catalog.Merge().Revoked(); r != nil {
		t.Errorf("without any: %+v", r)
	}
	c := merge(t,
		doc("Revocation", "a", "istio-system", `{serials: ["0A:1B", "00ff", 12, "0"], identities: ["spiffe://td/ns/a/sa/b"], reason: stolen}`),
		doc("Revocation", "b", "istio-system", `{serials: ["a1b"], identities: ["spiffe://td/ns/a/sa/a", "spiffe://td/ns/a/sa/b"]}`),
	)
	r := c.Revoked()
	if want := []string{"0", "12", "a1b", "ff"}; !slices.Equal(r.Serials, want) {
		t.Errorf("serials %q, want %q", r.Serials, want)
	}
	if len(r.IDs) != 2 || r.IDs[0].String() != "spiffe://td/ns/a/sa/a" || r.IDs[1].String() != "spiffe://td/ns/a/sa/b" {
		t.Errorf("identities %v", r.IDs)
	}
}

func TestTLSOfADestination(t *testing.T) {
	const tls = "tls: {mode: SIMPLE, sni: %}"
	at := func(name string) string { return strings.Replace(tls, "%", name, 1) }
	se := doc("ServiceEntry", "s", "demo", `{hosts: [s], resolution: STATIC, subjectAltNames: [spiffe://td/ns/demo/sa/s], ports: [{number: 80, name: http}, {number: 81, name: other}], endpoints: [{address: 10.0.0.1, serviceAccount: s}, {address: 10.0.0.2}]}`)
	one := func(spec string) string { return doc("DestinationRule", "d", "demo", "{host: s, "+spec+"}") }
	tests := []struct {
		name, docs, subset string
		port               uint32
		want, field        string
	}{
		{"none", "", "", 80, "", ""},
		{"no tls", one("trafficPolicy: {loadBalancer: {simple: RANDOM}}"), "", 80, "", ""},
		{"whole", one("trafficPolicy: {" + at("a") + "}"), "", 80, "a", "spec.trafficPolicy.tls"},
		{"port", one("trafficPolicy: {" + at("a") + ", portLevelSettings: [{port: {number: 80}, " + at("b") + "}]}"), "", 80, "b", "spec.trafficPolicy.portLevelSettings[0].tls"},
		{"another port", one("trafficPolicy: {" + at("a") + ", portLevelSettings: [{port: {number: 81}, " + at("b") + "}]}"), "", 80, "a", "spec.trafficPolicy.tls"},
		{"port leaves it out", one("trafficPolicy: {" + at("a") + ", portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}"), "", 80, "", ""},
		{"subset", one("trafficPolicy: {" + at("a") + "}, subsets: [{name: v, trafficPolicy: {" + at("c") + "}}]"), "v", 80, "c", "spec.subsets[0].trafficPolicy.tls"},
		{"subset without", one("trafficPolicy: {" + at("a") + "}, subsets: [{name: v}]"), "v", 80, "a", "spec.trafficPolicy.tls"},
		{"port of a subset", one("subsets: [{name: v, trafficPolicy: {portLevelSettings: [{port: {number: 80}, " + at("d") + "}]}}]"), "v", 80, "d", "spec.subsets[0].trafficPolicy.portLevelSettings[0].tls"},
		{"merged", one("trafficPolicy: {"+at("a")+"}") + doc("DestinationRule", "e", "demo", "{host: s, trafficPolicy: {"+at("x")+"}, subsets: [{name: v, trafficPolicy: {"+at("c")+"}}]}"), "v", 80, "c", "spec.subsets[0].trafficPolicy.tls"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := merge(t, se, tt.docs)
			s, _ := c.Service("demo", "s")
			got, from, field := c.DestinationRule("demo", s).TLS(tt.subset, tt.port)
			if got.GetSni() != tt.want || field != tt.field || (from != nil) != (got != nil) {
				t.Errorf("got %v by %v %s, want %q by %s", got, from, field, tt.want, tt.field)
			}
			if from != nil && !strings.Contains(from.At(field).String(), ":") {
				t.Errorf("stands at %s", from.At(field))
			}
			if !slices.Equal(s.SubjectAltNames, []string{"spiffe://td/ns/demo/sa/s"}) {
				t.Errorf("names %v", s.SubjectAltNames)
			}
		})
	}
}

func TestServersThatCanSpeakMutualTLS(t *testing.T) {
	const endpoints = `endpoints: [
  {address: 10.0.0.1, serviceAccount: s}, {address: 10.0.0.2}, {address: 10.0.0.3, labels: {security.istio.io/tlsMode: istio}},
  {address: 10.0.0.4, serviceAccount: s, labels: {security.istio.io/tlsMode: disabled}}, {address: 10.0.0.5, serviceAccount: s, labels: {app: plain}}]`
	se := func(name, location string) string {
		return doc("ServiceEntry", name, "demo", "{hosts: ["+name+"], resolution: STATIC, location: "+location+", ports: [{number: 80, name: http}], "+endpoints+"}")
	}
	c := merge(t, se("in", "MESH_INTERNAL"), se("out", "MESH_EXTERNAL"),
		doc("PeerAuthentication", "p", "demo", "{selector: {matchLabels: {app: plain}}, mtls: {mode: DISABLE}}"))
	for name, want := range map[string][]string{"in": {"10.0.0.1", "10.0.0.3"}, "out": nil} {
		s, _ := c.Service("demo", name)
		var got []string
		for _, e := range s.Endpoints(80) {
			if c.AutoTLS(s, e, identity.Unset) {
				got = append(got, e.Address)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}
