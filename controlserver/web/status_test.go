package web

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func get(t *testing.T, s Status, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(func() Status { return s }).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
	if w.Code != 200 {
		t.Fatalf("%s: %d", path, w.Code)
	}
	return w.Body.String()
}

func TestPageShowsWhatIsTurnedOffAndWhatClientsLose(t *testing.T) {
	s := Status{
		Switches: []Switch{{Kinds: []string{"retries", "faults"}, For: "payments.shop", At: "TrafficPolicy/shop/kill at a.yaml:3"}},
		Lost:     []Loss{{Client: "grpc", Text: "a.yaml:9: TrafficPolicy/shop/p: spec.client.hedge: <none>"}},
	}
	page := get(t, s, "/")
	for _, want := range []string{
		"Turned off", "retries, faults<td>payments.shop<td><code>TrafficPolicy/shop/kill at a.yaml:3",
		"Beyond some clients", "<td>grpc<td><code>a.yaml:9: TrafficPolicy/shop/p: spec.client.hedge: &lt;none&gt;",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if text := get(t, s, "/status"); !strings.Contains(text, `"kinds": [`) || !strings.Contains(text, `"client": "grpc"`) {
		t.Error(text)
	}
	if page := get(t, Status{}, "/"); strings.Contains(page, "Turned off") || strings.Contains(page, "Beyond") {
		t.Error("an empty section is shown")
	}
}

func TestPageShowsWhoTheClientsAre(t *testing.T) {
	s := Status{
		Authority: &Authority{TrustDomain: "shop.test", Stage: "announced", Roots: []Root{{Serial: "a1", Signs: true}, {Serial: "b2"}}, Issued: 7, Trouble: "the root ends"},
		Clients:   []Client{{ID: "sidecar~1", Identity: "spiffe://shop.test/ns/shop/sa/till"}},
	}
	page := get(t, s, "/")
	for _, want := range []string{
		"Trust domain <code>shop.test</code>: 7 certificates since the start, root announced, <code>a1</code> (signs) until", "<code>b2</code> until",
		"the root ends", "<code>spiffe://shop.test/ns/shop/sa/till</code>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "not authenticated") || !strings.Contains(get(t, Status{}, "/"), "Clients are not authenticated") {
		t.Error("the page does not say whether clients are authenticated")
	}
}
