package ca

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	gospiffe "github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/weftmesh/weft/identity/identitytest"
)

var other = spiffeid.RequireTrustDomainFromString("other")

// endpoint serves the bundle of a CA behind its own TLS.
func endpoint(t *testing.T, c *CA, id spiffeid.ID) string {
	t.Helper()
	s := httptest.NewUnstartedServer(c.BundleHandler())
	conf := c.TLS(c.Source(id))
	conf.NextProtos = nil
	s.Listener = tls.NewListener(s.Listener, conf) // StartTLS would show a certificate of its own
	s.Start()
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "http:", "https:", 1)
}

// go-spiffe's own client reads what we serve, by SPIFFE authentication.
func TestBundleEndpoint(t *testing.T) {
	c := newCA(t)
	url := endpoint(t, c, serverID)
	b, err := gospiffe.FetchBundle(t.Context(), td, url, gospiffe.WithSPIFFEAuth(c, serverID))
	if err != nil || !b.Equal(c.Bundle()) {
		t.Fatal(b, err)
	}
	if hint, ok := b.RefreshHint(); !ok || hint != refresh {
		t.Error(hint, ok)
	}
	if n, ok := b.SequenceNumber(); !ok || n != 1 {
		t.Error(n, ok)
	}
	if err := c.RotateRoot(AnnounceRoot, true); err != nil {
		t.Fatal(err)
	}
	b, err = gospiffe.FetchBundle(t.Context(), td, url, gospiffe.WithSPIFFEAuth(c, serverID))
	if n, _ := b.SequenceNumber(); err != nil || n != 2 || len(b.X509Authorities()) != 2 {
		t.Error(n, err)
	}
}

// Two control servers believe each other's workloads.
func TestFederation(t *testing.T) {
	theirs := newCA(t, func(c *Config) { c.TrustDomain = other })
	theirID := spiffeid.RequireFromPath(other, "/ns/weft-system/sa/control-server")
	url := endpoint(t, theirs, theirID)
	first := filepath.Join(t.TempDir(), "other.json")
	text, err := theirs.Bundle().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first, text, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() + "/ca"
	with := Federation{TrustDomain: other, URL: url, Profile: HTTPSSPIFFE, EndpointID: theirID, BundleFile: first}
	cfg := Config{TrustDomain: td, Dir: dir, Federation: []Federation{with}, Logger: slog.New(slog.DiscardHandler)}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	svid := issue(t, theirs, spiffeid.RequireFromPath(other, "/ns/x/sa/y"))
	if _, _, err := x509svid.Verify(svid.Certificates, c); err != nil {
		t.Error(err)
	}
	// Federated workloads are believed by workloads; they get no certificate and nothing else here.
	if _, err := c.Authenticate(call(t, "", svid.Certificates...)); err == nil {
		t.Error("a workload of another trust domain is a caller here")
	}
	if n := len(c.Bundles()); n != 2 {
		t.Errorf("%d bundles", n)
	}
	changed := c.Changed()
	if err := theirs.RotateRoot(AnnounceRoot, true); err != nil {
		t.Fatal(err)
	}
	p := c.federated.of(other)
	if err := c.federated.refresh(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	<-changed
	if n := len(p.current().X509Authorities()); n != 2 {
		t.Errorf("%d authorities", n)
	}
	c.Close()
	// What was fetched outlives a restart, though the configuration has an older one.
	c, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := c.federated.of(other).current().SequenceNumber(); n != 2 {
		t.Errorf("sequence number %d after a restart", n)
	}
	c.Close()
}

// A bundle that is older, empty, of another trust domain or none is refused, and the one of before stays.
func TestFederationRefuses(t *testing.T) {
	bundle := func(name string, sequence uint64, cas ...*identitytest.CA) string {
		b := spiffebundle.New(spiffeid.RequireTrustDomainFromString(name))
		for _, ca := range cas {
			b.AddX509Authority(ca.Bundle().X509Authorities()[0])
		}
		if sequence > 0 {
			b.SetSequenceNumber(sequence)
		}
		text, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	good, attacker := identitytest.New(t, "other"), identitytest.New(t, "attacker")
	var body atomic.Value
	body.Store(bundle("other", 5, good))
	status := http.StatusOK
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body.Load().(string)))
	}))
	t.Cleanup(s.Close)
	roots := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(roots, []byte(encodeCertificate(s.Certificate())), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCA(t, func(c *Config) {
		c.Federation = []Federation{{TrustDomain: other, URL: s.URL, Profile: HTTPSWeb, RootCAFile: roots}}
	})
	eventually(t, "the first bundle", func() bool { return len(c.Bundles()) == 2 })
	p := c.federated.of(other)
	was := p.current()
	for _, tc := range []struct{ name, body, says string }{
		{"older", bundle("other", 4, good), "lower"},
		{"without a number", bundle("other", 0, good), "lower"},
		{"empty", bundle("other", 6), "no authorities"},
		{"of another trust domain", bundle("attacker", 6, attacker), "of spiffe://attacker"},
		{"of both", bundle("other", 6, good, attacker), "of spiffe://attacker"},
		{"no JSON", "x", "parse"},
		{"endless", strings.Repeat(" ", mostJWKS+1), "more than"},
	} {
		body.Store(tc.body)
		if err := c.federated.refresh(t.Context(), p); err == nil || !strings.Contains(err.Error(), tc.says) || !p.current().Equal(was) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	body.Store(bundle("other", 6, good, identitytest.New(t, "other")))
	if err := c.federated.refresh(t.Context(), p); err != nil || p.current().Equal(was) {
		t.Errorf("a newer one: %v", err)
	}
}

// The profile says who may serve the bundle.
func TestFederationEndpointIsAnother(t *testing.T) {
	theirs := newCA(t, func(c *Config) { c.TrustDomain = other })
	text, err := theirs.Bundle().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	first := filepath.Join(t.TempDir(), "other.json")
	if err := os.WriteFile(first, text, 0o600); err != nil {
		t.Fatal(err)
	}
	url := endpoint(t, theirs, spiffeid.RequireFromPath(other, "/ns/x/sa/workload"))
	for name, f := range map[string]Federation{
		"another workload of it": {TrustDomain: other, URL: url, Profile: HTTPSSPIFFE, EndpointID: spiffeid.RequireFromPath(other, "/server"), BundleFile: first},
		"no web certificate":     {TrustDomain: other, URL: url, Profile: HTTPSWeb},
	} {
		c := newCA(t, func(c *Config) { c.Federation = []Federation{f} })
		if err := c.federated.refresh(t.Context(), c.federated.of(other)); err == nil {
			t.Errorf("%s: its bundle is taken", name)
		}
	}
}

func TestFederationConfig(t *testing.T) {
	id := spiffeid.RequireFromPath(other, "/server")
	for name, f := range map[string]Federation{
		"no trust domain":    {URL: "https://x", Profile: HTTPSWeb},
		"our own":            {TrustDomain: td, URL: "https://x", Profile: HTTPSWeb},
		"plaintext":          {TrustDomain: other, URL: "http://x", Profile: HTTPSWeb},
		"no profile":         {TrustDomain: other, URL: "https://x"},
		"no endpoint ID":     {TrustDomain: other, URL: "https://x", Profile: HTTPSSPIFFE},
		"an ID for the web":  {TrustDomain: other, URL: "https://x", Profile: HTTPSWeb, EndpointID: id},
		"roots for SPIFFE":   {TrustDomain: other, URL: "https://x", Profile: HTTPSSPIFFE, EndpointID: id, RootCAFile: "x"},
		"no file":            {TrustDomain: other, URL: "https://x", Profile: HTTPSWeb, BundleFile: "/nowhere"},
		"a password in it":   {TrustDomain: other, URL: "https://a:b@x", Profile: HTTPSWeb},
		"no file for the CA": {TrustDomain: other, URL: "https://x", Profile: HTTPSWeb, RootCAFile: "/nowhere"},
	} {
		if c, err := New(Config{TrustDomain: td, Federation: []Federation{f}, Logger: slog.New(slog.DiscardHandler)}); err == nil {
			t.Errorf("%s: accepted", name)
			c.Close()
		}
	}
}

func TestNextRefresh(t *testing.T) {
	for hint, want := range map[time.Duration]time.Duration{0: refresh, time.Second: oftenest, 10 * time.Minute: 10 * time.Minute, 48 * time.Hour: rarest} {
		p := &foreign{bundle: spiffebundle.New(other)}
		if hint > 0 {
			p.bundle.SetRefreshHint(hint)
		}
		if got := p.next(nil); got > want || got < want*9/10 {
			t.Errorf("a hint of %v: %v", hint, got)
		}
		if got := p.next(http.ErrNoLocation); got > oftenest {
			t.Errorf("after a failure: %v", got)
		}
	}
	if newCA(t).TLS(nil).MinVersion != tls.VersionTLS13 {
		t.Error("not TLS 1.3")
	}
}
