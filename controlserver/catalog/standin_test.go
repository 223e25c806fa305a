package catalog_test

import (
	"slices"
	"strings"
	"testing"

	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
)

func TestRefusedPoliciesKeepOut(t *testing.T) {
	ap := func(spec string) string { return doc("AuthorizationPolicy", "p", "demo", spec) }
	const app = "selector: {matchLabels: {app: a}}"
	tests := []struct {
		name, docs string
		a, b       string // what becomes of the workloads: "open", "closed"
	}{
		{"sound", ap("{" + app + ", action: AUDIT, rules: [{}]}"), "open", "open"},
		{"rules", ap("{" + app + ", rules: [{from: [{}]}]}"), "closed", "open"},
		{"action", ap("{" + app + ", action: ALOW}"), "closed", "open"},
		{"unknown field", ap("{" + app + ", ruls: [{}]}"), "closed", "open"},
		{"selector", ap("{selector: {matchLabels: {app: [a]}}, rules: [{}]}"), "closed", "closed"},
		{"selector misspelt", ap("{selctor: {matchLabels: {app: a}}, rules: [{}]}"), "closed", "closed"},
		{"key twice", ap("{" + app + ", rules: [{}], rules: [{}]}"), "closed", "closed"},
		{"no spec", "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: demo}\n", "closed", "closed"},
		{"version", strings.Replace(ap("{"+app+"}"), "/v1", "/v3", 1), "closed", "open"},
		{"another namespace", strings.Replace(ap("{rules: {}}"), "demo", "other", 1), "open", "open"},
		{"the root namespace", strings.Replace(ap("{rules: {}}"), "demo", "istio-system", 1), "closed", "closed"},
		{"audit", ap("{action: AUDIT, rules: [{from: [{}]}]}"), "open", "open"},
		{"on trial", strings.Replace(ap("{rules: [{from: [{}]}]}"), "namespace:", `annotations: {istio.io/dry-run: "true"}, namespace:`, 1), "open", "open"},
		{"for gateways", ap("{targetRefs: [{kind: Service}]}"), "open", "open"},
		{"given twice", ap("{"+app+", action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]}") + ap("{rules: {}}"), "/a", "open"},
		{"for tokens", doc("RequestAuthentication", "r", "demo", "{jwtRules: {}}"), "open", "open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var last catalog.LastGood
			c, _ := last.Merge(fragment(t, "f", tt.docs))
			for label, want := range map[string]string{"a": tt.a, "b": tt.b} {
				got := "open"
				for _, p := range c.AuthorizationPolicies(catalog.Workload{Namespace: "demo", Labels: map[string]string{"app": label}}) {
					if p.Spec.GetAction() != security.AuthorizationPolicy_DENY {
						continue
					}
					got = "closed"
					if to := p.Spec.GetRules()[0].GetTo(); len(to) > 0 {
						got = to[0].GetOperation().GetPaths()[0]
					}
				}
				if got != want {
					t.Errorf("%s is %s, want %s", label, got, want)
				}
			}
		})
	}
}

func TestRefusedPeerAuthenticationWantsMutualTLS(t *testing.T) {
	c := catalog.Merge(fragment(t, "f",
		doc("PeerAuthentication", "m", "istio-system", "{mtls: {mode: PERMISSIVE}}"),
		doc("PeerAuthentication", "p", "demo", "{selector: {matchLabels: {app: a}}, mtls: {mode: STRIKT}}")))
	for app, want := range map[string]identity.Mode{"a": identity.Strict, "b": identity.Permissive} {
		if mode, from := c.MutualTLS(catalog.Workload{Namespace: "demo", Labels: map[string]string{"app": app}}, 80); mode != want {
			t.Errorf("%s: %s by %s, want %s", app, mode, from, want)
		}
	}
	want := "warning f:6: PeerAuthentication/demo/p: it has mistakes, and no earlier version is known: connections without mTLS are refused by the workloads that it selects until it is sound"
	if got := strs(c.Check()); !slices.Contains(got, want) {
		t.Errorf("findings %q", got)
	}
}

func TestRefusedPolicyStaysAsItWas(t *testing.T) {
	ap := func(spec string) string { return doc("AuthorizationPolicy", "p", "demo", spec) }
	revoke := func(serials string) string { return doc("Revocation", "r", "istio-system", "{serials: ["+serials+"]}") }
	var last catalog.LastGood
	for _, s := range []struct {
		does, docs      string
		paths, serials  string
		errors, refused int
	}{
		{"start", ap("{action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]}") + revoke("a1, a2"), "/a", "a1 a2", 0, 0},
		{"mistakes", ap("{action: DENY, rules: [{to: [{operation: {paths: [/b], prts: []}}]}]}") + revoke("a1, xx, a3"), "/a", "a1 a2 a3", 2, 0},
		{"more of them", ap("{action: DENY, rules: [{to: [{operation: {paths: [/b], prts: []}}]}]}") + revoke("xx, a4"), "/a", "a1 a2 a3 a4", 2, 0},
		{"no YAML", "a: [", "/a", "a1 a2 a3 a4", 1, 0},
		{"sound again", ap("{action: DENY, rules: [{to: [{operation: {paths: [/c]}}]}]}") + revoke("a4"), "/c", "a4", 0, 0},
		{"gone", doc("PeerAuthentication", "q", "demo", "{mtls: {mode: STRICT}}"), "", "", 0, 0},
		{"new, with mistakes", ap("{action: DENY, rules: [{to: [{operation: {paths: [/b], prts: []}}]}]}") + revoke("xx, a5"), "*", "a5", 2, 2},
		{"sound at last", ap("{action: DENY, rules: [{to: [{operation: {paths: [/d]}}]}]}"), "/d", "", 0, 0},
	} {
		c, findings := last.Merge(fragment(t, "f", s.docs))
		var paths []string
		for _, p := range c.AuthorizationPolicies(catalog.Workload{Namespace: "demo"}) {
			if to := p.Spec.GetRules()[0].GetTo(); len(to) > 0 {
				paths = append(paths, to[0].GetOperation().GetPaths()...)
			} else {
				paths = append(paths, "*")
			}
		}
		var serials []string
		if r := c.Revoked(); r != nil {
			serials = r.Serials
		}
		errors, refused := 0, 0
		for _, f := range findings {
			if f.Severity == catalog.Error {
				errors++
			}
		}
		for _, o := range c.Objects() {
			if o.Refused() {
				refused++
			}
		}
		if strings.Join(paths, " ") != s.paths || strings.Join(serials, " ") != s.serials || errors != s.errors || refused != s.refused {
			t.Errorf("%s: paths %q, serials %q, %d errors, %d refused; want %q, %q, %d, %d\n%s", s.does, paths, serials, errors, refused,
				s.paths, s.serials, s.errors, s.refused, strings.Join(strs(findings), "\n"))
		}
	}
}
