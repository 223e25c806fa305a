package identity

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/internal/match"
)

// A folder has files that a client reads.
type folder struct {
	t   *testing.T
	dir string
	was []string // reported
}

func (f *folder) write(name string, content []byte) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

func (f *folder) report(err error) { f.was = append(f.was, err.Error()) }

func (f *folder) config(c ClientTLS, called string) *tls.Config {
	f.t.Helper()
	conf, err := c.Config(called, nil, f.report)
	if err != nil {
		f.t.Fatal(err)
	}
	return conf
}

func newFolder(t *testing.T) *folder {
	t.Helper()
	return &folder{t: t, dir: t.TempDir()}
}

func keyPEM(t *testing.T, s *x509svid.SVID) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(s.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// The demands of TLS as everybody speaks it, be they of crypto/tls or of this package.
func TestWebServers(t *testing.T) {
	f, ca, other := newFolder(t), identitytest.New(t, "td"), identitytest.New(t, "td")
	file, none := f.write("roots.pem", ca.PEM()), &Revoked{}
	good := certificate(t, ca, identitytest.URIs(), identitytest.DNS("a.test", "*.b.test"))
	bad := certificate(t, ca, identitytest.URIs(), identitytest.DNS("a.test", "x\x00.test"))
	spiffe := certificate(t, ca, identitytest.DNS("a.test"))
	suffix := []SubjectAltName{{Type: DNSName, Is: match.String{Kind: match.Suffix, Value: ".test"}}}
	for name, c := range map[string]struct {
		shown  tls.Certificate
		demand ClientTLS
		called string
		ok     bool
	}{
		"roots":                        {good, ClientTLS{RootCAs: string(ca.PEM())}, "a.test", true},
		"a file of roots":              {good, ClientTLS{RootCAFile: file}, "a.test", true},
		"the roots of the system":      {good, ClientTLS{}, "a.test", false},
		"of the system, with names":    {good, ClientTLS{SubjectAltNames: ExactNames("a.test")}, "a.test", false},
		"roots of another":             {good, ClientTLS{RootCAs: string(other.PEM())}, "a.test", false},
		"another name":                 {good, ClientTLS{RootCAs: string(ca.PEM())}, "c.test", false},
		"another name, a file":         {good, ClientTLS{RootCAFile: file}, "c.test", false},
		"another name, revocation":     {good, ClientTLS{RootCAs: string(ca.PEM()), Revoked: none}, "c.test", false},
		"wildcard, a file":             {good, ClientTLS{RootCAFile: file}, "x.b.test", true},
		"E5 two labels, a file":        {good, ClientTLS{RootCAFile: file}, "x.y.b.test", false},
		"the name that is sent":        {good, ClientTLS{RootCAFile: file, ServerName: "a.test"}, "c.test", true},
		"names instead":                {good, ClientTLS{RootCAFile: file, SubjectAltNames: ExactNames("a.test")}, "c.test", true},
		"other names":                  {good, ClientTLS{RootCAFile: file, SubjectAltNames: ExactNames("c.test")}, "a.test", false},
		"NUL in a name beside":         {bad, ClientTLS{RootCAFile: file, SubjectAltNames: suffix}, "a.test", false},
		"insecure":                     {good, ClientTLS{Insecure: true}, "c.test", true},
		"an id that is revoked":        {spiffe, ClientTLS{RootCAs: string(ca.PEM()), Revoked: &Revoked{IDs: []spiffeid.ID{ca.ID("/web")}}}, "a.test", false},
		"another that is revoked":      {spiffe, ClientTLS{RootCAs: string(ca.PEM()), Revoked: &Revoked{IDs: []spiffeid.ID{ca.ID("/b")}}}, "a.test", true},
		"a certificate that is":        {good, ClientTLS{RootCAs: string(ca.PEM()), Revoked: &Revoked{Serials: []string{Serial(good.Leaf.SerialNumber)}}}, "a.test", false},
		"one that is, by its own name": {spiffe, ClientTLS{RootCAFile: file, SubjectAltNames: ExactNames("spiffe://td/web"), Revoked: none}, "c.test", true},
	} {
		m := meet(t, f.config(c.demand, c.called), &tls.Config{Certificates: []tls.Certificate{c.shown}})
		if m.answered != c.ok {
			t.Errorf("%s: %v", name, m.client)
		}
	}
	for name, c := range map[string]ClientTLS{
		"roots that are none":     {RootCAs: "none"},
		"a file that is not":      {RootCAFile: file + "x"},
		"a certificate alone":     {CertificateFile: file},
		"a key alone":             {KeyFile: file},
		"a pair that is none":     {CertificateFile: file, KeyFile: file},
		"lists that are none":     {RevocationFile: file},
		"no name, a file":         {RootCAFile: file},
		"a name nobody can match": {SubjectAltNames: []SubjectAltName{{Is: match.String{Kind: match.Regex, Value: "("}}}},
	} {
		if _, err := c.Config("", nil, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Without a name, crypto/tls itself refuses what this package leaves to it.
	if m := meet(t, f.config(ClientTLS{RootCAs: string(ca.PEM())}, ""), &tls.Config{Certificates: []tls.Certificate{good}}); m.answered {
		t.Error("a server was believed that need not have any name")
	}
}

func TestFilesOfClients(t *testing.T) {
	f, ca := newFolder(t), identitytest.New(t, "td")
	svid := ca.Issue("/ns/shop/sa/a")
	demand := ClientTLS{
		RootCAFile:      f.write("roots.pem", ca.PEM()),
		CertificateFile: f.write("cert.pem", identitytest.PEM(svid.Certificates...)),
		KeyFile:         f.write("key.pem", keyPEM(t, svid)),
	}
	conf := f.config(demand, "a.test")
	dns := identitytest.DNS("a.test")
	shown := func(server tls.Certificate) (serial string, err error) {
		m := meet(t, conf, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert})
		if !m.answered {
			return "", m.client
		}
		return Serial(m.state.PeerCertificates[0].SerialNumber), nil
	}
	old := certificate(t, ca, dns)
	if got, err := shown(old); got != Serial(svid.Certificates[0].SerialNumber) {
		t.Fatal(got, err)
	}

	// A half of a pair is not shown, and what was before it is.
	next := ca.Issue("/ns/shop/sa/a")
	f.write("cert.pem", identitytest.PEM(next.Certificates...))
	for range 3 {
		if got, err := shown(old); got != Serial(svid.Certificates[0].SerialNumber) {
			t.Error("a half of a pair:", got, err)
		}
	}
	if len(f.was) != 1 || !strings.Contains(f.was[0], "cert.pem") {
		t.Errorf("reported: %q", f.was)
	}
	f.write("key.pem", keyPEM(t, next))
	if got, err := shown(old); got != Serial(next.Certificates[0].SerialNumber) {
		t.Error("a pair:", got, err)
	}

	ca.Rotate()
	fresh := certificate(t, ca, dns)
	if _, err := shown(fresh); err == nil {
		t.Error("a root that is not in the file was believed")
	}
	for name, content := range map[string][]byte{"empty": nil, "rubbish": []byte("x")} {
		f.was = nil
		f.write("roots.pem", content)
		if _, err := shown(old); err != nil {
			t.Errorf("roots that are %s: %v", name, err)
		}
		if len(f.was) != 1 {
			t.Errorf("roots that are %s, reported: %q", name, f.was)
		}
		f.write("roots.pem", identitytest.PEM(old.Leaf)) // another that can be read, so that the next is told of
		shown(old)
		f.write("roots.pem", ca.PEM())
		if _, err := shown(fresh); err != nil {
			t.Error(err)
		}
	}
	ca.Retire()
	f.write("roots.pem", ca.PEM())
	if _, err := shown(old); err == nil {
		t.Error("a root that is not in the file any more was believed")
	}
	f.was = nil
	os.Remove(demand.RootCAFile)
	if _, err := shown(fresh); err != nil || len(f.was) != 1 {
		t.Errorf("a file that was taken away: %v, reported %q", err, f.was)
	}
	for _, said := range f.was {
		if strings.Contains(said, "PRIVATE") {
			t.Error("a key was reported")
		}
	}
}

// A file is not read anew while nothing says that it may have changed.
func TestFilesThatRest(t *testing.T) {
	f, reads := newFolder(t), 0
	path := f.write("x", []byte("1"))
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	r, err := newReread([]string{path}, func(files [][]byte) (string, error) { reads++; return string(files[0]), nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if r.now() != "1" || reads != 1 {
			t.Errorf("%q, read %d times", r.now(), reads)
		}
	}
	f.write("y", []byte("2"))
	if err := os.Rename(filepath.Join(f.dir, "y"), path); err != nil {
		t.Fatal(err)
	}
	if r.now() != "2" {
		t.Error("a file that was renamed into place was not read")
	}
	// Written twice within the same moment, to the same length. The moment is one to come, so that it is not over on a slow machine.
	moment := time.Now().Add(time.Hour)
	for _, content := range []string{"3", "4"} {
		f.write("x", []byte(content))
		if err := os.Chtimes(path, moment, moment); err != nil {
			t.Fatal(err)
		}
		if r.now() != content {
			t.Error("a file that was written again was not read")
		}
	}
}

func TestRevocationLists(t *testing.T) {
	f, ca := newFolder(t), identitytest.New(t, "td")
	between := ca.Intermediate()
	soon := time.Now().Add(time.Hour)
	dns := identitytest.DNS("a.test")
	direct, through := certificate(t, ca, dns), certificate(t, between, dns)
	middle, err := x509.ParseCertificate(through.Certificate[1])
	if err != nil {
		t.Fatal(err)
	}
	path := f.write("lists.pem", ca.RevocationList(soon))
	conf := f.config(ClientTLS{RootCAs: string(ca.PEM()), RevocationFile: path}, "a.test")
	both := func(lists ...[]byte) []byte {
		var out []byte
		for _, l := range lists {
			out = append(out, l...)
		}
		return out
	}
	twin := identitytest.New(t, "td")
	for _, c := range []struct {
		name            string
		lists           []byte
		direct, through bool
	}{
		{"the root's", ca.RevocationList(soon), true, false}, // nobody says that through is not revoked
		{"both", both(ca.RevocationList(soon), between.RevocationList(soon)), true, true},
		{"the leaf", both(ca.RevocationList(soon, direct.Leaf), between.RevocationList(soon)), false, true},
		{"the other leaf", both(ca.RevocationList(soon), between.RevocationList(soon, through.Leaf)), true, false},
		{"the authority", both(ca.RevocationList(soon, middle), between.RevocationList(soon)), true, false},
		{"the leaf, by who did not issue it", both(ca.RevocationList(soon, through.Leaf), between.RevocationList(soon, direct.Leaf)), true, true},
		{"of another authority of that name", both(twin.RevocationList(soon, direct.Leaf), ca.RevocationList(soon)), true, false},
		{"of another authority alone", twin.RevocationList(soon), false, false},
		{"over", ca.RevocationList(time.Now().Add(-time.Minute)), false, false},
		{"over, and one that is in force", both(ca.RevocationList(time.Now().Add(-time.Minute)), ca.RevocationList(soon)), true, false},
		{"over, with the leaf in it", both(ca.RevocationList(time.Now().Add(-time.Minute), direct.Leaf), ca.RevocationList(soon)), false, false},
	} {
		f.write("lists.pem", c.lists)
		for what, of := range map[string]struct {
			shown tls.Certificate
			ok    bool
		}{"direct": {direct, c.direct}, "through": {through, c.through}} {
			if m := meet(t, conf, &tls.Config{Certificates: []tls.Certificate{of.shown}}); m.answered != of.ok {
				t.Errorf("%s, %s: %v", c.name, what, m.client)
			}
		}
	}
	f.write("lists.pem", nil)
	if len(f.was) != 0 {
		t.Errorf("reported: %q", f.was)
	}
	if m := meet(t, conf, &tls.Config{Certificates: []tls.Certificate{direct}}); m.answered || len(f.was) != 1 {
		t.Errorf("a list that is empty revoked nothing any more: %v, reported %q", m.client, f.was)
	}
}
