package enroll

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	securityv1alpha1 "istio.io/api/security/v1alpha1"
)

const host = "istiod.istio-system.svc"

var payments = spiffeid.RequireFromString("spiffe://td/ns/shop/sa/payments")

// An istiod answers as istiod's authority does. What tests change is changed by do.
type istiod struct {
	securityv1alpha1.UnimplementedIstioCertificateServiceServer

	t  *testing.T
	ca *authority

	mu       sync.Mutex
	listener *bufconn.Listener
	down     bool
	slow     time.Duration
	fail     error
	id       string
	life     time.Duration
	forge    func(public crypto.PublicKey, chain []string) []string // makes another answer
	token    string                                                 // the one it takes; empty takes certificates alone
	calls    []seen
	atOnce   int
	most     int
}

// seen is what a call showed.
type seen struct {
	at    time.Time
	token string
	certs []*x509.Certificate
	asked int64
}

func newIstiod(t *testing.T) *istiod {
	i := &istiod{
		t: t, ca: newAuthority(t), listener: bufconn.Listen(1 << 16),
		id: "spiffe://td/ns/shop/sa/payments", life: time.Hour, token: "good",
	}
	key := newKey(t)
	leaf := i.ca.sign(t, &key.PublicKey, "", 1000*time.Hour, host)
	cert := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert,
	})))
	securityv1alpha1.RegisterIstioCertificateServiceServer(s, i)
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(i.listener) })
	t.Cleanup(func() { s.Stop(); done.Wait() })
	return i
}

func (i *istiod) do(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func (i *istiod) seen() []seen {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]seen(nil), i.calls...)
}

func (i *istiod) CreateCertificate(ctx context.Context, r *securityv1alpha1.IstioCertificateRequest) (*securityv1alpha1.IstioCertificateResponse, error) {
	call := seen{at: time.Now(), asked: r.GetValidityDuration()}
	if md, _ := metadata.FromIncomingContext(ctx); len(md.Get("authorization")) == 1 {
		call.token = md.Get("authorization")[0]
	}
	if p, ok := peer.FromContext(ctx); ok {
		call.certs = p.AuthInfo.(credentials.TLSInfo).State.PeerCertificates
	}
	i.mu.Lock()
	i.calls = append(i.calls, call)
	i.atOnce++
	i.most = max(i.most, i.atOnce)
	slow, fail, id, life, forge, token := i.slow, i.fail, i.id, i.life, i.forge, i.token
	i.mu.Unlock()
	defer i.do(func() { i.atOnce-- })
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
		}
	}
	if fail != nil {
		return nil, fail
	}
	known := false
	if len(call.certs) > 0 {
		_, _, err := x509svid.Verify(call.certs, x509bundle.FromX509Authorities(payments.TrustDomain(), i.ca.roots()))
		known = err == nil
	}
	if !known && (token == "" || call.token != "Bearer "+token) {
		return nil, status.Error(codes.Unauthenticated, "request authenticate failure")
	}
	block, _ := pem.Decode([]byte(r.GetCsr()))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	leaf := i.ca.sign(i.t, csr.PublicKey, id, life)
	chain := pems(append([]*x509.Certificate{leaf}, i.ca.roots()...)...)
	if forge != nil {
		chain = forge(csr.PublicKey, chain)
	}
	return &securityv1alpha1.IstioCertificateResponse{CertChain: chain}, nil
}

// client is a configuration that reaches it.
func (i *istiod) client(change ...func(*Config)) Config {
	cfg := Config{
		Address: host + ":15012", RootCAs: []byte(strings.Join(pems(i.ca.roots()...), "")), JoinToken: "good", Logger: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			i.mu.Lock()
			down := i.down
			i.mu.Unlock()
			if down {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed}
			}
			return i.listener.DialContext(ctx)
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	return cfg
}

func (i *istiod) source(change ...func(*Config)) *Source {
	i.t.Helper()
	s, err := New(i.client(change...))
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { _ = s.Close() })
	return s
}

// An authority certifies any key, as identitytest does not.
type authority struct {
	mu    sync.Mutex
	key   *ecdsa.PrivateKey
	certs []*x509.Certificate // of roots; the last signs
}

func newAuthority(t *testing.T) *authority {
	a := &authority{}
	a.rotate(t)
	return a
}

func (a *authority) rotate(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.key = newKey(t)
	form := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10000 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.certs = append(a.certs, create(t, form, form, &a.key.PublicKey, a.key))
}

// retire has only the newest root left.
func (a *authority) retire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.certs = a.certs[len(a.certs)-1:]
}

func (a *authority) roots() []*x509.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*x509.Certificate(nil), a.certs...)
}

func (a *authority) sign(t *testing.T, public crypto.PublicKey, id string, life time.Duration, names ...string) *x509.Certificate {
	t.Helper()
	form := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-2 * time.Minute), NotAfter: time.Now().Add(life), DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if id != "" {
		u, err := url.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		form.URIs = []*url.URL{u}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return create(t, form, a.certs[len(a.certs)-1], public, a.key)
}

func create(t *testing.T, form, by *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, form, by, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pems(certs ...*x509.Certificate) (out []string) {
	for _, c := range certs {
		out = append(out, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
	}
	return out
}
