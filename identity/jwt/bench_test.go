package jwt_test

import (
	"testing"

	"github.com/weftmesh/weft/identity/jwt"
)

// BenchmarkVerify is what the token of a request costs: one that was seen before, and one that was not.
func BenchmarkVerify(b *testing.B) {
	for _, k := range []signer{es(), rs(), ed()} {
		j := needs(provider(es(), rs(), ed()))
		r := bearer(k.sign(usual(claims{"scope": "read write", "email": "alice@example.com", "groups": []string{"a", "b", "c"}})))
		b.Run(k.id+"/seen", func(b *testing.B) {
			a := authenticator(b, jwt.Config{})
			b.ReportAllocs()
			for b.Loop() {
				if a.Verify(b.Context(), j, r).Err != nil {
					b.Fatal("refused")
				}
			}
		})
		b.Run(k.id+"/new", func(b *testing.B) {
			tokens := make([]string, 4096) // four times what is remembered
			for i := range tokens {
				tokens[i] = k.sign(usual(claims{"scope": "read write", "email": "alice@example.com", "groups": []string{"a", "b", "c"}, "n": i}))
			}
			a := authenticator(b, jwt.Config{})
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if a.Verify(b.Context(), j, bearer(tokens[n%len(tokens)])).Err != nil {
					b.Fatal("refused")
				}
				n++
			}
		})
	}
}
