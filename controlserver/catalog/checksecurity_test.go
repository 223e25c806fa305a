package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
)

func TestCheckFindsPoliciesThatDoNotFit(t *testing.T) {
	const (
		rule   = "rules: [{from: [{source: {requestPrincipals: ['*']}}]}]"
		tokens = "{jwtRules: [{issuer: a, jwksUri: 'https://a'}]}"
		app    = "selector: {matchLabels: {app: a}}"
	)
	se := func(name, protocol, location string) string {
		return doc("ServiceEntry", name, "demo", "{hosts: ["+name+"], resolution: STATIC, ports: [{number: 80, name: p, protocol: "+protocol+"}], endpoints: [{address: 10.0.0.1, labels: {app: "+name+"}, ports: {p: 8080}}], location: "+location+"}")
	}
	ap := func(name, spec string) string { return doc("AuthorizationPolicy", name, "demo", spec) }
	pa := func(name, namespace, spec string) string { return doc("PeerAuthentication", name, namespace, spec) }
	ra := func(spec string) string { return doc("RequestAuthentication", "r", "demo", spec) }
	dr := func(tls string) string { return doc("DestinationRule", "d", "demo", "{host: a, "+tls+"}") }
	mesh := func(spec string) string { return doc("MeshConfig", "m", "istio-system", spec) }
	const provider = "{extensionProviders: [{name: authz, envoyExtAuthzGrpc: {service: a.demo.svc.cluster.local, port: 80}}]}"
	a := se("a", "HTTP", "MESH_INTERNAL")
	tests := []struct {
		name, docs string
		want       []string
	}{
		{"sound", a + ap("p", "{"+app+", "+rule+"}") + ra(tokens) + pa("q", "demo", "{"+app+", mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: PERMISSIVE}}}"), nil},
		{"selects nobody", a + ap("p", "{selector: {matchLabels: {app: b}}}") + pa("q", "demo", "{selector: {matchLabels: {app: b}}, mtls: {mode: STRICT}}"), []string{
			"warning f:9: AuthorizationPolicy/demo/p: spec.selector: selects none of the workloads there are",
			"warning f:14: PeerAuthentication/demo/q: spec.selector: selects none of the workloads there are",
		}},
		{"nobody to select", ap("p", "{selector: {matchLabels: {app: b}}}"), nil},
		{"the root namespace selects in all", a + doc("AuthorizationPolicy", "p", "istio-system", "{"+app+"}"), nil},
		{"another namespace does not", a + doc("AuthorizationPolicy", "p", "other", "{"+app+"}"), nil},
		{"gateways select nobody", a + ap("p", "{action: DENY, targetRefs: [{kind: Service, name: x}], "+rule+"}"),
			[]string{"warning f:9: AuthorizationPolicy/demo/p: spec.targetRefs[0]: holds for gateways and waypoints, of which there are none: the policy holds for nothing; use selector"}},

		{"tokens that nobody verifies", a + ap("p", "{"+rule+"}"),
			[]string{"warning f:9: AuthorizationPolicy/demo/p: spec.rules: no request has verified tokens: no RequestAuthentication is for a.demo.svc.cluster.local"}},
		{"claims that nobody verifies", a + ap("p", "{rules: [{when: [{key: 'request.auth.claims[a]', values: [b]}]}]}"),
			[]string{"warning f:9: AuthorizationPolicy/demo/p: spec.rules: no request has verified tokens: no RequestAuthentication is for a.demo.svc.cluster.local"}},
		{"tokens without workloads", ap("p", "{"+rule+"}"),
			[]string{"warning f:4: AuthorizationPolicy/demo/p: spec.rules: no request has verified tokens: there is no RequestAuthentication"}},
		{"tokens that nobody asks for", a + ra(tokens),
			[]string{"warning f:9: RequestAuthentication/demo/r: spec.jwtRules: a token that is there is verified, but none is asked for: no AuthorizationPolicy for a.demo.svc.cluster.local has requestPrincipals or request.auth"}},
		{"tokens that are asked for on trial", a + ra(tokens) + strings.Replace(ap("p", "{"+rule+"}"), "namespace:", `annotations: {istio.io/dry-run: "true"}, namespace:`, 1),
			[]string{"warning f:9: RequestAuthentication/demo/r: spec.jwtRules: a token that is there is verified, but none is asked for: no AuthorizationPolicy for a.demo.svc.cluster.local has requestPrincipals or request.auth"}},
		{"tokens that must be there", a + ra("{jwtRules: [{issuer: a, jwksUri: 'https://a', presence: REQUIRED}]}"), nil},
		{"tokens without policies", ra(tokens),
			[]string{"warning f:4: RequestAuthentication/demo/r: spec.jwtRules: a token that is there is verified, but none is asked for: no AuthorizationPolicy has requestPrincipals or request.auth"}},

		{"requests at a raw port", se("a", "TCP", "MESH_INTERNAL") + ap("p", "{action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}, {to: [{operation: {paths: [/a], ports: ['80']}}]}, {from: [{source: {namespaces: [a]}}]}]}"),
			[]string{"warning f:9: AuthorizationPolicy/demo/p: spec.rules[0]: refuses every connection to port 80 of a.demo.svc.cluster.local, which is TCP, where there are no requests to look at (Istio); name the ports it is for"}},
		{"requests let in at a raw port", se("a", "TCP", "MESH_INTERNAL") + ap("p", "{rules: [{when: [{key: 'request.headers[a]', values: [b]}]}]}"),
			[]string{"warning f:9: AuthorizationPolicy/demo/p: spec.rules[0]: lets no connection in to port 80 of a.demo.svc.cluster.local, which is TCP, where there are no requests to look at (Istio)"}},

		{"unknown provider", mesh(provider) + a + ap("p", "{action: CUSTOM, provider: {name: autz}, rules: [{}]}"),
			[]string{`warning f:14: AuthorizationPolicy/demo/p: spec.provider.name: MeshConfig has no extensionProvider "autz": every request that the rules name is refused; did you mean "authz"?`}},
		{"provider", mesh(provider) + a + ap("p", "{action: CUSTOM, provider: {name: authz}, rules: [{to: [{operation: {paths: [/admin]}}]}]}"), nil},
		{"provider's service", mesh(provider), []string{
			`warning f:4: MeshConfig/istio-system/m: spec.extensionProviders[0].envoyExtAuthzGrpc.service: no service "a.demo.svc.cluster.local" with port 80: every request that it is to decide on is refused`}},
		{"MeshConfig elsewhere", doc("MeshConfig", "m", "demo", "{rootNamespace: demo}"),
			[]string{"error f:3: MeshConfig/demo/m: metadata.namespace: is not used: a MeshConfig stands in istio-system"}},
		{"two MeshConfigs", mesh("{}") + doc("MeshConfig", "z", "istio-system", "{rootNamespace: demo}"),
			[]string{"error f:8: MeshConfig/istio-system/z: metadata.name: is not used: MeshConfig/istio-system/m at f:1 is older, and there is one for the mesh"}},
		{"Revocation elsewhere", doc("Revocation", "r", "demo", "{serials: ['01']}"),
			[]string{"error f:3: Revocation/demo/r: metadata.namespace: is not used: a Revocation stands in the root namespace, istio-system"}},

		{"selector in the root namespace", a + pa("q", "istio-system", "{"+app+", mtls: {mode: STRICT}}"),
			[]string{"warning f:9: PeerAuthentication/istio-system/q: spec.selector: the whole policy is not used: in the root namespace only one without a selector is (Istio)"}},
		{"two of a namespace", a + pa("p", "demo", "{mtls: {mode: STRICT}}") + pa("q", "demo", "{mtls: {mode: STRICT}}"),
			[]string{"warning f:14: PeerAuthentication/demo/q: spec: PeerAuthentication/demo/p at f:6 is older and for the same workloads: this one is not used"}},
		{"two of a workload", a + pa("p", "demo", "{"+app+", mtls: {mode: STRICT}}") + pa("q", "demo", "{"+app+", mtls: {mode: STRICT}}"),
			[]string{"warning f:14: PeerAuthentication/demo/q: spec.selector: PeerAuthentication/demo/p at f:6 is older and for the same workloads of a.demo.svc.cluster.local: there, this one is not used"}},
		{"port that nobody has", a + pa("q", "demo", "{"+app+", portLevelMtls: {80: {mode: STRICT}}}"),
			[]string{"warning f:9: PeerAuthentication/demo/q: spec.portLevelMtls[80]: no workload listens on port 80; it is the workload's, not the service's"}},

		{"mTLS to who takes none", a + dr("trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}") + pa("q", "demo", "{mtls: {mode: DISABLE}}"),
			[]string{"warning f:9: DestinationRule/demo/d: spec.trafficPolicy.tls.mode: ISTIO_MUTUAL fails: by PeerAuthentication/demo/q at f:11, workloads of a.demo.svc.cluster.local take plaintext alone"}},
		{"plaintext to who takes mTLS", a + dr("trafficPolicy: {tls: {mode: DISABLE}}") + pa("q", "demo", "{mtls: {mode: STRICT}}"),
			[]string{"warning f:9: DestinationRule/demo/d: spec.trafficPolicy.tls.mode: DISABLE fails: by PeerAuthentication/demo/q at f:11, workloads of a.demo.svc.cluster.local take the mesh's mTLS alone, which is ISTIO_MUTUAL"}},
		{"plaintext from a subset", a + dr("subsets: [{name: v, labels: {app: a}, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}}]") + pa("q", "demo", "{mtls: {mode: STRICT}}"),
			[]string{"warning f:9: DestinationRule/demo/d: spec.subsets[0].trafficPolicy.portLevelSettings[0].tls.mode: SIMPLE fails: by PeerAuthentication/demo/q at f:11, workloads of a.demo.svc.cluster.local take the mesh's mTLS alone, which is ISTIO_MUTUAL"}},
		{"permissive takes both", a + dr("trafficPolicy: {tls: {mode: DISABLE}}") + pa("q", "demo", "{mtls: {mode: PERMISSIVE}}"), nil},
		{"others are not of the mesh", se("a", "HTTP", "MESH_EXTERNAL") + dr("trafficPolicy: {tls: {mode: SIMPLE}}") + pa("q", "demo", "{mtls: {mode: STRICT}}"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strs(catalog.Merge(fragment(t, "f", tt.docs)).Check()); !slices.Equal(got, tt.want) {
				t.Errorf("findings\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
			}
		})
	}
}

func TestClientTLSFindings(t *testing.T) {
	tests := []struct {
		name, tls string
		want      []string
	}{
		{"mesh's", "{mode: ISTIO_MUTUAL, sni: a.b, subjectAltNames: [spiffe://td/ns/a/sa/b]}", nil},
		{"files", "{mode: MUTUAL, clientCertificate: /a, privateKey: /b, caCertificates: /c, caCrl: /d, subjectAltNames: [a, '*.b'], sni: c}", nil},
		{"unknown mode", "{mode: MUTAL}", []string{`error .mode: unknown value "MUTAL"; did you mean "MUTUAL"?`}},
		{"no files", "{mode: MUTUAL}", []string{"error .clientCertificate: is missing, and mode is MUTUAL", "error .privateKey: is missing, and mode is MUTUAL"}},
		{"of another mode", "{mode: SIMPLE, clientCertificate: /a, privateKey: /b}", []string{
			"warning .clientCertificate: has no effect: mode is SIMPLE; MUTUAL shows a certificate", "warning .privateKey: has no effect: mode is SIMPLE; MUTUAL shows a certificate"}},
		{"of the mesh's", "{mode: ISTIO_MUTUAL, caCertificates: /a, insecureSkipVerify: true}", []string{
			"warning .caCertificates: has no effect: mode is ISTIO_MUTUAL, which brings the mesh's own certificates",
			"warning .insecureSkipVerify: has no effect: mode is ISTIO_MUTUAL, which brings the mesh's own certificates"}},
		{"of plaintext", "{sni: a, subjectAltNames: [b]}", []string{
			"warning .subjectAltNames: has no effect: mode is DISABLE, which is plaintext", "warning .sni: has no effect: mode is DISABLE, which is plaintext"}},
		{"anybody", "{mode: SIMPLE, insecureSkipVerify: true}", []string{"warning .insecureSkipVerify: nothing tells the server from anybody else who answers"}},
		{"anybody, and somebody", "{mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}",
			[]string{"error .insecureSkipVerify: turns off what caCertificates, credentialName and subjectAltNames ask for"}},
		{"secret", "{mode: MUTUAL, credentialName: a}", []string{
			"warning .credentialName: is not supported: there are no secrets to name. No call is made that would need it; give clientCertificate, privateKey and caCertificates, which are files of the client's machine"}},
		{"secret and files", "{mode: SIMPLE, credentialName: a, caCertificates: /a}", []string{
			"warning .credentialName: is not supported: there are no secrets to name. No call is made that would need it; give clientCertificate, privateKey and caCertificates, which are files of the client's machine",
			"error .credentialName: stands for the certificate files: give one or the other"}},
		{"names", "{mode: SIMPLE, sni: 'a b', subjectAltNames: ['', 'a*']}", []string{
			"error .subjectAltNames[0]: is empty", `warning .subjectAltNames[1]: "a*" is taken as it is: "*" stands for nothing in it`, `warning .sni: "a b" is no host name, which many servers want: label "a b"`}},
	}
	for _, place := range []string{"trafficPolicy", "portLevelSettings", "subset"} {
		for _, tt := range tests {
			t.Run(place+" "+tt.name, func(t *testing.T) {
				spec, field := "{host: a, trafficPolicy: {tls: "+tt.tls+"}}", "spec.trafficPolicy.tls"
				switch place {
				case "portLevelSettings":
					spec, field = "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: "+tt.tls+"}]}}", "spec.trafficPolicy.portLevelSettings[0].tls"
				case "subset":
					spec, field = "{host: a, subsets: [{name: s, trafficPolicy: {tls: "+tt.tls+"}}]}", "spec.subsets[0].trafficPolicy.tls"
				}
				_, findings := catalog.Parse("f", []byte(doc("DestinationRule", "d", "demo", spec)))
				var got []string
				for _, s := range strs(findings) {
					got = append(got, strings.Replace(s, "f:4: DestinationRule/demo/d: "+field, "", 1))
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("findings\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
				}
			})
		}
	}
	_, findings := catalog.Parse("f", []byte(doc("DestinationRule", "d", "demo", "{host: a, trafficPolicy: {tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}}")))
	if want := []string{"warning f:4: DestinationRule/demo/d: spec.trafficPolicy.portLevelSettings[0]: leaves tls out: calls to port 80 are made without that of the whole (Istio)"}; !slices.Equal(strs(findings), want) {
		t.Errorf("port without tls: %q", strs(findings))
	}
	_, findings = catalog.Parse("f", []byte(doc("WorkloadEntry", "w", "demo", "{address: 10.0.0.1, labels: {security.istio.io/tlsMode: strict}}")))
	if want := []string{`warning f:4: WorkloadEntry/demo/w: spec.labels[security.istio.io/tlsMode]: "strict" is neither "istio" nor "disabled": it counts as "disabled"`}; !slices.Equal(strs(findings), want) {
		t.Errorf("label: %q", strs(findings))
	}
}
