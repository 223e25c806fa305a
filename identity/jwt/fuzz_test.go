package jwt_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/jwt"
)

// No text is a token but those that the issuer has signed.
func FuzzVerify(f *testing.F) {
	k, stranger := es(), newEC()
	c := claims{"iss": issuer, "aud": "shop", "sub": "alice", "exp": 4102444800}
	signed := []string{k.sign(c), rs().sign(c), ed().sign(c), k.sign(claims{"iss": issuer, "aud": []string{"x", "shop"}, "exp": 4102444800, "scope": "a b"})}
	for _, s := range signed {
		f.Add(s)
		f.Add(s[:len(s)-1])
		f.Add(strings.ToLower(s))
	}
	for _, s := range []string{
		"", "..", "a.b.c", "e30.e30.e30", b64(`{"alg":"none"}`) + "." + b64(encode(c)) + ".", signer{"es", jose.ES256, stranger}.sign(c),
		signer{"", jose.HS256, []byte(strings.Repeat("s", 32))}.sign(c), encrypt(jose.RSA_OAEP_256, public(rs().private), encode(c)),
		k.forge(`{"alg":"ES256","crit":["b64"],"b64":false}`, encode(c)), k.forge(`{"alg":"ES256"}`, strings.Repeat("[", 1000)),
	} {
		f.Add(s)
	}
	a := authenticator(f, jwt.Config{})
	p := provider(es(), rs(), ed())
	p.PayloadHeader = "x-payload"
	p.ClaimHeaders = []identity.ClaimHeader{{Header: "x-sub", Claim: "sub"}}
	p.From = []identity.TokenPlace{{Kind: identity.InHeader, Name: "x"}}
	j := needs(p)
	f.Fuzz(func(t *testing.T, raw string) {
		got := a.Verify(t.Context(), j, with("x", raw))
		switch {
		case got.Err == nil && !slices.Contains(signed, strings.Trim(raw, " \t")):
			t.Fatalf("let in: %q", raw)
		case got.Err != nil && len(got.Claims)+len(got.Set) > 0:
			t.Fatalf("claims beside an error: %+v", got)
		case got.Err == nil && len(got.Claims) != 1:
			t.Fatalf("%+v", got)
		}
		if err := got.Err; err != nil && len(raw) > 12 && strings.Contains(err.Error(), raw) {
			t.Fatalf("the token is in the error: %v", err)
		}
	})
}

// What is signed by a key of ours may still say anything.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{
		encode(usual(nil)), `{}`, `[]`, `{"exp":1e999}`, `{"aud":[[]],"exp":-0}`, `{"a":1,"a":2}`, `{"exp":4102444800,"iss":"x","x":{"y":[{}]}}`, "\xff", `{"\ud800":1}`,
	} {
		f.Add(s)
	}
	a := authenticator(f, jwt.Config{})
	p := provider(es())
	p.Issuer, p.Audiences = "", nil
	p.ClaimHeaders = []identity.ClaimHeader{{Header: "x-claim", Claim: "x.y"}, {Header: "x-sub", Claim: "sub"}}
	j := needs(p)
	f.Fuzz(func(t *testing.T, payload string) {
		got := a.Verify(t.Context(), j, bearer(es().forge(`{"alg":"ES256"}`, payload)))
		if got.Err != nil {
			return
		}
		var plain map[string]any
		if err := json.Unmarshal([]byte(payload), &plain); err != nil {
			t.Fatalf("encoding/json does not read %q: %v", payload, err)
		}
		if len(plain) != len(got.Claims[0].Payload) || plain["exp"] == nil {
			t.Fatalf("%q is read as %v", payload, got.Claims[0].Payload)
		}
		for _, set := range got.Set {
			if strings.ContainsAny(set.Value, "\r\n\x00") {
				t.Fatalf("%s: %q", set.Name, set.Value)
			}
		}
	})
}

// No set of keys that is fetched lets in what none of its keys has signed.
func FuzzJWKS(f *testing.F) {
	for _, s := range []string{
		set(es2()), set(es2(), rs(), ed()), `{"keys":[]}`, `{"keys":[{}]}`, `{"keys":[{"kty":"oct","k":""}]}`, `{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`, `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`, "<html>", "null",
		`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","x5c":["AAAA"]}]}`,
	} {
		f.Add(s)
	}
	c := claims{"iss": issuer, "aud": "shop", "exp": 4102444800}
	tokens := []string{
		es().sign(c), signer{"", jose.ES256, es().private}.sign(c), signer{"", jose.HS256, make([]byte, 32)}.sign(c),
		es().forge(`{"alg":"RS256"}`, encode(c)), es().forge(`{"alg":"EdDSA"}`, encode(c)),
	}
	f.Fuzz(func(t *testing.T, keys string) {
		p := provider()
		p.JWKS = keys
		inline := needs(p)
		faults := jwt.Check(inline)
		a := authenticator(t, jwt.Config{})
		for _, raw := range tokens {
			got := a.Verify(t.Context(), inline, bearer(raw))
			if got.Err == nil && !strings.Contains(keys, "oct") { // a secret of zeros may be configured
				t.Fatalf("let in by %q", keys)
			}
			if got.Err == nil && len(faults) > 0 {
				t.Fatalf("let in by keys that are at fault: %v", faults)
			}
		}
	})
}
