package extauthz

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"iter"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// patient is for what must not fail for want of time.
const patient = 30 * time.Second

type header http.Header

func (h header) Values(n match.HeaderName) []string { return h[n.Canonical] }
func (h header) All() iter.Seq2[string, []string]   { return maps.All(h) }

func lines(of ...string) header {
	h := http.Header{}
	for i := 0; i < len(of); i += 2 {
		h.Add(of[i], of[i+1])
	}
	return header(h)
}

// asked is a request by a peer of the mesh.
func asked(h match.Header) *identity.Request {
	return &identity.Request{
		Method: "PUT", Scheme: "https", Authority: "shop.example", Path: "/a/b", Query: "c=d", Header: h, Peer: peer(),
		Source: netip.MustParseAddrPort("10.0.0.1:1234"), Local: netip.MustParseAddrPort("10.0.0.2:8080"),
	}
}

var peer = sync.OnceValue(func() *identity.Peer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	id := spiffeid.RequireFromString("spiffe://td/ns/shop/sa/web")
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), URIs: []*url.URL{id.URL()}, Subject: pkix.Name{CommonName: "web"}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	must(err)
	cert, err = x509.ParseCertificate(der)
	must(err)
	return &identity.Peer{ID: id, Certificates: []*x509.Certificate{cert}, Protocol: "h2"}
})

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// A judge answers questions by gRPC, and remembers the last one.
type judge struct {
	auth.UnimplementedAuthorizationServer
	answer func(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error)
	mu     sync.Mutex
	last   *auth.CheckRequest
	md     metadata.MD
	times  int
}

func (j *judge) Check(ctx context.Context, r *auth.CheckRequest) (*auth.CheckResponse, error) {
	j.mu.Lock()
	j.last, j.times = r, j.times+1
	j.md, _ = metadata.FromIncomingContext(ctx)
	j.mu.Unlock()
	return j.answer(ctx, r)
}

// seen is what it was asked last, and how often it was asked.
func (j *judge) seen() (*auth.CheckRequest, metadata.MD, int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last, j.md, j.times
}

// gives is an answer that is always the same.
func gives(r *auth.CheckResponse, err error) func(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error) {
	return func(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error) { return r, err }
}

func ok(r *auth.OkHttpResponse) *auth.CheckResponse {
	return &auth.CheckResponse{HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: r}}
}

// grpcAsker asks a judge, as whatever service, and counts its connections.
func grpcAsker(t *testing.T, j *judge) (a *Asker, dials func() int) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(err)
	s := grpc.NewServer()
	auth.RegisterAuthorizationServer(s, j)
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(ln) })
	t.Cleanup(func() { s.Stop(); wg.Wait() })
	var mu sync.Mutex
	n := 0
	a = New(Config{Self: func() string { return "spiffe://td/ns/shop/sa/cart" }, Dial: func(string) (Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		n++
		return grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	}})
	t.Cleanup(func() { a.Close() })
	return a, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// httpAsker asks a server that is whatever service, and returns what that was asked last.
func httpAsker(t *testing.T, answer http.HandlerFunc) (a *Asker, last func() *http.Request) {
	t.Helper()
	var mu sync.Mutex
	var seen *http.Request
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = r
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	a = New(Config{HTTP: transport})
	t.Cleanup(func() { a.Close() })
	return a, func() *http.Request { mu.Lock(); defer mu.Unlock(); return seen }
}

func option(name, value string) *core.HeaderValueOption {
	return &core.HeaderValueOption{Header: &core.HeaderValue{Key: name, Value: value}}
}

func field(name, value string) identity.HeaderField {
	return identity.HeaderField{Name: name, Value: value}
}

func names(kind match.Kind, of ...string) (all []match.String) {
	for _, n := range of {
		all = append(all, match.String{Kind: kind, Value: n})
	}
	return all
}
