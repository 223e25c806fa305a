package identity

import (
	"context"
	"time"

	"github.com/weftmesh/weft/internal/match"
)

// An ExtAuthz is a service that decides whether a request is let through (Envoy ext_authz), asked by gRPC or by HTTP.
type ExtAuthz struct {
	// When names the requests it is asked about: those that these rules would act on. nil is all of them. (Istio CUSTOM)
	When *Rules
	// Service is the name by which the mesh calls it, with a port: "ext-authz.auth.svc.cluster.local:9000".
	Service string
	// HTTP says that it is asked by HTTP, at PathPrefix plus the request's path; else it is Envoy's
	// envoy.service.auth.v3.Authorization.
	HTTP       bool
	PathPrefix string
	// Timeout bounds one answer; 0 means 200 ms (Envoy).
	Timeout time.Duration
	// FailOpen lets requests through while it does not answer.
	FailOpen bool
	// StatusOnError is the answer of HTTP to requests while it does not answer; 0 means 403.
	StatusOnError int
	// MaxBody is how much of a request's body it is sent; 0 is nothing. A longer body is refused with 413 unless PartialBody.
	MaxBody     uint32
	PartialBody bool
	PackAsBytes bool
	// RequestHeaders are those that it is sent by HTTP besides Host, Method, Path, Content-Length and Authorization. gRPC has all.
	RequestHeaders []match.String
	// AddHeaders are put into what it is sent.
	AddHeaders []HeaderField
	// UpstreamHeaders are those of an HTTP answer that lets the request through which the handler gets in place of the request's own,
	// and AppendHeaders besides these; DeniedHeaders are those of an answer that does not which the client gets, and
	// AllowedHeaders are those of one that does which the client gets with the handler's answer.
	UpstreamHeaders, AppendHeaders, DeniedHeaders, AllowedHeaders []match.String
	// PeerCertificate sends it the PEM of the peer's certificate (Envoy include_peer_certificate).
	PeerCertificate bool
}

// check says what is wrong with e, but for When.
func (e *ExtAuthz) check(f *faults) {
	if e.Service == "" {
		f.add("service: there is none")
	}
	if e.Timeout < 0 {
		f.add("timeout: %v is negative", e.Timeout)
	}
	if e.StatusOnError != 0 && (e.StatusOnError < 200 || e.StatusOnError > 599) {
		f.add("status on error: %d is no answer", e.StatusOnError)
	}
	if f.connection && (e.HTTP || e.MaxBody > 0) {
		f.add("a connection has no request to ask about")
	}
	checkStrings(": request headers", e.RequestHeaders, f)
	checkStrings(": upstream headers", e.UpstreamHeaders, f)
	checkStrings(": append headers", e.AppendHeaders, f)
	checkStrings(": denied headers", e.DeniedHeaders, f)
	checkStrings(": allowed headers", e.AllowedHeaders, f)
}

// An Asker asks the services of ExtAuthz.
type Asker interface {
	// Ask asks about a request. It returns by ctx's end or the ExtAuthz's Timeout. A failure to ask is a Verdict too: FailOpen is the
	// Asker's to obey. body is the beginning of the body, of MaxBody at most, as far as it was asked for.
	Ask(ctx context.Context, e *ExtAuthz, r *Request, body []byte) Verdict
}

// A Verdict is what a service outside decided on a request.
type Verdict struct {
	Allowed bool
	// Failed says that the service could not be asked, and why; Allowed is what the ExtAuthz says of that.
	Failed error
	// Status, Body and Header are the answer to a request that is refused; 0 means 403.
	Status int
	Body   string
	Header []HeaderField
	// Set, Append and Remove change the header that the handler sees of a request that is let through.
	Set, Append []HeaderField
	Remove      []string
	// Answer is put into the handler's answer.
	Answer []HeaderField
}
