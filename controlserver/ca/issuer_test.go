package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// A signer makes tokens, with a key of an ID.
type signer struct {
	t   *testing.T
	key *ecdsa.PrivateKey
	kid string
}

func newSigner(t *testing.T, kid string) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{t: t, key: key, kid: kid}
}

func (s *signer) jwks() string {
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: s.kid, Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// token is that of a service account, with changes.
func (s *signer) token(change ...func(*jwt.Claims)) string {
	s.t.Helper()
	claims := jwt.Claims{
		Issuer: "https://kubernetes", Subject: "system:serviceaccount:shop:payments", Audience: jwt.Audience{"istio-ca"},
		Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)), IssuedAt: jwt.NewNumericDate(time.Now()),
	}
	for _, f := range change {
		f(&claims)
	}
	made, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: s.kid}}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := jwt.Signed(made).Claims(claims).Serialize()
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

func kubernetes(s *signer) Issuer {
	return Issuer{Issuer: "https://kubernetes", Audiences: []string{"istio-ca", "weft"}, JWKS: s.jwks()}
}

func TestTokens(t *testing.T) {
	s, stranger := newSigner(t, "k1"), newSigner(t, "k1")
	ci := Issuer{Issuer: "https://ci", Audiences: []string{"weft"}, JWKS: s.jwks(), Subjects: map[string]string{"repo:acme/shop": "/ns/ci/sa/shop"}}
	c := newCA(t, func(c *Config) { c.Issuers = []Issuer{kubernetes(s), ci} })
	of := func(f func(*jwt.Claims)) func(*jwt.Claims) { return f }
	toCI := of(func(c *jwt.Claims) {
		c.Issuer, c.Audience, c.Subject = "https://ci", jwt.Audience{"weft"}, "repo:acme/shop"
	})
	for _, tc := range []struct {
		name  string
		token string
		id    string
	}{
		{"good", s.token(), "spiffe://td/ns/shop/sa/payments"},
		{"mapped", s.token(toCI), "spiffe://td/ns/ci/sa/shop"},
		{"not mapped", s.token(toCI, of(func(c *jwt.Claims) { c.Subject = "system:serviceaccount:shop:payments" })), ""},
		{"of another's key", stranger.token(), ""},
		{"for others", s.token(of(func(c *jwt.Claims) { c.Audience = jwt.Audience{"vault"} })), ""},
		{"for nobody", s.token(of(func(c *jwt.Claims) { c.Audience = nil })), ""},
		{"of another issuer", s.token(of(func(c *jwt.Claims) { c.Issuer = "https://other" })), ""},
		{"expired", s.token(of(func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(-2 * time.Minute)) })), ""},
		{"for ever", s.token(of(func(c *jwt.Claims) { c.Expiry = nil })), ""},
		{"not yet", s.token(of(func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Hour)) })), ""},
		{"a user", s.token(of(func(c *jwt.Claims) { c.Subject = "admin" })), ""},
		{"a path in a name", s.token(of(func(c *jwt.Claims) { c.Subject = "system:serviceaccount:shop:../../admin/sa/root" })), ""},
		{"unsigned", unsigned(t, s.token()), ""},
		{"cut", s.token()[:40], ""},
		{"long", s.token() + strings.Repeat("A", mostToken), ""},
	} {
		who, err := c.Authenticate(call(t, tc.token))
		if tc.id == "" {
			wantCode(t, tc.name, err, codes.Unauthenticated)
			continue
		}
		if err != nil || who.ID.String() != tc.id || who.Kind != ByToken || who.Until.Before(time.Now()) {
			t.Errorf("%s: %v %v", tc.name, who, err)
		}
	}
	csr, _ := request(t)
	if _, err := create(call(t, s.token()), c, csr, 0); err != nil {
		t.Error(err)
	}
	// Whoever may make service accounts would be obeyed by all.
	control := s.token(of(func(c *jwt.Claims) { c.Subject = "system:serviceaccount:weft-system:control-server" }))
	_, err := create(call(t, control), c, csr, 0)
	wantCode(t, "a certificate of the control server", err, codes.Unauthenticated)
	// In the clear, anybody could have read it.
	ctx := metadata.NewIncomingContext(peer.NewContext(t.Context(), &peer.Peer{
		Addr: &net.TCPAddr{}, AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{}, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}},
	}), metadata.Pairs("authorization", "Bearer "+s.token()))
	_, err = c.Authenticate(ctx)
	wantCode(t, "without TLS", err, codes.Unauthenticated)
	c.config.Plaintext = true
	if _, err := c.Authenticate(ctx); err != nil {
		t.Error(err)
	}
}

// unsigned has no signature, and says that it needs none.
func unsigned(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	return "eyJhbGciOiJub25lIn0." + parts[1] + "."
}

func TestServiceAccount(t *testing.T) {
	for sub, want := range map[string]string{
		"system:serviceaccount:shop:payments":                             "/ns/shop/sa/payments",
		"system:serviceaccount:shop:pay.ments":                            "/ns/shop/sa/pay.ments",
		"system:serviceaccount:sh.op:payments":                            "",
		"system:serviceaccount:shop:":                                     "",
		"system:serviceaccount::payments":                                 "",
		"system:serviceaccount:shop":                                      "",
		"system:serviceaccount:shop:..":                                   "",
		"system:serviceaccount:shop:.":                                    "",
		"system:serviceaccount:..:payments":                               "",
		"system:serviceaccount:shop:a/b":                                  "",
		"system:serviceaccount:shop:a:b":                                  "",
		"system:serviceaccount:shop:a%2fb":                                "",
		"system:serviceaccount:Shop:payments":                             "",
		"system:serviceaccount:shop:-a":                                   "",
		"system:serviceaccount:shop:a\x00":                                "",
		"system:serviceaccount:" + strings.Repeat("a", 64) + ":payments":  "",
		"system:serviceaccount:shop:" + strings.Repeat("a", 254):          "",
		"x system:serviceaccount:shop:payments":                           "",
		"system:serviceaccount:" + strings.Repeat("a", 63) + ":payments":  "/ns/" + strings.Repeat("a", 63) + "/sa/payments",
		"system:serviceaccount:shop:p\u0430yments":                        "",
		"system:serviceaccount:shop:payments\n":                           "",
		"system:serviceaccount:shop:payments?x=system:serviceaccount:a:b": "",
	} {
		id, err := serviceAccount(td, sub)
		if (err == nil) != (want != "") || id.Path() != want {
			t.Errorf("%q: %q, %v", sub, id.Path(), err)
		}
	}
}

// Keys are fetched, by discovery as well; a key that is new is found, but made-up ones do not make the CA fetch again and again.
func TestKeysAreFetched(t *testing.T) {
	k1, k2 := newSigner(t, "k1"), newSigner(t, "k2")
	var jwks atomic.Value
	jwks.Store(k1.jwks())
	var fetches atomic.Int32
	var base string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, base, base+"/keys")
		case "/keys":
			fetches.Add(1)
			if jwks.Load() == "" {
				http.Error(w, "down", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprint(w, jwks.Load())
		case "/away":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		case "/endless":
			for range 2000 {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	base = server.URL
	roots := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(roots, []byte(encodeCertificate(server.Certificate())), 0o600); err != nil {
		t.Fatal(err)
	}
	from := func(c *jwt.Claims) { c.Issuer = base }
	c := newCA(t, func(c *Config) {
		c.Issuers = []Issuer{{Issuer: base, Audiences: []string{"istio-ca"}, RootCAFile: roots}}
	})
	check := func(what, token string, good bool) {
		t.Helper()
		if _, err := c.Authenticate(call(t, token)); (err == nil) != good {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("the first", k1.token(from), true)
	for range 20 {
		check("a key that nobody has", newSigner(t, "made up").token(from), false)
	}
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	keys := c.issuers.of[base].keys
	pause := func(read time.Duration) {
		keys.mu.Lock()
		defer keys.mu.Unlock()
		keys.tried, keys.read = keys.tried.Add(-keysPause), keys.read.Add(-read)
	}
	jwks.Store(k2.jwks())
	pause(0)
	check("a new key", k2.token(from), true)
	check("the old key, which has left", k1.token(from), false)
	jwks.Store("")
	pause(keysFresh)
	check("the issuer is down", k2.token(from), true)
	pause(keysStale)
	check("for too long", k2.token(from), false)
	jwks.Store(k2.jwks())
	pause(0)
	check("back", k2.token(from), true)

	for _, path := range []string{"/away", "/endless", "/nowhere"} {
		client, err := newClient(roots)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fetch(t.Context(), client, base+path, ""); err == nil && path != "/nowhere" {
			t.Errorf("%s was taken", path)
		}
	}
}

func TestKeysOfAFile(t *testing.T) {
	k1, k2 := newSigner(t, "k1"), newSigner(t, "k2")
	file := filepath.Join(t.TempDir(), "jwks.json")
	write := func(text string, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	write(k1.jwks(), 3*time.Second)
	i := kubernetes(k1)
	i.JWKS, i.JWKSFile = "", file
	c := newCA(t, func(c *Config) { c.Issuers = []Issuer{i} })
	for _, step := range []struct {
		text   string
		token  string
		good   bool
		before string
	}{
		{"", k1.token(), true, "as it was"},
		{"garbage", k1.token(), true, "a bad file changes nothing"},
		{k2.jwks(), k2.token(), true, "another key"},
		{"", k1.token(), false, "the old one"},
	} {
		if step.text != "" {
			write(step.text, time.Duration(len(step.text)%2)*time.Second)
		}
		if _, err := c.Authenticate(call(t, step.token)); (err == nil) != step.good {
			t.Errorf("%s: %v", step.before, err)
		}
	}
}

func TestIssuersRefused(t *testing.T) {
	good := kubernetes(newSigner(t, "k"))
	for name, change := range map[string]func(*Issuer){
		"no name":          func(i *Issuer) { i.Issuer = "" },
		"no audience":      func(i *Issuer) { i.Audiences = nil },
		"an empty one":     func(i *Issuer) { i.Audiences = []string{""} },
		"no keys":          func(i *Issuer) { i.JWKS = `{"keys":[]}` },
		"a secret as key":  func(i *Issuer) { i.JWKS = `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"x"}]}` },
		"no JSON":          func(i *Issuer) { i.JWKS = "x" },
		"two places":       func(i *Issuer) { i.JWKSFile = "x" },
		"no file":          func(i *Issuer) { i.JWKS, i.JWKSFile = "", "/nowhere" },
		"no URL":           func(i *Issuer) { i.JWKS, i.JWKSURI = "", "nowhere" },
		"a bad identity":   func(i *Issuer) { i.Subjects = map[string]string{"x": "/a/../b"} },
		"no identity":      func(i *Issuer) { i.Subjects = map[string]string{"x": ""} },
		"a file of no CAs": func(i *Issuer) { i.JWKS, i.RootCAFile = "", "/nowhere" },
	} {
		i := good
		change(&i)
		if _, err := newIssuers([]Issuer{i}, td, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := newIssuers([]Issuer{good, good}, td, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("twice: accepted")
	}
}

// Whatever a subject is, its identity is a service account of this trust domain, of the two names in it.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{"system:serviceaccount:shop:payments", "system:serviceaccount:..:/", "system:serviceaccount:a:b.c", "system:serviceaccount:a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sub string) {
		id, err := serviceAccount(td, sub)
		if err != nil {
			return
		}
		again, err := spiffeid.FromString(id.String())
		parts := strings.Split(id.Path(), "/")
		if err != nil || again != id || !id.MemberOf(td) || len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" ||
			sub != "system:serviceaccount:"+parts[2]+":"+parts[4] {
			t.Errorf("%q: %q, %v", sub, id, err)
		}
	})
}
