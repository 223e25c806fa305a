package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Through a whole rotation, taken as fast as it may be: what is signed is believed by who has the bundle of Overlap ago, and what has
// not expired by who has the bundle of now.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every, overlap = 10 * time.Minute, 3 * time.Hour
		c := newCA(t, func(c *Config) { c.Overlap = overlap })
		first := c.live.Load().state.Signing
		self := c.Source(serverID)
		long, err := createFor(t, c, 24*time.Hour) // which the rotation must wait for
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute) // the state knows what is configured
		var out []*x509bundle.Bundle
		alive := []*x509svid.SVID{long}
		steps := []Step{AnnounceRoot, SwitchRoot, RetireRoot}
		var taken []time.Duration
		began := time.Now()
		for len(out) < 300 {
			if len(steps) > 0 && len(out) > 20 {
				if err := c.RotateRoot(steps[0], false); err == nil {
					steps, taken = steps[1:], append(taken, time.Since(began))
				}
			}
			believed, err := c.GetX509BundleForTrustDomain(td)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, believed)
			fresh := issue(t, c, payments)
			own, err := self.GetX509SVID()
			if err != nil {
				t.Fatal(err)
			}
			ago := out[max(0, len(out)-1-int(overlap/every))]
			for _, svid := range []*x509svid.SVID{fresh, own} {
				if _, _, err := x509svid.Verify(svid.Certificates, ago); err != nil {
					t.Fatalf("%v in, after %d steps: a fresh certificate by the bundle of %v ago: %v", time.Since(began), len(taken), overlap, err)
				}
			}
			alive = append(alive, fresh)
			for _, svid := range alive {
				if time.Now().Before(svid.Certificates[0].NotAfter) {
					if _, _, err := x509svid.Verify(svid.Certificates, believed); err != nil {
						t.Fatalf("%v in, after %d steps: a certificate that lives until %v: %v", time.Since(began), len(taken), svid.Certificates[0].NotAfter, err)
					}
				}
			}
			time.Sleep(every)
		}
		if len(taken) != 3 || taken[1]-taken[0] != overlap || taken[2]-taken[1] < 24*time.Hour || taken[2]-taken[1] > 24*time.Hour+every {
			t.Errorf("steps at %v", taken)
		}
		if s := c.Status(); s.Stage != Steady || len(s.Roots) != 1 || s.Sequence != 3 || c.live.Load().state.Signing == first {
			t.Errorf("%+v", s)
		}
		if _, err := c.store.key(first); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the key of the old root: %v", err)
		}
		if _, _, err := x509svid.Verify(long.Certificates, c, x509svid.WithTime(long.Certificates[0].NotAfter.Add(-time.Hour))); err == nil {
			t.Error("the old root is believed still")
		}
	})
}

func createFor(t *testing.T, c *CA, life time.Duration) (*x509svid.SVID, error) {
	t.Helper()
	token, err := c.CreateToken(cart, 0)
	if err != nil {
		return nil, err
	}
	csr, key := request(t)
	chain, err := create(call(t, token), c, csr, int64(life/time.Second))
	return &x509svid.SVID{ID: cart, Certificates: chain, PrivateKey: key}, err
}

func TestRotationOutOfOrder(t *testing.T) {
	c := newCA(t)
	for _, tc := range []struct {
		step  Step
		force bool
		says  string
	}{
		{SwitchRoot, true, "no new root"},
		{RetireRoot, true, "still signs"},
		{"Announce", true, "no step"},
		{AnnounceRoot, false, ""},
		{AnnounceRoot, true, "on its way"},
		{RetireRoot, true, "still signs"},
		{SwitchRoot, false, "can be done at"},
		{SwitchRoot, true, ""},
		{SwitchRoot, true, "no new root"},
		{RetireRoot, false, "can be done at"},
		{RetireRoot, true, ""},
	} {
		err := c.RotateRoot(tc.step, tc.force)
		if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s, forced %v: %v", tc.step, tc.force, err)
		}
	}
}

// A command rotates beside the server, whose certificates follow.
func TestRotationBesideTheServer(t *testing.T) {
	dir := t.TempDir() + "/ca"
	c := newCA(t, in(dir))
	for i, step := range []Step{AnnounceRoot, SwitchRoot, RetireRoot} {
		changed := c.Changed()
		before := c.live.Load().state.Number
		s, err := RotateRoot(dir, Keys{}, step, true)
		if err != nil {
			t.Fatal(step, err)
		}
		eventually(t, "taken up: "+string(step), func() bool { return c.live.Load().state.Number > before })
		if got := c.Status(); got.Stage != s.Stage || got.Sequence != s.Sequence {
			t.Errorf("%s: %v, want %v", step, got, s)
		}
		if step != SwitchRoot {
			<-changed
		}
		if _, _, err := x509svid.Verify(issue(t, c, payments).Certificates, c); err != nil {
			t.Error(i, err)
		}
	}
	if s, err := ReadStatus(dir); err != nil || s.Stage != Steady || s.Sequence != 3 {
		t.Error(s, err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "keys")); len(left) != 2 {
		t.Errorf("%d keys on disk, want those of the root and of the intermediate", len(left))
	}
}

// Of two that change the state at once, both changes last.
func TestConcurrentChanges(t *testing.T) {
	dir := t.TempDir() + "/ca"
	c := newCA(t, in(dir))
	d := c.store.(*directory)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				for {
					s, err := d.load()
					if err != nil {
						t.Error(err)
						return
					}
					n := s.next()
					n.Sequence++
					if err = d.commit(n); err == nil {
						break
					}
					if !errors.Is(err, errOutdated) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	s, err := d.load()
	if err != nil || s.Sequence != 41 {
		t.Fatal(s, err)
	}
	if numbers, err := d.numbers(); err != nil || len(numbers) != kept {
		t.Error(len(numbers), err)
	}
}

func TestIntermediateIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCA(t, func(c *Config) { c.RootTTL = 100 * 24 * time.Hour })
		before := c.live.Load().intermediate
		for range 79 {
			time.Sleep(24 * time.Hour)
			a := c.live.Load()
			if left := time.Until(a.intermediate.NotAfter); left < 14*24*time.Hour {
				t.Fatalf("the intermediate ends in %v", left)
			}
			if _, _, err := x509svid.Verify(issue(t, c, payments).Certificates, c); err != nil {
				t.Fatal(err)
			}
		}
		if c.live.Load().intermediate == before || c.Status().Trouble != "" {
			t.Error(c.Status())
		}
		time.Sleep(48 * time.Hour)
		if !strings.Contains(c.Status().Trouble, "rotate it") {
			t.Errorf("a root in its last fifth: %q", c.Status().Trouble)
		}
	})
}

func TestSigners(t *testing.T) {
	key := func() crypto.Signer {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	one, two := key(), key()
	dir := t.TempDir() + "/ca"
	c, err := New(Config{TrustDomain: td, Dir: dir, Keys: Keys{Signers: []crypto.Signer{one}}})
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "keys")); len(left) != 1 {
		t.Errorf("%d keys on disk, want that of the intermediate", len(left))
	}
	if err := c.RotateRoot(AnnounceRoot, false); err == nil || !strings.Contains(err.Error(), "signer") {
		t.Errorf("a second root of one key: %v", err)
	}
	c.Close()
	c = newCA(t, in(dir), func(c *Config) { c.Keys.Signers = []crypto.Signer{one, two} })
	for _, step := range []Step{AnnounceRoot, SwitchRoot, RetireRoot} {
		if err := c.RotateRoot(step, true); err != nil {
			t.Fatal(step, err)
		}
	}
	if c.live.Load().state.Signing != keyName(two.Public()) {
		t.Error("the new root is not of the other signer")
	}
}
