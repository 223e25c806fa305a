package controlserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/controlserver/web"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds"
)

// virtualService is the document that the tests spoil; it stands at line 1.
func virtualService(http string) string {
	return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payments}
spec:
  hosts: [payments]
  http:
` + http
}

// TestBadInputChangesNothing saves what is wrong over what was right, with a
// client connected: the finding says where, and the client keeps what it had.
func TestBadInputChangesNothing(t *testing.T) {
	good := virtualService("  - timeout: 3s\n    route: [{destination: {host: payments}}]\n")
	for _, test := range []struct {
		name, text string
		finding    []string // each in one line
	}{
		{"empty", "", []string{"b.yaml: file is empty"}},
		{"half-written", good[:len(good)-20], []string{"b.yaml:8: not YAML"}},
		{"not YAML at all", "{{{{", []string{"b.yaml:1: not YAML"}},
		{"not UTF-8", strings.Replace(good, "payments]", "payments\xff]", 1), []string{"b.yaml:5: not UTF-8: byte 0xff"}},
		{"a list", "- a\n- b\n", []string{"b.yaml:1: document must be an object"}},
		{"YAML 1.1: on is true", virtualService("  - match: [{headers: {x-tester: {exact: on}}}]\n    route: [{destination: {host: payments}}]\n"),
			[]string{"b.yaml:7: VirtualService/default/payments: spec.http[0].match[0].headers[x-tester].exact"}},
		{"YAML 1.1: off is false", strings.Replace(good, "hosts: [payments]", "hosts: [off]", 1),
			[]string{"b.yaml:5: VirtualService/default/payments: spec.hosts[0]"}},
		{"YAML 1.1: y", strings.Replace(good, "name: payments", "name: y", 1), []string{"b.yaml:3: VirtualService: metadata.name"}},
		{"unknown kind", strings.Replace(good, "VirtualService", "VirtualServces", 1), []string{`b.yaml:2: VirtualServces/default/payments: unknown kind`}},
		{"wrong apiVersion", strings.Replace(good, "networking.istio.io/v1", "networking.istio.io/v2", 1), []string{"b.yaml:1: VirtualService/default/payments: apiVersion"}},
		{"no apiVersion", strings.Replace(good, "apiVersion: networking.istio.io/v1\n", "", 1), []string{"b.yaml:1: VirtualService/default/payments: apiVersion"}},
		{"unknown field", strings.Replace(good, "timeout:", "timeuot:", 1), []string{"b.yaml:7: VirtualService/default/payments: spec.http[0].timeuot"}},
		{"weights sum to 0", virtualService("  - route:\n    - {destination: {host: payments}, weight: 0}\n    - {destination: {host: payments}, weight: 0}\n"),
			[]string{"b.yaml:7: VirtualService/default/payments: spec.http[0].route"}},
		{"weights overflow", virtualService("  - route:\n    - {destination: {host: payments}, weight: 2147483647}\n    - {destination: {host: payments}, weight: 2147483647}\n    - {destination: {host: payments}, weight: 2}\n"),
			[]string{"VirtualService/default/payments: spec.http[0].route"}},
		{"a weight overflows", virtualService("  - route:\n    - {destination: {host: payments}, weight: 99999999999}\n    - {destination: {host: payments}, weight: 1}\n"),
			[]string{"b.yaml:8: VirtualService/default/payments: spec.http[0].route[0].weight"}},
		{"missing subset", virtualService("  - route: [{destination: {host: payments, subset: v9}}]\n"),
			[]string{"b.yaml:7: VirtualService/default/payments: spec.http[0].route[0].destination.subset"}},
		{"missing host", virtualService("  - route: [{destination: {host: paymnts}}]\n"),
			[]string{"b.yaml:7: VirtualService/default/payments: spec.http[0].route[0].destination.host", "did you mean payments"}},
		{"missing port", virtualService("  - route: [{destination: {host: payments, port: {number: 81}}}]\n"),
			[]string{"b.yaml:7: VirtualService/default/payments: spec.http[0].route[0].destination.port.number"}},
		{"bad regex", virtualService("  - match: [{uri: {regex: '('}}]\n    route: [{destination: {host: payments}}]\n"),
			[]string{"b.yaml:7: VirtualService/default/payments: spec.http[0].match[0].uri"}},
		{"two wrong at once", virtualService("  - timeout: never\n    route: [{destination: {host: payments}, weight: -1}]\n"),
			[]string{"b.yaml:7: VirtualService/default/payments: spec.http[0].timeout", "b.yaml:8: VirtualService/default/payments: spec.http[0].route[0].weight"}},
		{"one huge document", good + strings.Repeat("# "+strings.Repeat("x", 998)+"\n", 2000), []string{"b.yaml:1: document of"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			save(t, dir, "a.yaml", service("payments", "10.0.0.1"))
			save(t, dir, "b.yaml", good)
			s := run(t, Config{Dir: dir})
			w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
			has := func(d time.Duration) func(*resolver.Service) bool {
				return func(s *resolver.Service) bool { return timeout(s) == d && addrs(s) == "10.0.0.1:80" }
			}
			w.until(t, "the good version", has(3*time.Second))
			before := w.updates()
			save(t, dir, "b.yaml", test.text)
			for _, want := range test.finding {
				s.finds(t, want)
			}
			if !has(3*time.Second)(w.last().service) || w.updates() != before {
				t.Errorf("the client was told %+v", w.last().service)
			}
			text := findings(s.Status())
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "error: ") && strings.Count(s.logs.String(), strings.TrimSpace(strings.TrimPrefix(line, "error: "))) > 1 {
					t.Errorf("logged more than once: %s", line)
				}
			}
			// The next thing that is right is taken, whatever came before.
			save(t, dir, "b.yaml", strings.Replace(good, "3s", "4s", 1))
			s.clean(t)
			w.until(t, "the repaired version", has(4*time.Second))
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}

func TestUnreadableFilesChangeNothing(t *testing.T) {
	type spoiling struct {
		name, finding string
		spoil         func(path string) error
	}
	tests := []spoiling{
		{"link to nowhere", "b.yaml: file cannot be read", func(path string) error { return os.Symlink("nowhere", path) }},
		{"link to itself", "b.yaml: file cannot be read", func(path string) error { return os.Symlink("b.yaml", path) }},
	}
	if os.Getuid() != 0 { // root reads everything
		tests = append(tests, spoiling{"permission", "b.yaml: file cannot be read: permission denied",
			func(path string) error { return os.WriteFile(path, nil, 0) }})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "b.yaml")
			save(t, dir, "a.yaml", service("ledger", "10.0.0.2"))
			save(t, dir, "b.yaml", service("payments", "10.0.0.1"))
			s := run(t, Config{Dir: dir})
			w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
			w.until(t, "the service", func(s *resolver.Service) bool { return addrs(s) == "10.0.0.1:80" })
			before := w.updates()
			if err := os.Rename(path, filepath.Join(t.TempDir(), "b.yaml")); err != nil {
				t.Fatal(err)
			}
			if err := test.spoil(path); err != nil {
				t.Fatal(err)
			}
			s.finds(t, test.finding)
			if w.updates() != before && addrs(w.last().service) != "10.0.0.1:80" {
				t.Errorf("the client was told %+v", w.last().service)
			}
		})
	}
}

func TestDuplicateNameLeavesTheFirst(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "a.yaml", service("payments", "10.0.0.1")+route("payments", time.Second))
	s := run(t, Config{Dir: dir})
	w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
	w.until(t, "the first", func(s *resolver.Service) bool { return timeout(s) == time.Second })
	save(t, dir, "b.yaml", route("payments", 2*time.Second))
	s.finds(t, "b.yaml:2: VirtualService/default/payments: metadata.name: name already taken at "+filepath.Join(dir, "a.yaml")+":13")
	if got := timeout(w.last().service); got != time.Second {
		t.Errorf("time-out %v", got)
	}
}

// A document that was never good is not there; those around it are.
func TestABadDocumentDoesNotTakeItsFileDown(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "a.yaml", service("payments", "10.0.0.1")+"---\nthis is: [not\n"+service("ledger", "10.0.0.2"))
	s := run(t, Config{Dir: dir})
	s.finds(t, "a.yaml:")
	client := dial(t, s.Addr(), xds.Config{})
	watch(t, client, "payments").until(t, "what stands before", func(s *resolver.Service) bool { return addrs(s) == "10.0.0.1:80" })
	watch(t, client, "ledger").until(t, "what stands behind", func(s *resolver.Service) bool { return addrs(s) == "10.0.0.2:80" })
}

// Ten megabytes of routes must neither stop the server nor what others get from it.
func TestTenMegabytesOfRoutes(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "a.yaml", service("payments", "10.0.0.1")+service("ledger", "10.0.0.2"))
	s := run(t, Config{Dir: dir})
	client := dial(t, s.Addr(), xds.Config{})
	payments, ledger := watch(t, client, "payments"), watch(t, client, "ledger")
	for _, w := range []*watched{payments, ledger} {
		w.until(t, "the service", func(*resolver.Service) bool { return true })
	}
	var all strings.Builder
	doc := 0
	for ; all.Len() < 10<<20/slow; doc++ {
		fmt.Fprintf(&all, "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: big-%d}\nspec:\n  hosts: [payments]\n  http:\n", doc)
		for from, i := all.Len(), 0; all.Len()-from < 1<<20; i++ {
			fmt.Fprintf(&all, "  - {match: [{uri: {exact: /%d/%d}}], route: [{destination: {host: payments}}]}\n", doc, i)
		}
	}
	save(t, dir, "b.yaml", all.String())
	s.knows(t, "the big file", func(st web.Status) bool { return strings.Contains(findings(st), fmt.Sprintf("big-%d", doc-1)) })
	save(t, dir, "c.yaml", route("ledger", time.Second))
	ledger.until(t, "what another service is given after", func(s *resolver.Service) bool { return timeout(s) == time.Second })
	if last := payments.last(); last.service == nil {
		t.Errorf("%+v", last)
	}
	if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	s.clean(t)
	payments.until(t, "what is left", func(s *resolver.Service) bool { return len(s.VirtualHosts[0].Routes) == 1 })
}
