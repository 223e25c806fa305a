package interop

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
)

// revoking takes back identities and serial numbers.
func revoking(identities, serials []string) string {
	quoted := func(list []string) string { return `["` + strings.Join(list, `", "`) + `"]` }
	spec := ""
	if len(identities) > 0 {
		spec += "\n  identities: " + quoted(identities)
	}
	if len(serials) > 0 {
		spec += "\n  serials: " + quoted(serials)
	}
	return "apiVersion: " + catalog.Version + "\nkind: Revocation\nmetadata: {name: r, namespace: istio-system}\nspec:" + spec + "\n"
}

// A bearer shows a certificate as whoever has its key can, and asks no control server whether it may.
type bearer struct {
	id, serial string
	config     *tls.Config
}

func bearerOf(t *testing.T, s identity.Source) bearer {
	t.Helper()
	svid, err := s.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{PrivateKey: svid.PrivateKey}
	for _, c := range svid.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return bearer{svid.ID.String(), identity.Serial(svid.Certificates[0].SerialNumber), &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, // it is the Envoy that verifies
	}}
}

// door calls an address over TLS, by a new connection each time.
func (b bearer) door(t *testing.T, host string, port int) door {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: b.config, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return httpDoor(&http.Client{Transport: transport}, "https://"+net.JoinHostPort(host, strconv.Itoa(port)))
}

// Who is revoked, by identity or by serial number, does not come through an Envoy before a server, be it of HTTP or of TCP; others do.
func TestEnvoyRefusesRevokedCallers(t *testing.T) {
	t.Parallel()
	c := startSecure(t, map[string]string{"legacy.yaml": legacyService(1)})
	behind := httpBackend(t, "legacy")
	inbound := fmt.Sprintf(`[{"listen": "127.0.0.1:0", "forward": %[1]q, "port": 8080}, {"listen": "127.0.0.2:0", "forward": %[1]q, "port": 8081, "protocol": "TCP"}]`, behind.addr)
	e := secureEnvoyOf(t, c, "legacy", inbound)
	if !eventually(func() bool {
		return e.listening(t) && e.ports["inbound|127.0.0.2:0"] != 0 && e.ports[inboundListener] != 0
	}) {
		t.Fatalf("Envoy does not listen: %v", e.ports)
	}
	good, stolen, till := bearerOf(t, c.identity(t, "shop", "orders")), bearerOf(t, c.identity(t, "shop", "orders")), bearerOf(t, c.identity(t, "shop", "till"))
	check := func(what string, want map[string][2]string) {
		t.Helper()
		for name, b := range map[string]bearer{"good": good, "stolen": stolen, "till": till} {
			for i, host := range []string{"127.0.0.1", "127.0.0.2"} {
				d := b.door(t, host, e.ports["inbound|"+host+":0"])
				d.settlesAt(t, request{path: "/"}, want[name][i])
				calls := behind.calls.Load()
				for range 3 {
					if got, err := d.answer(t, request{path: "/"}); got != want[name][i] {
						t.Errorf("%s: %s at listener %d: %s (%v), want %s", what, name, i, got, err, want[name][i])
					}
				}
				if reached := behind.calls.Load() > calls; reached != (want[name][i] == "200") {
					t.Errorf("%s: %s at listener %d: that it came to the handler is %t", what, name, i, reached)
				}
			}
		}
	}
	all, none := [2]string{"200", "200"}, [2]string{"none", "none"}
	check("before", map[string][2]string{"good": all, "stolen": all, "till": all})
	c.put(t, "revoked.yaml", revoking([]string{till.id}, nil))
	check("an identity", map[string][2]string{"good": all, "stolen": all, "till": {"403", "none"}})
	c.put(t, "revoked.yaml", revoking([]string{till.id}, []string{stolen.serial}))
	check("and a serial number", map[string][2]string{"good": all, "stolen": none, "till": {"403", "none"}})
	fresh := bearerOf(t, c.identity(t, "shop", "orders"))
	fresh.door(t, "127.0.0.1", e.ports[inboundListener]).settlesAt(t, request{path: "/"}, "200")
	c.put(t, "revoked.yaml", revoking(nil, []string{stolen.serial}))
	check("a serial number", map[string][2]string{"good": all, "stolen": none, "till": all})
	c.put(t, "revoked.yaml", revoking([]string{"spiffe://shop.test/ns/shop/sa/nobody"}, nil))
	check("another's", map[string][2]string{"good": all, "stolen": all, "till": all})
	e.accepted(t)
	if lost := c.server.Status().Lost; len(lost) > 0 {
		t.Errorf("an Envoy can't do all: %v", lost)
	}
}

// An Envoy calls no server that is revoked, by identity or by serial number, and others as before.
func TestEnvoyCallsNoRevokedServers(t *testing.T) {
	t.Parallel()
	c := startSecure(t, map[string]string{"legacy.yaml": legacyService(1)})
	var calls atomic.Int64
	serve := func(b bearer) int {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { calls.Add(1); fmt.Fprint(w, "legacy") }))
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: b.config.Certificates, ClientAuth: tls.RequireAnyClientCert}
		s.StartTLS()
		t.Cleanup(s.Close)
		var port int
		if _, err := fmt.Sscanf(s.Listener.Addr().String(), "127.0.0.1:%d", &port); err != nil {
			t.Fatal(err)
		}
		return port
	}
	first, second := bearerOf(t, c.identity(t, "shop", "legacy")), bearerOf(t, c.identity(t, "shop", "legacy"))
	one, two := serve(first), serve(second)
	e := secureEnvoy(t, c, "orders", "")
	d := httpDoor(httpClient(t, false), e.proxy).to("legacy.shop")
	check := func(what string, port int, want string) {
		t.Helper()
		c.put(t, "legacy.yaml", legacyService(port))
		d.settlesAt(t, request{path: "/"}, want)
		if want == "200" {
			return
		}
		before := calls.Load()
		if got, err := d.answer(t, request{path: "/"}); got != want || calls.Load() > before {
			t.Errorf("%s: %s (%v), want %s; %d calls came to the handler", what, got, err, want, calls.Load()-before)
		}
	}
	check("before", one, "200")
	c.put(t, "revoked.yaml", revoking(nil, []string{first.serial}))
	check("its serial number", one, "503")
	check("another certificate", two, "200")
	c.put(t, "revoked.yaml", revoking([]string{first.id}, nil))
	check("its identity", two, "503")
	c.put(t, "revoked.yaml", revoking([]string{"spiffe://shop.test/ns/shop/sa/nobody"}, nil))
	check("another's", one, "200")
	e.accepted(t)
}
