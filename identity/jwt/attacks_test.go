package jwt_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/jwt"
)

// Each attack is of a token that differs in one thing from one that is let in.
func TestAttacks(t *testing.T) {
	k, r := es(), rs()
	good := encode(usual(nil))
	head := `{"alg":"ES256","kid":"es"}`
	now := time.Now()
	der, err := x509.MarshalPKIXPublicKey(public(r.private))
	must(err)
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	hmac := func(secret []byte) string { return signer{"rs", jose.HS256, secret}.sign(usual(nil)) }
	unsigned := func(header string) string { return b64(header) + "." + b64(good) + "." }
	stranger := newEC()
	own := encode(jose.JSONWebKey{Key: &stranger.PublicKey})
	parts := strings.Split(k.sign(usual(nil)), ".")

	a, j := authenticator(t, jwt.Config{}), needs(provider(es(), rs()))
	for _, control := range []string{k.sign(usual(nil)), r.sign(usual(nil)), k.forge(head, good)} {
		if got := a.Verify(t.Context(), j, bearer(control)); got.Err != nil || len(got.Claims) != 1 || got.Claims[0].Subject != "alice" {
			t.Fatalf("control: %+v", got)
		}
	}
	for _, tc := range []struct {
		row, what, token, why string
	}{
		{"D1", "alg none", unsigned(`{"alg":"none"}`), "no JWT in compact form"},
		{"D1", "alg none, with a signature", b64(`{"alg":"none"}`) + "." + b64(good) + "." + parts[2], "no algorithm"},
		{"D1", "alg None", b64(`{"alg":"None","kid":"es"}`) + "." + b64(good) + "." + parts[2], "no algorithm"},
		{"D1", "alg is missing", k.forge(`{"kid":"es"}`, good), "no algorithm"},
		{"D1", "alg is no string", k.forge(`{"alg":["ES256"],"kid":"es"}`, good), "no algorithm"},
		{"D1", "alg in other letters", k.forge(`{"Alg":"ES256","kid":"es"}`, good), "no algorithm"},
		{"D2", "HS256 by the public key's PEM", hmac(publicPEM), "bad signature"},
		{"D2", "HS256 by the public key's DER", hmac(der), "bad signature"},
		{"D2", "HS256 by the modulus", hmac(r.private.(*rsa.PrivateKey).N.Bytes()), "bad signature"},
		{"D2", "another algorithm than the key's", signer{"rs", jose.PS256, r.private}.sign(usual(nil)), "bad signature"},
		{"D2", "a key of another kind", signer{"rs", jose.ES256, k.private}.sign(usual(nil)), "bad signature"},
		{"D4", "no exp", k.sign(usual(claims{"exp": nil})), "no exp"},
		{"D4", "exp is null", k.forge(head, `{"iss":"`+issuer+`","aud":"shop","exp":null}`), "exp is no date"},
		{"D4", "exp is a string", k.sign(usual(claims{"exp": "4102444800"})), "exp is no date"},
		{"D4", "exp beyond all dates", k.sign(usual(claims{"exp": 1e300})), "exp is no date"},
		{"D4", "exp that no float can be", k.forge(head, `{"iss":"`+issuer+`","aud":"shop","exp":1e999}`), "exp is no date"},
		{"D4", "expired", k.sign(usual(claims{"exp": now.Add(-2 * time.Minute).Unix()})), "expired"},
		{"D4", "not yet valid", k.sign(usual(claims{"nbf": now.Add(2 * time.Minute).Unix()})), "not valid yet"},
		{"D4", "issued in the future", k.sign(usual(claims{"iat": now.Add(2 * time.Minute).Unix()})), "future"},
		{"D5", "aud is missing", k.sign(usual(claims{"aud": nil})), "another audience"},
		{"D5", "aud is empty", k.sign(usual(claims{"aud": ""})), "another audience"},
		{"D5", "aud is a list of nothing", k.sign(usual(claims{"aud": []string{}})), "another audience"},
		{"D5", "aud is a list with nothing in it", k.sign(usual(claims{"aud": []string{""}})), "another audience"},
		{"D5", "aud is null", k.forge(head, `{"iss":"`+issuer+`","aud":null,"exp":4102444800}`), "aud is null"},
		{"D5", "aud is an object", k.sign(usual(claims{"aud": map[string]string{"shop": "shop"}})), "aud is neither"},
		{"D5", "aud has a number", k.sign(usual(claims{"aud": []any{"shop", 1}})), "no string"},
		{"D5", "another aud", k.sign(usual(claims{"aud": "shop2"})), "another audience"},
		{"D5", "aud in other letters", k.sign(usual(claims{"aud": "Shop"})), "another audience"},
		{"D10", "another issuer", k.sign(usual(claims{"iss": issuer + "/"})), "another issuer"},
		{"D10", "no issuer", k.sign(usual(claims{"iss": nil})), "another issuer"},
		{"D10", "issuer is a list", k.sign(usual(claims{"iss": []string{issuer}})), "iss is no string"},
		{"D13", "JWE", encrypt(jose.RSA_OAEP_256, public(r.private), good), "JWE"},
		{"D13", "JWE of a password, tried 2^31 times", b64(`{"alg":"PBES2-HS256+A128KW","p2c":2147483647,"p2s":"AAAA","enc":"A128GCM"}`) + ".AA.AA.AA.AA", "JWE"},
		{"D13", "compressed", k.forge(`{"alg":"ES256","kid":"es","zip":"DEF"}`, good), "has zip"},
		{"D14", "JWE without a key", b64(`{"alg":"dir","enc":"A128GCM"}`) + "..AA.AA.AA", "JWE"},
		{"D16", "brings its own key", signer{"", jose.ES256, stranger}.seal(map[jose.HeaderKey]any{"jwk": &jose.JSONWebKey{Key: &stranger.PublicKey}}, good), "not known"},
		{"D16", "brings its own key, by a known name", signer{"", jose.ES256, stranger}.forge(`{"alg":"ES256","kid":"es","jwk":`+own+`}`, good), "bad signature"},
		{"D16", "points to its own key", signer{"", jose.ES256, stranger}.forge(`{"alg":"ES256","jku":"https://evil.example","x5u":"https://evil.example"}`, good), "not known"},
		{"D16", "x5c", signer{"", jose.ES256, stranger}.forge(`{"alg":"ES256","kid":"es","x5c":["AAAA"]}`, good), "token"},
		{"D16", "crit", k.forge(`{"alg":"ES256","kid":"es","crit":["exp"]}`, good), "has crit"},
		{"D16", "crit of nothing", k.forge(`{"alg":"ES256","kid":"es","crit":[]}`, good), "has crit"},
		{"D16", "b64", k.forge(`{"alg":"ES256","kid":"es","b64":false}`, good), "has b64"},
		{"D16", "kid is no string", k.forge(`{"alg":"ES256","kid":{"es":1}}`, good), "kid is no string"},
		{"D17", "nested too deeply", k.forge(head, strings.TrimSuffix(good, "}")+`,"x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+"}"), "deeply"},
		{"D17", "sub twice", k.forge(head, strings.TrimSuffix(good, "}")+`,"sub":"root"}`), "twice"},
		{"D17", "sub twice, written otherwise", k.forge(head, strings.TrimSuffix(good, "}")+`,"s\u0075b":"root"}`), "twice"},
		{"D17", "twice below", k.forge(head, strings.TrimSuffix(good, "}")+`,"x":[{"a":1,"a":2}]}`), "twice"},
		{"D17", "alg twice", k.forge(`{"alg":"ES256","kid":"es","alg":"ES256"}`, good), "twice"},
		{"D17", "too long", k.sign(usual(claims{"x": strings.Repeat("x", 20<<10)})), "too long"},
		{"", "two objects", k.forge(head, good+good), "no JSON object"},
		{"", "a list", k.forge(head, "["+good+"]"), "no JSON object"},
		{"", "not UTF-8", k.forge(head, strings.Replace(good, "alice", "alic\xff", 1)), "no JSON object"},
		{"", "no signature", parts[0] + "." + parts[1] + ".", "compact form"},
		{"", "a signature cut short", k.sign(usual(nil))[:len(parts[0])+len(parts[1])+50], "bad signature"},
		{"", "a signature of 0", parts[0] + "." + parts[1] + "." + b64(string(make([]byte, 64))), "bad signature"},
		{"", "another payload", parts[0] + "." + b64(encode(usual(claims{"sub": "root"}))) + "." + parts[2], "bad signature"},
		{"", "padded", parts[0] + "==." + parts[1] + "." + parts[2], "compact form"},
		{"", "written otherwise", parts[0] + "." + parts[1] + "." + otherwise(parts[2]), "compact form"},
		{"", "a line within the signature", parts[0] + "." + parts[1] + "." + parts[2][:8] + "\n" + parts[2][8:], "compact form"},
		{"", "a line within", parts[0] + "." + parts[1][:8] + "\n" + parts[1][8:] + "." + parts[2], "compact form"},
		{"", "two tokens", k.sign(usual(nil)) + ", " + k.sign(usual(nil)), "JWE"},
		{"", "a stranger's key", signer{"es", jose.ES256, stranger}.sign(usual(nil)), "bad signature"},
		{"", "a key of another name", signer{"es3", jose.ES256, k.private}.sign(usual(nil)), "not known"},
		{"", "nothing", "", "compact form"},
		{"", "JSON form", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, "compact form"},
	} {
		t.Run(strings.TrimSpace(tc.row+" "+tc.what), func(t *testing.T) {
			got := a.Verify(t.Context(), j, bearer(tc.token))
			if got.Err == nil || got.Missing || len(got.Claims) > 0 || len(got.Set) > 0 {
				t.Fatalf("let in: %+v", got)
			}
			if !strings.Contains(got.Err.Error(), tc.why) {
				t.Errorf("error %q, want %q in it", got.Err, tc.why)
			}
			for _, part := range strings.FieldsFunc(tc.token, func(r rune) bool { return strings.ContainsRune(".,\n \"", r) }) {
				if len(part) > 8 && strings.Contains(got.Err.Error(), part) {
					t.Errorf("error has %q of the token in it: %v", part, got.Err)
				}
			}
		})
	}
}

func encrypt(alg jose.KeyAlgorithm, key any, payload string) string {
	e, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: alg, Key: key}, nil)
	must(err)
	o, err := e.Encrypt([]byte(payload))
	must(err)
	raw, err := o.CompactSerialize()
	must(err)
	return raw
}

// otherwise is what decodes to the same 64 bytes, but is not what they are encoded as.
func otherwise(signature string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(signature) - 1
	return signature[:last] + digits[strings.IndexByte(digits, signature[last])+1:][:1]
}

func TestAccepts(t *testing.T) {
	secret := signer{"hs", jose.HS256, []byte(strings.Repeat("s", 32))}
	now := time.Now()
	open := func(change func(*identity.Provider)) *identity.JWT {
		p := provider(es(), rs(), ed(), secret)
		if change != nil {
			change(&p)
		}
		return needs(p)
	}
	for what, tc := range map[string]struct {
		j     *identity.JWT
		token string
		no    bool
	}{
		"ES256":                         {open(nil), es().sign(usual(nil)), false},
		"RS256":                         {open(nil), rs().sign(usual(nil)), false},
		"EdDSA":                         {open(nil), ed().sign(usual(nil)), false},
		"HS256 by a configured secret":  {open(nil), secret.sign(usual(nil)), false},
		"no name of a key":              {open(nil), es().seal(nil, encode(usual(nil))), false},
		"one of several audiences":      {open(nil), es().sign(usual(claims{"aud": []string{"x", "shop"}})), false},
		"any audience":                  {open(func(p *identity.Provider) { p.Audiences = nil }), es().sign(usual(claims{"aud": nil})), false},
		"any issuer":                    {open(func(p *identity.Provider) { p.Issuer = "" }), es().sign(usual(claims{"iss": "x"})), false},
		"expired within the skew":       {open(nil), es().sign(usual(claims{"exp": now.Add(-30 * time.Second).Unix()})), false},
		"not yet valid within the skew": {open(nil), es().sign(usual(claims{"nbf": now.Add(30 * time.Second).Unix()})), false},
		"a skew of its own":             {open(func(p *identity.Provider) { p.Skew = time.Hour }), es().sign(usual(claims{"exp": now.Add(-30 * time.Minute).Unix()})), false},
		"fractions of seconds":          {open(nil), es().sign(usual(claims{"exp": float64(now.Add(time.Hour).Unix()) + 0.5})), false},
		"a subject":                     {open(func(p *identity.Provider) { p.Subjects = prefix("bob", "ali") }), es().sign(usual(nil)), false},
		"no such subject":               {open(func(p *identity.Provider) { p.Subjects = prefix("bob") }), es().sign(usual(nil)), true},
		"no subject":                    {open(func(p *identity.Provider) { p.Subjects = prefix("") }), es().sign(usual(claims{"sub": nil})), true},
		"a short life":                  {open(func(p *identity.Provider) { p.MaxLifetime = 2 * time.Hour }), es().sign(usual(nil)), false},
		"a long life":                   {open(func(p *identity.Provider) { p.MaxLifetime = 30 * time.Minute }), es().sign(usual(nil)), true},
	} {
		if got := verify(t, tc.j, bearer(tc.token)); (got.Err != nil) != tc.no || len(got.Claims) > 0 == tc.no {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

// A key says itself what it is for.
func TestKeysAreForWhatTheySay(t *testing.T) {
	k := es()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("crypto/rsa makes no small keys: ", err)
	}
	private := jose.JSONWebKey{Key: k.private, KeyID: "es"}
	pub := public(k.private).(*ecdsa.PublicKey)
	point, err := pub.Bytes()
	must(err)
	x, y := base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
	ec := fmt.Sprintf(`"kty":"EC","crv":"P-256","x":%q,"y":%q`, x, y)
	for what, tc := range map[string]struct {
		key, token string
		ok         bool
	}{
		"plain":                 {"{" + ec + "}", k.sign(usual(nil)), true},
		"for verifying":         {"{" + ec + `,"use":"sig","key_ops":["verify"],"alg":"ES256","kid":"es"}`, k.sign(usual(nil)), true},
		"for encryption":        {"{" + ec + `,"use":"enc"}`, k.sign(usual(nil)), false},
		"for deriving":          {"{" + ec + `,"key_ops":["deriveKey"]}`, k.sign(usual(nil)), false},
		"for another algorithm": {"{" + ec + `,"alg":"RS256"}`, k.sign(usual(nil)), false},
		"private":               {encode(private), k.sign(usual(nil)), false},
		"not on the curve":      {fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, x, x), k.sign(usual(nil)), false},
		"names say what case":   {"{" + strings.Replace(ec, `"kty"`, `"Kty"`, 1) + "}", k.sign(usual(nil)), false},
		"small RSA":             {encode(jose.JSONWebKey{Key: &small.PublicKey}), signer{"", jose.RS256, small}.sign(usual(nil)), false},
		"short secret":          {encode(jose.JSONWebKey{Key: []byte("secret")}), signer{"", jose.ES256, k.private}.sign(usual(nil)), false},
		"unknown":               {`{"kty":"AKP","pub":"AAAA"}`, k.sign(usual(nil)), false},
	} {
		p := provider()
		p.JWKS = `{"keys":[` + tc.key + `]}`
		if got := verify(t, needs(p), bearer(tc.token)); (got.Err == nil) != tc.ok {
			t.Errorf("%s: %v", what, got.Err)
		}
		p.JWKS = `{"keys":[{"kty":"new"},` + tc.key + `,` + encode(es2().jwk()) + `]}`
		if got := verify(t, needs(p), bearer(es2().sign(usual(nil)))); got.Err != nil {
			t.Errorf("beside %s, a good key: %v", what, got.Err)
		}
	}
}
