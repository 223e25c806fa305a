package ca

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	securityv1alpha1 "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/identity"
)

// Register serves istio.v1.auth.IstioCertificateService on a server, whose TLS should be [CA.TLS].
func (c *CA) Register(s *grpc.Server) {
	securityv1alpha1.RegisterIstioCertificateServiceServer(s, service{ca: c})
}

// A service is the gRPC side of a CA.
type service struct {
	securityv1alpha1.UnimplementedIstioCertificateServiceServer

	ca *CA
}

// CreateCertificate certifies the key of the request as that of the caller's identity. Codes and texts are Istio's.
func (s service) CreateCertificate(ctx context.Context, r *securityv1alpha1.IstioCertificateRequest) (*securityv1alpha1.IstioCertificateResponse, error) {
	c := s.ca
	c.ready(ctx)
	leave, err := c.admission.enter(ctx)
	if err != nil {
		return nil, err
	}
	chain, e, who, err := c.create(ctx, r)
	leave() // the disk is waited for by all together
	if err != nil {
		return nil, err
	}
	if err := c.record(e); err != nil {
		c.unissued(who)
		c.log.Error("a certificate is not handed out", "id", who.ID.String(), "err", err)
		return nil, pushback(ctx, codes.Unavailable, "the authority can't sign now", soon)
	}
	if who.token != "" {
		c.store.tokens().done(who.token)
	}
	c.issued.Add(1)
	return &securityv1alpha1.IstioCertificateResponse{CertChain: chain}, nil
}

// create does all but make a certificate known. Who it returned without an error has used up what it had.
func (c *CA) create(ctx context.Context, r *securityv1alpha1.IstioCertificateRequest) (chain []string, e Entry, who Caller, err error) {
	if who, err = c.authenticate(ctx); err != nil {
		c.refused(ctx, err)
		return nil, e, who, errUnauthenticated
	}
	if who.ID.Path() == identity.ControlServerPath { // clients obey whoever has it
		c.refused(ctx, fmt.Errorf("%s, proved by a %s, asks for a certificate: the control server makes its own, and nobody else is it", who.ID, who.Kind))
		return nil, e, who, errUnauthenticated
	}
	fields := r.GetMetadata().GetFields()
	if _, ok := fields["ImpersonatedIdentity"]; ok {
		c.refused(ctx, fmt.Errorf("%s asks for the certificate of another", who.ID))
		return nil, e, who, status.Error(codes.Unauthenticated, "request impersonation authentication failure")
	}
	if fields["CertSigner"].GetStringValue() != "" {
		return nil, e, who, status.Error(codes.InvalidArgument, "CSR signing error (there is no other signer)")
	}
	life, err := c.life(r.GetValidityDuration())
	if err != nil {
		return nil, e, who, status.Errorf(codes.InvalidArgument, "CSR signing error (%v)", err)
	}
	if after, ok := c.limits.take(who.ID); !ok {
		return nil, e, who, pushback(ctx, codes.ResourceExhausted, "too many certificates of this identity", after)
	}
	public, der, err := readCSR(r.GetCsr())
	if err != nil {
		return nil, e, who, status.Errorf(codes.InvalidArgument, "CSR signing error (%v)", err)
	}
	if who.token != "" {
		if err := c.store.tokens().take(who.token); err != nil {
			c.refused(ctx, err)
			return nil, e, who, errUnauthenticated
		}
	}
	cert, by, err := c.certify(leaf{id: who.ID, public: public, life: life})
	if err != nil {
		c.unissued(who)
		c.log.Error("a certificate can't be signed", "id", who.ID.String(), "err", err)
		return nil, e, who, pushback(ctx, codes.Unavailable, "the authority can't sign now", soon)
	}
	sum := sha256.Sum256(der)
	return append([]string{encodeCertificate(cert)}, by.above...), entry(cert, who.ID.String(), who.Kind, hex.EncodeToString(sum[:])), who, nil
}

func (c *CA) unissued(who Caller) {
	if who.token != "" {
		c.store.tokens().giveBack(who.token)
	}
}

// life is how long a certificate is to live that was asked for with so many seconds.
func (c *CA) life(asked int64) (time.Duration, error) {
	if asked <= 0 {
		return c.config.LeafTTL, nil
	}
	if asked > math.MaxInt64/int64(time.Second) || time.Duration(asked)*time.Second > c.config.MaxLeafTTL {
		return 0, fmt.Errorf("requested TTL of %d s is greater than the max allowed TTL %v", asked, c.config.MaxLeafTTL)
	}
	return time.Duration(asked) * time.Second, nil
}

// certify signs, and has the state know of the life first if none was as long before: the rotation of the root waits for it.
func (c *CA) certify(l leaf) (*x509.Certificate, *authority, error) {
	if err := c.lengthen(l.life); err != nil {
		return nil, nil, err
	}
	a := c.live.Load()
	if a.key == nil {
		return nil, nil, errNoKey
	}
	cert, err := a.sign(l)
	return cert, a, err
}

func entry(cert *x509.Certificate, id string, by Kind, csr string) Entry {
	return Entry{
		Time: time.Now().UTC(), Serial: identity.Serial(cert.SerialNumber), Identity: id, By: string(by),
		CSR: csr, NotAfter: cert.NotAfter.UTC(),
	}
}

// record has an entry in the log, if there is one.
func (c *CA) record(e Entry) error {
	if c.issuance == nil {
		return nil
	}
	return c.issuance.append(e)
}
