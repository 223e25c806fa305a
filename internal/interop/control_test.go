package interop

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/controlserver/web"
)

// A control is our control server over a directory of YAML.
type control struct {
	server *controlserver.Server
	dir    string
	roots  []byte // of a secure one, PEM
}

// startControl starts a control server over the files, whose names are the keys.
func startControl(t *testing.T, files map[string]string) *control {
	t.Helper()
	return startControlOf(t, controlserver.Config{}, files)
}

// startControlOf is startControl with more that is configured.
func startControlOf(t *testing.T, cfg controlserver.Config, files map[string]string) *control {
	t.Helper()
	c := &control{dir: t.TempDir()}
	for name, yaml := range files {
		c.put(t, name, yaml)
	}
	var err error
	cfg.Dir, cfg.Logger = c.dir, cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	c.server, err = controlserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if !eventually(func() bool { return len(c.server.Status().Services) > 0 }) {
		t.Fatalf("no service; findings: %v", c.server.Status().Findings)
	}
	if f := c.server.Status().Findings; len(f) > 0 {
		t.Fatalf("findings: %v", f)
	}
	return c
}

// put writes a file as a whole.
func (c *control) put(t *testing.T, name, yaml string) {
	t.Helper()
	tmp := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(tmp, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(c.dir, name)); err != nil {
		t.Fatal(err)
	}
}

// registered waits until the server knows the backend.
func (c *control) registered(t *testing.T, b *backend) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.server.Registered(ctx, b.addr); err != nil {
		t.Fatal(err)
	}
}

// content checks that the client, known by a part of its id, has taken all it was sent.
func (c *control) content(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.server.Settled(ctx); err != nil {
		t.Fatal(err)
	}
	client, ok := c.client(id)
	if !ok {
		t.Fatalf("no client %s", id)
	}
	if len(client.Resources) < 4 {
		t.Errorf("%s asked for %v only", id, client.Resources)
	}
	for _, r := range client.Resources {
		if r.Refused != "" || r.Acked != r.Sent {
			t.Errorf("%s, %s: sent %q, acked %q, refused %q", id, r.Type, r.Sent, r.Acked, r.Refused)
		}
	}
}

func (c *control) client(id string) (web.Client, bool) {
	for _, client := range c.server.Status().Clients {
		if strings.Contains(client.ID, id) {
			return client, true
		}
	}
	return web.Client{}, false
}

// shopFiles are the configuration of examples/shop --insecure.
func shopFiles(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../examples/shop/mesh/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no configuration of the shop: %v", err)
	}
	files := map[string]string{}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(p)] = string(b)
	}
	return files
}
