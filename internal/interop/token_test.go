package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// An issuer signs tokens.
type issuer struct{ key *ecdsa.PrivateKey }

func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issuer{key}
}

// jwks is what its tokens are verified by.
func (i issuer) jwks(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "1", Algorithm: string(jose.ES256), Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// token is one of issuer.test for alice.
func (i issuer) token(t *testing.T, audience string, life time.Duration) string {
	t.Helper()
	return i.sign(t, map[string]any{"iss": "issuer.test", "sub": "alice", "aud": audience, "exp": time.Now().Add(life).Unix()})
}

// account is a token of Kubernetes for a service account of the namespace shop.
func (i issuer) account(t *testing.T, name, audience string) string {
	t.Helper()
	return i.sign(t, map[string]any{
		"iss": "kubernetes", "sub": "system:serviceaccount:shop:" + name, "aud": []string{audience}, "exp": time.Now().Add(time.Hour).Unix(),
	})
}

func (i issuer) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: "1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
