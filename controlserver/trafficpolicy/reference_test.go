package trafficpolicy

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reference")

// The reference and the schema are made of the types and their comments. go test -update writes them.
func TestReferenceIsUpToDate(t *testing.T) {
	r := newReference(t)
	for name, want := range map[string]string{"trafficpolicy.md": r.markdown(t), "trafficpolicy.schema.json": r.schema(t)} {
		file := filepath.Join("..", "..", "docs", "reference", name)
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the types say; write it with: go test ./controlserver/trafficpolicy -update", file)
		}
	}
}

// A reference is the types below Spec and what their comments say.
type reference struct {
	objects []reflect.Type // in the order in which they are met
	values  []reflect.Type // types of texts and numbers
	docs    map[string]string
}

func newReference(t *testing.T) *reference {
	r := &reference{docs: map[string]string{}}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				r.read(g)
			}
		}
	}
	r.meet(reflect.TypeFor[Spec]())
	for _, o := range r.objects {
		for _, f := range reflect.VisibleFields(o) {
			if r.docs[o.Name()+"."+f.Name] == "" || f.Tag.Get("json") == "" {
				t.Errorf("%s.%s has no comment or no name", o.Name(), f.Name)
			}
		}
	}
	return r
}

// read keeps the comments of a type and of its fields.
func (r *reference) read(g *ast.GenDecl) {
	for _, s := range g.Specs {
		spec := s.(*ast.TypeSpec)
		doc := spec.Doc
		if doc == nil {
			doc = g.Doc
		}
		r.docs[spec.Name.Name] = doc.Text()
		if fields, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range fields.Fields.List {
				for _, name := range f.Names {
					r.docs[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
		}
	}
}

func (r *reference) meet(t reflect.Type) {
	switch {
	case slices.Contains(r.objects, t), slices.Contains(r.values, t):
	case t.Kind() == reflect.Struct:
		r.objects = append(r.objects, t)
		for _, f := range reflect.VisibleFields(t) {
			r.meet(f.Type)
		}
	case t.PkgPath() != "":
		r.values = append(r.values, t)
	case t.Kind() == reflect.Map:
		r.meet(t.Key())
		r.meet(t.Elem())
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Slice:
		r.meet(t.Elem())
	}
}

var (
	statements = regexp.MustCompile(`^[A-Za-z0-9]+ (?:is|are) `)
	verbs      = regexp.MustCompile(`^[A-Za-z0-9]+ ([a-z]+s )`)
)

// about is the comment of a field without its name in Go.
func (r *reference) about(o reflect.Type, f reflect.StructField) string {
	text := r.docs[o.Name()+"."+f.Name]
	rest := statements.ReplaceAllString(text, "")
	if rest == text {
		rest = verbs.ReplaceAllString(text, "$1")
	}
	if rest == text {
		return strings.Replace(text, f.Name, "`"+f.Tag.Get("json")+"`", 1)
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}

func (r *reference) markdown(t *testing.T) string {
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# TrafficPolicy\n\n" +
		"`apiVersion: " + Version + "`, `kind: " + Kind + "`: what Istio's kinds have no words for. This page is made of the Go types in\n" +
		"`controlserver/trafficpolicy` (`go test ./controlserver/trafficpolicy -update`); `trafficpolicy.schema.json` beside it is for editors\n" +
		"(`# yaml-language-server: $schema=...`), and `meshctl check` knows more than a schema can say.\n\n" +
		"What is written counts: a 0, an empty list or an empty text where a field has a default is refused, and so is a field that has no effect\n" +
		"beside the others. A field without a default that is not needed turns on nothing if it is left out.\n\n" +
		"```yaml\n" + string(example) + "```\n")
	for _, o := range r.objects {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n| field | type | |\n|---|---|---|\n", o.Name(), r.docs[o.Name()])
		for _, f := range reflect.VisibleFields(o) {
			needed := ""
			if hasRule(f, "required") {
				needed = " **Needed.**"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s%s |\n", f.Tag.Get("json"), link(f.Type, f.Tag.Get("rule")), strings.ReplaceAll(r.about(o, f), "|", `\|`), needed)
		}
	}
	b.WriteString("\n## Values\n\n")
	for _, v := range r.values {
		doc := strings.Join(strings.Fields(r.docs[v.Name()]), " ")
		fmt.Fprintf(&b, "- <a id=\"%s\"></a>%s", strings.ToLower(v.Name()), doc)
		if words := wordsOf(v); len(words) > 0 && !strings.Contains(doc, words[len(words)-1]) {
			b.WriteString(" One of `" + strings.Join(words, "`, `") + "`.")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// link is the name of a type, and where it is explained.
func link(t reflect.Type, rule string) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return link(t.Elem(), rule)
	case t.PkgPath() != "":
		return "[" + t.Name() + "](#" + strings.ToLower(t.Name()) + ")"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "list of " + link(t.Elem(), "")
	case reflect.Map:
		return "map of " + link(t.Key(), "") + " to " + link(t.Elem(), "")
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint32:
		if low, high := Bounds(t, rule); low != 1 || high != math.MaxUint32 {
			return fmt.Sprintf("%d to %d", low, high)
		}
		return "whole number"
	}
	return "number"
}

func hasRule(f reflect.StructField, rule string) bool {
	return strings.Contains(","+f.Tag.Get("rule")+",", ","+rule+",")
}

func wordsOf(t reflect.Type) []string {
	if v, ok := reflect.TypeAssert[interface{ Words() []string }](reflect.Zero(t)); ok {
		return v.Words()
	}
	return nil
}
