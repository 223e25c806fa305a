package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/examples/stage"
	"github.com/weftmesh/weft/identity"
)

// outside is a part that knows nothing of the mesh but two addresses. A plain one speaks plaintext, as the bank's old till and
// a stranger do; an impostor has a certificate with a name of the bank's, by an authority of its own.
func (p *part) outside(ctx context.Context) error {
	var dialer net.Dialer
	if elsewhere, err := net.Listen("tcp", "127.0.0.2:0"); err == nil { // where a machine has that address, servers can tell it from others
		dialer.LocalAddr = &net.TCPAddr{IP: elsewhere.Addr().(*net.TCPAddr).IP}
		elsewhere.Close()
	}
	scheme, transport, creds := "http", &http.Transport{DialContext: dialer.DialContext}, insecure.NewCredentials()
	var source identity.Source
	if p.role == "impostor" {
		forged, err := forge("branch")
		if err != nil {
			return err
		}
		defer forged.by.Close()
		source = forged
		config := forged.config()
		scheme, creds = "https", credentials.NewTLS(config.Clone())
		transport.TLSClientConfig = config
	}
	defer transport.CloseIdleConnections()
	bank, err := grpc.NewClient(p.payments, grpc.WithTransportCredentials(creds), grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", addr)
	}))
	if err != nil {
		return err
	}
	defer bank.Close()
	return p.call(ctx, source, scheme+"://"+p.accounts+"/balance", &http.Client{Transport: transport}, bank)
}

// A forgery is an identity of the bank's that another authority has signed.
type forgery struct {
	identity.Source
	by *ca.CA
}

func forge(name string) (*forgery, error) {
	cfg := authority("")
	cfg.Logger = stage.Quiet("forger")
	other, err := ca.New(*cfg)
	if err != nil {
		return nil, err
	}
	id, err := identityOf(name)
	if err != nil {
		other.Close()
		return nil, err
	}
	return &forgery{other.Source(id), other}, nil
}

// config shows the certificate to any server, and asks for no name: he wants to get in.
func (f *forgery) config() *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true,
		MinVersion:         tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			svid, err := f.GetX509SVID()
			if err != nil {
				return nil, err
			}
			out := &tls.Certificate{PrivateKey: svid.PrivateKey}
			for _, c := range svid.Certificates {
				out.Certificate = append(out.Certificate, c.Raw)
			}
			return out, nil
		},
	}
}
