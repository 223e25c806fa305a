package match

import "net/textproto"

// A Header reads the headers of a request, or the headers and trailers of an
// answer. Reading must not allocate where the protocol's own map does not.
type Header interface {
	// Values returns the values of a header; the result is not modified.
	Values(HeaderName) []string
}

// A HeaderName is a header's name in the forms that the protocols' maps use.
type HeaderName struct {
	Lower     string // as in gRPC metadata and HTTP/2
	Canonical string // as in net/http's Header
}

// Named is the HeaderName of a name in any letter case.
func Named(name string) HeaderName {
	lower := ToLower(name)
	return HeaderName{Lower: lower, Canonical: textproto.CanonicalMIMEHeaderKey(lower)}
}
