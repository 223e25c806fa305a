package httpadapter

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weftmesh/weft/resolver"
)

// What was looked at of a body the handler reads all the same.
func TestBodyIsLookedAt(t *testing.T) {
	for _, tc := range []struct {
		body  string
		limit int
		want  string
	}{
		{"hello", 3, "hel"}, {"hello", 5, "hello"}, {"hello", 100, "hello"}, {"hello", 0, ""}, {"", 10, ""},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tc.body))
		s := &served{r: r}
		got, err := s.Body(tc.limit)
		if err != nil || string(got) != tc.want {
			t.Errorf("%q, %d: %q, %v", tc.body, tc.limit, got, err)
		}
		if all, err := io.ReadAll(r.Body); err != nil || string(all) != tc.body {
			t.Errorf("%q, %d: the handler reads %q, %v", tc.body, tc.limit, all, err)
		}
		if err := r.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Changes of headers are what handlers see, and nothing else of the header changes.
func TestHeadersAreEdited(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{"X-Weft-Criticality": {"critical"}, "X-Envoy-Max-Retries": {"9"}, "X_weft_lane": {"a"}, "X-A": {"1"}, "X-B": {"2"}, "X_c": {"3"}}
	s := &served{r: r}
	s.RemoveSteering()
	s.Remove(resolver.HeaderName{Lower: "x-b", Canonical: "X-B"})
	s.Append(resolver.HeaderName{Lower: "x-a", Canonical: "X-A"}, "4")
	s.Set(resolver.HeaderName{Lower: "x-c", Canonical: "X-C"}, "5")
	if len(r.Header) != 2 || strings.Join(r.Header["X-A"], ",") != "1,4" || strings.Join(r.Header["X-C"], ",") != "5" {
		t.Errorf("%v", r.Header)
	}
}
