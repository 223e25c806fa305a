package mesh_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/mesh"
)

// proofs are what a handler knows of who calls it.
func proofs(ctx context.Context, h func(name string) string) (out string) {
	if p, ok := mesh.PeerFromContext(ctx); ok {
		if !p.ID.IsZero() {
			out += fmt.Sprintf("from %s\n", p.ID)
		}
		for _, c := range p.Claims {
			out += fmt.Sprintf("token of %s\n", c.Subject)
		}
	}
	if _, uri, ok := strings.Cut(h("x-forwarded-client-cert"), "URI="); ok {
		out += "x-forwarded-client-cert: … URI=" + uri + "\n"
	}
	for _, name := range []string{"x-token-subject", "x-token-role"} {
		if v := h(name); v != "" {
			out += name + ": " + v + "\n"
		}
	}
	if h("authorization") != "" {
		out += "authorization: …\n"
	}
	return out
}

// authorize is the answer of a backend that others ask whether a request may pass (Envoy ext_authz): what it was told to fail with.
func (b *backend) authorize() *authv3.CheckResponse {
	b.reached.Add(1)
	code := int(b.code.Load())
	if code == 0 || code == http.StatusOK {
		return &authv3.CheckResponse{Status: status.New(codes.OK, "").Proto()}
	}
	return &authv3.CheckResponse{
		Status:       status.New(codeOf(code), "").Proto(),
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(code)}}},
	}
}

// identity is that of a process of the service.
func (s *stage) identity(service string) []mesh.Option {
	if !s.secure {
		return nil
	}
	name, namespace, _ := strings.Cut(service, ".")
	return []mesh.Option{mesh.WithIdentity(s.kit.Identity(cmp.Or(namespace, "default"), name))}
}

// replace stops an instance and starts one of another service at its address.
func (s *stage) replace(name, another, service string, labels map[string]string) {
	old := s.named(name)
	old.stop()
	s.backend(s.kit.At(old.addr), another, service, "", labels)
}

// stranger calls an address without the mesh.
func (s *stage) stranger(addr, path string, said map[string]string) string {
	s.present(said)
	var conf *tls.Config
	creds := insecure.NewCredentials()
	if id := said[":as"]; id != "" {
		conf = s.forged(id)
		creds = credentials.NewTLS(conf)
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	door := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if conf == nil {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
		return (&tls.Dialer{Config: conf}).DialContext(ctx, network, addr)
	}}
	c := &caller{protocol: s.protocol, door: door, conns: map[string]*grpc.ClientConn{addr: conn}}
	a := c.ask(addr, path, said)
	if _, answered := status.FromError(a.err); !answered || status.Code(a.err) == codes.Unavailable {
		return "not let in"
	}
	return a.how()
}

// forged has a certificate of the identity, of an authority that nobody believes.
func (s *stage) forged(id string) *tls.Config {
	d, err := spiffeid.FromString(id)
	if err != nil {
		s.t.Fatal(err)
	}
	svid, err := identitytest.New(s.t, d.TrustDomain().Name()).Source(id).GetX509SVID()
	if err != nil {
		s.t.Fatal(err)
	}
	cert := tls.Certificate{PrivateKey: svid.PrivateKey}
	for _, c := range svid.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	show := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }              // whatever authorities the server names
	return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, GetClientCertificate: show} // strangers believe anybody
}

// present puts a token that was made into the headers.
func (s *stage) present(said map[string]string) {
	name := said[":token"]
	if name == "" {
		return
	}
	if s.tokens[name] == "" {
		s.t.Fatalf("no token %q", name)
	}
	said["authorization"] = "Bearer " + s.tokens[name]
}

// sign makes a token of claims, signed by the key of its issuer (EdDSA) or of :key=NAME, of which the public half is in the scenario.
func (s *stage) sign(said map[string]string) string {
	claims := map[string]any{"iss": "issuer.example", "sub": "somebody", "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range said {
		switch {
		case name == "exp":
			life, _ := time.ParseDuration(value) // 0 is over as well
			claims["exp"] = time.Now().Add(life).Unix()
		case strings.Contains(value, ","):
			claims[name] = strings.Split(value, ",")
		case !strings.HasPrefix(name, ":"):
			claims[name] = value
		}
	}
	seed := sha256.Sum256([]byte(cmp.Or(said[":key"], claims["iss"].(string))))
	payload, err := json.Marshal(claims)
	if err != nil {
		s.t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"EdDSA"}`)) + "." + encode(payload)
	return text + "." + encode(ed25519.Sign(ed25519.NewKeyFromSeed(seed[:]), []byte(text)))
}

// gossip is what an instance logs.
type gossip struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (g *gossip) Write(line []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.Write(line)
}

// said is what was logged of callers, each thing once.
func (g *gossip) said() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	said := map[string]bool{}
	for decoder := json.NewDecoder(&g.text); ; {
		var line map[string]any
		if decoder.Decode(&line) != nil {
			break
		}
		if line["caller"] == nil || line["msg"] == "connection not let in" { // said at any time after who was turned away has seen it
			continue
		}
		out := fmt.Sprintf("%s: %s", line["msg"], line["caller"])
		for _, name := range []string{"path", "step", "policy", "action", "wouldAllow", "reason"} {
			if v := line[name]; v != nil && v != "" {
				out += fmt.Sprintf(", %s %v", name, v)
			}
		}
		said[out] = true
	}
	g.text.Reset()
	return strings.Join(slices.Sorted(maps.Keys(said)), "\n")
}
