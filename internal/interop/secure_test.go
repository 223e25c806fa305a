package interop

import (
	"context"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/enroll"
)

// shopDomain is the trust domain of a secure control server, and controlID who it is.
const (
	shopDomain = "shop.test"
	controlID  = "spiffe://" + shopDomain + "/ns/weft-system/sa/control-server"
)

// startSecure is startControl for a mesh with identities, whose authority the server is.
func startSecure(t *testing.T, files map[string]string) *control {
	t.Helper()
	return startSecureOf(t, controlserver.Config{CA: &ca.Config{TrustDomain: spiffeid.RequireTrustDomainFromString(shopDomain)}}, files)
}

func startSecureOf(t *testing.T, cfg controlserver.Config, files map[string]string) *control {
	t.Helper()
	c := startControlOf(t, cfg, files)
	for _, cert := range c.server.CA().Bundle().X509Authorities() {
		c.roots = append(c.roots, encodePEM("CERTIFICATE", cert.Raw)...)
	}
	return c
}

// identity is a service account that has enrolled with a join token, as processes of their own do.
func (c *control) identity(t *testing.T, namespace, account string) *enroll.Source {
	t.Helper()
	id, err := spiffeid.FromSegments(c.server.CA().TrustDomain(), "ns", namespace, "sa", account)
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.server.CA().CreateToken(id, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return enrolled(t, enroll.Config{Address: c.server.Addr(), RootCAs: c.roots, JoinToken: token})
}

// enrolled is a source that has its certificate.
func enrolled(t *testing.T, cfg enroll.Config) *enroll.Source {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	s, err := enroll.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// A keyring is an identity as PEM files, for programs of others.
type keyring struct{ chain, key, roots string }

// keyringOf writes what a source has now.
func keyringOf(t *testing.T, s identity.Source) keyring {
	t.Helper()
	svid, err := s.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	chain, key, err := svid.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	believed, err := s.GetX509BundleForTrustDomain(svid.ID.TrustDomain())
	if err != nil {
		t.Fatal(err)
	}
	roots, err := believed.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	k := keyring{filepath.Join(dir, "cert-chain.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "root-cert.pem")}
	for path, text := range map[string][]byte{k.chain: chain, k.key: key, k.roots: roots} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// within is for what must happen.
func within(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), patience)
}
