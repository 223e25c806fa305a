package ca

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	securityv1alpha1 "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/enroll"
)

// rootPEM is what an operator gives processes to know the control server by.
func rootPEM(c *CA) []byte {
	var all []string
	for _, r := range c.Status().Roots {
		all = append(all, r.CertificatePEM)
	}
	return []byte(strings.Join(all, ""))
}

func enrol(t testing.TB, c *CA, addr string, change ...func(*enroll.Config)) *enroll.Source {
	t.Helper()
	cfg := enroll.Config{Address: addr, RootCAs: rootPEM(c), Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	s, err := enroll.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func ready(t testing.TB, s *enroll.Source) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// The whole way over real connections: by a join token, by a token of Kubernetes, renewed by certificate, refused when revoked, and two
// processes that believe each other.
func TestEnroll(t *testing.T) {
	k8s := newSigner(t, "k1")
	var mu sync.Mutex
	revoked := &identity.Revoked{}
	c := newCA(t, in(t.TempDir()+"/ca"), func(c *Config) {
		c.Issuers = []Issuer{kubernetes(k8s)}
		c.Revoked = func() *identity.Revoked {
			mu.Lock()
			defer mu.Unlock()
			return revoked
		}
	})
	addr := serve(t, c)
	token, err := c.CreateToken(cart, 0)
	if err != nil {
		t.Fatal(err)
	}
	one := enrol(t, c, addr, func(c *enroll.Config) { c.JoinToken, c.TTL = token, 5*time.Second })
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(k8s.token()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	two := enrol(t, c, addr, func(c *enroll.Config) { c.TokenFile = file })
	ready(t, one)
	ready(t, two)
	for s, want := range map[*enroll.Source]spiffeid.ID{one: cart, two: payments} {
		svid, err := s.GetX509SVID()
		if err != nil || svid.ID != want {
			t.Fatal(svid, err)
		}
	}
	handshake(t, one, two, payments)
	handshake(t, two, one, cart)

	first, err := one.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "renewed by certificate", func() bool {
		svid, err := one.GetX509SVID()
		return err == nil && svid != first
	})
	mu.Lock()
	revoked = &identity.Revoked{IDs: []spiffeid.ID{cart}}
	mu.Unlock()
	eventually(t, "refused when revoked", func() bool {
		st := one.State()
		return st.Err != nil && strings.Contains(st.Err.Error(), "revoked")
	})
	stolen := enrol(t, c, addr, func(c *enroll.Config) { c.JoinToken = token })
	eventually(t, "a used token refused", func() bool {
		st := stolen.State()
		return st.Failures > 0 && strings.Contains(st.Err.Error(), "meshctl token create")
	})
}

// handshake has client and server prove themselves by their sources.
func handshake(t *testing.T, client, server *enroll.Source, want spiffeid.ID) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(server, server, tlsconfig.AuthorizeAny()))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "hello")
	})
	conn, err := (&tls.Dialer{Config: tlsconfig.MTLSClientConfig(client, client, tlsconfig.AuthorizeID(want))}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 5)); n != 5 || err != nil {
		t.Error(n, err)
	}
	wg.Wait()
}

// A process goes on through the rotation of the root, the server's own certificate included, with what it knew at the start.
func TestEnrollThroughRotation(t *testing.T) {
	c := newCA(t)
	addr := serve(t, c)
	token, err := c.CreateToken(payments, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := enrol(t, c, addr, func(c *enroll.Config) { c.JoinToken, c.TTL = token, 2*time.Second })
	ready(t, s)
	believes := func(want int) func() bool {
		return func() bool {
			b, err := s.GetX509BundleForTrustDomain(td)
			return err == nil && len(b.X509Authorities()) == want
		}
	}
	for _, step := range []struct {
		Step

		roots int
	}{{AnnounceRoot, 2}, {SwitchRoot, 2}, {RetireRoot, 1}} {
		if err := c.RotateRoot(step.Step, true); err != nil {
			t.Fatal(err)
		}
		before, _ := s.GetX509SVID()
		eventually(t, "renewed after "+string(step.Step), func() bool {
			svid, err := s.GetX509SVID()
			return err == nil && svid != before
		})
		eventually(t, "the bundle after "+string(step.Step), believes(step.roots))
		svid, err := s.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := x509svid.Verify(svid.Certificates, c); err != nil {
			t.Errorf("after %s: %v", step.Step, err)
		}
	}
}

// Istio's agents verify the host by a DNS name, and take the last certificate of the answer as the root.
func TestIstioAgent(t *testing.T) {
	k8s := newSigner(t, "k1")
	c := newCA(t, func(c *Config) { c.Issuers = []Issuer{kubernetes(k8s)} })
	conn, err := grpc.NewClient(strings.Replace(serve(t, c), "127.0.0.1", "localhost", 1), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: pool(c), MinVersion: tls.VersionTLS12,
	})), grpc.WithPerRPCCredentials(bearerToken(k8s.token())))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	csr, _ := request(t)
	answer, err := securityv1alpha1.NewIstioCertificateServiceClient(conn).CreateCertificate(t.Context(), &securityv1alpha1.IstioCertificateRequest{Csr: csr, ValidityDuration: 86400})
	if err != nil {
		t.Fatal(err)
	}
	chain := answer.GetCertChain()
	if len(chain) != 3 || chain[2] != string(rootPEM(c)) {
		t.Errorf("%d certificates, the last of which is not the root", len(chain))
	}
	leaf, err := parseCertificate(chain[0])
	if err != nil || leaf.URIs[0].String() != payments.String() {
		t.Error(leaf, err)
	}
	_, err = securityv1alpha1.NewIstioCertificateServiceClient(conn).CreateCertificate(t.Context(), &securityv1alpha1.IstioCertificateRequest{Csr: csr, ValidityDuration: 86401})
	wantCode(t, "more than 24 h", err, codes.InvalidArgument)
}

type bearerToken string

func (b bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearerToken) RequireTransportSecurity() bool { return true }
