package extauthz

import (
	"errors"
	"fmt"
	"slices"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// mostBody is how much the caller gets of the body of a refusal.
const mostBody = 64 << 10

// read reads an answer. One that lets the request through as it must not be let through is an error.
func (q *question) read(c *auth.CheckResponse) (identity.Verdict, error) {
	if e := c.GetErrorResponse(); e != nil { // the service has failed, and says so
		return identity.Verdict{}, &silence{fmt.Errorf("the service answers that it has failed (%d)", e.GetStatus().GetCode())}
	}
	denied := c.GetDeniedResponse()
	if c.GetStatus().GetCode() != int32(codes.OK) || denied != nil {
		v := identity.Verdict{Status: int(denied.GetStatus().GetCode()), Body: denied.GetBody()}
		v.Body = v.Body[:min(len(v.Body), mostBody)]
		if v.Status < 200 || v.Status > 599 {
			v.Status = 0
		}
		for _, o := range denied.GetHeaders() {
			if f := fieldOf(o); sound(f.Name, f.Value) && !framing(f.Name) {
				v.Header = append(v.Header, f)
			}
		}
		return v, nil
	}
	v := identity.Verdict{Allowed: true}
	if q.r.Connection {
		return v, nil
	}
	ok := c.GetOkResponse()
	if len(ok.GetQueryParametersToSet())+len(ok.GetQueryParametersToRemove()) > 0 {
		return identity.Verdict{}, errors.New("the answer changes the query, which is not supported")
	}
	for _, o := range ok.GetHeaders() {
		f := fieldOf(o)
		if !sound(f.Name, f.Value) || !changeable(f.Name) {
			return identity.Verdict{}, fmt.Errorf("the answer sets the header %q, which it may not", f.Name)
		}
		q.change(&v, f, o)
	}
	for _, name := range ok.GetHeadersToRemove() {
		remove(&v, name)
	}
	for _, o := range ok.GetResponseHeadersToAdd() {
		f := fieldOf(o)
		if !sound(f.Name, f.Value) || framing(f.Name) {
			return identity.Verdict{}, fmt.Errorf("the answer gives the caller the header %q, which it may not", f.Name)
		}
		v.Answer = append(v.Answer, f)
	}
	return v, nil
}

// change puts a field into the request's header, as the option says (Envoy HeaderValueOption): in place of what is there, if it says nothing.
func (q *question) change(v *identity.Verdict, f identity.HeaderField, o *core.HeaderValueOption) {
	there := len(q.header.Values(match.Named(f.Name))) > 0
	switch action := o.GetAppendAction(); {
	case o.GetAppend().GetValue(): //nolint:staticcheck // deprecated, and what services send
		v.Append = append(v.Append, f)
	case action == core.HeaderValueOption_ADD_IF_ABSENT && there, action == core.HeaderValueOption_OVERWRITE_IF_EXISTS && !there:
	default:
		set(v, f)
	}
}

// set puts a field in place of what there is of its name, an earlier one of the answer's included.
func set(v *identity.Verdict, f identity.HeaderField) {
	if i := slices.IndexFunc(v.Set, func(o identity.HeaderField) bool { return o.Name == f.Name }); i >= 0 {
		v.Set[i] = f
		return
	}
	v.Set = append(v.Set, f)
}

// remove takes a header away, but for those without which there is no request (Envoy).
func remove(v *identity.Verdict, name string) {
	if name = match.ToLower(name); sound(name, "") && changeable(name) {
		v.Remove = append(v.Remove, name)
	}
}

// fieldOf is the field of an option, its name in lower case.
func fieldOf(o *core.HeaderValueOption) identity.HeaderField {
	h := o.GetHeader()
	f := identity.HeaderField{Name: match.ToLower(h.GetKey()), Value: h.GetValue()}
	if f.Value == "" {
		f.Value = string(h.GetRawValue())
	}
	return f
}

// changeable reports whether a service outside may change a header, in lower case: not what makes the request what it is, nor what the mesh
// vouches for.
func changeable(name string) bool {
	return !framing(name) && name != "x-forwarded-client-cert" && name != questions.Lower && !match.HasPrefix(name, "x-weft-", false)
}
