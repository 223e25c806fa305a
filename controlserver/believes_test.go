package controlserver

import (
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/controlserver/web"
)

// What does not fit the server's own trust domain and those it believes is in the log and on the status page, once.
func TestStatusSaysWhatDoesNotFitTheTrustDomains(t *testing.T) {
	const mesh = "---\napiVersion: weft.dev/v1\nkind: MeshConfig\nmetadata: {name: mesh, namespace: istio-system}\nspec: {trustDomain: mesh.test}\n"
	src := newSource()
	r := run(t, Config{Sources: []Source{src}, CA: &ca.Config{TrustDomain: domain, Federation: []ca.Federation{{
		TrustDomain: spiffeid.RequireTrustDomainFromString("bank.test"), URL: "https://127.0.0.1:1", Profile: ca.HTTPSWeb,
	}}}})
	src.says(t, service("payments", "10.0.0.1")+mesh)
	wants := []string{`MeshConfig/istio-system/mesh: spec.trustDomain: "mesh.test" is not the trust domain of the control server, "shop.test"`, "everybody of bank.test may call them"}
	r.knows(t, "the findings", func(st web.Status) bool {
		return !slices.ContainsFunc(wants, func(want string) bool {
			return !slices.ContainsFunc(st.Findings, func(f web.Finding) bool { return f.Severity == "warning" && strings.Contains(f.Text, want) })
		})
	})
	for _, want := range wants {
		if n := strings.Count(r.logs.String(), strings.ReplaceAll(want, `"`, `\"`)); n != 1 {
			t.Errorf("%s: in the log %d times", want, n)
		}
	}
}
