package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Config is the TLS configuration that makes these demands of a server called by
// the name called. Protocols (ALPN) are the caller's to add. RootCAs that hold no certificate
// are an error.
func (c *ClientTLS) Config(called string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: called}
	if c.ServerName != "" {
		conf.ServerName = c.ServerName
	}
	if c.RootCAs != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(c.RootCAs)) {
			return nil, errors.New("root CAs: no PEM certificate in them")
		}
	}
	if len(c.SubjectAltNames) > 0 {
		// The name to be proved is not the one that is sent, which crypto/tls can't
		// say: its own verification is replaced by the same one against our names.
		conf.InsecureSkipVerify = true
		conf.VerifyConnection = func(s tls.ConnectionState) error { return c.verify(conf.RootCAs, s) }
	}
	return conf, nil
}

// verify demands a chain to the roots and one of the names.
func (c *ClientTLS) verify(roots *x509.CertPool, s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("server certificate: there is none")
	}
	leaf := s.PeerCertificates[0]
	chain := x509.NewCertPool()
	for _, cert := range s.PeerCertificates[1:] {
		chain.AddCert(cert)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: chain, CurrentTime: time.Now()}); err != nil {
		return fmt.Errorf("server certificate: %w", err)
	}
	names := slices.Clone(leaf.DNSNames)
	for _, uri := range leaf.URIs {
		names = append(names, uri.String())
	}
	var wanted []string
	for _, w := range c.SubjectAltNames {
		if slices.ContainsFunc(names, w.Is.Holds) {
			return nil
		}
		wanted = append(wanted, w.Is.Value)
	}
	return fmt.Errorf("server certificate: none of its names is %s", strings.Join(wanted, " or "))
}
