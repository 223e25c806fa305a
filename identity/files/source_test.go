package files

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
)

var (
	_ identity.Source = (*Source)(nil)
	_ identity.Waiter = (*Source)(nil)
)

// A folder is where the files of a test are.
type folder struct {
	t   *testing.T
	dir string
	log log
}

func newFolder(t *testing.T) *folder { return &folder{t: t, dir: t.TempDir()} }

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *folder) write(name string, content []byte) {
	f.t.Helper()
	// In place, not by renaming: the worst a writer can do.
	if err := os.WriteFile(f.path(name), content, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) svid(s *x509svid.SVID) {
	f.t.Helper()
	f.write("cert.pem", identitytest.PEM(s.Certificates...))
	f.write("key.pem", keyPEM(f.t, s))
}

func (f *folder) config() Config {
	return Config{Certificate: f.path("cert.pem"), Key: f.path("key.pem"), Bundle: f.path("bundle.pem"), Logger: f.log.logger()}
}

func (f *folder) open(c Config) *Source {
	f.t.Helper()
	s, err := New(c)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { s.Close() })
	return s
}

func keyPEM(t *testing.T, s *x509svid.SVID) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(s.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// A log counts what is said.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *log) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

// look lets the source look at its files once.
func look(s *Source) {
	time.Sleep(s.config.Interval)
	synctest.Wait()
}

func serial(t *testing.T, s *Source) string {
	t.Helper()
	svid, err := s.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	return identity.Serial(svid.Certificates[0].SerialNumber)
}

func TestFilesThatChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ca := newFolder(t), identitytest.New(t, "td")
		first := ca.Issue("/ns/shop/sa/a")
		f.svid(first)
		f.write("bundle.pem", ca.PEM())
		s := f.open(f.config())
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		was := identity.Serial(first.Certificates[0].SerialNumber)
		if got := serial(t, s); got != was {
			t.Fatalf("serial %s, want %s", got, was)
		}
		bundle, _ := s.GetX509BundleForTrustDomain(ca.TrustDomain())
		look(s)
		if again, err := s.GetX509BundleForTrustDomain(ca.TrustDomain()); again != bundle || err != nil {
			t.Error("files that did not change made another bundle", err)
		}

		next := ca.Issue("/ns/shop/sa/a")
		chain, key := identitytest.PEM(next.Certificates...), keyPEM(t, next)
		for what, write := range map[string]func(){
			"the certificate alone":      func() { f.write("cert.pem", chain) },
			"an empty certificate":       func() { f.write("cert.pem", nil) },
			"the half of a certificate":  func() { f.write("cert.pem", chain[:len(chain)/2]) },
			"a certificate and a half":   func() { f.write("cert.pem", append(slices.Clip(chain), chain[:len(chain)/2]...)) },
			"no certificate":             func() { os.Remove(f.path("cert.pem")) },
			"the key alone":              func() { f.write("cert.pem", identitytest.PEM(first.Certificates...)); f.write("key.pem", key) },
			"no key":                     func() { os.Remove(f.path("key.pem")) },
			"an authority's certificate": func() { f.svid(ca.Issue("/a", identitytest.Authority())) },
			"two ids":                    func() { f.svid(ca.Issue("/a", identitytest.URIs("spiffe://td/a", "spiffe://td/b"))) },
			"an old certificate":         func() { f.svid(ca.Issue("/a", identitytest.Expired())) },
		} {
			f.svid(first)
			write()
			look(s)
			if got := serial(t, s); got != was {
				t.Errorf("%s was believed", what)
			}
		}
		f.svid(next)
		look(s)
		if got := serial(t, s); got != identity.Serial(next.Certificates[0].SerialNumber) {
			t.Error("a whole pair was not believed")
		}

		ca.Rotate()
		both := ca.PEM()
		for what, content := range map[string][]byte{"half": both[:len(both)-100], "empty": nil, "a leaf's": chain, "rubbish": []byte("x")} {
			f.write("bundle.pem", content)
			look(s)
			if b, err := s.GetX509BundleForTrustDomain(ca.TrustDomain()); b != bundle || err != nil {
				t.Errorf("a bundle that is %s was believed: %v", what, err)
			}
		}
		f.write("bundle.pem", both)
		look(s)
		if b, err := s.GetX509BundleForTrustDomain(ca.TrustDomain()); err != nil || !b.Equal(ca.Bundle()) {
			t.Error("a whole bundle was not believed", err)
		}
		s.Close()
		if _, err := s.GetX509SVID(); !errors.Is(err, errClosed) {
			t.Error("a closed source has an SVID", err)
		}
		if err := s.Ready(t.Context()); !errors.Is(err, errClosed) {
			t.Error("a closed source is ready", err)
		}
	})
}

func TestFilesThatComeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ca := newFolder(t), identitytest.New(t, "td")
		s := f.open(f.config())
		if _, err := s.GetX509SVID(); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Ready(soon); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if n := f.log.count("cert.pem"); n != 1 {
			t.Errorf("that the certificate is missing was said %d times", n)
		}
		ready := make(chan error)
		go func() { ready <- s.Ready(t.Context()) }()
		f.svid(ca.Issue("/a"))
		look(s)
		select {
		case err := <-ready:
			t.Fatal("ready without a bundle", err)
		default:
		}
		f.write("bundle.pem", ca.PEM())
		if err := <-ready; err != nil {
			t.Error(err)
		}
	})
}

// As a volume of Kubernetes changes: all names are links through one link, which is replaced.
func TestLinksThatChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ca := newFolder(t), identitytest.New(t, "td")
		var last *x509svid.SVID
		swap := func(dir string) {
			last = ca.Issue("/a")
			if err := os.Mkdir(f.path(dir), 0o700); err != nil {
				t.Fatal(err)
			}
			f.write(dir+"/cert.pem", identitytest.PEM(last.Certificates...))
			f.write(dir+"/key.pem", keyPEM(t, last))
			f.write(dir+"/bundle.pem", ca.PEM())
			if err := errors.Join(os.Symlink(dir, f.path("new")), os.Rename(f.path("new"), f.path("..data"))); err != nil {
				t.Fatal(err)
			}
		}
		swap("1")
		for _, name := range []string{"cert.pem", "key.pem", "bundle.pem"} {
			if err := os.Symlink("..data/"+name, f.path(name)); err != nil {
				t.Fatal(err)
			}
		}
		s := f.open(f.config())
		for _, dir := range []string{"2", "3"} {
			ca.Rotate()
			swap(dir)
			look(s)
			if got := serial(t, s); got != identity.Serial(last.Certificates[0].SerialNumber) {
				t.Error("the new link was not followed")
			}
			if b, err := s.GetX509BundleForTrustDomain(ca.TrustDomain()); err != nil || !b.Equal(ca.Bundle()) {
				t.Error("the bundle's new link was not followed", err)
			}
		}
	})
}

func TestFederatedBundles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ca, other := newFolder(t), identitytest.New(t, "td"), identitytest.New(t, "other")
		f.svid(ca.Issue("/a"))
		f.write("bundle.pem", ca.PEM())
		c := f.config()
		c.Federated = map[string]string{"other": f.path("other.pem"), "absent": f.path("absent.pem")}
		s := f.open(c)
		if err := s.Ready(t.Context()); err != nil {
			t.Error("bundles of others are waited for:", err)
		}
		f.write("other.pem", other.PEM())
		look(s)
		f.write("other.pem", []byte("rubbish"))
		next := ca.Issue("/a")
		f.svid(next)
		look(s)
		if b, err := s.GetX509BundleForTrustDomain(other.TrustDomain()); err != nil || !b.Equal(other.Bundle()) {
			t.Error(err)
		}
		if serial(t, s) != identity.Serial(next.Certificates[0].SerialNumber) {
			t.Error("a bad bundle of others kept the certificate from being renewed")
		}
		for _, d := range []*identitytest.CA{identitytest.New(t, "absent"), identitytest.New(t, "stranger")} {
			if _, err := s.GetX509BundleForTrustDomain(d.TrustDomain()); err == nil {
				t.Errorf("there is a bundle of %s", d.TrustDomain())
			}
		}
	})
}

func TestKeys(t *testing.T) {
	ca := identitytest.New(t, "td")
	svid := ca.Issue("/a")
	der, err := x509.MarshalECPrivateKey(svid.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string][]byte{
		"PKCS 8": keyPEM(t, svid),
		"SEC 1":  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	} {
		f := newFolder(t)
		f.svid(svid)
		f.write("bundle.pem", ca.PEM())
		f.write("key.pem", key)
		s := f.open(f.config())
		if got, err := s.GetX509SVID(); err != nil || got.ID != svid.ID {
			t.Errorf("%s: %v", name, err)
		}
		if n := f.log.count("readable"); n != 0 {
			t.Errorf("%s: a key of mode 0600 is said to be readable", name)
		}
		if strings.Contains(f.log.text.String(), "PRIVATE") {
			t.Error("the key is in the log")
		}
	}
	f := newFolder(t)
	f.svid(svid)
	f.write("bundle.pem", ca.PEM())
	if err := os.Chmod(f.path("key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.open(f.config())
	if n := f.log.count("readable"); n != 1 {
		t.Errorf("that everybody may read the key was said %d times", n)
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"nothing":       {},
		"no bundle":     {Certificate: "c", Key: "k"},
		"trust domain":  {Certificate: "c", Key: "k", Bundle: "b", Federated: map[string]string{"Not/one": "x"}},
		"interval":      {Certificate: "c", Key: "k", Bundle: "b", Interval: -1},
		"no certifcate": {Key: "k", Bundle: "b"},
	} {
		if s, err := New(c); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
}
