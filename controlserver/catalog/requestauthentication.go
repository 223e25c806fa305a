package catalog

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/jwt"
)

// requestAuthentication checks a RequestAuthentication.
func (v *validator) requestAuthentication(ra *security.RequestAuthentication, p *path) {
	v.attachment(p, ra)
	rules := p.field("jwtRules")
	if len(ra.GetJwtRules()) == 0 {
		v.warn(rules, "is missing: no token is verified")
	}
	if len(ra.GetJwtRules()) > 4096 {
		v.fail(rules, "has more than 4096 rules")
	}
	for i, r := range ra.GetJwtRules() {
		v.jwtRule(rules.at(i), r)
	}
}

func (v *validator) jwtRule(p *path, r *security.JWTRule) {
	for i, a := range r.GetAudiences() {
		if a == "" {
			v.fail(p.field("audiences").at(i), "is empty")
		}
	}
	switch {
	case r.GetIssuer() == "" && r.GetJwksUri() == "":
		v.fail(p, "needs issuer or jwksUri")
	case r.GetIssuer() == "":
		v.warn(p.field("issuer"), "is missing: the tokens of any issuer are believed that the keys fit")
	}
	v.keys(p, r)
	v.tokenPlaces(p, r)
	if h := r.GetOutputPayloadToHeader(); h != "" {
		v.outputHeader(p.field("outputPayloadToHeader"), h)
	}
	seen := map[string]int{}
	for i, c := range r.GetOutputClaimToHeaders() {
		at := p.field("outputClaimToHeaders").at(i)
		header := strings.ToLower(c.GetHeader())
		if c.GetClaim() == "" {
			v.fail(at.field("claim"), "is missing")
		}
		if first, twice := seen[header]; twice {
			v.fail(at.field("header"), "%q given twice, first as outputClaimToHeaders[%d]", c.GetHeader(), first)
			continue
		}
		seen[header] = i
		if header == "" {
			v.fail(at.field("header"), "is missing")
		} else {
			v.outputHeader(at.field("header"), c.GetHeader())
		}
	}
	v.duration(p.field("timeout"), r.GetTimeout())
	if len(r.GetSpaceDelimitedClaims()) > 64 {
		v.fail(p.field("spaceDelimitedClaims"), "has more than 64 values")
	}
	for i, c := range r.GetSpaceDelimitedClaims() {
		if c == "" {
			v.fail(p.field("spaceDelimitedClaims").at(i), "is empty")
		}
	}
	if !v.failed {
		v.verifiable(p, r)
	}
}

// keys checks where the keys of an issuer come from.
func (v *validator) keys(p *path, r *security.JWTRule) {
	uri := p.field("jwksUri")
	switch {
	case r.GetJwks() != "" && r.GetJwksUri() != "":
		v.fail(uri, "only one of jwks and jwksUri may be given")
	case r.GetJwks() != "":
		v.jwks(p.field("jwks"), r.GetJwks())
	case r.GetJwksUri() == "":
		v.warn(uri, "is missing, and there is no jwks: keys are not looked for at the issuer, and every token of it is refused")
	}
	if r.GetJwksUri() == "" {
		return
	}
	u, err := url.Parse(r.GetJwksUri())
	switch {
	case err != nil:
		v.fail(uri, "%q is not a URL", r.GetJwksUri())
	case u.Scheme != "http" && u.Scheme != "https":
		v.fail(uri, "%q is not a URL with https:// or http://", r.GetJwksUri())
	case u.Hostname() == "":
		v.fail(uri, "%q names no host", r.GetJwksUri())
	case len(r.GetJwksUri()) > 2048:
		v.fail(uri, "is longer than 2048 characters")
	case u.User != nil:
		v.fail(uri, "has a user or a password in it, which everybody would see who is told of it")
	}
}

// maxKeys is how many bytes a set of keys may have that is written down.
const maxKeys = 256 << 10

// jwks checks a set of keys (RFC 7517).
func (v *validator) jwks(p *path, text string) {
	if len(text) > maxKeys {
		v.fail(p, "is larger than 256 KiB")
		return
	}
	type key struct {
		Kty string          `json:"kty"`
		D   json.RawMessage `json:"d"`
		K   json.RawMessage `json:"k"`
	}
	var set struct {
		key
		Keys *[]key `json:"keys"`
	}
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		v.fail(p, "is not a set of keys in JSON (RFC 7517)")
		return
	}
	keys := []key{set.key}
	if set.Keys != nil {
		keys = *set.Keys
	} else if set.Kty == "" {
		v.fail(p, "is not a set of keys: it has no \"keys\" (RFC 7517)")
		return
	}
	for i, k := range keys {
		switch {
		case k.Kty == "":
			v.fail(p, "keys[%d] has no \"kty\" (RFC 7517)", i)
		case k.Kty == "oct" || k.K != nil:
			v.warn(p, "keys[%d] is a shared secret, with which everybody who reads it can make tokens: use public keys", i)
		case k.D != nil:
			v.warn(p, "keys[%d] is a private key, and stands here to be read: only public keys are needed", i)
		}
	}
	if set.Keys == nil {
		v.fail(p, "is one key: a set of keys is {\"keys\": [...]} (RFC 7517)")
		return
	}
	for _, err := range jwt.Check(&identity.JWT{Providers: []identity.Provider{{Name: "a", JWKS: text}}}) {
		v.warn(p, "no token of the issuer is believed: %s", strings.TrimPrefix(err.Error(), "provider a: "))
	}
}

// verifiable checks that those who verify the tokens of a rule can.
func (v *validator) verifiable(p *path, r *security.JWTRule) {
	one := identity.Provider{Name: "a", URI: "https://a", PayloadHeader: strings.ToLower(r.GetOutputPayloadToHeader())}
	for _, h := range r.GetFromHeaders() {
		one.From = append(one.From, identity.TokenPlace{Kind: identity.InHeader, Name: strings.ToLower(h.GetName()), Prefix: h.GetPrefix()})
	}
	for _, name := range r.GetFromParams() {
		one.From = append(one.From, identity.TokenPlace{Kind: identity.InQuery, Name: name})
	}
	for _, name := range r.GetFromCookies() {
		one.From = append(one.From, identity.TokenPlace{Kind: identity.InCookie, Name: name})
	}
	for _, c := range r.GetOutputClaimToHeaders() {
		one.ClaimHeaders = append(one.ClaimHeaders, identity.ClaimHeader{Header: strings.ToLower(c.GetHeader()), Claim: c.GetClaim()})
	}
	for _, err := range jwt.Check(&identity.JWT{Providers: []identity.Provider{one}}) {
		v.fail(p, "%s", strings.TrimPrefix(err.Error(), "provider a: "))
	}
}

func (v *validator) tokenPlaces(p *path, r *security.JWTRule) {
	for i, h := range r.GetFromHeaders() {
		at := p.field("fromHeaders").at(i)
		switch {
		case h.GetName() == "":
			v.fail(at.field("name"), "is missing")
		case !headerName.MatchString(h.GetName()):
			v.fail(at.field("name"), "%q is not the name of a header", h.GetName())
		case strings.EqualFold(h.GetPrefix(), "Bearer"):
			v.warn(at.field("prefix"), "%q is followed by a space, which belongs to the prefix", h.GetPrefix())
		}
	}
	for _, list := range [...]struct {
		name   string
		values []string
	}{{"fromParams", r.GetFromParams()}, {"fromCookies", r.GetFromCookies()}} {
		for i, name := range list.values {
			at := p.field(list.name).at(i)
			switch {
			case name == "":
				v.fail(at, "is empty")
			case list.name == "fromCookies" && !headerName.MatchString(name):
				v.warn(at, "%q is no cookie's name", name)
			}
		}
	}
}

var (
	plainHeader = regexp.MustCompile(`^[-_A-Za-z0-9]+$`)
	// framing are headers that say how a request is to be read, and whose it is: tokens must not.
	framing = map[string]bool{
		"host": true, "connection": true, "content-length": true, "transfer-encoding": true, "te": true, "trailer": true, "upgrade": true,
		"keep-alive": true, "proxy-connection": true, "expect": true, "x-forwarded-client-cert": true, "grpc-timeout": true, "content-type": true,
	}
)

// outputHeader checks the name of a header that is made of a token.
func (v *validator) outputHeader(p *path, name string) {
	switch {
	case !plainHeader.MatchString(name):
		v.fail(p, "%q must be letters, digits, '-' and '_'", name)
	case framing[strings.ToLower(name)]:
		v.fail(p, "%q cannot be made of a token: requests are read by it", name)
	}
}

// presence reads the field of a JWTRule that istio.io/api lacks. It reports false for all others.
func (d *document) presence(n *yaml.Node, m protoreflect.Message, p *path, name string) bool {
	if _, ok := m.Interface().(*security.JWTRule); !ok || name != "presence" {
		return false
	}
	const optional, required = "OPTIONAL", "REQUIRED"
	switch word, ok := d.text1(n, p); {
	case !ok || word == "" || word == optional:
	case word == required && p.up.kind == indexStep:
		d.object.required = append(d.object.required, p.up.index)
	default:
		message := fmt.Sprintf("unknown value %q; there are %s, %s", word, optional, required)
		if near := closest(word, []string{optional, required}); near != "" {
			message = fmt.Sprintf("unknown value %q; did you mean %q?", word, near)
		}
		d.report(n, p, Error, "%s", message)
	}
	return true
}
