// Package identity says who calls and who may.
package identity

// A ClientTLS is what a client demands of the TLS servers of a cluster. It is a
// value; nil in a cluster means plaintext.
type ClientTLS struct {
	// ServerName is sent as SNI and, when SubjectAltNames is empty, is what the
	// certificate must be valid for. Empty means the name that was called.
	ServerName string
	// SubjectAltNames, any of which the certificate must carry exactly, as DNS name or URI.
	SubjectAltNames []string
	// RootCAs are PEM certificates; empty means the system's roots.
	RootCAs string
}
