package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
)

// A CUSTOM policy must not be for the service that it asks, or asking would take an answer.
func TestCheckFindsAuthorizersThatWouldAskThemselves(t *testing.T) {
	const entry = "{hosts: [%], resolution: STATIC, ports: [{number: 80, name: p, protocol: GRPC, targetPort: 9191}], endpoints: [{address: 10.0.0.1, labels: {app: %}}], location: MESH_INTERNAL}"
	authz := doc("ServiceEntry", "authz", "demo", strings.ReplaceAll(entry, "%", "authz"))
	shop := doc("ServiceEntry", "shop", "demo", strings.ReplaceAll(entry, "%", "shop"))
	mesh := func(kind string) string {
		return doc("MeshConfig", "m", "istio-system", "{extensionProviders: [{name: authz, "+kind+": {service: authz.demo.svc.cluster.local, port: 80}}]}")
	}
	const covered = "is for authz.demo.svc.cluster.local, too, which is asked"
	for _, tc := range []struct {
		name, namespace, spec string
		field                 string // where the warning stands; empty is none
		http                  bool   // whether it stands there too when asked by HTTP
	}{
		{"a namespace", "demo", "rules: [{}]", "spec", true},
		{"the mesh", "istio-system", "rules: [{}]", "spec", true},
		{"another namespace", "other", "rules: [{}]", "", false},
		{"another workload", "demo", "selector: {matchLabels: {app: shop}}, rules: [{}]", "", false},
		{"its own workload", "demo", "selector: {matchLabels: {app: authz}}, rules: [{}]", "spec.selector", true},
		{"a label of all", "istio-system", "selector: {matchLabels: {app: authz}}, rules: [{}]", "spec.selector", true},
		{"a path", "demo", "rules: [{to: [{operation: {paths: [/admin]}}]}]", "", true},
		{"all paths", "demo", "rules: [{to: [{operation: {paths: ['/*']}}]}]", "spec", true},
		{"its path", "demo", "rules: [{to: [{operation: {paths: [/envoy.service.auth.v3.Authorization/Check]}}]}]", "spec", true},
		{"all but its path", "demo", "rules: [{to: [{operation: {notPaths: ['/envoy.service.auth.v3.Authorization/*']}}]}]", "", true},
		{"another port", "demo", "rules: [{to: [{operation: {ports: ['8080']}}]}]", "", false},
		{"its port", "demo", "rules: [{to: [{operation: {ports: ['9191']}}]}]", "spec", true},
		{"all but its port", "demo", "rules: [{to: [{operation: {notPorts: ['9191']}}]}]", "", false},
		{"one operation of two", "demo", "rules: [{to: [{operation: {ports: ['8080']}}, {operation: {methods: [POST]}}]}]", "spec", true},
		{"some callers", "demo", "rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]", "spec", true},
	} {
		for _, kind := range []string{"envoyExtAuthzGrpc", "envoyExtAuthzHttp"} {
			field := tc.field
			if kind == "envoyExtAuthzHttp" {
				if field = ""; tc.http {
					field = "spec"
				}
			}
			text := authz + shop + mesh(kind) + doc("AuthorizationPolicy", "p", tc.namespace, "{action: CUSTOM, provider: {name: authz}, "+tc.spec+"}")
			objects, findings := catalog.Parse("f", []byte(text))
			var got []string
			for _, f := range append(findings, catalog.Merge(catalog.Fragment{Objects: objects}).Check()...) {
				if strings.Contains(f.Message, covered) {
					got = append(got, f.String())
				}
			}
			switch {
			case (len(got) == 1) != (field != "") || len(got) > 1:
				t.Errorf("%s, %s: %q", tc.name, kind, got)
			case len(got) == 1 && !strings.Contains(got[0], "AuthorizationPolicy/"+tc.namespace+"/p: spec"):
				t.Errorf("%s, %s: it stands at %q", tc.name, kind, got[0])
			case len(got) == 1 && kind == "envoyExtAuthzGrpc" && !strings.Contains(got[0], "p: "+field+": "):
				t.Errorf("%s: it stands at %q", tc.name, got[0])
			}
		}
	}
}

func TestCheckFindsWhatDoesNotFitTheAuthority(t *testing.T) {
	const (
		entry = "{hosts: [shop], resolution: STATIC, ports: [{number: 80, name: p, protocol: HTTP}], endpoints: [{address: 10.0.0.1, labels: {app: a}}, {address: 10.0.0.2, labels: {app: b}}], location: MESH_INTERNAL}"
		open  = "warning f:4: ServiceEntry/demo/shop: spec.hosts[0]: no AuthorizationPolicy with ALLOW is for workloads of shop.demo.svc.cluster.local: everybody of bank.test may call them"
	)
	shop := doc("ServiceEntry", "shop", "demo", entry)
	ap := func(namespace, spec string) string { return doc("AuthorizationPolicy", "p", namespace, spec) }
	mesh := func(spec string) string { return doc("MeshConfig", "m", "istio-system", spec) }
	federated := catalog.Authority{TrustDomain: "shop.test", Federated: []string{"bank.test"}}
	const other = `warning f:4: MeshConfig/istio-system/m: spec.trustDomain: "mesh.test" is not the trust domain of the control server, "shop.test", of which all identities are: ` +
		"rules that allow take neither it nor trustDomainAliases for other names of that, and rules that deny do"
	for _, tc := range []struct {
		name, docs string
		authority  catalog.Authority
		want       []string
	}{
		{"nobody else is believed", shop, catalog.Authority{TrustDomain: "shop.test"}, nil},
		{"no authority", shop + mesh("{trustDomain: mesh.test}"), catalog.Authority{}, nil},
		{"unguarded", shop, federated, []string{open}},
		{"itself is no other", shop, catalog.Authority{TrustDomain: "shop.test", Federated: []string{"shop.test"}}, nil},
		{"guarded", shop + ap("demo", "{}"), federated, nil},
		{"guarded by the mesh", shop + ap("istio-system", "{rules: [{}]}"), federated, nil},
		{"one of two guarded", shop + ap("demo", "{selector: {matchLabels: {app: a}}}"), federated, []string{open}},
		{"guarded in another namespace", shop + ap("other", "{}"), federated, []string{open}},
		{"guarded on trial", shop + strings.Replace(ap("demo", "{}"), "namespace:", `annotations: {istio.io/dry-run: "true"}, namespace:`, 1), federated, []string{open}},
		{"only denied", shop + ap("demo", "{action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]}"), federated, []string{open}},
		{"strangers denied", shop + ap("demo", "{action: DENY, rules: [{from: [{source: {notTrustDomains: [shop.test]}}]}]}"), federated, nil},
		{"others denied", shop + ap("demo", "{action: DENY, rules: [{when: [{key: source.trustDomain, values: [bank.test]}]}]}"), federated, nil},
		{"all denied", shop + ap("demo", "{action: DENY, rules: [{}]}"), federated, nil},
		{"outside the mesh", strings.Replace(shop, "MESH_INTERNAL", "MESH_EXTERNAL", 1), federated, nil},

		{"the same trust domain", mesh("{trustDomain: shop.test}"), federated, nil},
		{"none is said", mesh("{trustDomainAliases: [old.test]}"), federated, nil},
		{"another trust domain", mesh("{trustDomain: mesh.test}"), federated, []string{other}},
		{"an alias of another", mesh("{trustDomain: mesh.test, trustDomainAliases: [old.test, shop.test]}"), federated, []string{
			other, `warning f:4: MeshConfig/istio-system/m: spec.trustDomainAliases[1]: "shop.test" is the trust domain of the control server, and no alias: write it as trustDomain`,
		}},
	} {
		objects, findings := catalog.Parse("f", []byte(tc.docs))
		if len(findings) > 0 {
			t.Fatalf("%s: %v", tc.name, findings)
		}
		var got []string
		for _, f := range catalog.Merge(catalog.Fragment{Objects: objects}).CheckAuthority(tc.authority) {
			got = append(got, f.Severity.String()+" "+f.String())
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
		}
	}
}
