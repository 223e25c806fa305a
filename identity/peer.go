package identity

import (
	"crypto/x509"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// A Peer is who is on the other side of a connection, and of a call, as far as that was verified. It is not modified.
type Peer struct {
	// ID is the SPIFFE ID of the verified certificate; zero if there is none.
	ID spiffeid.ID
	// Certificates are the verified chain, leaf first; empty over plaintext.
	Certificates []*x509.Certificate
	// ServerName is the name that the client asked for (SNI), Protocol what was negotiated (ALPN).
	ServerName, Protocol string
	// Claims are those of the call's verified tokens; nil without any.
	Claims []Claims
}

// Secure reports whether the connection is TLS with a verified certificate.
func (p *Peer) Secure() bool { return p != nil && len(p.Certificates) > 0 }

// Claims is what a verified JWT says.
type Claims struct {
	Provider string // of the JWT value, whose token it is
	Issuer   string
	Subject  string
	Audience []string
	// Payload are all claims, as encoding/json reads an object: map[string]any, []any, string, float64 (json.Number where it is no
	// exact float64), bool or nil. Not to be modified.
	Payload map[string]any
}
