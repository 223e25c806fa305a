package jwt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// longest is how long a token may be.
const longest = 16 << 10

// algorithms are those that a token may be signed by (RFC 7518, 3.1). What a key may verify is for the key to say.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.HS256, jose.HS384, jose.HS512,
}

// A token is what a JWT says, which is nothing to believe before its signature was verified.
type token struct {
	raw                        string
	algorithm                  jose.SignatureAlgorithm
	key                        string // kid; empty if it names none
	segment                    string // the payload, as it stands in raw
	payload                    map[string]any
	issuer, subject            string
	audience                   []string
	expires, notBefore, issued instant
}

var (
	errEncrypted = errors.New("is encrypted (JWE)")
	errCompact   = errors.New("is no JWT in compact form")
	errLong      = errors.New("is too long")
)

// parse reads a token. The errors have nothing of it in them.
func parse(raw string) (*token, error) {
	if len(raw) > longest {
		return nil, errLong
	}
	part := strings.Split(raw, ".")
	switch {
	case len(part) == 5:
		return nil, errEncrypted
	case len(part) != 3 || part[0] == "" || part[1] == "" || part[2] == "":
		return nil, errCompact
	}
	t := &token{raw: raw, segment: part[1]}
	head, err := segment(part[0])
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := t.head(head); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if t.payload, err = segment(part[1]); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if _, err = decode(part[2]); err != nil {
		return nil, err
	}
	return t, t.claims()
}

// segment decodes an object of a token.
func segment(s string) (map[string]any, error) {
	data, err := decode(s)
	if err != nil {
		return nil, err
	}
	return object(data)
}

// decode decodes what there is one way to write of: encoding/base64 by itself skips over ends of lines, and over bits at the end.
func decode(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errCompact
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errCompact
	}
	return data, nil
}

// head reads the header. Keys that a token brings along or points to (jwk, jku, x5c, x5u) are never looked at (RFC 8725, 3.5 and 3.10).
func (t *token) head(h map[string]any) error {
	for _, no := range []string{"crit", "b64", "zip", "enc"} {
		if _, has := h[no]; has {
			return fmt.Errorf("has %s, which is not supported", no)
		}
	}
	name, _ := h["alg"].(string)
	for _, a := range algorithms {
		if string(a) == name {
			t.algorithm = a
		}
	}
	if t.algorithm == "" {
		return errors.New("names no algorithm that is supported")
	}
	if key, has := h["kid"]; has {
		if t.key, has = key.(string); !has {
			return errors.New("kid is no string")
		}
	}
	return nil
}

// claims reads the claims that mean the same in every token (RFC 7519, 4.1).
func (t *token) claims() error {
	var err error
	if t.issuer, err = text(t.payload, "iss"); err != nil {
		return err
	}
	if t.subject, err = text(t.payload, "sub"); err != nil {
		return err
	}
	switch aud := t.payload["aud"].(type) {
	case nil:
		if _, has := t.payload["aud"]; has {
			return errors.New("aud is null")
		}
	case string:
		t.audience = []string{aud}
	case []any:
		for _, one := range aud {
			s, ok := one.(string)
			if !ok {
				return errors.New("aud has an element that is no string")
			}
			t.audience = append(t.audience, s)
		}
	default:
		return errors.New("aud is neither a string nor a list")
	}
	for name, to := range map[string]*instant{"exp": &t.expires, "nbf": &t.notBefore, "iat": &t.issued} {
		if err := to.read(t.payload, name); err != nil {
			return err
		}
	}
	return nil
}

func text(payload map[string]any, name string) (string, error) {
	v, has := payload[name]
	s, ok := v.(string)
	if has && !ok {
		return "", fmt.Errorf("%s is no string", name)
	}
	return s, nil
}

// An instant is a NumericDate: seconds since 1970.
type instant struct {
	known bool
	at    float64
}

// year10000 is beyond what a NumericDate may be.
const year10000 = 253402300800

func (i *instant) read(payload map[string]any, name string) error {
	v, has := payload[name]
	if !has {
		return nil
	}
	f, ok := v.(float64)
	if !ok || math.Abs(f) >= year10000 {
		return fmt.Errorf("%s is no date", name)
	}
	*i = instant{true, f}
	return nil
}

// after reports whether the instant is later than t by more than d.
func (i *instant) after(t time.Time, d time.Duration) bool {
	now := float64(t.Unix()) + float64(t.Nanosecond())/1e9
	return i.at-now > d.Seconds()
}

// timely says what is wrong with the token's times.
func (t *token) timely(now time.Time, skew, lifetime time.Duration) error {
	switch {
	case !t.expires.known:
		return errors.New("has no exp")
	case !t.expires.after(now, -skew):
		return errors.New("is expired")
	case t.notBefore.known && t.notBefore.after(now, skew):
		return errors.New("is not valid yet")
	case t.issued.known && t.issued.after(now, skew):
		return errors.New("was issued in the future")
	case lifetime > 0 && t.expires.after(now, lifetime+skew):
		return errors.New("lives too long")
	}
	return nil
}
