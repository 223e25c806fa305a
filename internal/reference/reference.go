// Package reference makes the page and the JSON schema of a kind of document from the Go types that it is read into and
// their comments. Tests use it, so that what is in docs/reference is what the types say.
package reference

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// A Kind is a kind of document.
type Kind struct {
	Name, Version string
	// Spec is the struct that the spec is read into, by the names in its tags "json".
	Spec reflect.Type
	// Dirs are the folders of the packages that Spec and the types below it are of.
	Dirs []string
	// About stands at the beginning of the page, after apiVersion and kind; Source is where the types are, as a folder of the module.
	About, Source string
	// Example is shown on the page.
	Example string
	// Bounds are the least and the greatest number of a field of an unsigned type, by its tag "rule".
	Bounds func(t reflect.Type, rule string) (low, high uint64)
	// Percent is the type of percentages; may be nil.
	Percent reflect.Type
}

// Text returns the page, in Markdown, and the schema. The error names a field without a name or a comment.
func (k Kind) Text() (page, schema string, err error) {
	r := &reader{Kind: k, docs: map[string]string{}}
	for _, dir := range k.Dirs {
		if err := r.readDir(dir); err != nil {
			return "", "", err
		}
	}
	r.meet(k.Spec)
	for _, o := range r.objects {
		for _, f := range reflect.VisibleFields(o) {
			if r.docs[key(o)+"."+f.Name] == "" || f.Tag.Get("json") == "" {
				return "", "", fmt.Errorf("%s.%s has no comment or no name", o.Name(), f.Name)
			}
		}
	}
	schema, err = r.schema()
	return r.markdown(), schema, err
}

// A reader has the types below a spec and what their comments say.
type reader struct {
	Kind
	objects []reflect.Type    // in the order in which they are met
	values  []reflect.Type    // types of texts and numbers
	docs    map[string]string // by package.Type and package.Type.Field
}

func key(t reflect.Type) string { return path.Base(t.PkgPath()) + "." + t.Name() }

func (r *reader) readDir(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range parsed.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				r.read(parsed.Name.Name, g)
			}
		}
	}
	return nil
}

// read keeps the comments of a type and of its fields.
func (r *reader) read(pkg string, g *ast.GenDecl) {
	for _, s := range g.Specs {
		spec, ok := s.(*ast.TypeSpec)
		if !ok {
			continue
		}
		doc := spec.Doc
		if doc == nil {
			doc = g.Doc
		}
		name := pkg + "." + spec.Name.Name
		r.docs[name] = doc.Text()
		if fields, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range fields.Fields.List {
				for _, n := range f.Names {
					r.docs[name+"."+n.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
		}
	}
}

func (r *reader) meet(t reflect.Type) {
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
func (r *reader) about(o reflect.Type, f reflect.StructField) string {
	text := r.docs[key(o)+"."+f.Name]
	rest := statements.ReplaceAllString(text, "")
	if rest == text {
		rest = verbs.ReplaceAllString(text, "$1")
	}
	if rest == text {
		return strings.Replace(text, f.Name, "`"+f.Tag.Get("json")+"`", 1)
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}

func (r *reader) markdown() string {
	var b strings.Builder
	file := strings.ToLower(r.Name)
	b.WriteString("# " + r.Name + "\n\n" +
		"`apiVersion: " + r.Version + "`, `kind: " + r.Name + "`: " + r.About + " This page is made of the Go types in\n" +
		"`" + r.Source + "` (`go test ./" + r.Source + " -update`); `" + file + ".schema.json` beside it is for editors\n" +
		"(`# yaml-language-server: $schema=...`), and `meshctl check` knows more than a schema can say.\n\n" +
		"What is written counts: a 0, an empty list or an empty text where a field has a default is refused, and so is a field that has no effect\n" +
		"beside the others. A field without a default that is not needed turns on nothing if it is left out.\n\n" +
		"```yaml\n" + r.Example + "```\n")
	for _, o := range r.objects {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n| field | type | |\n|---|---|---|\n", o.Name(), r.docs[key(o)])
		for _, f := range reflect.VisibleFields(o) {
			needed := ""
			if hasRule(f, "required") {
				needed = " **Needed.**"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s%s |\n", f.Tag.Get("json"), r.link(f.Type, f.Tag.Get("rule")), strings.ReplaceAll(r.about(o, f), "|", `\|`), needed)
		}
	}
	if len(r.values) > 0 {
		b.WriteString("\n## Values\n\n")
	}
	for _, v := range r.values {
		doc := strings.Join(strings.Fields(r.docs[key(v)]), " ")
		fmt.Fprintf(&b, "- <a id=\"%s\"></a>%s", strings.ToLower(v.Name()), doc)
		if words := wordsOf(v); len(words) > 0 && !strings.Contains(doc, words[len(words)-1]) {
			b.WriteString(" One of `" + strings.Join(words, "`, `") + "`.")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// link is the name of a type, and where it is explained.
func (r *reader) link(t reflect.Type, rule string) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return r.link(t.Elem(), rule)
	case t.PkgPath() != "":
		return "[" + t.Name() + "](#" + strings.ToLower(t.Name()) + ")"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "list of " + r.link(t.Elem(), "")
	case reflect.Map:
		return "map of " + r.link(t.Key(), "") + " to " + r.link(t.Elem(), "")
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint32:
		if low, high := r.Bounds(t, rule); low != 1 || high != math.MaxUint32 {
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
