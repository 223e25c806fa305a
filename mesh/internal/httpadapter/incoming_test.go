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

// What the mesh vouches for stays where Connection names it, so that a handler that is a proxy does not take it off (B8).
func TestConnectionDoesNotNameWhatIsVouchedFor(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{"Connection": {"Keep-Alive, X-Forwarded-Client-Cert", "x_forwarded_client_cert", "close"}}
	(&served{r: r}).Set(resolver.HeaderName{Lower: "x-forwarded-client-cert", Canonical: "X-Forwarded-Client-Cert"}, "URI=a")
	if got := strings.Join(r.Header["Connection"], "|"); got != "Keep-Alive||close" {
		t.Errorf("Connection is %q", got)
	}
}

// A path of HTTP/2 with a host in it has no path: which host is meant would not be one thing (RFC 9113, 8.3.1).
func TestAHostInThePathOfHTTP2(t *testing.T) {
	for target, want := range map[string]string{"/a?b": "/a b", "http://other/a?b": "http://other/a?b ", "*": "* "} {
		r := httptest.NewRequest(http.MethodGet, "/a?b", nil)
		r.ProtoMajor, r.RequestURI = 2, target
		if path, query := asked(r); path+" "+query != want {
			t.Errorf("%s: %s %s, want %s", target, path, query, want)
		}
	}
}
