package house_test

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// longest is how many lines a file may have that is read in one sitting.
const longest = 500

// seams are the packages whose exported functions others plug into.
var seams = []string{"balancer", "resilience", "identity", "resolver", "mesh/internal/engine", "controlserver/catalog", "controlserver/publish"}

var (
	undone  = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)
	banner  = regexp.MustCompile(`^//\s*[-=*#~]{4,}`)
	unnamed = regexp.MustCompile(`^(util|utils|common|helper|helpers|misc|base|shared|types)$`)
	hollow  = regexp.MustCompile(`(Manager|Helper|Helpers|Util|Utils|Impl)$`)
)

// A rule reads one file and says what it finds.
type rule struct {
	name  string
	check func(f *source, say func(n ast.Node, what string))
}

var rules = []rule{
	{"nothing is left undone in a comment", leftUndone},
	{"no banners", banners},
	{"a file is read in one sitting", tooLong},
	{"names say what a thing is", hollowNames},
	{"nothing is named Get", getters},
	{"no init but the registration of the balancer", inits},
	{"no package-level state", packageState},
	{"no any at a seam", anyAtSeam},
	{"tests do not sleep outside of synctest", sleepingTests},
}

func TestRules(t *testing.T) {
	dirs := packages(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, files := range dirs {
				for _, f := range files {
					if !ast.IsGenerated(f.ast) {
						r.check(f, func(n ast.Node, what string) { t.Errorf("%s: %s", f.at(n), what) })
					}
				}
			}
		})
	}
}

// Who starts a goroutine has a stop that waits for it: every package with tests looks for those left behind.
func TestEveryTestPackageChecksForLeaks(t *testing.T) {
	for dir, files := range packages(t) {
		tests := slices.DeleteFunc(slices.Clone(files), func(f *source) bool { return !f.test })
		checks := func(f *source) bool { return slices.Contains(f.imports(), "go.uber.org/goleak") }
		if dir != "." && len(tests) > 0 && !slices.ContainsFunc(tests, checks) {
			t.Errorf("%s: no test file calls goleak.VerifyTestMain", dir)
		}
	}
}

func leftUndone(f *source, say func(ast.Node, string)) {
	if f.path == "rules_test.go" {
		return
	}
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if m := undone.FindString(c.Text); m != "" {
				say(c, m+" in a comment: do it, or open an issue")
			}
		}
	}
}

func banners(f *source, say func(ast.Node, string)) {
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if banner.MatchString(c.Text) {
				say(c, "a banner: the order of a file says where one is")
			}
		}
	}
}

func tooLong(f *source, say func(ast.Node, string)) {
	if lines := strings.Count(f.text, "\n"); lines > longest && !f.test {
		say(f.ast, "more lines than are read in one sitting")
	}
}

func hollowNames(f *source, say func(ast.Node, string)) {
	if unnamed.MatchString(f.ast.Name.Name) {
		say(f.ast.Name, "package "+f.ast.Name.Name+" says nothing of what is in it")
	}
	for _, decl := range f.ast.Decls {
		if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.TYPE {
			for _, spec := range d.Specs {
				if name := spec.(*ast.TypeSpec).Name; hollow.MatchString(name.Name) {
					say(name, name.Name+" says nothing of what it is")
				}
			}
		}
	}
}

// getters lets pass what interfaces of others ask for: credentials.PerRPCCredentials,
// go-spiffe's sources, and http.Request.GetBody is a field.
func getters(f *source, say func(ast.Node, string)) {
	for _, decl := range f.ast.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || f.test || !strings.HasPrefix(fn.Name.Name, "Get") {
			continue
		}
		if foreign := regexp.MustCompile(`^Get(RequestMetadata|X509.*|JWT.*|ConfigForClient|ClientCertificate|Certificate)?$`); !foreign.MatchString(fn.Name.Name) {
			say(fn.Name, fn.Name.Name+": drop the Get")
		}
	}
}

func inits(f *source, say func(ast.Node, string)) {
	for _, decl := range f.ast.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Name.Name == "init" && fn.Recv == nil && f.dir != "mesh/internal/grpcadapter" {
			say(fn, "init: what a package needs is made where it is needed")
		}
	}
}

// packageState finds package-level locks, atomics, channels and maps that are made to be filled.
func packageState(f *source, say func(ast.Node, string)) {
	if f.test {
		return
	}
	for _, decl := range f.ast.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.VAR {
			continue
		}
		for _, spec := range d.Specs {
			v := spec.(*ast.ValueSpec)
			holds := []ast.Expr{v.Type}
			for _, value := range v.Values {
				switch e := value.(type) {
				case *ast.CompositeLit:
					if e.Type != nil && !isMap(e.Type) || len(e.Elts) == 0 {
						holds = append(holds, e.Type)
					}
				case *ast.CallExpr:
					if fn, ok := e.Fun.(*ast.Ident); ok && (fn.Name == "make" || fn.Name == "new") {
						holds = append(holds, e.Args[0])
					}
				}
			}
			if slices.ContainsFunc(holds, isState) {
				say(v, v.Names[0].Name+" is state of the package: give it an owner")
			}
		}
	}
}

func isMap(e ast.Expr) bool { _, ok := e.(*ast.MapType); return ok }

func isState(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.ChanType, *ast.MapType:
		return true
	case *ast.IndexExpr: // atomic.Pointer[T]
		return isState(e.X)
	case *ast.SelectorExpr:
		pkg, ok := e.X.(*ast.Ident)
		// A sync.Pool holds nothing that anybody could tell apart.
		return ok && (pkg.Name == "sync" && e.Sel.Name != "Pool" || pkg.Name == "atomic")
	}
	return false
}

// anyAtSeam looks at the signatures of exported functions, methods and interface
// methods. Value(key any) any is context's, ...any is for words that are printed.
func anyAtSeam(f *source, say func(ast.Node, string)) {
	if f.test || !slices.Contains(seams, f.dir) {
		return
	}
	check := func(name *ast.Ident, fn *ast.FuncType) {
		if !name.IsExported() || name.Name == "Value" {
			return
		}
		fields := fn.Params.List
		if fn.Results != nil {
			fields = append(slices.Clone(fields), fn.Results.List...)
		}
		for _, field := range fields {
			if mentionsAny(field.Type) {
				say(field, name.Name+" has an any in its signature: name the type")
			}
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			check(n.Name, n.Type)
			return false
		case *ast.InterfaceType:
			for _, m := range n.Methods.List {
				if fn, ok := m.Type.(*ast.FuncType); ok {
					check(m.Names[0], fn)
				}
			}
		}
		return true
	})
}

func mentionsAny(e ast.Expr) bool {
	if _, ok := e.(*ast.Ellipsis); ok {
		return false
	}
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			found = found || n.Name == "any"
		case *ast.InterfaceType:
			found = found || len(n.Methods.List) == 0
		}
		return !found
	})
	return found
}

// sleepingTests wants events waited for, not time. In a synctest bubble time.Sleep
// is how time passes: a function that names synctest, or a function of its package that
// calls synctest.Test, is taken to run in one.
func sleepingTests(f *source, say func(ast.Node, string)) {
	if !f.test {
		return
	}
	bubbles := map[string]bool{}
	for _, other := range append(slices.Clone(f.beside), f) {
		for _, decl := range other.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && len(uses(fn, "synctest", "Test")) > 0 {
				bubbles[fn.Name.Name] = true
			}
		}
	}
	for _, decl := range f.ast.Decls {
		inBubble := len(uses(decl, "synctest", "")) > 0
		ast.Inspect(decl, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if name, ok := call.Fun.(*ast.Ident); ok {
					inBubble = inBubble || bubbles[name.Name]
				}
			}
			return true
		})
		if !inBubble {
			for _, s := range uses(decl, "time", "Sleep") {
				say(s, "a test that sleeps: wait for the event, or let time pass in synctest")
			}
		}
	}
}

// uses are the places in n that name pkg.sel, or anything of pkg where sel is empty.
func uses(n ast.Node, pkg, sel string) (places []ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && (sel == "" || s.Sel.Name == sel) {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
				places = append(places, s)
			}
		}
		return true
	})
	return places
}

// Each rule finds what it is there to find, and leaves its lawful neighbour alone.
func TestRulesFind(t *testing.T) {
	for _, c := range []struct {
		rule      string
		path      string
		bad, good string
	}{
		{"nothing is left undone in a comment", "balancer/a.go", "// TO" + "DO later", "// to do is to be"},
		{"no banners", "balancer/a.go", "// ======== host", "// a host = an address"},
		{"a file is read in one sitting", "balancer/a.go", strings.Repeat("\n", longest+1), "\n"},
		{"names say what a thing is", "balancer/a.go", "type HostManager struct{}", "type Host struct{}"},
		{"nothing is named Get", "balancer/a.go", "func GetHost() {}", "func Host() {}"},
		{"no init but the registration of the balancer", "balancer/a.go", "func init() {}", "func start() {}"},
		{"no package-level state", "balancer/a.go", "var hosts = make(map[string]int)", `var kinds = map[string]int{"a": 1}`},
		{"no package-level state", "balancer/a.go", "var hosts atomic.Pointer[int]", "var pool sync.Pool"},
		{"no any at a seam", "balancer/a.go", "func Pick(want any) {}", "func Pick[T any](want T) {}"},
		{"no any at a seam", "balancer/a.go", "type Picker interface{ Pick() interface{} }", "type Picker interface{ Value(key any) any }"},
		{"tests do not sleep outside of synctest", "balancer/a_test.go",
			"func TestX() { time.Sleep(1) }", "func TestX() { synctest.Test(t, func() { time.Sleep(1) }) }"},
		{"tests do not sleep outside of synctest", "balancer/a_test.go",
			"func in(f func()) { f() }\nfunc TestX() { in(func() { time.Sleep(1) }) }",
			"func in(f func()) { synctest.Test(t, f) }\nfunc TestX() { in(func() { time.Sleep(1) }) }"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			i := slices.IndexFunc(rules, func(r rule) bool { return r.name == c.rule })
			if i < 0 {
				t.Fatal("no such rule")
			}
			for text, want := range map[string]bool{c.bad: true, c.good: false} {
				var found bool
				rules[i].check(parse(t, c.path, "package a\n\n"+text+"\n"), func(ast.Node, string) { found = true })
				if found != want {
					t.Errorf("found = %v in %q, want %v", found, text, want)
				}
			}
		})
	}
}
