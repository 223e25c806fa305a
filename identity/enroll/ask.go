package enroll

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	securityv1alpha1 "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/identity"
)

const (
	// connectTime bounds one attempt to connect, so that an authority that comes back is found soon.
	connectTime = 4 * time.Second
	// mostAnswer bounds an answer, in bytes.
	mostAnswer = 1 << 20
)

// ask has a new key certified, and puts the answer into use. wait is how long the authority wants not to be asked again.
func (s *Source) ask(ctx context.Context) (h *held, wait time.Duration, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, 0, fmt.Errorf("key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, 0, fmt.Errorf("certificate request: %w", err)
	}
	p, err := s.proof()
	if err != nil {
		return nil, 0, err
	}
	conn, err := s.connect(p)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if p.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+p.token)
	}
	if s.config.ClusterID != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "clusterid", s.config.ClusterID)
	}
	var trailer metadata.MD
	answer, err := securityv1alpha1.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx, &securityv1alpha1.IstioCertificateRequest{
		Csr:              string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
		ValidityDuration: int64(s.config.TTL / time.Second),
	}, grpc.Trailer(&trailer))
	if err != nil {
		return nil, pushback(trailer), s.because(err, p)
	}
	s.joined = s.joined || p.join // an answer that is refused has cost it as well
	certs, err := parse([]byte(strings.Join(answer.GetCertChain(), "\n")))
	if err == nil {
		h, err = newHeld(key, certs)
	}
	if err == nil {
		err = s.accept(h)
	}
	if err != nil {
		err = fmt.Errorf("the authority's answer is refused: %w", err)
		if p.join {
			s.spent = err
		}
	}
	return h, 0, err
}

// A proof is what an attempt shows.
type proof struct {
	svid  *x509svid.SVID // the certificate to be renewed; nil without
	token string
	join  bool // token is the join token
}

// proof is what there is: the certificate, as long as it is good, and besides it, or in its place, the token of the file; the join
// token only before there was a certificate. A certificate is left out every other time after a failure, if there is another proof: an
// authority that does not know who signed it refuses the connection.
func (s *Source) proof() (p proof, err error) {
	s.mu.Lock()
	held, failures := s.held, s.state.Failures
	s.mu.Unlock()
	if held != nil && time.Now().Before(held.leaf().NotAfter) {
		p.svid = held.svid
	}
	if s.config.TokenFile != "" {
		text, err := os.ReadFile(s.config.TokenFile)
		p.token = strings.TrimSpace(string(text))
		if err == nil && p.token == "" {
			err = fmt.Errorf("%s is empty", s.config.TokenFile)
		}
		if err != nil && p.svid == nil {
			return p, fmt.Errorf("token: %w", err)
		}
		if p.token != "" && failures%2 == 1 {
			p.svid = nil
		}
	}
	if p.svid == nil && p.token == "" && s.config.JoinToken != "" && !s.joined {
		p.token, p.join = s.config.JoinToken, true
	}
	switch {
	case p.svid != nil || p.token != "":
	case s.spent != nil:
		return p, fmt.Errorf("the join token is used up, for nothing: %w", s.spent)
	default:
		return p, errors.New("there is nothing left to prove who this process is: the certificate has expired, or there was none, and a join token is good once; give it a new one")
	}
	if strings.ContainsFunc(p.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return p, errors.New("token: it has signs that no token has")
	}
	return p, nil
}

// connect makes a connection of its own for each attempt, so that what is shown and what is believed are those of now.
func (s *Source) connect(p proof) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if !s.config.Plaintext {
		conf, err := s.tls(p)
		if err != nil {
			return nil, err
		}
		creds = credentials.NewTLS(conf)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mostAnswer)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTime}),
		grpc.WithDisableServiceConfig(),
	}
	target := "dns:///" + s.config.Address
	if s.config.Dial != nil {
		options = append(options, grpc.WithContextDialer(s.config.Dial))
		target = "passthrough:///" + s.config.Address
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("connection: %w", err)
	}
	return conn, nil
}

// tls verifies the authority by the roots, and, once there is a certificate, by what peers are verified by, which keeps up when the
// root is rotated.
func (s *Source) tls(p proof) (*tls.Config, error) {
	text := s.config.RootCAs
	if s.config.RootCAFile != "" {
		var err error
		if text, err = os.ReadFile(s.config.RootCAFile); err != nil {
			return nil, fmt.Errorf("root CAs: %w", err)
		}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("root CAs: there is no PEM certificate in them")
	}
	s.mu.Lock()
	if s.held != nil {
		for _, c := range s.bundles[s.held.domain()].X509Authorities() {
			roots.AddCert(c)
		}
	}
	s.mu.Unlock()
	host, _, _ := net.SplitHostPort(s.config.Address) // was checked
	if s.config.ServerName != "" {
		host = s.config.ServerName
	}
	conf := &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: host,
		// The name may be a SPIFFE ID, which crypto/tls does not know: verify does all that it does.
		InsecureSkipVerify: true, //nolint:gosec // see verify
		VerifyConnection:   func(state tls.ConnectionState) error { return s.verify(state, roots, host) },
	}
	if s.config.TLS12 {
		conf.MinVersion = tls.VersionTLS12
	}
	if p.svid != nil {
		cert := tls.Certificate{PrivateKey: p.svid.PrivateKey, Leaf: p.svid.Certificates[0]}
		for _, c := range p.svid.Certificates {
			cert.Certificate = append(cert.Certificate, c.Raw)
		}
		// Whatever authorities the server names: it may have got another root meanwhile.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return conf, nil
}

// verify demands that the authority's certificate leads to a root, is for servers, and is for the right one.
func (s *Source) verify(state tls.ConnectionState, roots *x509.CertPool, host string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the authority shows no certificate")
	}
	leaf, between := state.PeerCertificates[0], x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CurrentTime: time.Now()}); err != nil {
		return fmt.Errorf("the authority's certificate: %w", err)
	}
	id, noID := x509svid.IDFromCert(leaf)
	switch {
	case !s.config.ServerID.IsZero():
		if noID != nil || id != s.config.ServerID {
			return fmt.Errorf("the authority's certificate is not of %s", s.config.ServerID)
		}
		return nil
	case s.config.ServerName == "" && noID == nil && id.Path() == identity.ControlServerPath && (s.config.TrustDomain.IsZero() || id.MemberOf(s.config.TrustDomain)):
		return nil
	}
	if err := leaf.VerifyHostname(host); err != nil {
		return fmt.Errorf("the authority's certificate: %w", err)
	}
	return nil
}

// because adds to an error what to do about it.
func (s *Source) because(err error, p proof) error {
	if status.Code(err) != codes.Unauthenticated {
		return err
	}
	switch {
	case p.join:
		return fmt.Errorf("the join token is refused: it was used, or has expired, or is of another authority; make a new one by meshctl token create: %w", err)
	case p.token != "":
		return fmt.Errorf("the token in %s is refused: %w", s.config.TokenFile, err)
	}
	return fmt.Errorf("the certificate is refused: it is revoked, or of another authority: %w", err)
}

// pushback is how long a server wants to be left alone (gRFC A6).
func pushback(trailer metadata.MD) time.Duration {
	if v := trailer.Get("grpc-retry-pushback-ms"); len(v) == 1 {
		if ms, err := strconv.ParseUint(v[0], 10, 31); err == nil {
			return time.Duration(ms) * time.Millisecond
		}
	}
	return 0
}
