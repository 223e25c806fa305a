package httpadapter

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func TestUnknownHostPassesThrough(t *testing.T) {
	s := wires[0].start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	m := newMesh(t, Config{AllowAny: true}, true)
	_, port, _ := net.SplitHostPort(addr(s))
	for _, host := range []string{addr(s), "localhost:" + port} {
		body := struct{ io.Reader }{strings.NewReader("hello")}
		if got := read(t, m.do(request(t, "POST", "http://"+host+"/", body)).Body); got != "hello" {
			t.Errorf("%s: %q", host, got)
		}
	}
	if len(m.watcher.calls) != 0 {
		t.Errorf("counted as calls of the mesh: %+v", m.watcher.calls)
	}
}

func TestServiceThatIsRemovedPassesThrough(t *testing.T) {
	s := wires[0].start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "outside") }))
	m := newMesh(t, Config{AllowAny: true}, false)
	m.serve(resolver.Cluster{}, resilience.Policy{}, deadAddr(t))
	svc := *m.resolver.services["payments"]
	svc.Name = addr(s)
	m.resolver.set(&svc)
	if _, err := m.RoundTrip(request(t, "GET", s.URL, nil)); err == nil {
		t.Error("did not go through the mesh while the service was known")
	}
	m.resolver.remove(svc.Name)
	if got := read(t, m.do(request(t, "GET", s.URL, nil)).Body); got != "outside" {
		t.Errorf("got %q", got)
	}
}

type failing struct{ error }

func (f failing) RoundTrip(r *http.Request) (*http.Response, error) {
	closeBody(r)
	return nil, f.error
}

func TestUnknownHostUnknownToDNSNamesTheNearest(t *testing.T) {
	dns := &net.DNSError{Err: "no such host", Name: "paymnets", IsNotFound: true}
	m := newMesh(t, Config{AllowAny: true, Base: failing{dns}}, false)
	_, err := m.RoundTrip(request(t, "GET", "http://paymnets/", nil))
	var e *engine.Error
	if !errors.Is(err, dns) || !errors.As(err, &e) || !strings.Contains(err.Error(), "did you mean payments?") {
		t.Errorf("got %v", err)
	}

	refused := errors.New("connection refused")
	m = newMesh(t, Config{AllowAny: true, Base: failing{refused}}, false)
	if _, err := m.RoundTrip(request(t, "GET", "http://paymnets/", nil)); err != refused {
		t.Errorf("an error that is not DNS's became %v", err)
	}
}

func TestUnknownHostIsRefused(t *testing.T) {
	s := wires[0].start(t, http.NotFoundHandler())
	m := newMesh(t, Config{}, true)
	body := &countingBody{Reader: strings.NewReader("x")}
	_, err := m.RoundTrip(request(t, "POST", s.URL, body))
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != engine.NoService || body.closes.Load() != 1 || len(m.watcher.calls) != 1 {
		t.Errorf("%v, body closed %d times, %d calls observed", err, body.closes.Load(), len(m.watcher.calls))
	}
}

func TestMalformedRequestsAreRefusedAsWithoutTheMesh(t *testing.T) {
	m := newMesh(t, Config{}, false)
	for name, req := range map[string]*http.Request{
		"no URL":    {Header: http.Header{}},
		"no header": request(t, "GET", "http://payments/", nil),
		"no host":   request(t, "GET", "http:///path", nil),
		"scheme":    request(t, "GET", "gopher://payments/", nil),
	} {
		if name == "no header" {
			req.Header = nil
		}
		_, want := http.DefaultTransport.RoundTrip(req)
		if _, err := m.RoundTrip(req); err == nil || err.Error() != want.Error() {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// https to a service whose cluster demands nothing is the caller's own TLS: the
// URL's host must be proved, to the roots of the base transport.
func TestHTTPSWithoutDemands(t *testing.T) {
	s := wires[3].start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto+" "+r.Host) }))
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	m := newMesh(t, Config{Base: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}, false)
	for _, name := range []string{"example.com", "payments"} {
		m.serve(resolver.Cluster{}, resilience.Policy{}, addr(s))
		svc := *m.resolver.services["payments"]
		svc.Name = name
		m.resolver.set(&svc)
		resp, err := m.RoundTrip(request(t, "GET", "https://"+name+"/", nil))
		if name == "payments" { // not in the certificate
			if err == nil || !strings.Contains(err.Error(), "certificate is valid for") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, resp.Body); got != "HTTP/2.0 example.com" {
			t.Errorf("got %q", got)
		}
	}
}
