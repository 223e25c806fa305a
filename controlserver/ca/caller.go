package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/identity"
)

// A Kind says by what a caller has proved who it is.
type Kind string

// The kinds of proof.
const (
	ByCertificate Kind = "certificate"
	ByToken       Kind = "token"      // a JWT of a configured issuer
	ByJoinToken   Kind = "join token" // for a certificate alone
	bySelf        Kind = "self"
)

// A Caller is who makes a call, as far as that was proved.
type Caller struct {
	ID   spiffeid.ID
	Kind Kind
	// Until is when the proof ends, and with it what was granted on it.
	Until time.Time
	// Peer is of the connection; nil unless Kind is ByCertificate.
	Peer *identity.Peer

	token string // hash of the join token
}

// errUnauthenticated is all that a caller learns (Istio).
var errUnauthenticated = status.Error(codes.Unauthenticated, "request authenticate failure")

// Authenticate says who makes the gRPC call of a context: by the certificate of the connection, or else by the bearer token in its
// metadata. The error is a gRPC status that says nothing; the reason is in the log. It is computed anew each time, and a caller that was let in
// is not told when it is revoked: see Caller.Until.
func (c *CA) Authenticate(ctx context.Context) (Caller, error) {
	c.ready(ctx)
	who, err := c.authenticate(ctx)
	if err == nil && who.Kind == ByJoinToken {
		err = errors.New("a join token is good for a certificate alone")
	}
	if err != nil {
		c.refused(ctx, err)
		return Caller{}, errUnauthenticated
	}
	return who, nil
}

// ready fetches what authenticate will need; that waits for nothing.
func (c *CA) ready(ctx context.Context) {
	if token, err := bearer(ctx); err == nil && !strings.HasPrefix(token, tokenPrefix) {
		c.issuers.ready(ctx, token)
	}
}

// authenticate takes the first proof that holds: certificate, then bearer token.
func (c *CA) authenticate(ctx context.Context) (Caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Caller{}, errors.New("the call has no peer")
	}
	who, err := c.byCertificate(p)
	if err == nil {
		return who, c.believed(who)
	}
	token, missing := bearer(ctx)
	if missing != nil {
		return Caller{}, errors.Join(err, missing)
	}
	if !c.config.Plaintext && credentials.CheckSecurityLevel(p.AuthInfo, credentials.PrivacyAndIntegrity) != nil {
		return Caller{}, errors.New("a token came over a connection without TLS")
	}
	if strings.HasPrefix(token, tokenPrefix) {
		who, err = c.byJoinToken(token)
	} else {
		who, err = c.byToken(token)
	}
	if err != nil {
		return Caller{}, err
	}
	return who, c.believed(who)
}

// byCertificate takes the X509-SVIDs of this trust domain, whoever did the handshake and whatever that verified.
func (c *CA) byCertificate(p *peer.Peer) (Caller, error) {
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return Caller{}, errors.New("no client certificate")
	}
	certs := info.State.PeerCertificates
	id, chains, err := x509svid.Verify(certs, c.live.Load().believed)
	if err != nil {
		return Caller{}, err
	}
	leaf := certs[0]
	if id.Path() == "" || leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return Caller{}, errors.New("the certificate is not for clients")
	}
	return Caller{ID: id, Kind: ByCertificate, Until: leaf.NotAfter, Peer: &identity.Peer{
		ID: id, Certificates: chains[0], ServerName: info.State.ServerName, Protocol: info.State.NegotiatedProtocol,
	}}, nil
}

func (c *CA) byJoinToken(token string) (Caller, error) {
	hash := hashToken(token)
	t, err := validToken(c.store.tokens(), hash)
	if err != nil {
		return Caller{}, err
	}
	if !t.ID.MemberOf(c.TrustDomain()) || t.ID.Path() == "" {
		return Caller{}, fmt.Errorf("join token: %q is no identity of this trust domain", t.ID)
	}
	return Caller{ID: t.ID, Kind: ByJoinToken, Until: t.Expires, token: hash}, nil
}

func (c *CA) byToken(token string) (Caller, error) {
	id, until, err := c.issuers.verify(c.TrustDomain(), token)
	return Caller{ID: id, Kind: ByToken, Until: until}, err
}

// believed refuses who is revoked.
func (c *CA) believed(who Caller) error {
	if c.config.Revoked == nil {
		return nil
	}
	r := c.config.Revoked()
	if r == nil {
		return nil
	}
	if slices.Contains(r.IDs, who.ID) {
		return fmt.Errorf("%s is revoked", who.ID)
	}
	if who.Peer != nil {
		for _, cert := range who.Peer.Certificates {
			if slices.Contains(r.Serials, identity.Serial(cert.SerialNumber)) {
				return fmt.Errorf("certificate %s of %s is revoked", identity.Serial(cert.SerialNumber), who.ID)
			}
		}
	}
	return nil
}

// bearer is the token of a call.
func bearer(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return "", fmt.Errorf("%d authorization fields", len(values))
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || token == "" || len(token) > mostToken {
		return "", errors.New("the authorization field has no bearer token")
	}
	return token, nil
}

// refused logs why a caller was; strangers can't fill the log with it.
func (c *CA) refused(ctx context.Context, why error) {
	if !c.chatter.Allow() {
		return
	}
	addr := ""
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		addr = p.Addr.String()
	}
	c.log.Info("a caller did not prove who it is", "peer", addr, "err", why)
}

// TLS is the configuration of a server whose callers Authenticate is asked about: TLS 1.3, the certificate of the source, and that of
// the client if it has one. The handshake does not judge that: a client may have a token besides, and what was good in the handshake
// may not be any more.
func (c *CA) TLS(source x509svid.Source) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		ClientAuth: tls.RequestClientCert,
		// A resumed session would bring a certificate that was verified by another bundle.
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			svid, err := source.GetX509SVID()
			if err != nil {
				return nil, err
			}
			cert := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
			for _, c := range svid.Certificates {
				cert.Certificate = append(cert.Certificate, c.Raw)
			}
			return cert, nil
		},
	}
}
