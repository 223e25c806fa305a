package jwt_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/jwt"
	"github.com/weftmesh/weft/internal/match"
)

const issuer = "https://issuer.example"

// claims are those of a token, of which nil takes one away.
type claims map[string]any

// usual are claims of a good token, with others.
func usual(with claims) claims {
	c := claims{"iss": issuer, "sub": "alice", "aud": "shop", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	maps.Copy(c, with)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// A signer is a key of an issuer.
type signer struct {
	id        string
	algorithm jose.SignatureAlgorithm
	private   any
}

// keys of all kinds; RSA's are slow to make.
var (
	es  = sync.OnceValue(func() signer { return signer{"es", jose.ES256, newEC()} })
	es2 = sync.OnceValue(func() signer { return signer{"es2", jose.ES256, newEC()} })
	rs  = sync.OnceValue(func() signer { return signer{"rs", jose.RS256, newRSA(2048)} })
	ed  = sync.OnceValue(func() signer {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		must(err)
		return signer{"ed", jose.EdDSA, k}
	})
)

func newEC() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return k
}

func newRSA(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	must(err)
	return k
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func public(private any) any {
	if s, ok := private.(crypto.Signer); ok {
		return s.Public()
	}
	return private
}

// jwk is the public key, as a JWK.
func (s signer) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: public(s.private), KeyID: s.id, Algorithm: string(s.algorithm), Use: "sig"}
}

// set is the JWK set of some keys.
func set(keys ...signer) string {
	var s jose.JSONWebKeySet
	for _, k := range keys {
		s.Keys = append(s.Keys, k.jwk())
	}
	return encode(s)
}

func encode(v any) string {
	b, err := json.Marshal(v)
	must(err)
	return string(b)
}

// sign signs the claims.
func (s signer) sign(c claims) string { return s.seal(map[jose.HeaderKey]any{"kid": s.id}, encode(c)) }

// seal signs any payload under a header.
func (s signer) seal(header map[jose.HeaderKey]any, payload string) string {
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: s.algorithm, Key: s.private}, &jose.SignerOptions{ExtraHeaders: header})
	must(err)
	o, err := js.Sign([]byte(payload))
	must(err)
	raw, err := o.CompactSerialize()
	must(err)
	return raw
}

// forge signs by ES256 what no library would.
func (s signer) forge(header, payload string) string {
	text := b64(header) + "." + b64(payload)
	sum := sha256.Sum256([]byte(text))
	r, t, err := ecdsa.Sign(rand.Reader, s.private.(*ecdsa.PrivateKey), sum[:])
	must(err)
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	t.FillBytes(sig[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// header reads an http.Header.
type header http.Header

func (h header) Values(n match.HeaderName) []string { return h[n.Canonical] }

// with is a request with the header lines: name, value, name, value.
func with(lines ...string) *identity.Request {
	h := http.Header{}
	for i := 0; i < len(lines); i += 2 {
		h.Add(lines[i], lines[i+1])
	}
	return &identity.Request{Method: "GET", Scheme: "http", Authority: "shop", Path: "/a", Header: header(h)}
}

func bearer(token string) *identity.Request { return with("authorization", "Bearer "+token) }

// provider is one with the keys given.
func provider(keys ...signer) identity.Provider {
	return identity.Provider{Name: "p", Issuer: issuer, Audiences: []string{"shop"}, JWKS: set(keys...)}
}

// needs is a JWT of one provider, which a token of must be there.
func needs(p identity.Provider) *identity.JWT {
	return &identity.JWT{Providers: []identity.Provider{p}, Requirements: []identity.PathRequirement{{Need: token(p.Name)}}}
}

func token(provider string) identity.Requirement {
	return identity.Requirement{Kind: identity.NeedToken, Provider: provider}
}

func list(kind identity.NeedKind, of ...identity.Requirement) identity.Requirement {
	return identity.Requirement{Kind: kind, Of: of}
}

func authenticator(tb testing.TB, c jwt.Config) *jwt.Authenticator {
	tb.Helper()
	a := jwt.New(c)
	tb.Cleanup(func() { a.Close() })
	return a
}

// verify verifies by a new Authenticator.
func verify(tb testing.TB, j *identity.JWT, r *identity.Request) jwt.Result {
	tb.Helper()
	return authenticator(tb, jwt.Config{}).Verify(tb.Context(), j, r)
}

func prefix(of ...string) (all []match.String) {
	for _, p := range of {
		all = append(all, match.String{Kind: match.Prefix, Value: p})
	}
	return all
}
