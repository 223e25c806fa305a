package ca

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	// mostToken bounds a bearer token, in bytes.
	mostToken = 16 << 10
	// leeway is how far the clocks of issuers may be off.
	leeway = time.Minute
)

// An Issuer is whose JWTs prove an identity of this trust domain.
type Issuer struct {
	// Issuer is the "iss" of its tokens.
	Issuer string
	// Audiences, one of which a token must be for; there must be one, lest a token meant for somebody else be of use here.
	// Istio's agents ask for "istio-ca".
	Audiences []string
	// JWKS are its keys as JSON; else they are read from the file JWKSFile, at each change, or fetched from JWKSURI; and
	// without any of these from what Issuer + "/.well-known/openid-configuration" says (OpenID Connect Discovery).
	JWKS, JWKSFile, JWKSURI string
	// RootCAFile is a file of PEM certificates that the server of JWKSURI is verified by; empty means the system's.
	RootCAFile string
	// TokenFile has a token that is shown to that server, as that of Kubernetes wants; it is read each time.
	TokenFile string
	// Subjects are the paths of the identities of its subjects: {"repo:acme/shop:ref:refs/heads/main": "/ns/ci/sa/shop"}. What is not in it
	// has no identity. If it is empty, subjects are Kubernetes service accounts: "system:serviceaccount:shop:payments" is /ns/shop/sa/payments.
	Subjects map[string]string
}

// algorithms of signatures that are accepted: those of public keys, so that no key of an issuer can be taken for a secret.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// issuers verify the tokens of all that are configured.
type issuers struct {
	of map[string]*issuer
}

type issuer struct {
	Issuer

	paths map[string]string
	keys  *keySet
}

// newIssuers checks what is configured.
func newIssuers(all []Issuer, domain spiffeid.TrustDomain, log *slog.Logger) (*issuers, error) {
	out := &issuers{of: map[string]*issuer{}}
	var errs []error
	for _, i := range all {
		say := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("ca: issuer %q: %w", i.Issuer, fmt.Errorf(format, args...)))
		}
		switch {
		case i.Issuer == "":
			say("its name, the iss of its tokens, is missing")
		case out.of[i.Issuer] != nil:
			say("it is configured twice")
		case len(i.Audiences) == 0 || slices.Contains(i.Audiences, ""):
			say("audiences are missing: without, a token meant for others would do")
		}
		for sub, path := range i.Subjects {
			if _, err := spiffeid.FromPath(domain, path); err != nil || path == "" {
				say("subject %q: %q is no path of an identity", sub, path)
			}
		}
		keys, err := newKeySet(i, log)
		if err != nil {
			say("%w", err)
		}
		out.of[i.Issuer] = &issuer{Issuer: i, paths: maps.Clone(i.Subjects), keys: keys}
	}
	return out, errors.Join(errs...)
}

// parse reads a token and finds its issuer, by what it says itself.
func (s *issuers) parse(token string) (*issuer, *jwt.JSONWebToken, error) {
	t, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return nil, nil, errors.New("the bearer token is no JWT with a signature by a public key")
	}
	if len(t.Headers) != 1 {
		return nil, nil, errors.New("the bearer token has not one signature")
	}
	var claimed jwt.Claims
	if err := t.UnsafeClaimsWithoutVerification(&claimed); err != nil {
		return nil, nil, errors.New("the bearer token: its claims can't be read")
	}
	i := s.of[claimed.Issuer]
	if i == nil {
		return nil, nil, errors.New("the bearer token: its issuer is none that is configured")
	}
	return i, t, nil
}

// ready has the keys there by which verify judges a token, as far as they can be had. It may wait for the network.
func (s *issuers) ready(ctx context.Context, token string) {
	if i, t, err := s.parse(token); err == nil {
		i.keys.ready(ctx, t.Headers[0].KeyID)
	}
}

// verify is the identity that a token proves, and until when. The error is for the log.
func (s *issuers) verify(domain spiffeid.TrustDomain, token string) (id spiffeid.ID, until time.Time, err error) {
	i, t, err := s.parse(token)
	if err != nil {
		return id, until, err
	}
	var claims jwt.Claims
	if err := i.keys.verify(t, &claims); err != nil {
		return id, until, fmt.Errorf("token of %s: %w", i.Issuer.Issuer, err)
	}
	if claims.Expiry == nil {
		return id, until, fmt.Errorf("token of %s: it never expires", i.Issuer.Issuer)
	}
	want := jwt.Expected{Issuer: i.Issuer.Issuer, AnyAudience: i.Audiences, Time: time.Now()}
	if err := claims.ValidateWithLeeway(want, leeway); err != nil {
		return id, until, fmt.Errorf("token of %s: %w", i.Issuer.Issuer, err)
	}
	id, err = i.subject(domain, claims.Subject)
	return id, claims.Expiry.Time().Add(leeway), err
}

// subject is the identity of a subject.
func (i *issuer) subject(domain spiffeid.TrustDomain, sub string) (spiffeid.ID, error) {
	if len(i.paths) == 0 {
		return serviceAccount(domain, sub)
	}
	path, ok := i.paths[sub]
	if !ok {
		return spiffeid.ID{}, fmt.Errorf("token of %s: its subject has no identity", i.Issuer.Issuer)
	}
	return spiffeid.FromPath(domain, path)
}

// serviceAccount is the identity of "system:serviceaccount:NAMESPACE:NAME". Names are taken only as Kubernetes has them, so that what
// is in them can't lead to another path.
func serviceAccount(domain spiffeid.TrustDomain, sub string) (spiffeid.ID, error) {
	names, ok := strings.CutPrefix(sub, "system:serviceaccount:")
	namespace, name, two := strings.Cut(names, ":")
	if !ok || !two || !isName(namespace, 63, false) || !isName(name, 253, true) {
		return spiffeid.ID{}, errors.New("token: its subject is no Kubernetes service account")
	}
	return spiffeid.FromSegments(domain, "ns", namespace, "sa", name)
}

// isName reports whether a name is a DNS label, or, with dots, labels (RFC 1123).
func isName(s string, most int, dots bool) bool {
	if len(s) == 0 || len(s) > most {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' || !dots && label != s {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}
