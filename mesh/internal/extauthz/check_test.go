package extauthz

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	httptype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

func TestAsksByGRPC(t *testing.T) {
	j := &judge{answer: gives(ok(nil), nil)}
	a, dials := grpcAsker(t, j)
	e := &identity.ExtAuthz{
		Service: "authz:9000", Timeout: patient, MaxBody: 4, PeerCertificate: true, AddHeaders: []identity.HeaderField{field("x-key", "k")},
	}
	r := asked(lines("X-Role", "a", "X-Role", "b", "X-Request-Id", "7", "Content-Length", "9", "X-Bad", "a\xffb", "X-Envoy-Auth-Partial-Body", "false"))
	for range 3 {
		if v := a.Ask(t.Context(), e, r, []byte("body")); !v.Allowed || v.Failed != nil {
			t.Fatalf("%+v", v)
		}
	}
	if dials() != 1 {
		t.Errorf("%d connections", dials())
	}
	last, md, _ := j.seen()
	is := last.GetAttributes()
	if src := is.GetSource(); src.GetAddress().GetSocketAddress().GetAddress() != "10.0.0.1" || src.GetAddress().GetSocketAddress().GetPortValue() != 1234 ||
		src.GetPrincipal() != "spiffe://td/ns/shop/sa/web" {
		t.Errorf("source: %v", src)
	}
	if unescaped, err := url.QueryUnescape(is.GetSource().GetCertificate()); err != nil {
		t.Error(err)
	} else if block, _ := pem.Decode([]byte(unescaped)); block == nil || string(block.Bytes) != string(peer().Certificates[0].Raw) {
		t.Errorf("certificate: %q", is.GetSource().GetCertificate())
	}
	if dst := is.GetDestination(); dst.GetAddress().GetSocketAddress().GetPortValue() != 8080 || dst.GetPrincipal() != "spiffe://td/ns/shop/sa/cart" {
		t.Errorf("destination: %v", dst)
	}
	h := is.GetRequest().GetHttp()
	if is.GetRequest().GetTime() == nil || h.GetId() != "7" || h.GetMethod() != "PUT" || h.GetPath() != "/a/b?c=d" || h.GetHost() != "shop.example" ||
		h.GetScheme() != "https" || h.GetProtocol() != "HTTP/2" || h.GetBody() != "body" || h.GetSize() != 9 || h.GetQuery() != "" {
		t.Errorf("%v", h)
	}
	if want := map[string]string{
		":method": "PUT", ":path": "/a/b?c=d", ":authority": "shop.example", ":scheme": "https", "x-role": "a,b", "x-request-id": "7",
		"content-length": "9", "x-bad": "a!b", partialBody.Lower: "true",
	}; !reflect.DeepEqual(h.GetHeaders(), want) {
		t.Errorf("%v", h.GetHeaders())
	}
	if md.Get("x-key")[0] != "k" || md.Get("weft-questions")[0] != "1" {
		t.Errorf("%v", md)
	}

	e.PackAsBytes, e.PeerCertificate = true, false
	r.GRPC, r.Peer = true, nil
	r.Header = lines("x-raw-bin", "\x00\xff")
	a.Ask(t.Context(), e, r, []byte("\xff"))
	last, _, _ = j.seen()
	is = last.GetAttributes()
	if h = is.GetRequest().GetHttp(); string(h.GetRawBody()) != "\xff" || h.GetBody() != "" || h.GetHeaders()["x-raw-bin"] != "AP8" || is.GetSource().GetPrincipal() != "" {
		t.Errorf("%v", is)
	}
	a.Ask(t.Context(), &identity.ExtAuthz{Service: "authz:9000", Timeout: patient}, &identity.Request{Connection: true, Peer: peer()}, nil)
	last, _, _ = j.seen()
	if is = last.GetAttributes(); is.GetRequest() != nil || is.GetSource().GetPrincipal() == "" {
		t.Errorf("connection: %v", is)
	}
	if dials() != 1 {
		t.Errorf("%d connections", dials())
	}
	a.Close()
	if v := a.Ask(t.Context(), &identity.ExtAuthz{Service: "authz:9000", FailOpen: true}, r, nil); v.Allowed || v.Failed == nil {
		t.Errorf("closed: %+v", v)
	}
}

func TestAnswersByGRPC(t *testing.T) {
	appended := option("x-append", "b")
	appended.Append = wrapperspb.Bool(true) //nolint:staticcheck // deprecated, and what services send
	act := func(name string, a core.HeaderValueOption_HeaderAppendAction) *core.HeaderValueOption {
		o := option(name, "v")
		o.AppendAction = a
		return o
	}
	deny := func(r *auth.DeniedHttpResponse) *auth.CheckResponse {
		return &auth.CheckResponse{Status: status.New(codes.PermissionDenied, "").Proto(), HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: r}}
	}
	closed := identity.Verdict{Status: 503}
	for what, tc := range map[string]struct {
		answer *auth.CheckResponse
		want   identity.Verdict // Failed apart
		failed string
	}{
		"nothing":                  {&auth.CheckResponse{}, identity.Verdict{Allowed: true}, ""},
		"refused":                  {&auth.CheckResponse{Status: status.New(codes.PermissionDenied, "").Proto()}, identity.Verdict{}, ""},
		"refused, and yet":         {&auth.CheckResponse{HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{}}}, identity.Verdict{}, ""},
		"let through, and yet not": {&auth.CheckResponse{Status: status.New(codes.Unauthenticated, "").Proto(), HttpResponse: &auth.CheckResponse_OkResponse{}}, identity.Verdict{}, ""},
		"refused, with words": {deny(&auth.DeniedHttpResponse{
			Status: &httptype.HttpStatus{Code: 302}, Body: "no", Headers: []*core.HeaderValueOption{
				option("Location", "/login"), option("x-split", "a\r\nb: c"), option(":status", "200"), option("content-length", "9"), option("b\nd", ""),
			},
		}), identity.Verdict{Status: 302, Body: "no", Header: []identity.HeaderField{field("location", "/login")}}, ""},
		"refused, with a status that is none": {deny(&auth.DeniedHttpResponse{Status: &httptype.HttpStatus{Code: 100}}), identity.Verdict{}, ""},
		"refused, at length":                  {deny(&auth.DeniedHttpResponse{Body: strings.Repeat("x", mostBody+1)}), identity.Verdict{Body: strings.Repeat("x", mostBody)}, ""},
		"changes": {ok(&auth.OkHttpResponse{
			Headers: []*core.HeaderValueOption{
				option("X-User", "old"), option("X-User", "alice"), appended, act("x-role", core.HeaderValueOption_ADD_IF_ABSENT), act("x-new", core.HeaderValueOption_ADD_IF_ABSENT),
				act("x-role", core.HeaderValueOption_OVERWRITE_IF_EXISTS), act("x-other", core.HeaderValueOption_OVERWRITE_IF_EXISTS),
				act("x-over", core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD), {Header: &core.HeaderValue{Key: "x-raw", RawValue: []byte("raw")}},
			},
			HeadersToRemove:      []string{"Authorization", "host", ":path", "x-forwarded-client-cert"},
			ResponseHeadersToAdd: []*core.HeaderValueOption{option("Set-Cookie", "a=b")},
		}), identity.Verdict{
			Allowed: true, Set: []identity.HeaderField{field("x-user", "alice"), field("x-new", "v"), field("x-role", "v"), field("x-over", "v"), field("x-raw", "raw")},
			Append: []identity.HeaderField{field("x-append", "b")}, Remove: []string{"authorization"}, Answer: []identity.HeaderField{field("set-cookie", "a=b")},
		}, ""},
		"has failed": {&auth.CheckResponse{HttpResponse: &auth.CheckResponse_ErrorResponse{ErrorResponse: &auth.DeniedHttpResponse{}}},
			identity.Verdict{Allowed: true, Status: 503}, "has failed"},
		"sets the path":           {ok(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option(":path", "/")}}), closed, "may not"},
		"sets the authority":      {ok(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option(":authority", "x")}}), closed, "may not"},
		"sets the host":           {ok(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option("Host", "x")}}), closed, "may not"},
		"sets who calls":          {ok(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option("X-Forwarded-Client-Cert", "x")}}), closed, "may not"},
		"sets what is ours":       {ok(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option("X-Weft-Criticality", "x")}}), closed, "may not"},
		"sets the connection":     {ok(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option("Connection", "x-user")}}), closed, "may not"},
		"sets two lines":          {ok(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option("x-a", "b\r\nx-role: root")}}), closed, "may not"},
		"sets nothing":            {ok(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option("", "b")}}), closed, "may not"},
		"two lines to the caller": {ok(&auth.OkHttpResponse{ResponseHeadersToAdd: []*core.HeaderValueOption{option("x-a", "b\nc")}}), closed, "may not"},
		"changes the query":       {ok(&auth.OkHttpResponse{QueryParametersToRemove: []string{"a"}}), closed, "query"},
	} {
		j := &judge{answer: gives(tc.answer, nil)}
		a, _ := grpcAsker(t, j)
		v := a.Ask(t.Context(), &identity.ExtAuthz{Service: "authz:9000", Timeout: patient, FailOpen: true, StatusOnError: 503}, asked(lines("x-role", "a")), nil)
		if (v.Failed != nil) != (tc.failed != "") || v.Failed != nil && !strings.Contains(v.Failed.Error(), tc.failed) {
			t.Errorf("%s: failed %v, want %q", what, v.Failed, tc.failed)
		}
		v.Failed = nil
		if got, want := fmt.Sprintf("%+v", v), fmt.Sprintf("%+v", tc.want); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
		}
	}
}

func TestFailuresByGRPC(t *testing.T) {
	slow := func(ctx context.Context, _ *auth.CheckRequest) (*auth.CheckResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	fails := func(c codes.Code) func(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error) {
		return gives(nil, status.Error(c, "x"))
	}
	for what, tc := range map[string]struct {
		answer func(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error)
		opens  bool
	}{
		"unavailable":        {fails(codes.Unavailable), true},
		"slow":               {slow, true},
		"refuses":            {fails(codes.PermissionDenied), false},
		"too much":           {fails(codes.ResourceExhausted), false},
		"bad question":       {fails(codes.InvalidArgument), false},
		"too long an answer": {gives(&auth.CheckResponse{Status: status.New(codes.OK, strings.Repeat("x", mostAnswer)).Proto()}, nil), false},
	} {
		a, _ := grpcAsker(t, &judge{answer: tc.answer})
		e := &identity.ExtAuthz{Service: "authz:9000", Timeout: patient}
		if what == "slow" {
			e.Timeout = 0 // 200 ms
		}
		if v := a.Ask(t.Context(), e, asked(lines()), nil); v.Allowed || v.Failed == nil {
			t.Errorf("%s: %+v", what, v)
		}
		e.FailOpen = true
		if v := a.Ask(t.Context(), e, asked(lines()), nil); v.Allowed != tc.opens || v.Failed == nil {
			t.Errorf("%s, open: %+v", what, v)
		}
	}
}

// Who is to be let in while there is no answer must not be able to see to it that there is none.
func TestCallersOpenNothing(t *testing.T) {
	j := &judge{answer: func(ctx context.Context, _ *auth.CheckRequest) (*auth.CheckResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	a, _ := grpcAsker(t, j)
	e := &identity.ExtAuthz{Service: "authz:9000", FailOpen: true, Timeout: 100 * time.Millisecond}
	if v := a.Ask(t.Context(), e, asked(lines()), nil); !v.Allowed {
		t.Fatalf("control: %+v", v)
	}
	hurried, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if v := a.Ask(hurried, e, asked(lines()), nil); v.Allowed || v.Failed == nil {
		t.Errorf("in a hurry: %+v", v)
	}
	down, _ := grpcAsker(t, &judge{answer: gives(nil, status.Error(codes.Unavailable, "x"))})
	for _, limit := range []time.Duration{patient, patient / 100} {
		if v := down.Ask(soon(t), &identity.ExtAuthz{Service: "authz:9000", FailOpen: true, Timeout: limit}, asked(lines()), nil); v.Allowed != (limit < patient) || v.Failed == nil {
			t.Errorf("in a hurry, not waiting as long as %s: %+v", limit, v)
		}
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if v := a.Ask(gone, e, asked(lines()), nil); v.Allowed || v.Failed == nil {
		t.Errorf("gone: %+v", v)
	}

	j = &judge{answer: gives(&auth.CheckResponse{}, nil)}
	a, _ = grpcAsker(t, j)
	e.Timeout = patient
	for _, n := range []string{"3", "0", "-1", "x", "", "99999999999999999999"} {
		if v := a.Ask(t.Context(), e, asked(lines("weft-questions", n)), nil); v.Allowed || v.Failed == nil {
			t.Errorf("questions %q: %+v", n, v)
		}
	}
	if v := a.Ask(t.Context(), e, asked(lines("weft-questions", "1", "weft-questions", "1")), nil); v.Allowed {
		t.Errorf("two: %+v", v)
	}
	if v := a.Ask(t.Context(), e, asked(unlisted{}), nil); v.Allowed || v.Failed == nil {
		t.Errorf("a header that can't be listed: %+v", v)
	}
	if _, _, times := j.seen(); times > 0 {
		t.Errorf("it was asked %d times", times)
	}
	v := a.Ask(t.Context(), e, asked(lines("weft-questions", "2")), nil)
	if _, md, _ := j.seen(); !v.Allowed || md.Get("weft-questions")[0] != "3" {
		t.Errorf("control: %+v: %v", v, md)
	}
}

// soon is a context that ends before patient has passed.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient/2)
	t.Cleanup(cancel)
	return ctx
}

// unlisted is a header that can only be read by name.
type unlisted struct{}

func (unlisted) Values(match.HeaderName) []string { return nil }
