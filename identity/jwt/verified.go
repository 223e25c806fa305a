package jwt

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/identity"
)

// A verified is what a token says that a provider's key has signed.
type verified struct {
	claims identity.Claims
	set    []identity.HeaderField
	times  token // its instants alone
	keys   *keySet
}

// errForeign says that a token is another issuer's.
var errForeign = errors.New("is of another issuer")

// verify verifies a token of the provider's but for its audience. The errors have nothing of the token in them.
func (a *Authenticator) verify(ctx context.Context, p *provider, raw string) (*verified, error) {
	if p.fault != nil {
		return nil, p.fault
	}
	at := sight{provider: p}
	if len(raw) <= rememberUp {
		at.hash = sha256.Sum256([]byte(raw))
		if v := a.seen.get(at); v != nil {
			keys, err := a.keysOf(ctx, p)
			if err == nil && keys == v.keys {
				return v, v.times.timely(time.Now(), p.Skew, p.MaxLifetime)
			}
			a.seen.drop(at)
		}
	}
	t, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if err := p.accept(t); err != nil {
		return nil, err
	}
	keys, err := a.signed(ctx, p, t)
	if err != nil {
		return nil, err
	}
	v := p.verified(t, keys)
	if len(raw) <= rememberUp {
		a.seen.add(at, v)
	}
	return v, nil
}

// accept looks at what a token says of itself, before anything is done for it that costs more.
func (p *provider) accept(t *token) error {
	if p.Issuer != "" && t.issuer != p.Issuer {
		return errForeign
	}
	if err := t.timely(time.Now(), p.Skew, p.MaxLifetime); err != nil {
		return err
	}
	if len(p.subjects) == 0 {
		return nil
	}
	if _, has := t.payload["sub"]; has {
		for i := range p.subjects {
			if p.subjects[i].Matches(t.subject) {
				return nil
			}
		}
	}
	return errors.New("is of a subject that is not accepted")
}

// signed verifies the signature. Keys that are fetched are fetched again if none of them is the one.
func (a *Authenticator) signed(ctx context.Context, p *provider, t *token) (*keySet, error) {
	keys, err := a.keysOf(ctx, p)
	if err != nil {
		return nil, err
	}
	err = keys.verify(t)
	if p.keys != nil || !errors.Is(err, errUnknownKey) {
		return keys, err
	}
	others, none := a.keys(ctx, p, keys)
	if none != nil || others == keys {
		return nil, err
	}
	return others, others.verify(t)
}

// keysOf are the keys of the provider, configured or fetched.
func (a *Authenticator) keysOf(ctx context.Context, p *provider) (*keySet, error) {
	if p.keys != nil {
		return p.keys, nil
	}
	return a.keys(ctx, p, nil)
}

// verified is what is taken from a token.
func (p *provider) verified(t *token, keys *keySet) *verified {
	v := &verified{keys: keys, times: token{expires: t.expires, notBefore: t.notBefore, issued: t.issued}}
	if p.PayloadHeader != "" {
		v.set = append(v.set, identity.HeaderField{Name: p.PayloadHeader, Value: t.segment})
	}
	for _, c := range p.ClaimHeaders {
		if value, ok := written(claim(t.payload, c.Claim)); ok {
			v.set = append(v.set, identity.HeaderField{Name: c.Header, Value: value})
		}
	}
	for _, name := range p.spaced {
		if s, ok := t.payload[name].(string); ok {
			list := []any{}
			for word := range strings.FieldsSeq(s) {
				list = append(list, word)
			}
			t.payload[name] = list
		}
	}
	v.claims = identity.Claims{Provider: p.Name, Issuer: t.issuer, Subject: t.subject, Audience: t.audience, Payload: t.payload}
	return v
}

// heard reports whether one of the audiences is meant; none asked for is any.
func (v *verified) heard(audiences []string) bool {
	return len(audiences) == 0 || slices.ContainsFunc(v.claims.Audience, func(s string) bool { return s != "" && slices.Contains(audiences, s) })
}

// claim is the claim of a name, or that to which its parts lead through nested objects; nil if there is none.
func claim(payload map[string]any, name string) any {
	if v, has := payload[name]; has {
		return v
	}
	head, rest, nested := strings.Cut(name, ".")
	inner, _ := payload[head].(map[string]any)
	if !nested || inner == nil {
		return nil
	}
	return claim(inner, rest)
}

// written is a claim as it stands in a header. What would end the header, or say nothing, does not.
func written(v any) (value string, ok bool) {
	switch v := v.(type) {
	case nil:
		return "", false
	case string:
		value = v
	case bool:
		value = strconv.FormatBool(v)
	case float64:
		value = strconv.FormatFloat(v, 'f', -1, 64)
	case json.Number:
		value = v.String()
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return "", false
		}
		value = base64.RawURLEncoding.EncodeToString(data)
	}
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", false
		}
	}
	return value, true
}
