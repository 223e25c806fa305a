package extauthz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/mesh/internal/engine"
)

func TestAsksByHTTP(t *testing.T) {
	var body string
	a, last := httpAsker(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
	})
	e := &identity.ExtAuthz{
		Service: "authz:8000", HTTP: true, PathPrefix: "/check/", Timeout: patient, MaxBody: 4,
		RequestHeaders: append(names(match.Prefix, "x-", "te"), names(match.Exact, "cookie", "connection", "host", "content-length")...),
		AddHeaders:     []identity.HeaderField{field("x-key", "k")},
	}
	r := asked(lines("Authorization", "Bearer t", "X-Role", "a", "X-Role", "b", "Cookie", "s=1", "Accept", "x", "X-Envoy-Retry-On", "5xx", "X-Weft-Criticality", "x",
		"Connection", "x-role", "Te", "trailers", "X-Forwarded-Client-Cert", "me", "X-Key", "mine", "User-Agent", "u", "Content-Length", "99"))
	if v := a.Ask(t.Context(), e, r, []byte("body")); !v.Allowed || v.Failed != nil {
		t.Fatalf("%+v", v)
	}
	got := last()
	if got.Method != "PUT" || got.RequestURI != "/check/a/b?c=d" || got.Host != "shop.example" || body != "body" || got.ContentLength != 4 {
		t.Errorf("%s %s %s %q %d", got.Method, got.RequestURI, got.Host, body, got.ContentLength)
	}
	if want := (http.Header{
		"Authorization": {"Bearer t"}, "X-Role": {"a", "b"}, "Cookie": {"s=1"}, "X-Key": {"k"}, "Weft-Questions": {"1"}, "X-Envoy-Auth-Partial-Body": {"true"},
		"Content-Length": {"4"},
	}); !reflect.DeepEqual(got.Header, want) {
		t.Errorf("%v", got.Header)
	}
	if v := a.Ask(t.Context(), &identity.ExtAuthz{Service: "authz:8000", HTTP: true, Timeout: patient}, asked(lines()), nil); !v.Allowed ||
		last().RequestURI != "/a/b?c=d" || last().ContentLength != 0 {
		t.Errorf("%+v: %v", v, last())
	}
}

func TestAnswersByHTTP(t *testing.T) {
	e := &identity.ExtAuthz{
		Service: "authz:8000", HTTP: true, Timeout: patient, FailOpen: true, StatusOnError: 500,
		UpstreamHeaders: append(names(match.Prefix, "x-user", "x-forwarded", "x-weft"), names(match.Exact, "date", "content-length", "connection", "host")...),
		AppendHeaders:   names(match.Exact, "x-add"), AllowedHeaders: names(match.Exact, "set-cookie", "content-length"),
	}
	denials := *e
	denials.DeniedHeaders = names(match.Exact, "x-why")
	headers := func(w http.ResponseWriter) {
		for _, f := range []identity.HeaderField{
			field("X-User", "alice"), field("X-User-Group", "a"), field("X-User-Group", "b"), field("X-Add", "c"), field("Set-Cookie", "d=e"), field("X-Why", "no"),
			field("X-Forwarded-Client-Cert", "me"), field("X-Weft-Criticality", "x"), field("X-Envoy-Auth-Headers-To-Remove", "Authorization, host,x-old"),
			field("Www-Authenticate", "Basic"), field("Location", "/login"),
		} {
			w.Header().Add(f.Name, f.Value)
		}
		w.Header()["Date"] = nil
	}
	status := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			headers(w)
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(code)
			io.WriteString(w, text)
		}
	}
	for what, tc := range map[string]struct {
		e      *identity.ExtAuthz
		answer http.HandlerFunc
		want   identity.Verdict
		failed string
	}{
		"let through": {e, status(200, "fine"), identity.Verdict{
			Allowed: true, Set: []identity.HeaderField{field("x-user", "alice"), field("x-user-group", "a")},
			Append: []identity.HeaderField{field("x-add", "c"), field("x-user-group", "b")},
			Remove: []string{"authorization", "x-old"}, Answer: []identity.HeaderField{field("set-cookie", "d=e")},
		}, ""},
		"refused": {&denials, status(403, "no"), identity.Verdict{Status: 403, Body: "no", Header: []identity.HeaderField{
			field("location", "/login"), field("www-authenticate", "Basic"), field("x-why", "no"),
		}}, ""},
		"refused, with all headers": {e, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Date"] = nil
			w.Header().Set("X-Any", "thing")
			w.Header().Set("Content-Type", "a/b")
			w.WriteHeader(401)
		}, identity.Verdict{Status: 401, Header: []identity.HeaderField{field("content-type", "a/b"), field("x-any", "thing")}}, ""},
		"sent elsewhere": {&denials, status(302, ""), identity.Verdict{Status: 302, Header: []identity.HeaderField{
			field("location", "/login"), field("www-authenticate", "Basic"), field("x-why", "no"),
		}}, ""},
		"another kind of yes is a no": {&denials, status(204, ""), identity.Verdict{Status: 204, Header: []identity.HeaderField{
			field("location", "/login"), field("www-authenticate", "Basic"), field("x-why", "no"),
		}}, ""},
		"has failed": {e, status(503, "x"), identity.Verdict{Allowed: true, Status: 500}, "failed"},
		"hangs up":   {e, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, identity.Verdict{Allowed: true, Status: 500}, "EOF"},
		"a long refusal": {&denials, status(403, strings.Repeat("x", mostBody+9)), identity.Verdict{Status: 403, Body: strings.Repeat("x", mostBody), Header: []identity.HeaderField{
			field("location", "/login"), field("www-authenticate", "Basic"), field("x-why", "no"),
		}}, ""},
	} {
		a, _ := httpAsker(t, tc.answer)
		v := a.Ask(t.Context(), tc.e, asked(lines()), nil)
		if (v.Failed != nil) != (tc.failed != "") || v.Failed != nil && !strings.Contains(v.Failed.Error(), tc.failed) {
			t.Errorf("%s: failed %v, want %q", what, v.Failed, tc.failed)
		}
		v.Failed = nil
		if got, want := fmt.Sprintf("%+v", v), fmt.Sprintf("%+v", tc.want); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestFailuresByHTTP(t *testing.T) {
	var opens []engine.Kind
	for kind := engine.NoService; kind <= engine.Injected; kind++ {
		a := New(Config{HTTP: roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, &engine.Error{Kind: kind, Err: errors.New("x")}
		})})
		if v := a.Ask(t.Context(), &identity.ExtAuthz{Service: "authz:1", HTTP: true, Timeout: patient, FailOpen: true}, asked(lines()), nil); v.Allowed {
			opens = append(opens, kind)
		} else if v.Failed == nil {
			t.Errorf("%v: %+v", kind, v)
		}
	}
	want := []engine.Kind{engine.NoService, engine.NoHost, engine.Unreachable, engine.Reset, engine.Deadline, engine.Overloaded}
	slices.Sort(opens)
	if slices.Sort(want); !slices.Equal(opens, want) {
		t.Errorf("%v let through, want %v", opens, want)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	a := New(Config{HTTP: roundTripper(func(r *http.Request) (*http.Response, error) { return nil, r.Context().Err() })})
	if v := a.Ask(gone, &identity.ExtAuthz{Service: "authz:1", HTTP: true, Timeout: patient, FailOpen: true}, asked(lines()), nil); v.Allowed || v.Failed == nil {
		t.Errorf("gone: %+v", v)
	}
	a = New(Config{HTTP: roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("it was asked") })})
	for what, change := range map[string]func(*identity.Request, *identity.ExtAuthz){
		"a tunnel":              func(r *identity.Request, _ *identity.ExtAuthz) { r.Method = "CONNECT" },
		"no path":               func(r *identity.Request, _ *identity.ExtAuthz) { r.Path = "*" },
		"another host's path":   func(r *identity.Request, _ *identity.ExtAuthz) { r.Path = "@evil.example/" },
		"a method that is none": func(r *identity.Request, _ *identity.ExtAuthz) { r.Method = "G ET" },
		"a path that is none":   func(r *identity.Request, _ *identity.ExtAuthz) { r.Path = "/%zz" },
		"two lines":             func(r *identity.Request, _ *identity.ExtAuthz) { r.Header = lines("authorization", "a\r\nb: c") },
		"an added header": func(_ *identity.Request, e *identity.ExtAuthz) {
			e.AddHeaders = []identity.HeaderField{field("a b", "")}
		},
		"a connection":    func(r *identity.Request, _ *identity.ExtAuthz) { r.Connection = true },
		"a bad condition": func(_ *identity.Request, e *identity.ExtAuthz) { e.RequestHeaders = names(match.Regex, "(") },
	} {
		r, e := asked(lines()), &identity.ExtAuthz{Service: "authz:1", HTTP: true, Timeout: patient, FailOpen: true}
		change(r, e)
		if v := a.Ask(t.Context(), e, r, nil); v.Allowed || v.Failed == nil || strings.Contains(v.Failed.Error(), "it was asked") {
			t.Errorf("%s: %+v", what, v)
		}
	}
}
