package ca

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

func TestRestart(t *testing.T) {
	dir := t.TempDir() + "/ca"
	quiet := slog.New(slog.DiscardHandler)
	c, err := New(Config{TrustDomain: td, Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	svid := issue(t, c, payments)
	if _, err := New(Config{TrustDomain: td, Dir: dir, Logger: quiet}); err == nil || !strings.Contains(err.Error(), "another control server") {
		t.Errorf("two servers on one directory: %v", err)
	}
	c.Close()
	if _, err := New(Config{TrustDomain: spiffeid.RequireTrustDomainFromString("other"), Dir: dir, Logger: quiet}); err == nil {
		t.Error("the directory is of another trust domain")
	}
	c = newCA(t, in(dir))
	if _, _, err := x509svid.Verify(svid.Certificates, c); err != nil {
		t.Error("another authority after a restart:", err)
	}
	issue(t, c, cart)
	if n, last, err := VerifyLog(dir); n != 2 || err != nil || last.Identity != cart.String() || last.By != string(ByJoinToken) || last.CSR == "" {
		t.Error(n, last, err)
	}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if info, e := d.Info(); err != nil || e != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v %v", path, info.Mode(), err, e)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestStateDirectoryRefused(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(dir string) error
		says  string
	}{
		{"open to others", func(dir string) error { return os.Chmod(dir, 0o755) }, "chmod 700"},
		{"a key open to others", func(dir string) error { return each(dir+"/keys", func(p string) error { return os.Chmod(p, 0o640) }) }, "chmod 600"},
		{"no keys", func(dir string) error { return each(dir+"/keys", os.Remove) }, "no signer has it"},
		{"keys that are none", func(dir string) error {
			return each(dir+"/keys", func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) })
		}, "no PEM"},
		{"a state that is none", func(dir string) error {
			return each(dir+"/state", func(p string) error { return os.WriteFile(p, []byte("{}"), 0o600) })
		}, "lacks"},
		{"a log that is none", func(dir string) error { return os.WriteFile(dir+"/"+logName, []byte("x\n"), 0o600) }, "issuance log"},
	} {
		dir := t.TempDir() + "/ca"
		c, err := New(Config{TrustDomain: td, Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := tc.spoil(dir); err != nil {
			t.Fatal(err)
		}
		c, err = New(Config{TrustDomain: td, Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func each(dir string, f func(string) error) error {
	names, err := os.ReadDir(dir)
	for _, n := range names {
		if e := f(filepath.Join(dir, n.Name())); e != nil {
			return e
		}
	}
	return err
}

// The root's key may be locked away: the intermediate signs on, and that is said.
func TestRootKeyAway(t *testing.T) {
	dir := t.TempDir() + "/ca"
	c, err := New(Config{TrustDomain: td, Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	root, between := c.live.Load().state.Signing, keyName(c.live.Load().intermediate.PublicKey)
	c.Close()
	d := &directory{path: dir}
	away := filepath.Join(t.TempDir(), "root.pem")
	if err := os.Rename(d.keyFile(root), away); err != nil {
		t.Fatal(err)
	}
	var log logbook
	c, err = New(Config{TrustDomain: td, Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	issue(t, c, payments)
	if s := c.Status(); !strings.Contains(s.Trouble, "the root can't be used") || !strings.Contains(log.String(), "needs attention") {
		t.Errorf("%q\n%s", s.Trouble, log.String())
	}
	c.Close()
	// The other way round, another intermediate is made.
	if err := os.Rename(away, d.keyFile(root)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.keyFile(between)); err != nil {
		t.Fatal(err)
	}
	c = newCA(t, in(dir))
	if _, _, err := x509svid.Verify(issue(t, c, payments).Certificates, c); err != nil || c.Status().Trouble != "" {
		t.Error(err, c.Status().Trouble)
	}
}

func TestPassphrase(t *testing.T) {
	dir := t.TempDir() + "/ca"
	with := func(pass string) (*CA, error) {
		return New(Config{TrustDomain: td, Dir: dir, Keys: Keys{Passphrase: []byte(pass), iterations: 1000}, Logger: slog.New(slog.DiscardHandler)})
	}
	c, err := with("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	for pass, says := range map[string]string{"": "no passphrase", "wrong horse": "passphrase is wrong"} {
		if c, err := with(pass); err == nil || !strings.Contains(err.Error(), says) || pass != "" && strings.Contains(err.Error(), pass) {
			t.Errorf("%q: %v", pass, err)
			if err == nil {
				c.Close()
			}
		}
	}
	if _, err := RotateRoot(dir, Keys{}, AnnounceRoot, true); err == nil || !strings.Contains(err.Error(), "give their passphrase") {
		t.Errorf("a key in the clear beside encrypted ones: %v", err)
	}
	if s, err := ReadStatus(dir); err != nil || s.Stage != Steady {
		t.Error(s, err)
	}
	if c, err = with("correct horse"); err != nil {
		t.Fatal(err)
	}
	issue(t, c, payments)
	c.Close()
}

func TestConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing":                  {},
		"a long intermediate":      {TrustDomain: td, IntermediateTTL: 31 * 24 * time.Hour},
		"long leaves":              {TrustDomain: td, MaxLeafTTL: 25 * time.Hour},
		"leaves beyond their most": {TrustDomain: td, LeafTTL: 2 * time.Hour, MaxLeafTTL: time.Hour},
		"a short intermediate":     {TrustDomain: td, IntermediateTTL: 30 * time.Hour},
		"an issuer without name":   {TrustDomain: td, Issuers: []Issuer{{Audiences: []string{"x"}, JWKS: "{}"}}},
		"federation with oneself":  {TrustDomain: td, Federation: []Federation{{TrustDomain: td, URL: "https://x", Profile: HTTPSWeb}}},
	} {
		if c, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
			c.Close()
		}
	}
}
