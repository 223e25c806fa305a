package enroll

import (
	"context"
	"crypto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// bubble runs a test in fake time, with an authority.
func bubble(t *testing.T, f func(t *testing.T, i *istiod)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newIstiod(t)) })
}

func ready(t *testing.T, s *Source) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestEnroll(t *testing.T) {
	bubble(t, func(t *testing.T, i *istiod) {
		s := i.source(func(c *Config) { c.TTL = 30 * time.Minute })
		if _, err := s.GetX509SVID(); err == nil {
			t.Error("an SVID before there is one")
		}
		ready(t, s)
		svid, err := s.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		if id, _, err := x509svid.Verify(svid.Certificates, s); err != nil || id != payments || svid.ID != payments {
			t.Error(id, err)
		}
		if len(svid.Certificates) != 1 {
			t.Errorf("%d certificates would be shown to peers: the root is not for them", len(svid.Certificates))
		}
		calls := i.seen()
		if len(calls) != 1 || calls[0].token != "Bearer good" || calls[0].asked != 1800 || len(calls[0].certs) != 0 {
			t.Errorf("%+v", calls)
		}
		if _, err := s.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("other")); err == nil {
			t.Error("a bundle of a trust domain that is not believed")
		}
	})
}

// Half of the life, give or take a tenth; the certificate proves who renews, and the join token is never shown again.
func TestRenewal(t *testing.T) {
	bubble(t, func(t *testing.T, i *istiod) {
		s := i.source()
		ready(t, s)
		i.do(func() { i.token = "" })
		first, _ := s.GetX509SVID()
		time.Sleep(10 * time.Hour)
		calls := i.seen()
		if n := len(calls); n < 18 || n > 24 {
			t.Errorf("%d certificates in 10 h", n)
		}
		for n, c := range calls[1:] {
			if gap := c.at.Sub(calls[n].at); gap < 27*time.Minute-2*time.Second || gap > 33*time.Minute {
				t.Errorf("renewed after %v", gap)
			}
			if c.token != "" || len(c.certs) != 1 {
				t.Errorf("a renewal shows token %q and %d certificates", c.token, len(c.certs))
			}
		}
		last, err := s.GetX509SVID()
		if err != nil || last == first || last.PrivateKey.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(first.PrivateKey.Public()) {
			t.Error("a renewed certificate should have another key", err)
		}
	})
}

// The authority may be away for most of a certificate's life, and is not stormed when it is back.
func TestAuthorityAway(t *testing.T) {
	bubble(t, func(t *testing.T, i *istiod) {
		s := i.source()
		ready(t, s)
		first, _ := s.GetX509SVID()
		i.do(func() { i.down = true })
		for time.Until(first.Certificates[0].NotAfter) > 12*time.Minute { // 80 % of the life
			time.Sleep(time.Minute)
			if svid, err := s.GetX509SVID(); err != nil || svid != first {
				t.Fatal(svid, err)
			}
		}
		if st := s.State(); st.Failures < 100 || st.Err == nil || !strings.Contains(st.Err.Error(), "closed") {
			t.Errorf("%+v", st)
		}
		i.do(func() { i.down = false })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		svid, err := s.GetX509SVID()
		if err != nil || svid == first {
			t.Error("not renewed within 5 s of its return", err)
		}
		if st := s.State(); st.Failures != 0 || st.Err != nil || st.ID != payments {
			t.Errorf("%+v", st)
		}
		// And too long: nothing is shown that has expired.
		i.do(func() { i.down = true })
		time.Sleep(61 * time.Minute)
		if _, err := s.GetX509SVID(); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Error("an expired certificate is shown", err)
		}
	})
}

func TestSlowAuthority(t *testing.T) {
	bubble(t, func(t *testing.T, i *istiod) {
		i.do(func() { i.slow = 30 * time.Second })
		s := i.source()
		ready(t, s)
		time.Sleep(3 * time.Hour)
		i.do(func() {
			if i.most != 1 || len(i.calls) > 8 {
				t.Errorf("%d requests at once, %d together", i.most, len(i.calls))
			}
		})
	})
}

func TestNoCertificate(t *testing.T) {
	bubble(t, func(t *testing.T, i *istiod) {
		for _, c := range []struct {
			name   string
			change func(*Config)
			before func()
			says   string
		}{
			{"a used join token", func(c *Config) { c.JoinToken = "used" }, func() {}, "meshctl token create"},
			{"another authority", func(c *Config) { c.RootCAs = []byte(strings.Join(pems(newAuthority(t).roots()...), "")) }, func() {}, "unknown authority"},
			{"another host", func(c *Config) { c.ServerName = "other" }, func() {}, "not other"},
			{"another server", func(c *Config) { c.ServerID = payments }, func() {}, "not of " + payments.String()},
			{"no token file", func(c *Config) { c.JoinToken, c.TokenFile = "", "/nowhere/token" }, func() {}, "/nowhere/token"},
			{"no root file", func(c *Config) { c.RootCAs, c.RootCAFile = nil, "/nowhere/ca.pem" }, func() {}, "/nowhere/ca.pem"},
			{"another identity than wanted", func(c *Config) { c.ID = spiffeid.RequireFromString("spiffe://td/other") }, func() {}, "not of spiffe://td/other"},
			{"another trust domain than wanted", func(c *Config) { c.TrustDomain = spiffeid.RequireTrustDomainFromString("other") }, func() {}, "not of trust domain other"},
			{"away", func(*Config) {}, func() { i.down = true }, "closed"},
			{"failing", func(*Config) {}, func() { i.down = false; i.fail = status.Error(codes.Internal, "out of paper") }, "out of paper"},
		} {
			i.do(c.before)
			s := i.source(c.change)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			err := s.Ready(ctx)
			cancel()
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "good") {
				t.Errorf("%s: %v", c.name, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Ready(t.Context()); err == nil {
				t.Errorf("%s: ready after it was closed", c.name)
			}
		}
	})
}

// What does not follow from the request and the certificate before is refused, and that one stays.
func TestForgedAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, i *istiod) {
		s := i.source()
		ready(t, s)
		good, err := s.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		other := newAuthority(t)
		for name, forge := range map[string]func(crypto.PublicKey, []string) []string{
			"nothing": func(crypto.PublicKey, []string) []string { return nil },
			"no PEM":  func(_ crypto.PublicKey, c []string) []string { return append(c, "x") },
			"another key": func(_ crypto.PublicKey, c []string) []string {
				return append(pems(i.ca.sign(t, newKey(t).Public(), i.id, time.Hour)), c[1:]...)
			},
			"another root": func(k crypto.PublicKey, c []string) []string {
				return append(pems(other.sign(t, k, i.id, time.Hour)), c[1:]...)
			},
			"no root": func(_ crypto.PublicKey, c []string) []string { return c[:1] },
			"no identity": func(k crypto.PublicKey, c []string) []string {
				return append(pems(i.ca.sign(t, k, "", time.Hour, "payments")), c[1:]...)
			},
			"of no workload": func(k crypto.PublicKey, c []string) []string {
				return append(pems(i.ca.sign(t, k, "spiffe://td", time.Hour)), c[1:]...)
			},
			"another identity": func(k crypto.PublicKey, c []string) []string {
				return append(pems(i.ca.sign(t, k, "spiffe://td/ns/shop/sa/cart", time.Hour)), c[1:]...)
			},
			"another trust domain": func(k crypto.PublicKey, c []string) []string {
				return append(pems(i.ca.sign(t, k, "spiffe://other/ns/shop/sa/payments", time.Hour)), c[1:]...)
			},
			"expired": func(k crypto.PublicKey, c []string) []string {
				return append(pems(i.ca.sign(t, k, i.id, -time.Second)), c[1:]...)
			},
			"a leaf in place of a root": func(_ crypto.PublicKey, c []string) []string { return []string{c[0], c[0]} },
			"a private key in the chain": func(_ crypto.PublicKey, c []string) []string {
				return append(c, "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")
			},
		} {
			before := len(i.seen())
			i.do(func() { i.forge = forge })
			time.Sleep(time.Until(s.State().Renewal) + time.Second)
			i.do(func() { i.forge = nil })
			if st := s.State(); len(i.seen()) <= before || st.Err == nil {
				t.Errorf("%s: it was taken, or not asked for: %+v", name, st)
			}
			if svid, err := s.GetX509SVID(); err != nil || svid != good {
				t.Errorf("%s: %v is in use: %v", name, svid, err)
			}
			time.Sleep(10 * time.Second)
			if good, err = s.GetX509SVID(); err != nil || s.State().Err != nil {
				t.Fatalf("%s: not got over: %v, %v", name, err, s.State().Err)
			}
		}
	})
}

// The bundle follows the authority: a root that it believes no longer is not believed here, whatever RootCAs has.
func TestRootRotation(t *testing.T) {
	bubble(t, func(t *testing.T, i *istiod) {
		s := i.source()
		ready(t, s)
		count := func() int {
			b, err := s.GetX509BundleForTrustDomain(payments.TrustDomain())
			if err != nil {
				t.Fatal(err)
			}
			return len(b.X509Authorities())
		}
		old, _ := s.GetX509SVID()
		i.ca.rotate(t)
		time.Sleep(35 * time.Minute)
		if n := count(); n != 2 {
			t.Errorf("%d roots while it rotates", n)
		}
		if _, _, err := x509svid.Verify(old.Certificates, s); err != nil {
			t.Error(err)
		}
		i.ca.retire()
		time.Sleep(35 * time.Minute)
		if n := count(); n != 1 {
			t.Errorf("%d roots after it", n)
		}
		if _, _, err := x509svid.Verify(old.Certificates, s); err == nil {
			t.Error("a certificate of the old root is believed")
		}
		if svid, err := s.GetX509SVID(); err != nil {
			t.Error(err)
		} else if _, _, err := x509svid.Verify(svid.Certificates, s); err != nil {
			t.Error(err)
		}
	})
}

func TestSetBundles(t *testing.T) {
	bubble(t, func(t *testing.T, i *istiod) {
		other := spiffeid.RequireTrustDomainFromString("other")
		s := i.source()
		s.SetBundles(x509bundle.FromX509Authorities(other, newAuthority(t).roots()), x509bundle.New(spiffeid.RequireTrustDomainFromString("empty")))
		ready(t, s)
		for d, want := range map[string]bool{"td": true, "other": true, "empty": false} {
			if _, err := s.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString(d)); (err == nil) != want {
				t.Errorf("%s: %v", d, err)
			}
		}
		s.SetBundles()
		for d, want := range map[string]bool{"td": true, "other": false} {
			if _, err := s.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString(d)); (err == nil) != want {
				t.Errorf("after it left: %s: %v", d, err)
			}
		}
	})
}

func TestTokenFile(t *testing.T) {
	bubble(t, func(t *testing.T, i *istiod) {
		file := filepath.Join(t.TempDir(), "token")
		write := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("bad\n")
		s := i.source(func(c *Config) { c.JoinToken, c.TokenFile, c.ClusterID = "", file, "c1" })
		time.Sleep(10 * time.Second)
		if st := s.State(); st.Err == nil || !strings.Contains(st.Err.Error(), file) {
			t.Errorf("%+v", st)
		}
		write("good\n")
		time.Sleep(5 * time.Second)
		ready(t, s)
		// An authority that has lost its keys knows none of our certificates.
		write("fresh\n")
		i.do(func() { i.token = "fresh" })
		i.ca.rotate(t)
		i.ca.retire()
		time.Sleep(40 * time.Minute)
		svid, err := s.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		calls := i.seen()
		if last := calls[len(calls)-1]; last.token != "Bearer fresh" || s.State().Err != nil {
			t.Errorf("%+v %+v", last, s.State())
		}
		if err := svid.Certificates[0].CheckSignatureFrom(i.ca.roots()[0]); err != nil {
			t.Error(err)
		}
	})
}

func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T, i *istiod) {
		dir := filepath.Join(t.TempDir(), "identity")
		keep := func(c *Config) { c.Dir = dir }
		s := i.source(keep)
		ready(t, s)
		_ = s.Close()
		file := filepath.Join(dir, file)
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatal(info.Mode(), err)
		}
		i.do(func() { i.token = "" })
		again := i.source(keep, func(c *Config) { c.JoinToken = "" })
		ready(t, again)
		if n := len(i.seen()); n != 1 {
			t.Errorf("%d requests: a restart needs none", n)
		}
		time.Sleep(40 * time.Minute)
		if n := len(i.seen()); n != 2 {
			t.Errorf("%d requests: it is not renewed", n)
		}
		_ = again.Close()
		if _, err := New(i.client(keep, func(c *Config) { c.ID = spiffeid.RequireFromString("spiffe://td/other") })); err == nil {
			t.Error("what is kept is of another identity")
		}
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := New(i.client(keep)); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("a key that others can read: %v", err)
		}
		_ = os.Chmod(file, 0o600)
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := New(i.client(keep)); err == nil || !strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("a directory where others can put roots: %v", err)
		}
		_ = os.Chmod(dir, 0o700)
		if err := os.WriteFile(file, []byte("-----BEGIN"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(i.client(keep)); err == nil {
			t.Error("a damaged file")
		}
	})
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"nothing":      {},
		"no port":      {Address: "ca", RootCAFile: "x", JoinToken: "x"},
		"no roots":     {Address: "ca:1", JoinToken: "x"},
		"two roots":    {Address: "ca:1", RootCAFile: "x", Plaintext: true, JoinToken: "x"},
		"no proof":     {Address: "ca:1", RootCAFile: "x"},
		"two names":    {Address: "ca:1", RootCAFile: "x", JoinToken: "x", ServerName: "x", ServerID: payments},
		"contrary ids": {Address: "ca:1", RootCAFile: "x", JoinToken: "x", ID: payments, TrustDomain: spiffeid.RequireTrustDomainFromString("other")},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, ok := FromEnv(); ok {
		t.Skip("the environment has an authority")
	}
	t.Setenv("WEFT_CA", "ca:1")
	t.Setenv("WEFT_JOIN_TOKEN", "token")
	if c, ok := FromEnv(); !ok || c.Address != "ca:1" || c.JoinToken != "token" {
		t.Errorf("%v", ok)
	}
}
