package interop

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh"
)

var (
	east  = spiffeid.RequireTrustDomainFromString("east.test")
	west  = spiffeid.RequireTrustDomainFromString("west.test")
	south = spiffeid.RequireTrustDomainFromString("south.test")
)

// A realm is the authority of a trust domain before its control server runs.
type realm struct {
	domain   spiffeid.TrustDomain
	dir      string
	endpoint string // where it will serve its bundle
	bundle   string // file of its bundle, which another is given by hand
	root     []byte // in it, PEM
}

func newRealm(t *testing.T, domain spiffeid.TrustDomain) realm {
	t.Helper()
	ln := listen(t)
	r := realm{domain: domain, dir: filepath.Join(t.TempDir(), "ca"), endpoint: ln.Addr().String(), bundle: filepath.Join(t.TempDir(), "bundle.json")}
	ln.Close()
	authority, err := ca.New(ca.Config{TrustDomain: domain, Dir: r.dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer authority.Close()
	if r.root, err = authority.Bundle().X509Bundle().Marshal(); err != nil {
		t.Fatal(err)
	}
	text, err := authority.Bundle().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.bundle, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

// config is that of its control server, which believes the other.
func (r realm) config(t *testing.T, other realm) controlserver.Config {
	t.Helper()
	server, err := spiffeid.FromPath(other.domain, "/ns/weft-system/sa/control-server")
	if err != nil {
		t.Fatal(err)
	}
	return controlserver.Config{BundleEndpoint: r.endpoint, CA: &ca.Config{TrustDomain: r.domain, Dir: r.dir, Federation: []ca.Federation{{
		TrustDomain: other.domain, URL: "https://" + other.endpoint, Profile: ca.HTTPSSPIFFE, EndpointID: server, BundleFile: other.bundle,
	}}}}
}

// know waits until the control server believes so many roots of another trust domain.
func (c *control) know(t *testing.T, domain spiffeid.TrustDomain, roots int) {
	t.Helper()
	if !eventually(func() bool {
		b, err := c.server.CA().GetX509BundleForTrustDomain(domain)
		return err == nil && len(b.X509Authorities()) == roots
	}) {
		t.Fatalf("%s does not know %d roots of %s", c.server.CA().TrustDomain(), roots, domain)
	}
}

// Members of one trust domain call a service of another, which names them in its policy. Their control servers fetch each other's
// bundle, so that a root is believed that nobody has been given by hand.
func TestTrustDomainsCallEachOther(t *testing.T) {
	t.Parallel()
	e, w := newRealm(t, east), newRealm(t, west)
	if _, err := ca.RotateRoot(w.dir, ca.Keys{}, ca.AnnounceRoot, false); err != nil {
		t.Fatal(err)
	}
	there := startSecureOf(t, w.config(t, e), map[string]string{"other.yaml": webService + `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: payments, namespace: shop}
spec: {action: ALLOW, rules: [{from: [{source: {principals: [west.test/*]}}]}]}
`})
	here := startSecureOf(t, e.config(t, w), map[string]string{"mesh.yaml": webService + `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: payments, namespace: shop}
spec:
  action: ALLOW
  rules:
  - from: [{source: {principals: [west.test/ns/shop/sa/orders]}}]
`})
	here.know(t, west, 2) // of which the file has one
	if err := there.server.CA().RotateRoot(ca.SwitchRoot, true); err != nil {
		t.Fatal(err)
	}
	payments := httpMember(t, here, "payments", "payments.shop", map[string]string{"app": "payments"})
	var port int
	if _, err := fmt.Sscanf(payments.addr, "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	there.put(t, "other.yaml", farService("far", port, "east.test/ns/shop/sa/payments")+"---"+farService("fake", port, "east.test/ns/shop/sa/another"))

	call := func(c *control, source identity.Source, service string) door {
		m := newMesh(t, mesh.WithControlServer(c.server.Addr()), mesh.WithIdentity(source))
		return httpDoor(&http.Client{Transport: m.RoundTripper()}, "http://"+service)
	}
	orders := there.identity(t, "shop", "orders")
	signed, err := orders.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	given, err := x509bundle.Parse(west, w.root)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := x509svid.Verify(signed.Certificates, given); err == nil {
		t.Fatal("the certificate leads to the root that was given by hand")
	}
	call(there, orders, "far.shop").settlesAt(t, request{}, "200")
	before := payments.calls.Load()
	if got, err := call(there, there.identity(t, "shop", "till"), "far.shop").answer(t, request{}); got != "403" {
		t.Errorf("another of the other trust domain gets %s (%v), want 403", got, err)
	}
	if got, err := call(here, here.identity(t, "shop", "orders"), "payments.shop").answer(t, request{}); got != "403" {
		t.Errorf("the namesake of this trust domain gets %s (%v), want 403", got, err)
	}
	if got, err := call(there, orders, "fake.shop").answer(t, request{}); got != "none" && got != "503" {
		t.Errorf("a server that is not who it should be answers %s (%v)", got, err)
	}

	// A certificate of a trust domain that nobody believes.
	authority, err := ca.New(ca.Config{TrustDomain: south, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(authority.Close)
	svid, err := authority.Source(spiffeid.RequireFromPath(south, "/ns/shop/sa/orders")).GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	own := tls.Certificate{PrivateKey: svid.PrivateKey}
	for _, c := range svid.Certificates {
		own.Certificate = append(own.Certificate, c.Raw)
	}
	stranger := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{own},
	}}}
	if got, err := httpDoor(stranger, "https://"+payments.addr).answer(t, request{}); got != "none" {
		t.Errorf("a stranger gets %s (%v)", got, err)
	}
	if got := payments.calls.Load(); got != before {
		t.Errorf("%d calls came to the handler that should not have", got-before)
	}
}

// farService is one whose server is of another trust domain.
func farService(name string, port int, principal string) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %[1]s, namespace: shop}
spec:
  hosts: [%[1]s.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  subjectAltNames: ["spiffe://%[3]s"]
  endpoints:
  - {address: 127.0.0.1, ports: {http: %[2]d}, labels: {security.istio.io/tlsMode: istio}}
`, name, port, principal)
}
