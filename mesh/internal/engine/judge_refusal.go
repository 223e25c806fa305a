package engine

import "github.com/weftmesh/weft/identity"

// deniedText is all that a caller who may not call learns: not by which rule (Envoy's words).
const deniedText = "RBAC: access denied"

// refusalOf is the answer to a call that rules, or a service outside, denied.
func refusalOf(d *identity.Decision) *Refusal {
	r := &Refusal{Kind: Denied, Status: 403, Code: 7, Text: deniedText} // PERMISSION_DENIED
	v := d.Answer
	if v == nil {
		return r
	}
	r.Text = v.Body
	if v.Status != 0 {
		r.Status = v.Status
	}
	if r.Status == 401 {
		r.Code = 16 // UNAUTHENTICATED
	}
	for _, f := range v.Header {
		r.Header = append(r.Header, Field{f.Name, f.Value})
	}
	return r
}

// ambiguous is the answer to a request with a header that could be taken for another.
func ambiguous() *Refusal {
	return &Refusal{Kind: Denied, Status: 400, Code: 13, Text: "the request has a header that could be taken for another"} // INTERNAL, as of any HTTP 400
}

// unreadable is the answer to a request whose path or host has no one form: to gRPC, that there is no such method.
func unreadable() *Refusal {
	return &Refusal{Kind: Denied, Status: 400, Code: 12, Text: "the path or the host of the request is malformed"} // UNIMPLEMENTED
}
