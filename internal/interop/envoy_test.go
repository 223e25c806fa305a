package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An envoy is a real Envoy, a sidecar of an application in the namespace "shop".
type envoy struct {
	admin string         // base URL
	proxy string         // base URL of its listener
	ports map[string]int // of its listeners, by their names
	log   string         // path
}

// startEnvoy starts an Envoy that is configured by c, and returns when it is ready to serve.
func startEnvoy(t *testing.T, c *control, id, api string) *envoy {
	t.Helper()
	return startEnvoyAt(t, c.server.Addr(), id, api)
}

// startEnvoyAt is startEnvoy with the control server at an address.
func startEnvoyAt(t *testing.T, addr, id, api string) *envoy {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return startEnvoyWith(t, fmt.Sprintf(read(t, "envoy.json"), id, api, port))
}

// startEnvoyWith starts an Envoy with that configuration, and returns when it has the listener of a sidecar.
func startEnvoyWith(t *testing.T, text string) *envoy {
	t.Helper()
	binary := peer(t, "WEFT_ENVOY", "Envoy")
	dir := t.TempDir()
	config := filepath.Join(dir, "envoy.json")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &envoy{log: filepath.Join(dir, "log")}
	log, err := os.Create(e.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	address := filepath.Join(dir, "admin")
	cmd := exec.Command(binary, "-c", config, "--admin-address-path", address,
		"--concurrency", "1", "--disable-hot-restart", "--log-level", "warn")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait() // it is told to go
	}()
	t.Cleanup(func() { e.end(t, cmd, exited) })

	ok := eventually(func() bool {
		b, err := os.ReadFile(address)
		e.admin = "http://" + string(b)
		if err == nil && len(b) > 0 {
			_, err = e.ask(t, "/ready")
		}
		return err == nil && e.listening(t)
	})
	if !ok {
		b, _ := os.ReadFile(e.log)
		t.Fatalf("Envoy is not ready:\n%s", b)
	}
	return e
}

// end stops Envoy, by force if it does not go, and shows its log if the test failed.
func (e *envoy) end(t *testing.T, cmd *exec.Cmd, exited chan struct{}) {
	t.Helper()
	cmd.Process.Signal(unix.SIGTERM) // it is gone already, if anything
	force := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
	<-exited
	force.Stop()
	if b, err := os.ReadFile(e.log); err == nil && t.Failed() {
		t.Logf("Envoy's log:\n%s", b)
	}
}

// listening finds the ports that its listeners got.
func (e *envoy) listening(t *testing.T) bool {
	t.Helper()
	b, err := e.ask(t, "/listeners?format=json")
	if err != nil {
		return false
	}
	var all struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Port int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	e.ports = map[string]int{}
	for _, l := range all.Statuses {
		e.ports[l.Name] = l.Local.Socket.Port
	}
	e.proxy = fmt.Sprintf("http://127.0.0.1:%d", e.ports["outbound"])
	return e.ports["outbound"] != 0
}

// ask asks the administration page.
func (e *envoy) ask(t *testing.T, path string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.admin+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return b, err
}

// content checks that nothing of what Envoy was sent was refused.
func (e *envoy) content(t *testing.T) {
	t.Helper()
	dump, err := e.ask(t, "/config_dump?include_eds")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"dynamic_listeners", "dynamic_active_clusters", "dynamic_route_configs", "dynamic_endpoint_configs"} {
		if !strings.Contains(string(dump), want) {
			t.Errorf("config_dump has no %s", want)
		}
	}
	e.accepted(t)
}

// accepted checks that Envoy refused nothing.
func (e *envoy) accepted(t *testing.T) {
	t.Helper()
	dump, err := e.ask(t, "/config_dump?include_eds")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(dump), "error_state") {
		t.Errorf("config_dump has an error:\n%s", dump)
	}
	stats, err := e.ask(t, "/stats?filter=update_rejected")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(stats)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, " 0") {
			t.Errorf("stats: %s", line)
		}
	}
}

func TestEnvoySidecarOnOurControlServer(t *testing.T) {
	for protocol, api := range map[string]string{"delta": "DELTA_GRPC", "sotw": "GRPC"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			id := "envoy-" + protocol
			yaml := read(t, "sidecar.yaml")
			c := startControl(t, map[string]string{"sidecar.yaml": yaml})
			member := func(name, app string) *backend {
				return httpMember(t, c, name, app+".shop", map[string]string{"app": app, "version": version(name)})
			}
			backends := map[string]*backend{}
			for _, name := range []string{"v1.1", "v1.2", "v2.1"} {
				backends[name] = member(name, "payments")
			}
			member("ledger", "ledger")
			e := startEnvoy(t, c, id, api)
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			proxied := httpDoor(&http.Client{Transport: transport}, e.proxy)
			to := func(r request) request {
				if r.host == "" {
					r.host = "payments"
				}
				return r
			}

			proxied.split(t, 1000, to(request{}), map[string]int{"v1": 80, "v2": 20})
			for _, tc := range []struct {
				request request
				want    string
			}{
				{request{host: "payments", header: map[string]string{"x-tester": "yes"}}, "v2"},
				{request{host: "payments:80", header: map[string]string{"x-tester": "yes"}}, "v2"},
				{request{host: "payments.shop", header: map[string]string{"x-tester": "yes"}}, "v2"},
				{request{host: "payments.shop.svc.cluster.local:8080", header: map[string]string{"x-tester": "yes"}}, "v2"},
				{request{header: map[string]string{"x-case": "without"}}, "v2"},
				{request{header: map[string]string{"x-case": "without", "x-robot": "no"}}, "v2"},
				{request{method: http.MethodDelete}, "v2"},
				{request{path: "/?v=2"}, "v2"},
				{request{path: "/r42"}, "v2"},
				{request{path: "/v2/x"}, "v2"},
				{request{path: "/two"}, "v2"},
				{request{host: "ledger"}, "ledger"},
				{request{host: "ledger.shop.svc.cluster.local"}, "ledger"},
			} {
				for range 5 {
					if got := proxied.one(t, to(tc.request)); got != tc.want {
						t.Errorf("%+v is answered by %s, want %s", tc.request, got, tc.want)
						break
					}
				}
			}
			proxied.split(t, 50, to(request{header: map[string]string{"x-case": "without", "x-robot": "yes"}}), map[string]int{"v1": 80, "v2": 20})
			if _, err := proxied(t.Context(), request{host: "nobody"}); err == nil || !strings.Contains(err.Error(), "status 404") {
				t.Errorf("an unknown host: %v, want status 404", err)
			}
			e.content(t)

			// The split changes.
			c.put(t, "sidecar.yaml", strings.NewReplacer("weight: 80", "weight: 100", "weight: 20", "weight: 0").Replace(yaml))
			proxied.settles(t, to(request{}), "v1")

			// An instance leaves.
			backends["v1.1"].stop()
			if !eventually(func() bool {
				counts := map[string]int{}
				for range 20 {
					who, err := proxied(t.Context(), to(request{}))
					if err != nil {
						t.Fatalf("while an instance leaves: %v", err)
					}
					counts[who]++
				}
				return counts["v1.2"] == 20
			}) {
				t.Error("its endpoint did not leave")
			}

			// One comes.
			fresh := member("v1.3", "payments")
			if !eventually(func() bool { proxied.one(t, to(request{})); return fresh.calls.Load() > 0 }) {
				t.Error("a new instance is not called")
			}

			// A service goes away, and another comes.
			c.put(t, "sidecar.yaml", strings.NewReplacer("name: ledger", "name: book", "ledger.shop.svc", "book.shop.svc").Replace(yaml))
			proxied.settles(t, request{host: "book"}, "ledger")
			e.content(t)
			c.content(t, id)
			if client, _ := c.client(id); client.Protocol != protocol {
				t.Errorf("it speaks %q, want %q", client.Protocol, protocol)
			}
		})
	}
}
