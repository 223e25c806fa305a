package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"

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

// PeerOf is who is on the other side of a connection that a configuration of [ServerTLS] or [ClientTLS] has shaken hands for, which
// verified it: nothing is verified again. Of any other connection, and of one that an Insecure ClientTLS made, it would say what nobody
// has proved: there [Verify] is to be asked. Who has no certificate has a Peer without one; certificates without a SPIFFE ID have a zero ID.
func PeerOf(state tls.ConnectionState) (*Peer, error) {
	if !state.HandshakeComplete {
		return nil, errors.New("peer: the TLS handshake is not complete")
	}
	p := &Peer{Certificates: state.PeerCertificates, ServerName: state.ServerName, Protocol: state.NegotiatedProtocol}
	if len(p.Certificates) == 0 || !slices.ContainsFunc(p.Certificates[0].URIs, isSPIFFE) {
		return p, nil
	}
	var err error
	if p.ID, err = IDOf(p.Certificates[0]); err != nil {
		return nil, fmt.Errorf("peer certificate: %w", err)
	}
	return p, nil
}

// Secure reports whether the connection is TLS with a verified certificate.
func (p *Peer) Secure() bool { return p != nil && len(p.Certificates) > 0 }

func isSPIFFE(u *url.URL) bool { return u.Scheme == "spiffe" }

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
