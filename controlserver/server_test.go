package controlserver

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/controlserver/web"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds"
)

func TestSavedYAMLReachesConnectedClients(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "a.yaml", service("payments", "10.0.0.1"))
	s := run(t, Config{Dir: dir})
	w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
	w.until(t, "the first endpoints", func(s *resolver.Service) bool { return addrs(s) == "10.0.0.1:80" })

	save(t, dir, "a.yaml", service("payments", "10.0.0.1", "10.0.0.2"))
	w.until(t, "a new endpoint", func(s *resolver.Service) bool { return addrs(s) == "10.0.0.1:80 10.0.0.2:80" })
	save(t, dir, "b.yaml", route("payments", 3*time.Second))
	w.until(t, "a new route", func(s *resolver.Service) bool { return timeout(s) == 3*time.Second })
	if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	w.until(t, "no route", func(s *resolver.Service) bool { return timeout(s) == 0 })
	s.clean(t)
}

func TestConfigurationThatChangesNothingIsNotSent(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "a.yaml", service("payments", "10.0.0.1"))
	s := run(t, Config{Dir: dir})
	w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
	w.until(t, "the endpoints", func(s *resolver.Service) bool { return addrs(s) == "10.0.0.1:80" })
	before := w.updates()
	save(t, dir, "b.yaml", service("ledger", "10.0.0.2"))
	s.knows(t, "another service", func(st web.Status) bool { return len(st.Services) == 2 })
	if got := w.updates(); got != before {
		t.Errorf("%d updates for a service that did not change", got-before)
	}
}

// A symbolic link that is swapped is how Kubernetes updates a mounted ConfigMap.
func TestSwappedSymlinkIsFollowed(t *testing.T) {
	dir := t.TempDir()
	for version, address := range map[string]string{"..1": "10.0.0.1", "..2": "10.0.0.2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		save(t, filepath.Join(dir, version), "a.yaml", service("payments", address))
	}
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..1", "..data")
	link(filepath.Join("..data", "a.yaml"), "a.yaml")
	s := run(t, Config{Dir: dir})
	w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
	w.until(t, "the first version", func(s *resolver.Service) bool { return addrs(s) == "10.0.0.1:80" })
	link("..2", "..tmp")
	if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	w.until(t, "the second version", func(s *resolver.Service) bool { return addrs(s) == "10.0.0.2:80" })
}

func TestNamesAreResolvedBeforeTheyAreServed(t *testing.T) {
	const ledger = `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ledger}
spec:
  hosts: [ledger.example]
  resolution: DNS
  location: MESH_EXTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: NAME}]
`
	addresses := map[string][]string{"a.example": {"10.0.0.1"}, "b.example": {"10.0.0.2"}}
	dir := t.TempDir()
	save(t, dir, "a.yaml", strings.ReplaceAll(ledger, "NAME", "a.example"))
	s := run(t, Config{Dir: dir, Lookup: func(ctx context.Context, name string) ([]string, error) {
		if name == "b.example" {
			select {
			case <-time.After(100 * time.Millisecond): // longer than publishing would take
			case <-ctx.Done():
			}
		}
		return addresses[name], nil
	}})
	w := watch(t, dial(t, s.Addr(), xds.Config{}), "ledger.example")
	w.until(t, "the address of the first name", func(s *resolver.Service) bool { return addrs(s) == "10.0.0.1:80" })
	from := w.updates()
	save(t, dir, "a.yaml", strings.ReplaceAll(ledger, "NAME", "b.example"))
	w.until(t, "the address of the second name", func(s *resolver.Service) bool { return addrs(s) == "10.0.0.2:80" })
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, was := range w.history[from:] {
		if was.service != nil && addrs(was.service) == "" {
			t.Error("the service had no endpoints while the new name was being resolved")
		}
	}
}

func TestStatusSaysWhatIsKnown(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "a.yaml", service("payments", "10.0.0.1")+strings.Replace(service("broken"), "number: 80", "number: 0", 1))
	s := run(t, Config{Dir: dir, Web: "127.0.0.1:0"})
	watch(t, dial(t, s.Addr(), xds.Config{Service: "orders.shop"}), "payments.default").until(t, "payments", func(*resolver.Service) bool { return true })
	s.finds(t, "a.yaml:20: ServiceEntry/default/broken: spec.ports[0].number")

	get := func(path string) (*http.Response, string) {
		resp, err := http.Get("http://" + s.WebAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	defer http.DefaultClient.CloseIdleConnections()
	_, text := get("/status")
	var st web.Status
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		t.Fatal(err)
	}
	if len(st.Services) != 1 || st.Services[0].Host != "payments.default.svc.cluster.local" || st.Services[0].Endpoints[0].Addr != "10.0.0.1:80" {
		t.Errorf("services %+v", st.Services)
	}
	if len(st.Clients) != 1 {
		t.Fatalf("clients %+v", st.Clients)
	}
	c := st.Clients[0]
	if c.Service != "orders" || c.Namespace != "shop" || c.Protocol != "delta" || len(c.Resources) != 4 {
		t.Errorf("client %+v", c)
	}
	for _, r := range c.Resources {
		if r.Subscribed != 1 || r.Sent == "" || r.Sent != r.Acked || r.Refused != "" {
			t.Errorf("%+v", r)
		}
	}
	resp, page := get("/")
	for _, want := range []string{"payments.default.svc.cluster.local", "10.0.0.1:80", "ServiceEntry/default/broken", "orders"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/html") {
		t.Errorf("content type %q", ct)
	}
	if resp, _ := get("/healthz"); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	if resp, _ := get("/nothing"); resp.StatusCode != http.StatusNotFound {
		t.Error(resp.Status)
	}
}

func TestNewSaysWhyItCannotServe(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		cfg  Config
		want []string
	}{
		{Config{Dir: "/nowhere"}, []string{"/nowhere", "does not exist"}},
		{Config{Dir: file}, []string{file, "is not a directory"}},
		{Config{Listen: taken.Addr().String()}, []string{"xDS", taken.Addr().String(), "address already in use"}},
		{Config{Web: taken.Addr().String()}, []string{"status page", taken.Addr().String(), "address already in use"}},
		{Config{Listen: "nonsense"}, []string{"xDS", "nonsense"}},
	} {
		_, err := New(test.cfg)
		if err == nil {
			t.Errorf("%+v is accepted", test.cfg)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q lacks %q", err, want)
			}
		}
	}
}

func TestTwoServersInOneProcess(t *testing.T) {
	for range 2 { // and again, after both are gone
		var all []*running
		for _, address := range []string{"10.0.0.1", "10.0.0.2"} {
			dir := t.TempDir()
			save(t, dir, "a.yaml", service("payments", address))
			s := run(t, Config{Dir: dir})
			all = append(all, s)
			watch(t, dial(t, s.Addr(), xds.Config{}), "payments").until(t, address, func(s *resolver.Service) bool { return addrs(s) == address+":80" })
		}
		for _, s := range all {
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestRunSaysWhichSourceFailed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mesh")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Dir: dir, Web: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(within(t)); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}

// A source that never reports must not have the others serve half a mesh.
func TestNothingIsServedBeforeAllSourcesReported(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "a.yaml", service("payments", "10.0.0.1"))
	late := newSource()
	s := run(t, Config{Dir: dir, Sources: []Source{late}})
	w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
	late.says(t, route("payments", time.Second))
	w.until(t, "the service", func(*resolver.Service) bool { return true })
	if got := w.updates(); got != 1 || timeout(w.last().service) != time.Second {
		t.Errorf("%d updates, the last %+v", got, w.last().service)
	}
}
