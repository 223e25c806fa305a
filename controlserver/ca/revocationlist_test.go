package ca

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/identity"
)

// listed are the lists in a PEM text.
func listed(t *testing.T, text string) (out []*x509.RevocationList) {
	t.Helper()
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, list)
	}
}

// covers reports whether a list in force of the leaf's issuer is there, and whether the leaf is in it.
func covers(t *testing.T, lists []*x509.RevocationList, chain []*x509.Certificate) (there, revoked bool) {
	t.Helper()
	for _, l := range lists {
		if l.CheckSignatureFrom(chain[1]) != nil || time.Now().Before(l.ThisUpdate) || !time.Now().Before(l.NextUpdate) {
			continue
		}
		there = true
		revoked = revoked || slices.ContainsFunc(l.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
			return e.SerialNumber.Cmp(chain[0].SerialNumber) == 0
		})
	}
	return there, revoked
}

func TestRevocationLists(t *testing.T) {
	c := newCA(t)
	bad, good := issue(t, c, payments).Certificates, issue(t, c, payments).Certificates
	if got := c.RevocationLists(nil); got != "" {
		t.Errorf("without serials: %q", got)
	}
	serials := []string{identity.Serial(bad[0].SerialNumber)}
	text := c.RevocationLists(serials)
	if there, revoked := covers(t, listed(t, text), bad); !there || !revoked {
		t.Errorf("a revoked certificate: a list %t, in it %t", there, revoked)
	}
	if there, revoked := covers(t, listed(t, text), good); !there || revoked {
		t.Errorf("another: a list %t, in it %t", there, revoked)
	}
	if again := c.RevocationLists(slices.Clone(serials)); again != text {
		t.Error("the same serials give another list, which would have proxies take another listener")
	}
	if there, revoked := covers(t, listed(t, c.RevocationLists(append(serials, identity.Serial(good[0].SerialNumber)))), good); !there || !revoked {
		t.Errorf("revoked since: a list %t, in it %t", there, revoked)
	}
	if got := c.RevocationLists([]string{identity.Serial(bad[1].SerialNumber)}); got != "" {
		t.Errorf("an intermediate that is revoked vouches for what it has signed: %q", got)
	}
}

// Whatever is renewed or rotated, there is a list in force of the issuer of each certificate that is in use, and keys that are not needed for that are gone.
func TestEachCertificateInUseHasARevocationList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCA(t, func(c *Config) { c.Overlap = time.Hour })
		seen := map[string]bool{}
		var alive [][]*x509.Certificate
		steps := map[int]Step{100: AnnounceRoot, 101: SwitchRoot, 110: RetireRoot}
		for i := range 200 {
			if step, ok := steps[i]; ok {
				if err := c.RotateRoot(step, false); err != nil {
					t.Fatal(err)
				}
			}
			svid, err := createFor(t, c, 24*time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			alive = append(alive, svid.Certificates)
			alive = slices.DeleteFunc(alive, func(chain []*x509.Certificate) bool { return !time.Now().Before(chain[0].NotAfter) })
			lists := listed(t, c.RevocationLists([]string{identity.Serial(alive[0][0].SerialNumber)}))
			for j, chain := range alive {
				if there, revoked := covers(t, lists, chain); !there || revoked != (j == 0) {
					t.Fatalf("time %d, certificate %d: a list %t, in it %t", i, j, there, revoked)
				}
			}
			for _, name := range c.live.Load().state.keys() {
				seen[name] = true
			}
			time.Sleep(4 * time.Hour)
		}
		if len(seen) < 5 { // two roots, three intermediates
			t.Errorf("only %d keys were in use", len(seen))
		}
		needed := c.live.Load().state.keys()
		if len(needed) != 2 {
			t.Errorf("%d keys are kept at the end", len(needed))
		}
		for name := range seen {
			if _, err := c.store.key(name); (err == nil) != slices.Contains(needed, name) || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("key %s: %v", name, err)
			}
		}
	})
}

// A restart forgets no intermediate whose certificates are in use.
func TestFormerIntermediatesLastOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	open := func() *CA {
		c, err := New(Config{TrustDomain: td, Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	chain := issue(t, c, payments).Certificates
	c.changing.Lock()
	err := c.change(c.renew)
	c.changing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	c = open()
	defer c.Close()
	for _, chain := range [][]*x509.Certificate{chain, issue(t, c, payments).Certificates} {
		lists := listed(t, c.RevocationLists([]string{identity.Serial(chain[0].SerialNumber)}))
		if there, revoked := covers(t, lists, chain); !there || !revoked || len(lists) != 2 {
			t.Errorf("%d lists: a list of the issuer %t, in it %t", len(lists), there, revoked)
		}
	}
}

// A new intermediate is news: those who were told the lists must have those of the new one.
func TestANewIntermediateIsNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCA(t)
		changed := c.Changed()
		time.Sleep(intermediateLife/2 - time.Hour)
		select {
		case <-changed:
			t.Fatal("news before anything is new")
		default:
		}
		time.Sleep(2 * time.Hour)
		select {
		case <-changed:
		default:
			t.Fatal("no news of a new intermediate")
		}
	})
}
