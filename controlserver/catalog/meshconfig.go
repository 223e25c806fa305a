package catalog

import (
	"fmt"
	"regexp"

	"github.com/weftmesh/weft/controlserver/trafficpolicy"
)

// Version is the apiVersion of the kinds that are ours.
const Version = trafficpolicy.Version

// A MeshConfig is what holds for the mesh as a whole. There is at most one, in the namespace istio-system.
type MeshConfig struct {
	// TrustDomain is the trust domain of the mesh's identities, spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT. It must
	// be the control server's own. Default: the control server's own.
	TrustDomain string `json:"trustDomain"`
	// TrustDomainAliases are former or other names of the trust domain: a principal of a policy that begins with one of
	// them, or with "cluster.local", stands for all of them. Default: none.
	TrustDomainAliases []string `json:"trustDomainAliases"`
	// RootNamespace is the namespace whose policies hold for the whole mesh. Default: istio-system.
	RootNamespace string `json:"rootNamespace"`
	// ExtensionProviders are services that AuthorizationPolicies with action CUSTOM have decide. Default: none.
	ExtensionProviders []ExtensionProvider `json:"extensionProviders"`
}

// An ExtensionProvider is a service that decides on requests (Envoy ext_authz). It has either envoyExtAuthzGrpc or
// envoyExtAuthzHttp.
type ExtensionProvider struct {
	// Name is what an AuthorizationPolicy's provider.name says: lower-case letters, digits and "-".
	Name string `json:"name" rule:"required"`
	// GRPC is a service that speaks envoy.service.auth.v3.Authorization.
	GRPC *ExtAuthzGRPC `json:"envoyExtAuthzGrpc"`
	// HTTP is a service that is sent the request's own method and path, and lets it through by answering 200.
	HTTP *ExtAuthzHTTP `json:"envoyExtAuthzHttp"`
}

// An ExtAuthzGRPC is a service that is asked by gRPC.
type ExtAuthzGRPC struct {
	// Service is the host of a service of the mesh, or NAMESPACE/HOST where namespaces have services of one host.
	Service string `json:"service" rule:"required"`
	// Port is the number of its port.
	Port uint32 `json:"port" rule:"required,max=65535"`
	// Timeout is how long an answer may take. Default: 200ms, as Envoy's; Istio's is 10 minutes.
	Timeout trafficpolicy.Duration `json:"timeout"`
	// FailOpen lets requests through while it does not answer. Default: they are refused.
	FailOpen bool `json:"failOpen"`
	// StatusOnError is the HTTP status, quoted, of requests that are refused because it does not answer. Default: "403".
	StatusOnError HTTPStatus `json:"statusOnError"`
	// Body is how much of a request's body it is sent. Default: nothing.
	Body *ExtAuthzBody `json:"includeRequestBodyInCheck"`
}

// An ExtAuthzHTTP is a service that is asked by HTTP. Where it has lists of headers, "abc" is a name, "abc*" is all that
// begin so and "*abc" all that end so.
type ExtAuthzHTTP struct {
	// Service is the host of a service of the mesh, or NAMESPACE/HOST where namespaces have services of one host.
	Service string `json:"service" rule:"required"`
	// Port is the number of its port.
	Port uint32 `json:"port" rule:"required,max=65535"`
	// Timeout is how long an answer may take. Default: 200ms, as Envoy's; Istio's is 10 minutes.
	Timeout trafficpolicy.Duration `json:"timeout"`
	// PathPrefix goes before the request's path. Default: nothing.
	PathPrefix trafficpolicy.Path `json:"pathPrefix"`
	// FailOpen lets requests through while it does not answer, or answers with 5xx. Default: they are refused.
	FailOpen bool `json:"failOpen"`
	// StatusOnError is the HTTP status, quoted, of requests that are refused because it does not answer. Default: "403".
	StatusOnError HTTPStatus `json:"statusOnError"`
	// RequestHeaders are those of the request's headers that it is sent besides host, method, path, content-length and
	// authorization. Default: none.
	RequestHeaders []HeaderPattern `json:"includeRequestHeadersInCheck"`
	// AddHeaders are put into what it is sent, in place of the request's own. Default: none.
	AddHeaders map[string]string `json:"includeAdditionalHeadersInCheck"`
	// Body is how much of a request's body it is sent. Default: nothing.
	Body *ExtAuthzBody `json:"includeRequestBodyInCheck"`
	// UpstreamHeaders are the headers of its answer that the handler gets, in place of the request's own, if it lets the
	// request through. Default: none.
	UpstreamHeaders []HeaderPattern `json:"headersToUpstreamOnAllow"`
	// DeniedHeaders are the headers of its answer that the caller gets if it does not. Default: all but host.
	DeniedHeaders []HeaderPattern `json:"headersToDownstreamOnDeny"`
	// AllowedHeaders are the headers of its answer that the caller gets with the handler's answer. Default: none.
	AllowedHeaders []HeaderPattern `json:"headersToDownstreamOnAllow"`
}

// An ExtAuthzBody is how much of the body of a request goes with the question.
type ExtAuthzBody struct {
	// MaxRequestBytes is how many bytes are read. A longer body is refused with 413, whatever failOpen says.
	MaxRequestBytes uint32 `json:"maxRequestBytes" rule:"required,max=16777216"`
	// AllowPartialMessage sends the beginning of a longer body instead of refusing it. Default: it is refused.
	AllowPartialMessage bool `json:"allowPartialMessage"`
	// PackAsBytes sends it as bytes, and not as text; with gRPC alone. Default: as text.
	PackAsBytes bool `json:"packAsBytes"`
}

// An HTTPStatus is the status of an answer that is an error, as a text: "400" to "599".
type HTTPStatus string

var statuses = regexp.MustCompile(`^[45][0-9][0-9]$`)

// UnmarshalText reads a status.
func (s *HTTPStatus) UnmarshalText(text []byte) error {
	if !statuses.Match(text) {
		return fmt.Errorf("%q is not the HTTP status of an error, \"400\" to \"599\"", text)
	}
	*s = HTTPStatus(text)
	return nil
}

// Pattern is what a status looks like.
func (HTTPStatus) Pattern() string { return statuses.String() }

// A HeaderPattern is the name of a header, or the beginning of names with "*" behind it, or the end with "*" before it.
type HeaderPattern string

var headerPatterns = regexp.MustCompile("^([0-9A-Za-z!#$%&'+.^_`|~-]+\\*?|\\*[0-9A-Za-z!#$%&'+.^_`|~-]+)$")

// UnmarshalText reads the name of a header, or what stands for some.
func (h *HeaderPattern) UnmarshalText(text []byte) error {
	if !headerPatterns.Match(text) {
		return fmt.Errorf("%q is not the name of a header, nor the beginning or end of some with one \"*\"", text)
	}
	*h = HeaderPattern(text)
	return nil
}

// Pattern is what it looks like.
func (HeaderPattern) Pattern() string { return headerPatterns.String() }
