package identity

import (
	"math/big"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/internal/match"
)

// A ClientTLS is what a client demands of the TLS servers of a cluster, and what it shows them. It is a
// value; nil in a cluster means plaintext.
type ClientTLS struct {
	// Mutual is the mesh's own mTLS: the process shows the certificate of its [Source] and believes that Source's bundles
	// (Istio ISTIO_MUTUAL). A server must have an X509-SVID of a trust domain that the Source knows, and, where there are
	// SubjectAltNames, one of these. RootCAs, the files and Insecure do not count then.
	Mutual bool
	// ServerName is sent as SNI and, when SubjectAltNames is empty and Mutual is not set, is what the
	// certificate must be valid for. Empty means the name that was called.
	ServerName string
	// SubjectAltNames, any of which the certificate must carry.
	SubjectAltNames []SubjectAltName
	// RootCAs are PEM certificates; empty means RootCAFile or, without that, the system's roots.
	RootCAs string
	// CertificateFile, KeyFile, RootCAFile and RevocationFile are PEM files of the client's machine, which are read anew when they
	// change (Istio clientCertificate, privateKey, caCertificates, caCrl). A client certificate is shown if there is one.
	CertificateFile, KeyFile, RootCAFile, RevocationFile string
	// Insecure verifies nothing at all (Istio insecureSkipVerify).
	Insecure bool
	// Revoked are identities and certificates that are not believed any more, whoever signed them. nil is none.
	Revoked *Revoked
}

// Equal compares two demands by their content; either may be nil.
func (c *ClientTLS) Equal(o *ClientTLS) bool {
	if c == nil || o == nil || c == o {
		return c == o
	}
	a, b := *c, *o
	if !slices.Equal(a.SubjectAltNames, b.SubjectAltNames) || !a.Revoked.Equal(b.Revoked) {
		return false
	}
	return a.Mutual == b.Mutual && a.ServerName == b.ServerName && a.RootCAs == b.RootCAs && a.Insecure == b.Insecure &&
		a.CertificateFile == b.CertificateFile && a.KeyFile == b.KeyFile && a.RootCAFile == b.RootCAFile && a.RevocationFile == b.RevocationFile
}

// A NameType is a kind of subject alternative name.
type NameType uint8

// The types of names.
const (
	AnyName NameType = iota
	DNSName
	URIName
	IPName
	EmailName
)

// A SubjectAltName is a condition on a name of a certificate (Envoy SubjectAltNameMatcher). A DNS name of a certificate that
// begins with "*." stands for one label where the condition is an exact one.
type SubjectAltName struct {
	Type NameType
	Is   match.String
}

// ExactNames are the conditions to have one of the names, be they DNS names, URIs or whatever.
func ExactNames(names ...string) []SubjectAltName {
	var out []SubjectAltName
	for _, n := range names {
		out = append(out, SubjectAltName{Is: match.String{Kind: match.Exact, Value: n}})
	}
	return out
}

// A Mode says whether the connections to a server are TLS (Istio PeerAuthentication mtls.mode).
type Mode uint8

// The modes. The zero Mode is for who was told nothing: Strict if the process has an identity, else Disable.
const (
	Unset      Mode = iota
	Disable         // plaintext alone
	Permissive      // both, told apart by the first byte
	Strict          // mTLS alone
)

var modeNames = [...]string{"UNSET", "DISABLE", "PERMISSIVE", "STRICT"}

func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return "INVALID"
}

// A ServerTLS is what a server demands of the connections that are made to it. Its own certificate and the bundles it
// believes are its [Source]'s.
type ServerTLS struct {
	Mode Mode
	// SubjectAltNames, any of which the certificate of a client must carry; empty means any X509-SVID of a trust domain
	// that the Source knows.
	SubjectAltNames []SubjectAltName
}

// A Revoked is what is not believed any more before it expires. It is a value.
type Revoked struct {
	// Serials are of certificates, as big-endian bytes in lower-case hexadecimal, without leading zeros.
	Serials []string
	IDs     []spiffeid.ID
}

// Equal compares two by their content; either may be nil.
func (r *Revoked) Equal(o *Revoked) bool {
	if r == nil || o == nil {
		return r == o
	}
	return slices.Equal(r.Serials, o.Serials) && slices.Equal(r.IDs, o.IDs)
}

// Serial is the serial number of a certificate in the form that Revoked has.
func Serial(n *big.Int) string { return n.Text(16) }
