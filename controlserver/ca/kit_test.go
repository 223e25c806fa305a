package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	securityv1alpha1 "istio.io/api/security/v1alpha1"
)

var (
	td       = spiffeid.RequireTrustDomainFromString("td")
	serverID = spiffeid.RequireFromPath(td, "/ns/weft-system/sa/control-server")
	payments = spiffeid.RequireFromPath(td, "/ns/shop/sa/payments")
	cart     = spiffeid.RequireFromPath(td, "/ns/shop/sa/cart")
)

// newCA makes an authority that the test closes.
func newCA(t testing.TB, change ...func(*Config)) *CA {
	t.Helper()
	cfg := Config{TrustDomain: td, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func in(dir string) func(*Config) { return func(c *Config) { c.Dir = dir } }

// request is a CSR for a new key. It asks for more than it gets.
func request(t testing.TB, change ...func(*x509.CertificateRequest)) (string, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return requestFor(t, key, change...), key
}

func requestFor(t testing.TB, key crypto.Signer, change ...func(*x509.CertificateRequest)) string {
	t.Helper()
	form := &x509.CertificateRequest{
		URIs: []*url.URL{spiffeid.RequireFromPath(td, "/ns/admin/sa/root").URL()}, DNSNames: []string{"admin.example"},
	}
	for _, f := range change {
		f(form)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, form, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// call is the context of a gRPC call over TLS, as a server sees it, without one being made: certs are the client's.
func call(t testing.TB, token string, certs ...*x509.Certificate) context.Context {
	t.Helper()
	info := credentials.TLSInfo{
		State:          tls.ConnectionState{HandshakeComplete: true, PeerCertificates: certs},
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}
	ctx := peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, AuthInfo: info})
	if token != "" {
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+token))
	}
	return ctx
}

func create(ctx context.Context, c *CA, csr string, seconds int64) ([]*x509.Certificate, error) {
	r, err := service{ca: c}.CreateCertificate(ctx, &securityv1alpha1.IstioCertificateRequest{Csr: csr, ValidityDuration: seconds})
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for _, text := range r.GetCertChain() {
		cert, err := parseCertificate(text)
		if err != nil {
			return nil, err
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// issue is a certificate of an identity by way of a join token.
func issue(t testing.TB, c *CA, id spiffeid.ID) *x509svid.SVID {
	t.Helper()
	token, err := c.CreateToken(id, 0)
	if err != nil {
		t.Fatal(err)
	}
	csr, key := request(t)
	chain, err := create(call(t, token), c, csr, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &x509svid.SVID{ID: id, Certificates: chain, PrivateKey: key}
}

// serve runs the CA's service on loopback, behind its own TLS.
func serve(t testing.TB, c *CA) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(c.TLS(c.Source(serverID, "localhost", "127.0.0.1")))))
	c.Register(s)
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { s.Stop(); done.Wait() })
	return l.Addr().String()
}

func wantCode(t *testing.T, what string, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("%s: %v, want %v", what, err, code)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// A logbook keeps what is logged.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
