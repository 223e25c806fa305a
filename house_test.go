// Package house_test is the drawing of the house: which package may import what,
// ours and third-party, as two literals, and the tests that hold the code to them.
package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/weftmesh/weft"

// ours is the architecture, read from the ground up: a package may import only
// the packages its line names. No arrow runs up, mesh and controlserver never
// meet but in meshtest, and only controlserver knows two of its rooms.
// A folder that ends in * stands for each folder below it.
var ours = []struct {
	floor   int
	pkg     string
	imports string
}{
	// What a condition on a string means, wherever it stands.
	{0, "internal/match", ""},
	// What the pages of docs/reference are made with.
	{0, "internal/reference", ""},

	// What decides: where, whether and again, who. They know nothing of each other.
	{1, "balancer", ""},
	{1, "balancer/balancertest", "balancer"},
	{1, "resilience", "internal/match"},
	{1, "identity", "internal/match"},
	{1, "identity/identitytest", "identity"},
	{1, "identity/files", "identity"},
	{1, "identity/workload", "identity"},
	{1, "identity/enroll", "identity"},
	{1, "identity/jwt", "identity internal/match"},

	// What is to be called: values, and their way from and to the wire.
	{2, "resolver", "balancer resilience identity internal/match"},
	{2, "resolver/xds/wire", "resolver balancer resilience identity identity/jwt internal/match"},
	{2, "resolver/xds", "resolver/xds/wire resolver balancer resilience identity"},

	// The process's side.
	{3, "mesh/internal/engine", "resolver balancer resilience identity identity/jwt internal/match"},
	{3, "mesh/internal/grpcadapter", "mesh/internal/engine resolver balancer resilience identity"},
	{3, "mesh/internal/httpadapter", "mesh/internal/tcpadapter mesh/internal/engine resolver balancer resilience identity"},
	{3, "mesh/internal/extauthz", "mesh/internal/engine resolver balancer resilience identity internal/match"},
	{3, "mesh/internal/jwks", ""},
	{3, "mesh/internal/ratelimit", "mesh/internal/engine resolver balancer resilience identity"},
	{3, "mesh/internal/tcpadapter", "mesh/internal/engine resolver balancer resilience identity"},
	{3, "mesh/internal/telemetry", "mesh/internal/engine resolver balancer resilience identity"},
	{3, "mesh", "mesh/internal/grpcadapter mesh/internal/httpadapter mesh/internal/tcpadapter mesh/internal/ratelimit mesh/internal/telemetry mesh/internal/extauthz mesh/internal/jwks " +
		"mesh/internal/engine resolver/xds resolver balancer resilience identity identity/jwt internal/match"},
	{3, "mesh/meshtest", "mesh controlserver controlserver/catalog controlserver/ca resolver balancer resilience identity identity/enroll"},

	// The operator's side. The catalog is the words the rooms share.
	{3, "controlserver/trafficpolicy", "resilience"},
	{3, "controlserver/catalog", "controlserver/trafficpolicy balancer identity identity/jwt"},
	{3, "controlserver/source/yamldir", "controlserver/catalog balancer"},
	{3, "controlserver/source/registry", "controlserver/catalog balancer identity"},
	{3, "controlserver/publish", "controlserver/catalog controlserver/trafficpolicy resolver/xds/wire resolver balancer resilience identity internal/match"},
	{3, "controlserver/ads", "resolver/xds/wire"},
	{3, "controlserver/ratelimit", "resilience"},
	{3, "controlserver/ca", "identity"},
	{3, "controlserver/dns", "controlserver/catalog balancer"},
	{3, "controlserver/web", "controlserver/catalog"},
	{3, "controlserver/explain", "controlserver/catalog controlserver/publish controlserver/trafficpolicy resolver balancer resilience identity internal/match"},
	{3, "controlserver", "controlserver/catalog controlserver/source/yamldir controlserver/source/registry " +
		"controlserver/publish controlserver/ads controlserver/ratelimit controlserver/ca controlserver/dns controlserver/web " +
		"resolver/xds/wire resolver balancer identity"},
	{3, "controlserver/cmd/meshctl", "controlserver controlserver/catalog controlserver/source/yamldir controlserver/publish " +
		"controlserver/explain controlserver/ca controlserver/web resolver/xds/wire resolver balancer resilience identity"},

	// What a person runs and reads.
	{4, "examples/*", "examples/* mesh mesh/meshtest controlserver controlserver/ca resolver balancer resilience identity identity/*"},

	// What attackers send, and what becomes of it.
	{4, "internal/attacks", "mesh mesh/meshtest controlserver controlserver/ca controlserver/catalog resolver balancer resilience identity identity/* internal/match"},

	// Tests beside real peers, in a module of their own.
	{4, "internal/interop", "mesh mesh/meshtest controlserver controlserver/ratelimit controlserver/ca resolver balancer resilience identity identity/* internal/attacks"},
	{4, "internal/interop/bench", "mesh controlserver controlserver/ca resolver/xds resolver identity"},
	{4, "internal/interop/load", "examples/stage mesh controlserver controlserver/ca identity/enroll"},
	{4, ".", ""},
}

// theirs says which packages may import what is not ours; nobody else does. The
// longest path that fits an import counts. Of the standard library, only what
// would carry a protocol or a door into the wrong room is named.
// Each module here has its page in docs/decisions.
var theirs = []struct{ path, importers string }{
	{"google.golang.org/grpc", "mesh mesh/meshtest mesh/internal/grpcadapter mesh/internal/ratelimit mesh/internal/extauthz resolver/xds identity/enroll identity/workload " +
		"controlserver controlserver/ca controlserver/ads controlserver/ratelimit controlserver/cmd/meshctl examples/*"},
	{"google.golang.org/protobuf", "mesh/internal/grpcadapter mesh/internal/extauthz identity/enroll controlserver/ca resolver/xds resolver/xds/wire " +
		"controlserver controlserver/catalog controlserver/source/yamldir controlserver/publish controlserver/ads controlserver/ratelimit examples/*"},
	{"google.golang.org/genproto/googleapis/rpc", "resolver/xds controlserver/ads"},
	{"github.com/envoyproxy/go-control-plane/envoy", "resolver/xds/wire controlserver/publish"},
	{"github.com/envoyproxy/go-control-plane/envoy/service", "resolver/xds resolver/xds/wire controlserver/ads"},
	{"github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3", "mesh/internal/ratelimit controlserver/ratelimit"},
	{"github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3", "mesh/internal/ratelimit controlserver/ratelimit resolver/xds/wire"},
	{"github.com/envoyproxy/go-control-plane/envoy/config/core/v3", "mesh/internal/extauthz resolver/xds resolver/xds/wire controlserver/publish controlserver/ads"},
	{"github.com/envoyproxy/go-control-plane/envoy/type/v3", "mesh/internal/extauthz resolver/xds/wire controlserver/publish"},
	{"github.com/cncf/xds/go", "resolver/xds/wire controlserver/publish"},
	{"go.opentelemetry.io/otel", "mesh mesh/internal/telemetry examples/*"},
	{"golang.org/x/net/http2", "internal/attacks"},
	{"istio.io/api", "controlserver/catalog controlserver/source/yamldir controlserver/publish"},
	{"go.yaml.in/yaml/v3", "controlserver/catalog controlserver/source/yamldir"},
	{"github.com/fsnotify/fsnotify", "controlserver/source/yamldir"},
	{"github.com/valkey-io/valkey-go", "controlserver/ratelimit"},
	{"github.com/spf13/cobra", "controlserver/cmd/meshctl"},
	{"golang.org/x/term", "examples/*"},
	{"golang.org/x/tools/txtar", "mesh"}, // tests
	{"github.com/sony/gobreaker/v2", "resilience"},
	{"golang.org/x/time", "resilience controlserver/ca"},
	{"github.com/spiffe/go-spiffe/v2", "identity identity/* mesh mesh/meshtest mesh/internal/engine mesh/internal/tcpadapter mesh/internal/httpadapter " +
		"mesh/internal/grpcadapter mesh/internal/extauthz resolver/xds resolver/xds/wire controlserver controlserver/ads controlserver/ca controlserver/catalog controlserver/publish controlserver/explain controlserver/cmd/meshctl examples/* internal/attacks"},
	{"github.com/go-jose/go-jose/v4", "identity/jwt controlserver/ca internal/attacks"},
	{"istio.io/api/security/v1alpha1", "identity/enroll controlserver/ca"},

	{"github.com/envoyproxy/go-control-plane/envoy/service/auth/v3", "mesh/internal/extauthz"},

	{"net/http", "mesh mesh/meshtest mesh/internal/httpadapter mesh/internal/extauthz mesh/internal/jwks identity/jwt " +
		"controlserver controlserver/ca controlserver/web controlserver/explain controlserver/catalog controlserver/cmd/meshctl examples/*"},
	{"net/http/pprof", "controlserver/web controlserver/cmd/meshctl"},
}

// inTests may be imported by every test.
var inTests = []string{
	"go.uber.org/goleak",
	"go.opentelemetry.io/otel",
	"google.golang.org/grpc",
	"google.golang.org/protobuf",
	"github.com/envoyproxy/go-control-plane/envoy",
	"net/http",
}

// never is imported by no package of the root module, tests and examples included.
var never = map[string]string{
	"k8s.io":      "its versions must move with the user's own; a library must not force them",
	"sigs.k8s.io": "its versions must move with the user's own; a library must not force them",
	"github.com/envoyproxy/go-control-plane": "the newest release of its server can lose watches; only the module " +
		"go-control-plane/envoy, the protos, is used",
	"google.golang.org/grpc/xds":             "it is the other client; interop tests set it beside ours",
	"google.golang.org/grpc/credentials/xds": "it is the other client; interop tests set it beside ours",
	"gopkg.in/yaml.v2":                       "go.yaml.in/yaml/v3 is the maintained one, and one is enough",
	"gopkg.in/yaml.v3":                       "go.yaml.in/yaml/v3 is the maintained one, and one is enough",
	"math/rand":                              "math/rand/v2 has no lock and no seed",
	"log":                                    "log/slog carries the fields, and the user's logger",
}

// notInherited is what an application must not get by importing mesh.
var notInherited = map[string]string{
	module + "/controlserver": "the control server's side",
	"go.etcd.io":              "a store of the control server",
	"go.yaml.in":              "configuration reaches a process as xDS",
	"gopkg.in/yaml.v2":        "configuration reaches a process as xDS",
	"gopkg.in/yaml.v3":        "configuration reaches a process as xDS",
	"sigs.k8s.io":             "Kubernetes",
	"k8s.io":                  "Kubernetes",
	"istio.io/api/networking": "the words of operators",
	"istio.io/api/security":   "wanted by identity sources only",
	"istio.io/client-go":      "Kubernetes",
	"github.com/fsnotify":     "files are watched by the control server",
	"github.com/valkey-io":    "a store of the control server",
	"github.com/spf13":        "a command's flags",
	"github.com/envoyproxy/go-control-plane/pkg":    "a control plane",
	"google.golang.org/grpc/xds":                    "the other client",
	"google.golang.org/grpc/internal/xds/xdsclient": "the other client",
	"go.opentelemetry.io/otel/sdk":                  "which SDK is the application's choice",
	"go.uber.org/goleak":                            "a test's",
	"net/http/pprof":                                "it opens a door on http.DefaultServeMux",
	"expvar":                                        "it opens a door on http.DefaultServeMux",
	"testing":                                       "it adds flags to the command line",
}

func TestImportsOfOurs(t *testing.T) {
	for _, f := range sources(t) {
		room := roomOf(f.dir)
		if room < 0 {
			continue // said by TestEveryFolderHasAFloor
		}
		for _, imp := range f.imports() {
			to, ok := strings.CutPrefix(imp, module+"/")
			if !ok || to == f.dir || anyMatch(ours[room].imports, to) {
				continue
			}
			target := roomOf(to)
			if f.test && target >= 0 && ours[target].floor <= ours[room].floor {
				continue // a test may look at what stands beside it, not above
			}
			t.Errorf("%s imports %s; %s may import: %s", f.path, to, f.dir, orNothing(ours[room].imports))
		}
	}
}

func TestImportsOfTheirs(t *testing.T) {
	for _, f := range sources(t) {
		for _, imp := range f.imports() {
			if imp == module || strings.HasPrefix(imp, module+"/") {
				continue
			}
			i := -1
			for j, party := range theirs {
				if within(imp, party.path) && (i < 0 || len(party.path) > len(theirs[i].path)) {
					i = j
				}
			}
			switch {
			case within(f.dir, "internal/interop"), i >= 0 && anyMatch(theirs[i].importers, f.dir):
			case f.test && slices.ContainsFunc(inTests, func(p string) bool { return within(imp, p) }):
			case i >= 0:
				t.Errorf("%s imports %s; only these may: %s", f.path, imp, theirs[i].importers)
			case strings.Contains(strings.SplitN(imp, "/", 2)[0], "."):
				t.Errorf("%s imports %s, which has no line in theirs (and no page in docs/decisions)", f.path, imp)
			}
		}
	}
}

func TestNeverImported(t *testing.T) {
	for _, f := range sources(t) {
		if within(f.dir, "internal/interop") {
			continue
		}
		for _, imp := range f.imports() {
			for bad, why := range never {
				exact := bad == "log" || bad == "math/rand" // what is below these is other packages
				if bad == "log" && anyMatch("examples/*", f.dir) {
					continue // log.Fatal is how a small main ends
				}
				if within(imp, bad) && (!exact || imp == bad) && !within(imp, bad+"/envoy") {
					t.Errorf("%s imports %s: %s", f.path, imp, why)
				}
			}
		}
	}
}

// An application that imports mesh compiles, and trusts, all that mesh imports.
func TestApplicationsInherit(t *testing.T) {
	if _, err := os.Stat("mesh"); err != nil {
		return
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "./mesh").Output()
	if err != nil {
		t.Fatalf("go list -deps ./mesh: %v", err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		for bad, why := range notInherited {
			if within(dep, bad) {
				t.Errorf("whoever imports mesh inherits %s: %s", dep, why)
			}
		}
	}
}

func TestEveryFolderHasAFloor(t *testing.T) {
	for dir := range packages(t) {
		if roomOf(dir) < 0 {
			t.Errorf("%s is on no floor: give it a line in ours", dir)
		}
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	for dir, files := range packages(t) {
		if !slices.ContainsFunc(files, func(f *source) bool { return f.ast.Doc != nil && (!f.test || dir == ".") }) {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

// What the root go.mod holds is inherited by every importer, so each module has a page that says why.
func TestEveryModuleHasADecision(t *testing.T) {
	pages, err := filepath.Glob("docs/decisions/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("docs/decisions: no pages (%v)", err)
	}
	var text strings.Builder
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mod)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "require ")
		name, rest, ok := strings.Cut(line, " ")
		if !ok || !strings.HasPrefix(rest, "v") || strings.HasSuffix(line, "// indirect") {
			continue
		}
		if !strings.Contains(text.String(), "`"+name+"`") {
			t.Errorf("go.mod requires %s, which no page of docs/decisions names", name)
		}
	}
}

// A source is one Go file of the house.
type source struct {
	path, dir string // relative to the root, with slashes
	test      bool
	ast       *ast.File
	fset      *token.FileSet
	text      string
	beside    []*source // its package, set by packages
}

func (s *source) imports() []string {
	var paths []string
	for _, spec := range s.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		paths = append(paths, p)
	}
	return paths
}

func (s *source) at(n ast.Node) token.Position { return s.fset.Position(n.Pos()) }

// sources parses every Go file of the root module and of internal/interop,
// whatever its build constraints.
func sources(t *testing.T) []*source {
	t.Helper()
	var all []*source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			hidden := p != "." && (name[0] == '.' || name[0] == '_')
			if hidden || name == "testdata" || p == "tools" || name == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		all = append(all, parse(t, filepath.ToSlash(p), string(text)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func parse(t *testing.T, p, text string) *source {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return &source{path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), ast: file, fset: fset, text: text}
}

// packages are the sources by folder.
func packages(t *testing.T) map[string][]*source {
	t.Helper()
	byDir := map[string][]*source{}
	for _, f := range sources(t) {
		byDir[f.dir] = append(byDir[f.dir], f)
	}
	for _, files := range byDir {
		for _, f := range files {
			f.beside = files
		}
	}
	return byDir
}

// roomOf is the index in ours of a folder's line, or -1.
func roomOf(dir string) int {
	for i, room := range ours {
		if matches(room.pkg, dir) {
			return i
		}
	}
	return -1
}

func anyMatch(patterns, dir string) bool {
	return slices.ContainsFunc(strings.Fields(patterns), func(p string) bool { return matches(p, dir) })
}

func matches(pattern, dir string) bool {
	above, all := strings.CutSuffix(pattern, "/*")
	return pattern == dir || all && strings.HasPrefix(dir, above+"/")
}

func within(imp, prefix string) bool { return imp == prefix || strings.HasPrefix(imp, prefix+"/") }

func orNothing(s string) string {
	if s == "" {
		return "nothing of ours"
	}
	return s
}
