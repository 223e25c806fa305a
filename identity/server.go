package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Config is the TLS configuration of a server that makes these demands of its clients; what Mode says of plaintext is the listener's to do. Both the certificate
// that is shown and the bundles are asked of s at each handshake, and what is revoked of revoked, which may be nil. Demands that can't be
// understood are fulfilled by nobody.
//
// TLS is 1.3 or later, no session is resumed, and every client must show an X509-SVID: see [Verify]. The protocols are h2 and http/1.1. A
// client that offers only Istio's names for HTTP/1 and for TCP is served without a protocol: "istio-peer-exchange" would promise
// that each side begins with a message about itself, and the others mean nothing to an HTTP server.
func (t *ServerTLS) Config(s Source, revoked func() *Revoked) *tls.Config {
	d := demand{bundles: s, usage: x509.ExtKeyUsageClientAuth}
	var unclear error
	if d.names, unclear = readyNames(t.SubjectAltNames); unclear == nil && s == nil {
		unclear = errors.New("this server has no identity, and knows none")
	}
	conf := &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, ClientAuth: tls.RequireAnyClientCert,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificateOf(s) },
		VerifyConnection: func(state tls.ConnectionState) error {
			if unclear != nil {
				return fmt.Errorf("client certificate: %w", unclear)
			}
			var r *Revoked
			if revoked != nil {
				r = revoked()
			}
			if _, err := d.verify(state, r); err != nil {
				return fmt.Errorf("client certificate: %w", err)
			}
			return nil
		},
	}
	without := conf.Clone()
	without.NextProtos = nil
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) > 0 && !slices.ContainsFunc(hello.SupportedProtos, notOfIstio) {
			return without, nil
		}
		return nil, nil
	}
	return conf
}

// notOfIstio reports whether a protocol is none of those that Istio's proxies offer when they speak no HTTP/2, alone or beside
// "http/1.1" (Istio ALPN filter).
func notOfIstio(protocol string) bool {
	switch protocol {
	case "istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "http/1.0":
		return false
	}
	return true
}

// certificateOf is what s has to show.
func certificateOf(s x509svid.Source) (*tls.Certificate, error) {
	if s == nil {
		return nil, errors.New("own certificate: this process has no identity")
	}
	svid, err := s.GetX509SVID()
	if err != nil {
		return nil, fmt.Errorf("own certificate: %w", err)
	}
	if svid == nil || len(svid.Certificates) == 0 || svid.PrivateKey == nil {
		return nil, errors.New("own certificate: there is none")
	}
	cert := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, c := range svid.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}
