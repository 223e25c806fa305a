package catalog_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
)

// stricterRules are rows of testdata/rules.tsv that Istio's webhook lets pass and we refuse, each with the reason.
var stricterRules = map[string]string{
	"when source.trustDomain td/a": "no trust domain has a slash: it is a principal, which would name nobody",
	"retryBudget -1 %":             "the CRD's schema refuses it, and Envoy the whole cluster",
	"retryBudget 101 %":            "the CRD's schema refuses it, and Envoy the whole cluster",
	"consecutiveErrors -1":         "it would count nothing, and look as if it did",
	"consistentHash {httpHeaderName: a, useSourceIp: true}": "two of a oneof: the CRD's schema refuses it, and one of the two would be dropped",
	"simple and consistentHash":                             "two of a oneof: the CRD's schema refuses it, and one of the two would be dropped",
	"hosts a.b, A.b":                                        "names of hosts have no case: it is one twice",
	"hosts a.b, A.b of a gateway":                           "names of hosts have no case: it is one twice",
	"hosts a.b, A.b of a gateway and the mesh":              "names of hosts have no case: it is one twice",
	`headers "x,y"`:                                         "no header can have that name",
	`headers "x,y" of a gateway`:                            "no header can have that name",
	`withoutHeaders "x,y"`:                                  "no header can have that name",
	`withoutHeaders "x,y" of a gateway`:                     "no header can have that name",
	"delegate with directResponse":                          "one of the two would be dropped",
	"abort 600":                                             "Envoy refuses the whole route",
	"fault {delay: {percent: 101, fixedDelay: 1s}}":         "Envoy refuses the whole route",
	"fault {delay: {percent: -1, fixedDelay: 1s}}":          "Envoy refuses the whole route",
}

// Each row is a kind, what Istio's own validation says of it (istio master of 2026-08-22), what it tries, and the spec: one for each of its rules,
// and for what is just beside it.
func TestEachOfIstiosRulesIsHeld(t *testing.T) {
	text, err := os.ReadFile("testdata/rules.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(cells) != 4 {
			t.Fatalf("%q has %d cells", line, len(cells))
		}
		rows++
		kind, verdict, what, spec := cells[0], cells[1], cells[2], cells[3]
		version := "networking.istio.io/v1"
		if strings.HasSuffix(kind, "Authentication") || strings.HasSuffix(kind, "Policy") {
			version = "security.istio.io/v1"
		}
		objects, findings := catalog.Parse("f", fmt.Appendf(nil, "apiVersion: %s\nkind: %s\nmetadata: {name: x, namespace: demo}\nspec: %s\n", version, kind, spec))
		var errs []string
		for _, f := range findings {
			if f.Severity == catalog.Error {
				errs = append(errs, f.String())
			}
		}
		valid := len(objects) == 1 && !objects[0].Refused() && len(errs) == 0
		reason, stricter := stricterRules[what]
		switch {
		case stricter && (valid || verdict != "valid"):
			t.Errorf("%s: %s: agrees, though %s", kind, what, reason)
		case !stricter && valid != (verdict == "valid"):
			t.Errorf("%s: %s: %s\n\t%q, Istio says %s", kind, what, spec, errs, verdict)
		}
	}
	if rows < 1500 {
		t.Errorf("only %d rows", rows)
	}
}

// The annotation by which a policy is only tried is refused where it would not be only tried (Istio).
func TestDryRunStandsWhereItIsObeyed(t *testing.T) {
	const ap = "{action: %s%s, rules: [{}]}"
	for _, tc := range []struct {
		kind, spec, value string
		valid             bool
	}{
		{"AuthorizationPolicy", fmt.Sprintf(ap, "ALLOW", ""), "true", true},
		{"AuthorizationPolicy", fmt.Sprintf(ap, "DENY", ""), "false", true},
		{"AuthorizationPolicy", fmt.Sprintf(ap, "ALLOW", ""), "maybe", false},
		{"AuthorizationPolicy", fmt.Sprintf(ap, "DENY", ""), "", false},
		{"AuthorizationPolicy", fmt.Sprintf(ap, "AUDIT", ""), "true", false},
		{"AuthorizationPolicy", fmt.Sprintf(ap, "AUDIT", ""), "false", false},
		{"AuthorizationPolicy", fmt.Sprintf(ap, "CUSTOM", ", provider: {name: p}"), "true", false},
		{"AuthorizationPolicy", fmt.Sprintf(ap, "CUSTOM", ", provider: {name: p}"), "false", false},
		{"PeerAuthentication", "{mtls: {mode: STRICT}}", "true", false},
		{"RequestAuthentication", "{}", "true", false},
	} {
		text := fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: %s\nmetadata: {name: x, namespace: demo, annotations: {istio.io/dry-run: %q}}\nspec: %s\n", tc.kind, tc.value, tc.spec)
		if objects, findings := catalog.Parse("f", []byte(text)); (len(objects) == 1 && !objects[0].Refused()) != tc.valid {
			t.Errorf("%s %s, %q: %v", tc.kind, tc.spec, tc.value, findings)
		}
	}
}
