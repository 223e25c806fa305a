package attacks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/identity"
)

// An issuer of tokens.
type issuer struct{ key *ecdsa.PrivateKey }

var tokens = sync.OnceValue(func() issuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return issuer{key}
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// keys are the issuer's, as JWKS.
func (i issuer) keys() string {
	point, err := i.key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"k","x":%q,"y":%q}]}`, b64(point[1:33]), b64(point[33:]))
}

// jwt believes the issuer, and lets requests without a token go on.
func (i issuer) jwt() *identity.JWT {
	return &identity.JWT{
		Providers:    []identity.Provider{{Name: "p", Issuer: "https://issuer.test", Audiences: []string{"shop"}, JWKS: i.keys(), Forward: true}},
		Requirements: []identity.PathRequirement{{Need: identity.Requirement{Kind: identity.NeedAnyOf, Of: []identity.Requirement{{Kind: identity.NeedToken, Provider: "p"}, {Kind: identity.AllowMissing}}}}},
	}
}

// sign is a good token with other claims, of which nil takes one away.
func (i issuer) sign(with map[string]any) string {
	claims := map[string]any{"iss": "https://issuer.test", "aud": "shop", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, with)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	body, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return i.forge(`{"alg":"ES256","kid":"k"}`, string(body))
}

// forge signs what it is given.
func (i issuer) forge(head, body string) string {
	input := b64([]byte(head)) + "." + b64([]byte(body))
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + b64(signature)
}

func claim(name, value string) identity.Condition {
	return identity.Condition{Kind: identity.ClaimIs, Path: []string{name}, Is: exactly(value)}
}

// Tokens that lie get nobody in, and no token is no bad one (D1, D4, D5, D10, D11, D13, D16, D17); one does not serve another caller, where
// rules say whose it is (D19). What each lie is, identity/jwt tests; here none of them reaches a handler.
func TestDTokens(t *testing.T) {
	i := tokens()
	stranger := issuer{}
	stranger.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	member := policy("member", path(exactly("/ok")), path(exactly("/shop.Shop/Read")))
	member.Principals = []identity.Condition{all(caller(aliceID), claim("sub", "alice"))}
	g := serve(t, strictly(identity.Guard{JWT: i.jwt(), Steps: []identity.Step{step("allow", identity.Allow, member, policy("public", path(exactly("/public"))))}}))
	alice, mallory := g.ca.Source(aliceID), g.ca.Source(malloryID)
	good := i.sign(map[string]any{"sub": "alice"})
	parts := strings.Split(good, ".")
	body := `{"iss":"https://issuer.test","aud":"shop","exp":4102444800,"sub":"alice"}`
	const refused, denied = "401", "403"
	for _, tc := range []struct {
		id, token string
		answer    string // 200 of the good
		who       identity.Source
	}{
		{"D good", good, "200", alice},
		{"D11 none", "", denied, alice},
		{"D11 of another subject", i.sign(map[string]any{"sub": "bob"}), denied, alice},
		{"D19 another's over mutual TLS", good, denied, mallory},
		{"D1 alg none", b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", refused, alice},
		{"D1 alg none, signed", i.forge(`{"alg":"none"}`, body), refused, alice},
		{"D1 no signature", parts[0] + "." + parts[1] + ".", refused, alice},
		{"D2 HMAC", i.forge(`{"alg":"HS256","kid":"k"}`, body), refused, alice},
		{"D2 a stranger's key", stranger.forge(`{"alg":"ES256","kid":"k"}`, body), refused, alice},
		{"D4 no exp", i.sign(map[string]any{"sub": "alice", "exp": nil}), refused, alice},
		{"D4 expired", i.sign(map[string]any{"sub": "alice", "exp": 1}), refused, alice},
		{"D5 no aud", i.sign(map[string]any{"sub": "alice", "aud": nil}), refused, alice},
		{"D5 another aud", i.sign(map[string]any{"sub": "alice", "aud": []string{"bank"}}), refused, alice},
		{"D10 another issuer", i.sign(map[string]any{"sub": "alice", "iss": "https://evil.test"}), refused, alice},
		{"D13 five parts", good + ".a.b", refused, alice},
		{"D16 crit", i.forge(`{"alg":"ES256","kid":"k","crit":["x"]}`, body), refused, alice},
		{"D16 a key of its own", stranger.forge(`{"alg":"ES256","jwk":`+strings.TrimSuffix(strings.TrimPrefix(stranger.keys(), `{"keys":[`), "]}")+`}`, body), refused, alice},
		{"D17 sub twice", i.forge(`{"alg":"ES256","kid":"k"}`, strings.Replace(body, `"sub"`, `"sub":"bob","sub"`, 1)), refused, alice},
		{"D17 100,000 deep", i.forge(`{"alg":"ES256","kid":"k"}`, `{"x":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+`}`), refused, alice},
		{"D text", "alice", refused, alice},
	} {
		a := &Attack{}
		if tc.token != "" {
			a.Header = [][2]string{{"authorization", "Bearer " + tc.token}}
		}
		for _, w := range both {
			want := tc.answer
			if w == GRPC {
				want = map[string]string{"200": "OK", refused: "UNAUTHENTICATED", denied: "PERMISSION_DENIED"}[want]
			}
			o := g.attack(a, w, tc.who)
			if o.Answer != want || (o.Reached != 0) != (tc.answer == "200") {
				t.Errorf("%s: %v: %+v, want %s", tc.id, w, o, want)
			}
		}
	}
	// Who needs no token may not bring a bad one either (ISTIO-2021-001), and two are not one good one.
	for name, tc := range map[string]struct {
		header [][2]string
		path   string
		answer string
	}{
		"no token":          {nil, "/public", "200"},
		"a bad one":         {[][2]string{{"authorization", "Bearer x.y.z"}}, "/public", refused},
		"a good and a bad":  {[][2]string{{"authorization", "Bearer " + good}, {"authorization", "Bearer x.y.z"}}, "/ok", refused},
		"a bad and a good":  {[][2]string{{"authorization", "Bearer x.y.z"}, {"authorization", "Bearer " + good}}, "/ok", refused},
		"in an other place": {nil, "/public?access_token=x.y.z", refused},
	} {
		for _, w := range web {
			if o := g.attack(&Attack{Path: tc.path, Header: tc.header}, w, alice); o.Answer != tc.answer || (o.Reached != 0) != (tc.answer == "200") {
				t.Errorf("%s: %v: %+v, want %s", name, w, o, tc.answer)
			}
		}
	}
	trailer := &Attack{Raw: "POST /ok HTTP/1.1\r\nHost: shop\r\nTrailer: authorization\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nauthorization: Bearer " + good + "\r\n\r\n"}
	if o := g.attack(trailer, HTTP1, alice); o.Reached != 0 || o.Answer != denied {
		t.Errorf("B17: a token in a trailer: %+v", o)
	}
}
