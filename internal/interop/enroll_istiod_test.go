package interop

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	security "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/identity/enroll"
)

// config is what a pod of Istio has: a token in a file, which it rereads, and the root in another.
func (i *istiodCA) config(t *testing.T, token string) enroll.Config {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return enroll.Config{
		Address: i.addr, ServerName: istiodName, TLS12: true, ClusterID: "Kubernetes", TokenFile: write("istio-token", []byte(token+"\n")),
		RootCAFile: write("root-cert.pem", i.rootPEM()), Logger: slog.New(slog.DiscardHandler),
	}
}

func TestEnrollWithIstiod(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		most         uint16
		intermediate bool
	}{
		"a root of its own, TLS 1.3":                  {tls.VersionTLS13, false},
		"an authority plugged in, TLS 1.2":            {tls.VersionTLS12, true},
		"an authority plugged in, TLS 1.3 and no 1.2": {tls.VersionTLS13, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := startIstiodCA(t, of.most, of.intermediate)
			s := enrolled(t, i.config(t, "good"))
			svid, err := s.GetX509SVID()
			if err != nil {
				t.Fatal(err)
			}
			leaf := svid.Certificates[0]
			if svid.ID.String() != istiodID || time.Until(leaf.NotAfter) < 23*time.Hour {
				t.Errorf("%s until %v", svid.ID, leaf.NotAfter)
			}
			if want := map[bool]int{false: 1, true: 2}[of.intermediate]; len(svid.Certificates) != want {
				t.Errorf("%d certificates are shown, want %d: all but the root", len(svid.Certificates), want)
			}
			bundle, err := s.GetX509BundleForTrustDomain(svid.ID.TrustDomain())
			if err != nil || len(bundle.X509Authorities()) != 1 || !bundle.HasX509Authority(i.root.cert) {
				t.Errorf("it believes %v, %v", bundle, err)
			}
			call := i.calls()[0]
			if call.token != "Bearer good" || call.cluster != "Kubernetes" || call.asked != 0 || call.certificate != nil {
				t.Errorf("istiod was shown %+v", call)
			}
			handshake(t, s, enrolled(t, i.config(t, "good")))
		})
	}
}

// handshake shows that two sources prove themselves to each other with another implementation, go-spiffe's.
func handshake(t *testing.T, server, client *enroll.Source) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	id := tlsconfig.AuthorizeID(spiffeid.RequireFromString(istiodID))
	failed := make(chan error, 1)
	ctx, cancel := within(t)
	defer cancel()
	go func() { failed <- tls.Server(a, tlsconfig.MTLSServerConfig(server, server, id)).HandshakeContext(ctx) }()
	if err := tls.Client(b, tlsconfig.MTLSClientConfig(client, client, id)).HandshakeContext(ctx); err != nil {
		t.Errorf("client: %v", err)
	}
	if err := <-failed; err != nil {
		t.Errorf("server: %v", err)
	}
}

func TestEnrollIsRefusedByIstiod(t *testing.T) {
	t.Parallel()
	i := startIstiodCA(t, tls.VersionTLS13, false)
	cfg := i.config(t, "stale")
	s, err := enroll.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if !eventually(func() bool { return s.State().Failures > 0 }) {
		t.Fatal("istiod is not asked")
	}
	if err := s.State().Err; status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "request authenticate failure") || strings.Contains(err.Error(), "stale") {
		t.Errorf("a stale token: %v", err)
	}
	if _, err := s.GetX509SVID(); err == nil {
		t.Error("it has a certificate")
	}
	// Kubernetes refreshes the file.
	if err := os.WriteFile(cfg.TokenFile, []byte("good"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := within(t)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Error(err)
	}

	for name, c := range map[string]struct {
		change func(*enroll.Config)
		want   string
	}{
		"longer than 90 days":   {func(c *enroll.Config) { c.TTL = 91 * 24 * time.Hour }, "greater than the max allowed TTL"},
		"another's certificate": {func(c *enroll.Config) { c.ServerName = "istiod.elsewhere.svc" }, "istiod.elsewhere.svc"},
		"another root": {func(c *enroll.Config) {
			c.RootCAFile, c.RootCAs = "", encodePEM("CERTIFICATE", newAuthorityOf(t, nil).cert.Raw)
		}, "authority's certificate"},
		"another trust domain": {func(c *enroll.Config) { c.TrustDomain = spiffeid.RequireTrustDomainFromString(shopDomain) }, "not of trust domain"},
		"TLS 1.2 where 1.3 is due": {func(c *enroll.Config) {
			old := startIstiodCA(t, tls.VersionTLS12, false).config(t, "good")
			old.TLS12 = false
			*c = old
		}, "protocol version"},
	} {
		cfg := i.config(t, "good")
		c.change(&cfg)
		s, err := enroll.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if !eventually(func() bool { return s.State().Failures > 0 }) {
			t.Fatalf("%s: no attempt fails", name)
		}
		if err := s.State().Err; !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}

// A certificate is renewed at half its life, which the one there is proves enough for.
func TestRenewalWithIstiod(t *testing.T) {
	t.Parallel()
	i := startIstiodCA(t, tls.VersionTLS13, true)
	i.set(func() { i.life = 4 * time.Second })
	s := enrolled(t, i.config(t, "good"))
	i.set(func() { i.token, i.life = "another", 24*time.Hour })
	if !eventually(func() bool { return time.Until(s.State().NotAfter) > time.Hour }) {
		t.Fatalf("it is not renewed: %v", s.State().Err)
	}
	calls := i.calls()
	last := calls[len(calls)-1]
	if last.certificate == nil || last.certificate.URIs[0].String() != istiodID {
		t.Errorf("istiod was shown %+v", last)
	}
	if first, ok := calls[0].csr.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || first.Equal(last.csr.PublicKey) {
		t.Error("the key is the old one")
	}
}

// An agent of Istio asks our authority as it asks istiod: with the token of a pod, for 24 hours, and a CSR that says who it would like to be.
func TestIstiosAgentAsksOurAuthority(t *testing.T) {
	t.Parallel()
	kubernetes := newIssuer(t)
	c := startSecureOf(t, controlserver.Config{CA: &ca.Config{
		TrustDomain: spiffeid.RequireTrustDomainFromString(shopDomain),
		Issuers:     []ca.Issuer{{Issuer: "kubernetes", Audiences: []string{"istio-ca"}, JWKS: kubernetes.jwks(t)}},
	}}, map[string]string{"grpc.yaml": read(t, "secure-grpc.yaml")})
	key := newRSA(t)
	admin, err := url.Parse("spiffe://" + shopDomain + "/ns/weft-system/sa/control-server")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "control-server", Organization: []string{"admins"}}, URIs: []*url.URL{admin}, DNSNames: []string{"localhost", "control.shop"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	request := &security.IstioCertificateRequest{Csr: string(encodePEM("CERTIFICATE REQUEST", der)), ValidityDuration: 24 * 60 * 60}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.roots)
	ask := func(token string, r *security.IstioCertificateRequest, own ...tls.Certificate) ([]string, error) {
		t.Helper()
		conn, err := grpc.NewClient("passthrough:///"+c.server.Addr(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: "localhost", Certificates: own,
		})))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := within(t)
		defer cancel()
		ctx = metadata.AppendToOutgoingContext(ctx, "ClusterID", "Kubernetes")
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		}
		answer, err := security.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx, r)
		return answer.GetCertChain(), err
	}

	good := kubernetes.account(t, "payments", "istio-ca")
	chain, err := ask(good, request)
	if err != nil {
		t.Fatal(err)
	}
	certs := agentReads(t, chain, roots)
	leaf := certs[0]
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://"+shopDomain+"/ns/shop/sa/payments" || len(leaf.DNSNames) > 0 || leaf.Subject.CommonName != "" || len(leaf.Subject.Organization) > 0 {
		t.Errorf("the certificate is of %v %v %v", leaf.URIs, leaf.DNSNames, leaf.Subject)
	}
	if life := time.Until(leaf.NotAfter); life < 23*time.Hour || life > 24*time.Hour {
		t.Errorf("it lives %v, want 24 h", life)
	}
	if last := certs[len(certs)-1]; string(encodePEM("CERTIFICATE", last.Raw)) != string(c.roots) {
		t.Error("the chain does not end with the root, which is what an agent makes root-cert.pem of")
	}
	own, err := tls.X509KeyPair([]byte(strings.Join(chain[:len(chain)-1], "")), encodePEM("PRIVATE KEY", pkcs8(t, key)))
	if err != nil {
		t.Fatal(err)
	}
	if chain, err = ask("", request, own); err != nil {
		t.Errorf("by its certificate: %v", err)
	} else if renewed := agentReads(t, chain, roots)[0]; renewed.URIs[0].String() != leaf.URIs[0].String() {
		t.Errorf("renewed, it is %v", renewed.URIs)
	}

	another, err := structpb.NewStruct(map[string]any{"ImpersonatedIdentity": admin.String()})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]struct {
		token   string
		request *security.IstioCertificateRequest
		code    codes.Code
		text    string
	}{
		"no token":             {"", request, codes.Unauthenticated, "request authenticate failure"},
		"another's token":      {newIssuer(t).account(t, "payments", "istio-ca"), request, codes.Unauthenticated, "request authenticate failure"},
		"for another audience": {kubernetes.account(t, "payments", "vault"), request, codes.Unauthenticated, "request authenticate failure"},
		"as another":           {good, &security.IstioCertificateRequest{Csr: request.Csr, Metadata: another}, codes.Unauthenticated, "impersonation"},
		"for too long":         {good, &security.IstioCertificateRequest{Csr: request.Csr, ValidityDuration: 100 * 24 * 60 * 60}, codes.InvalidArgument, "greater than the max allowed TTL"},
		"no CSR":               {good, &security.IstioCertificateRequest{}, codes.InvalidArgument, "CSR signing error"},
	} {
		if chain, err := ask(r.token, r.request); status.Code(err) != r.code || !strings.Contains(err.Error(), r.text) || len(chain) > 0 {
			t.Errorf("%s: %v, want %v %q", name, err, r.code, r.text)
		}
	}
}

// agentReads checks a chain as Istio's agent and its proxy do: one certificate a string, the last of which the others lead to.
func agentReads(t *testing.T, chain []string, roots *x509.CertPool) []*x509.Certificate {
	t.Helper()
	if len(chain) < 2 {
		t.Fatalf("%d certificates", len(chain))
	}
	var certs []*x509.Certificate
	between := x509.NewCertPool()
	for _, text := range chain {
		block, rest := pem.Decode([]byte(text))
		if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
			t.Fatalf("not one certificate: %q", text)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if certs = append(certs, cert); len(certs) > 1 {
			between.AddCert(cert)
		}
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("usage %v: %v", usage, err)
		}
	}
	return certs
}

func pkcs8(t *testing.T, key crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
