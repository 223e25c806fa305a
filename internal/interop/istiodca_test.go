package interop

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	callers "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	security "istio.io/api/security/v1alpha1"
)

const (
	istiodName = "istiod.istio-system.svc"
	istiodID   = "spiffe://cluster.local/ns/shop/sa/payments" // whom its tokens are of
)

// An istiodCA answers as the authority of istiod has been seen to: what the CSR says of names is ignored, the subject is empty, a certificate
// begins two minutes ago and lives for 24 hours unless asked otherwise, the chain has the root at its end, and keys of authorities are RSA.
type istiodCA struct {
	security.UnimplementedIstioCertificateServiceServer

	addr  string
	root  *authorityOf
	inner *authorityOf // signs, if it is not nil

	mu    sync.Mutex
	token string
	life  time.Duration // of those that ask for none
	seen  []istiodCall
}

// An istiodCall is what a caller showed.
type istiodCall struct {
	token, cluster string
	certificate    *x509.Certificate
	asked          int64
	csr            *x509.CertificateRequest
}

// startIstiodCA serves it with TLS from 1.2 up to the version.
func startIstiodCA(t *testing.T, most uint16, intermediate bool) *istiodCA {
	t.Helper()
	i := &istiodCA{root: newAuthorityOf(t, nil), token: "good", life: 24 * time.Hour}
	signer := i.root
	if intermediate {
		i.inner = newAuthorityOf(t, i.root)
		signer = i.inner
	}
	key := newRSA(t)
	der, err := signer.sign(&x509.Certificate{DNSNames: []string{istiodName, "istiod.istio-system"}}, key.Public(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	if intermediate {
		cert.Certificate = append(cert.Certificate, i.inner.cert.Raw)
	}
	roots := x509.NewCertPool()
	roots.AddCert(i.root.cert)
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, MaxVersion: most, Certificates: []tls.Certificate{cert},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: roots,
	})))
	security.RegisterIstioCertificateServiceServer(srv, i)
	ln := listen(t)
	i.addr = ln.Addr().String()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return i
}

// CreateCertificate implements the authority.
func (i *istiodCA) CreateCertificate(ctx context.Context, r *security.IstioCertificateRequest) (*security.IstioCertificateResponse, error) {
	call := istiodCall{asked: r.GetValidityDuration()}
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("authorization") {
		call.token = v
	}
	for _, v := range md.Get("ClusterID") {
		call.cluster = v
	}
	if p, ok := callers.FromContext(ctx); ok {
		if certs := p.AuthInfo.(credentials.TLSInfo).State.PeerCertificates; len(certs) > 0 {
			call.certificate = certs[0]
		}
	}
	block, _ := pem.Decode([]byte(r.GetCsr()))
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, status.Error(codes.InvalidArgument, "CSR signing error (certificate signing request is not properly encoded)")
	}
	var err error
	if call.csr, err = x509.ParseCertificateRequest(block.Bytes); err == nil {
		err = call.csr.CheckSignature()
	}
	i.mu.Lock()
	i.seen = append(i.seen, call)
	token, life := i.token, i.life
	i.mu.Unlock()
	known := call.certificate != nil && len(call.certificate.URIs) == 1 && call.certificate.URIs[0].String() == istiodID
	switch {
	case !known && call.token != "Bearer "+token:
		return nil, status.Error(codes.Unauthenticated, "request authenticate failure")
	case err != nil:
		return nil, status.Errorf(codes.InvalidArgument, "CSR signing error (%v)", err)
	case call.asked > int64(90*24*time.Hour/time.Second):
		return nil, status.Error(codes.InvalidArgument, "CSR signing error (requested TTL is greater than the max allowed TTL 2160h0m0s)")
	case call.asked > 0:
		life = time.Duration(call.asked) * time.Second
	}
	id, err := url.Parse(istiodID)
	if err != nil {
		return nil, err
	}
	signer, chain := i.root, []string{encodeCertificate(i.root.cert.Raw)}
	if i.inner != nil {
		signer, chain = i.inner, append([]string{encodeCertificate(i.inner.cert.Raw)}, chain...)
	}
	der, err := signer.sign(&x509.Certificate{URIs: []*url.URL{id}}, call.csr.PublicKey, life)
	if err != nil {
		return nil, err
	}
	return &security.IstioCertificateResponse{CertChain: append([]string{encodeCertificate(der)}, chain...)}, nil
}

func (i *istiodCA) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *istiodCA) calls() []istiodCall {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]istiodCall(nil), i.seen...)
}

// rootPEM is what istiod puts into the ConfigMap istio-ca-root-cert.
func (i *istiodCA) rootPEM() []byte { return encodePEM("CERTIFICATE", i.root.cert.Raw) }

// An authorityOf signs with RSA.
type authorityOf struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

func newAuthorityOf(t *testing.T, above *authorityOf) *authorityOf {
	t.Helper()
	a := &authorityOf{key: newRSA(t)}
	form := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"cluster.local"}}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	by, key := form, a.key
	if above != nil {
		form.Subject.CommonName = "Intermediate CA"
		by, key = above.cert, above.key
	}
	der, err := x509.CreateCertificate(rand.Reader, form, by, a.key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authorityOf) sign(form *x509.Certificate, public crypto.PublicKey, life time.Duration) ([]byte, error) {
	if public == nil {
		return nil, errors.New("no key")
	}
	form.SerialNumber, form.NotBefore, form.NotAfter = serial(), time.Now().Add(-2*time.Minute), time.Now().Add(life)
	form.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	form.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	form.BasicConstraintsValid = true
	return x509.CreateCertificate(rand.Reader, form, a.cert, public, a.key)
}

func serial() *big.Int { return new(big.Int).SetBytes([]byte(rand.Text()[:16])) }

func newRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encodeCertificate(der []byte) string { return string(encodePEM("CERTIFICATE", der)) }
