package catalog_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
)

// stricter are documents that Istio's webhook lets pass and we refuse, each with the reason.
var stricter = map[string]string{
	"dr-unknown-field":           "kubectl's strict field validation refuses it before the webhook sees it, and a misspelt field must not be dropped",
	"dr-retrybudget-101":         "the CRD's schema refuses it, and Envoy refuses the whole cluster",
	"match-uri-two-kinds":        "two of a oneof: the CRD's schema refuses it, and one of the two would be dropped",
	"r-redirect-port-and-derive": "two of a oneof: the CRD's schema refuses it, and one of the two would be dropped",
}

func TestVerdictsAgreeWithIstio(t *testing.T) {
	data, err := os.ReadFile("testdata/cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/verdicts.json")
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []struct{ Kind, Name, Verdict, Error string }
	if err := json.Unmarshal(text, &verdicts); err != nil {
		t.Fatal(err)
	}
	objects, findings := catalog.Parse("cases.yaml", data)
	type key struct{ kind, name string }
	accepted, refused := map[key]bool{}, map[key][]catalog.Finding{}
	for _, o := range objects {
		accepted[key{o.Kind, o.Name}] = !o.Refused()
	}
	for _, f := range findings {
		if f.Name == "" {
			t.Errorf("a finding about no object: %s", f)
		}
		if f.Severity == catalog.Error {
			refused[key{f.Kind, f.Name}] = append(refused[key{f.Kind, f.Name}], f)
		}
	}
	agreed, differ := 0, 0
	for _, v := range verdicts {
		switch v.Kind {
		case catalog.KindServiceEntry, catalog.KindWorkloadEntry, catalog.KindVirtualService, catalog.KindDestinationRule,
			catalog.KindPeerAuthentication, catalog.KindRequestAuthentication, catalog.KindAuthorizationPolicy:
		default:
			continue
		}
		k := key{v.Kind, v.Name}
		valid := accepted[k]
		if valid == (len(refused[k]) > 0) {
			t.Errorf("%s/%s: accepted %v, with %v", v.Kind, v.Name, valid, refused[k])
		}
		reason, allowed := stricter[v.Name]
		switch {
		case valid == (v.Verdict == "valid") && allowed:
			t.Errorf("%s/%s: agrees, though %s", v.Kind, v.Name, reason)
		case valid == (v.Verdict == "valid"):
			agreed++
		case valid:
			t.Errorf("%s/%s: accepted, Istio says %s", v.Kind, v.Name, v.Error)
		case !allowed:
			t.Errorf("%s/%s: refused with %v, Istio accepts it", v.Kind, v.Name, refused[k])
		default:
			differ++
		}
	}
	t.Logf("%d verdicts agree, %d are stricter by the allow-list", agreed, differ)
	if agreed+differ < 130 {
		t.Errorf("only %d verdicts compared", agreed+differ)
	}
}
