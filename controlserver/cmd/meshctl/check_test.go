package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckOfTrafficPolicies(t *testing.T) {
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const head = "apiVersion: weft.dev/v1\nkind: TrafficPolicy\nmetadata: {name: payments, namespace: shop}\nspec:\n  target: {service: payments, port: 80}\n"
	for _, tc := range []struct {
		name, text string
		code       int
		want       string // FILE is the policy's
	}{
		{"good", head + "  client:\n    hedge: {percentile: 95, delay: 50ms}\n  server:\n    concurrency: {adaptive: {}}\n", 0, "ok: 3 objects, 0 warnings\n"},
		{"bad", head + "  client:\n    hegde: {percentile: 95}\n    breaker:\n      percent: 150\n    idleTimeout: 5\n", 1,
			`FILE:7: TrafficPolicy/shop/payments: spec.client.hegde: unknown field "hegde"; did you mean "hedge"?` + "\n" +
				"FILE:9: TrafficPolicy/shop/payments: spec.client.breaker.percent: 150 is no percentage\n" +
				`FILE:10: TrafficPolicy/shop/payments: spec.client.idleTimeout: "5" is not a duration such as "1.5s" or "2m"` + "\n"},
		{"leads nowhere", head + "\n  disable: [hedges]\n---\n" + head[:len(head)-len("  target: {service: payments, port: 80}\n")] + "  disable: [hedges]\n", 1,
			"FILE:9: TrafficPolicy/shop/payments: metadata.name: name already taken at FILE:1; the first one is used\n"},
		{"wrong port", "apiVersion: weft.dev/v1\nkind: TrafficPolicy\nmetadata: {name: p, namespace: shop}\nspec:\n  target:\n    service: payments\n    port: 81\n  disable: [hedges]\n", 0,
			"FILE:7: TrafficPolicy/shop/p: spec.target.port: payments.shop.svc.cluster.local has no port 81; there is 80 (warning)\nok: 3 objects, 1 warnings\n"},
	} {
		file := write(tc.text)
		code, stdout, stderr := ctl(t, "check", "testdata/mesh/services.yaml", file)
		if want := strings.ReplaceAll(tc.want, "FILE", file); code != tc.code || stdout != want || stderr != "" {
			t.Errorf("%s: exit code %d\n%s%s\nwant %d\n%s", tc.name, code, stdout, stderr, tc.code, want)
		}
	}
}

// What serve is told of trust domains is not in the files, and can be said to check.
func TestCheckAgainstTheTrustDomainsOfServe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	text := "apiVersion: weft.dev/v1\nkind: MeshConfig\nmetadata: {name: mesh, namespace: istio-system}\nspec:\n  trustDomain: mesh.test\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want []string // beginnings of lines
	}{
		{nil, []string{"ok: 3 objects, 0 warnings"}},
		{[]string{"--trust-domain", "mesh.test"}, []string{"ok: 3 objects, 0 warnings"}},
		{[]string{"--trust-domain", "shop.test"}, []string{file + `:5: MeshConfig/istio-system/mesh: spec.trustDomain: "mesh.test" is not the trust domain of the control server, "shop.test"`, "ok: 3 objects, 1 warnings"}},
		{[]string{"--trust-domain", "mesh.test", "--federate", "bank.test"}, []string{
			"testdata/mesh/services.yaml:5: ServiceEntry/shop/payments: spec.hosts[0]: no AuthorizationPolicy with ALLOW is for workloads of payments.shop.svc.cluster.local: everybody of bank.test may call them (warning)",
			"testdata/mesh/services.yaml:18: ServiceEntry/shop/inventory: spec.hosts[0]: ",
			"ok: 3 objects, 2 warnings",
		}},
	} {
		code, stdout, stderr := ctl(t, append(append([]string{"check"}, tc.args...), "testdata/mesh/services.yaml", file)...)
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		if code != 0 || stderr != "" || len(lines) != len(tc.want) {
			t.Errorf("%v: exit code %d\n%s%s", tc.args, code, stdout, stderr)
			continue
		}
		for i, want := range tc.want {
			if !strings.HasPrefix(lines[i], want) {
				t.Errorf("%v: %q, want %q", tc.args, lines[i], want)
			}
		}
	}
}
