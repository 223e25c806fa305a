package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// A keySet is the keys of an issuer. It is immutable.
type keySet struct{ keys []key }

// A key verifies signatures by its algorithms, and by no other (RFC 8725, 3.1).
type key struct {
	id         string
	algorithms []jose.SignatureAlgorithm
	public     any
}

const (
	mostKeys  = 100
	mostTries = 16 // of keys for one token
	smallest  = 2048
	largest   = 8192 // bits of RSA
)

// parseKeys reads a JWK set (RFC 7517). Keys that are not for verifying, or not known here, are passed over; a set that has no other is
// none. Secrets (HS256 and its like) are keys only in a set that is not public.
func parseKeys(data []byte, public bool) (*keySet, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, errors.New("JWKS: is no JWK set")
	}
	if len(set.Keys) > mostKeys {
		return nil, fmt.Errorf("JWKS: has %d keys, more than %d", len(set.Keys), mostKeys)
	}
	s := &keySet{}
	var why error
	for i, raw := range set.Keys {
		k, err := parseKey(raw, public)
		if err != nil {
			why = fmt.Errorf("JWKS: key %d: %w", i, err)
			continue
		}
		s.keys = append(s.keys, k)
	}
	switch {
	case len(s.keys) > 0:
		return s, nil
	case why != nil:
		return nil, why
	}
	return nil, errors.New("JWKS: has no keys")
}

// parseKey reads one key. The errors have nothing of it in them.
func parseKey(raw json.RawMessage, public bool) (key, error) {
	var is struct {
		Operations []string `json:"key_ops"`
	}
	var j jose.JSONWebKey
	if json.Unmarshal(raw, &is) != nil || json.Unmarshal(raw, &j) != nil {
		return key{}, errors.New("is not understood")
	}
	if j.Use != "" && j.Use != "sig" || len(is.Operations) > 0 && !slices.Contains(is.Operations, "verify") {
		return key{}, errors.New("is not for signatures")
	}
	k := key{id: j.KeyID, public: j.Key}
	switch is := j.Key.(type) {
	case *rsa.PublicKey:
		if bits := is.N.BitLen(); bits < smallest || bits > largest {
			return key{}, fmt.Errorf("has %d bits, where %d to %d are allowed", bits, smallest, largest)
		}
		if is.E < 3 || is.E%2 == 0 {
			return key{}, errors.New("has a bad exponent")
		}
		k.algorithms = algorithms[:6]
	case *ecdsa.PublicKey:
		switch is.Curve.Params().BitSize {
		case 256:
			k.algorithms = []jose.SignatureAlgorithm{jose.ES256}
		case 384:
			k.algorithms = []jose.SignatureAlgorithm{jose.ES384}
		case 521:
			k.algorithms = []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		k.algorithms = []jose.SignatureAlgorithm{jose.EdDSA}
	case []byte:
		if public {
			return key{}, errors.New("is a secret in a public place")
		}
		for i, size := range []int{32, 48, 64} { // at least as long as the hash (RFC 7518, 3.2)
			if len(is) >= size {
				k.algorithms = append(k.algorithms, []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}[i])
			}
		}
	default:
		return key{}, errors.New("is no public key of a kind that is supported")
	}
	if j.Algorithm != "" {
		if !slices.Contains(k.algorithms, jose.SignatureAlgorithm(j.Algorithm)) {
			return key{}, errors.New("does not fit its own algorithm")
		}
		k.algorithms = []jose.SignatureAlgorithm{jose.SignatureAlgorithm(j.Algorithm)}
	}
	if len(k.algorithms) == 0 {
		return key{}, errors.New("is too short")
	}
	return k, nil
}

var (
	errUnknownKey = errors.New("is signed by a key that is not known")
	errSignature  = errors.New("has a bad signature")
)

// verify verifies the signature of a token. A token that names a key is verified by that, or by those without a name.
func (s *keySet) verify(t *token) error {
	var signed *jose.JSONWebSignature
	tries, named := 0, false
	for i := range s.keys {
		k := &s.keys[i]
		if t.key != "" && k.id != "" && k.id != t.key {
			continue
		}
		named = named || t.key != "" && k.id != ""
		if !slices.Contains(k.algorithms, t.algorithm) {
			continue
		}
		if signed == nil {
			var err error
			if signed, err = jose.ParseSignedCompact(t.raw, []jose.SignatureAlgorithm{t.algorithm}); err != nil {
				return errCompact
			}
		}
		if _, err := signed.Verify(k.public); err == nil {
			return nil
		}
		if tries++; tries == mostTries {
			break
		}
	}
	if named {
		return errSignature
	}
	return errUnknownKey
}

// equal reports whether two sets have the same keys in the same order.
func (s *keySet) equal(o *keySet) bool {
	return slices.EqualFunc(s.keys, o.keys, func(a, b key) bool {
		return a.id == b.id && slices.Equal(a.algorithms, b.algorithms) && samePublic(a.public, b.public)
	})
}

func samePublic(a, b any) bool {
	switch a := a.(type) {
	case *rsa.PublicKey:
		b, ok := b.(*rsa.PublicKey)
		return ok && a.Equal(b)
	case *ecdsa.PublicKey:
		b, ok := b.(*ecdsa.PublicKey)
		return ok && a.Equal(b)
	case ed25519.PublicKey:
		b, ok := b.(ed25519.PublicKey)
		return ok && a.Equal(b)
	}
	return false
}
