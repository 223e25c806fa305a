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
