package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Config is the TLS configuration that makes these demands of a server called by the name called. s is who the process is, which Mutual
// needs, and it is asked at each handshake; it may be nil else. Files are read here and, when they have changed, before a handshake; one that can't be
// read any more keeps its last content, and report is told why, once for each reason. report may be nil, and must not block.
// A configuration is made once for many connections, not for each.
//
// Protocols (ALPN) are the caller's to append. For Mutual there is "istio" among them, by which a permissive sidecar of Istio knows that TLS is
// the mesh's own; no server chooses it. Sessions are not resumed.
func (c *ClientTLS) Config(called string, s Source, report func(error)) (*tls.Config, error) {
	ready, err := readyNames(c.SubjectAltNames)
	if err != nil {
		return nil, err
	}
	name := called
	if c.ServerName != "" {
		name = c.ServerName
	}
	if c.Mutual {
		return c.mutual(name, s, ready)
	}
	return c.web(name, ready, report)
}

// mutual is the mesh's own mTLS.
func (c *ClientTLS) mutual(name string, s Source, ready names) (*tls.Config, error) {
	if s == nil {
		return nil, errors.New("mTLS is demanded, and this process has no identity to show")
	}
	d := demand{bundles: s, usage: x509.ExtKeyUsageServerAuth, names: ready}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: name, NextProtos: []string{"istio"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificateOf(s) },
		InsecureSkipVerify:   true, //nolint:gosec // crypto/tls knows names of hosts only; VerifyConnection does it all
		VerifyConnection: func(state tls.ConnectionState) error {
			if _, err := d.verify(state, c.Revoked); err != nil {
				return fmt.Errorf("server certificate: %w", err)
			}
			return nil
		},
	}, nil
}

// web is TLS as everybody speaks it.
func (c *ClientTLS) web(name string, ready names, report func(error)) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	if c.CertificateFile != "" || c.KeyFile != "" {
		pair, err := newReread([]string{c.CertificateFile, c.KeyFile}, keyPair, report)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.now(), nil }
	}
	if c.Insecure {
		conf.InsecureSkipVerify = true
		return conf, nil
	}
	v := webVerifier{names: ready, revoked: c.Revoked}
	switch {
	case c.RootCAs != "":
		roots, err := rootPool([][]byte{[]byte(c.RootCAs)})
		if err != nil {
			return nil, fmt.Errorf("root CAs: %w", err)
		}
		conf.RootCAs = roots
		v.roots = func() *x509.CertPool { return roots }
	case c.RootCAFile != "":
		roots, err := newReread([]string{c.RootCAFile}, rootPool, report)
		if err != nil {
			return nil, fmt.Errorf("root CAs: %w", err)
		}
		v.roots = roots.now
	default:
		v.roots = func() *x509.CertPool { return nil }
	}
	if c.RevocationFile != "" {
		lists, err := newReread([]string{c.RevocationFile}, parseLists, report)
		if err != nil {
			return nil, fmt.Errorf("revocation list: %w", err)
		}
		v.lists = lists.now
	}
	if len(ready) == 0 {
		if c.RootCAFile == "" && v.lists == nil && c.Revoked == nil {
			return conf, nil // what crypto/tls can say itself
		}
		if name == "" {
			return nil, errors.New("there is no name that the server's certificate must be valid for")
		}
		v.host = name
	}
	conf.InsecureSkipVerify = true
	conf.VerifyConnection = func(state tls.ConnectionState) error {
		if err := v.verify(state.PeerCertificates); err != nil {
			return fmt.Errorf("server certificate: %w", err)
		}
		return nil
	}
	return conf, nil
}

// A webVerifier verifies a chain to roots that may change, and names that crypto/tls is not told of.
type webVerifier struct {
	roots   func() *x509.CertPool // nil is the system's
	lists   func() lists          // nil without any
	host    string                // that the leaf must be valid for; empty if names are asked for
	names   names
	revoked *Revoked
}

func (v *webVerifier) verify(certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return errors.New("there is none")
	}
	leaf := certs[0]
	if _, err := urisOf(leaf); err != nil {
		return err
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: v.roots(), Intermediates: between, DNSName: v.host})
	if err != nil {
		return err
	}
	if err := v.names.in(leaf, webNames(leaf)); err != nil {
		return err
	}
	var id spiffeid.ID
	if len(leaf.URIs) == 1 && isSPIFFE(leaf.URIs[0]) {
		id, _ = spiffeid.FromURI(leaf.URIs[0]) // a URI that is none is not revoked as one
	}
	if v.lists != nil {
		if chains, err = v.lists().unrevoked(chains); err != nil {
			return err
		}
	}
	_, err = v.revoked.unrevoked(id, chains)
	return err
}

func keyPair(files [][]byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(files[0], files[1])
	return &pair, err
}

func rootPool(files [][]byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(files[0]) {
		return nil, errors.New("no PEM certificate in them")
	}
	return pool, nil
}
