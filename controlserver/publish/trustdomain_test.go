package publish

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// Where the MeshConfig is of another trust domain than the control server, its names stand for the mesh's own only where that keeps
// somebody out. Where both agree, or one says nothing, they do everywhere.
func TestAMeshConfigOfAnotherTrustDomainLetsNobodyIn(t *testing.T) {
	const (
		from = `[{from: [{source: {%s: ["%s"]}}]}]`
		when = `[{when: [{key: %s, %s: ["%s"]}]}]`
	)
	meshes := map[string]string{
		"agrees": "{trustDomain: td, trustDomainAliases: [old]}",
		"silent": "{trustDomainAliases: [old]}",
		"other":  "{trustDomain: mesh, trustDomainAliases: [old]}",
	}
	const x = "/ns/demo/sa/x"
	for _, tc := range []struct {
		action, rules string
		caller        string
		want          map[string]bool // is let in
	}{
		{"ALLOW", fmt.Sprintf(from, "principals", "td"+x), "td", map[string]bool{"agrees": true, "silent": true, "other": true}},
		{"ALLOW", fmt.Sprintf(from, "principals", "cluster.local"+x), "td", map[string]bool{"agrees": true, "silent": true, "other": true}},
		{"ALLOW", fmt.Sprintf(from, "principals", "old"+x), "td", map[string]bool{"agrees": true, "silent": true, "other": false}},
		{"ALLOW", fmt.Sprintf(from, "principals", "td"+x), "old", map[string]bool{"agrees": true, "silent": true, "other": false}},
		{"ALLOW", fmt.Sprintf(from, "principals", "mesh"+x), "td", map[string]bool{"agrees": false, "silent": false, "other": false}},
		{"ALLOW", fmt.Sprintf(from, "principals", "mesh"+x), "mesh", map[string]bool{"agrees": true, "silent": true, "other": true}},
		{"ALLOW", fmt.Sprintf(from, "trustDomains", "mesh"), "td", map[string]bool{"agrees": false, "silent": false, "other": false}},
		{"ALLOW", fmt.Sprintf(from, "notPrincipals", "mesh"+x), "td", map[string]bool{"agrees": true, "silent": true, "other": false}},
		{"ALLOW", fmt.Sprintf(from, "notTrustDomains", "mesh"), "td", map[string]bool{"agrees": true, "silent": true, "other": false}},
		{"ALLOW", fmt.Sprintf(when, "source.principal", "notValues", "mesh"+x), "td", map[string]bool{"agrees": true, "silent": true, "other": false}},
		{"ALLOW", fmt.Sprintf(when, "source.trustDomain", "values", "mesh"), "td", map[string]bool{"agrees": false, "silent": false, "other": false}},
		{"DENY", fmt.Sprintf(from, "principals", "mesh"+x), "td", map[string]bool{"agrees": true, "silent": true, "other": false}},
		{"DENY", fmt.Sprintf(from, "principals", "td"+x), "td", map[string]bool{"agrees": false, "silent": false, "other": false}},
		{"DENY", fmt.Sprintf(from, "principals", "cluster.local"+x), "old", map[string]bool{"agrees": false, "silent": false, "other": false}},
		{"DENY", fmt.Sprintf(from, "trustDomains", "mesh"), "td", map[string]bool{"agrees": true, "silent": true, "other": false}},
		{"DENY", fmt.Sprintf(from, "notPrincipals", "mesh"+x), "td", map[string]bool{"agrees": false, "silent": false, "other": false}},
		{"DENY", fmt.Sprintf(from, "notTrustDomains", "mesh"), "td", map[string]bool{"agrees": false, "silent": false, "other": false}},
		{"DENY", fmt.Sprintf(when, "source.trustDomain", "values", "mesh"), "td", map[string]bool{"agrees": true, "silent": true, "other": false}},
		{"DENY", fmt.Sprintf(when, "source.principal", "notValues", "mesh"+x), "td", map[string]bool{"agrees": false, "silent": false, "other": false}},
	} {
		for name, mesh := range meshes {
			services, _, _ := strings.Cut(server, "---\napiVersion: weft.dev/v1")
			yaml := services + "---\napiVersion: " + catalog.Version + "\nkind: MeshConfig\nmetadata: {name: mesh, namespace: istio-system}\nspec: " + mesh + "\n---\n" + rule(tc.action, tc.rules)
			v := publisherWith(t, yaml, Config{TrustDomain: "td"}).View(Client{Namespace: "demo"})
			in, _ := v.inbound("10.3.0.1:8080")
			r := base()
			r.Peer = peer(tc.caller + x)
			if got := ask(t, in.Guard, r).Allowed; got != tc.want[name] {
				t.Errorf("MeshConfig %s: %s %s: a caller of %s is let in: %t", name, tc.action, tc.rules, tc.caller, got)
			}
			for what, got := range map[string][]string{"believed by proxies": domainsOfNames(v), "expected of servers": v.serverNames(v.service("srv.demo.svc.cluster.local"))} {
				for _, n := range got {
					if strings.Contains(n, "mesh") || name == "other" && strings.Contains(n, "old") {
						t.Errorf("MeshConfig %s: %s: %v", name, what, got)
					}
				}
			}
		}
	}
}

func domainsOfNames(v *View) (out []string) {
	for _, n := range v.ofDomains() {
		out = append(out, n.Is.Value)
	}
	return out
}

// Without a trust domain of the control server the MeshConfig's is the mesh's.
func TestTheMeshConfigsTrustDomainWithoutAControlServers(t *testing.T) {
	in, _ := told(t, Weft, Config{}, rule("ALLOW", `[{from: [{source: {principals: [cluster.local/ns/demo/sa/x]}}]}]`))
	all := in.Guard.Steps[0].Rules.Policies[0].Principals[0].Of[0].Of
	var got []string
	for _, c := range all {
		got = append(got, c.Is.Value)
	}
	if want := []string{"spiffe://td/ns/demo/sa/x", "spiffe://old/ns/demo/sa/x"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

// Conditions on tokens are told by the field that all Envoys know, be it deprecated in the newest, and by which istiod tells them.
func TestTokensAreToldByTheFieldThatAllEnvoysKnow(t *testing.T) {
	yaml := strings.Replace(server, "weft.dev/v1", catalog.Version, 1) + "\n---\n" + tokensOfTwo + "\n---\n" +
		rule("ALLOW", `[{when: [{key: "request.auth.claims[groups]", values: [x]}]}]`)
	v := publisherWith(t, yaml, Config{TrustDomain: "td"}).View(Client{
		Dialect: Envoy, Namespace: "demo", Listen: "127.0.0.1:1", Inbound: []Forward{{Listen: "10.3.0.1:8080", To: "127.0.0.1:1", Port: 8080}},
	})
	text := fmt.Sprint(v.Message(wire.ListenerType, "inbound|10.3.0.1:8080"))
	if !strings.Contains(text, "groups") || !strings.Contains(text, "metadata:") || strings.Contains(text, "sourced_metadata") {
		t.Error(text)
	}
}
