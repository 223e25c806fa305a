package catalog

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A filler fills a struct from a tree, by the names in its tags "json". It is as strict as a decoder, and more: no
// number may be quoted, nothing that is written may be empty or 0 but where the field is a pointer, so
// that what is written never means a default.
type filler struct {
	report func(n *yaml.Node, p *path, s Severity, format string, args ...any)
}

func (d filler) object(n *yaml.Node, v reflect.Value, p *path) {
	if n.Kind != yaml.MappingNode {
		d.report(n, p, Error, "must be an object, not %s", describe(n))
		return
	}
	known := reflect.VisibleFields(v.Type())
	for _, f := range fields(n) {
		fp := p.field(f.key.Value)
		i := slices.IndexFunc(known, func(k reflect.StructField) bool { return k.Tag.Get("json") == f.key.Value })
		if i < 0 {
			names := make([]string, len(known))
			for j, k := range known {
				names[j] = k.Tag.Get("json")
			}
			d.report(f.key, fp, Error, "%s", unknownField(f.key.Value, names))
			continue
		}
		if value := resolve(f.value); value.Kind != yaml.ScalarNode || kindOf(value) != nullScalar {
			d.value(value, v.FieldByIndex(known[i].Index), fp)
		}
	}
}

// value fills v with something that is not null.
func (d filler) value(n *yaml.Node, v reflect.Value, p *path) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
		switch v.Kind() {
		case reflect.Struct:
			d.object(n, v, p)
		case reflect.Slice:
			d.elements(n, v, p)
		default:
			d.scalar(n, v, p)
		}
		return
	}
	_, isText := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr())
	switch {
	case v.Kind() == reflect.Struct:
		d.object(n, v, p)
	case v.Kind() == reflect.Slice && !isText:
		d.list(n, v, p)
	case v.Kind() == reflect.Map:
		d.entries(n, v, p)
	default:
		if d.scalar(n, v, p) && v.IsZero() && v.Kind() != reflect.Bool {
			d.report(n, p, Error, "%s is no value for it: leave the field out for its default", describe(n))
		}
	}
}

func (d filler) list(n *yaml.Node, v reflect.Value, p *path) {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		d.report(n, p, Error, "is empty: leave the field out for its default")
		return
	}
	d.elements(n, v, p)
}

// elements fills a list that may be empty.
func (d filler) elements(n *yaml.Node, v reflect.Value, p *path) {
	if n.Kind != yaml.SequenceNode {
		d.report(n, p, Error, "must be a list, not %s", describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, c := range n.Content {
		d.value(resolve(c), v.Index(i), p.at(i))
	}
}

// entries fills a map of texts.
func (d filler) entries(n *yaml.Node, v reflect.Value, p *path) {
	if n.Kind != yaml.MappingNode {
		d.report(n, p, Error, "must be an object, not %s", describe(n))
		return
	}
	if len(n.Content) == 0 {
		d.report(n, p, Error, "is empty: leave the field out for its default")
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, f := range fields(n) {
		fp := p.key(f.key.Value)
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		if !d.scalar(f.key, key, fp) || !d.scalar(resolve(f.value), value, fp) {
			continue
		}
		if v.MapIndex(key).IsValid() {
			d.report(f.key, fp, Error, "%q given twice", key.String())
		}
		v.SetMapIndex(key, value)
	}
}

// scalar reports whether v could be filled.
func (d filler) scalar(n *yaml.Node, v reflect.Value, p *path) bool {
	fail := func(format string, args ...any) bool {
		d.report(n, p, Error, format, args...)
		return false
	}
	if n.Kind != yaml.ScalarNode {
		return fail("must be %s, not %s", kindWanted(v), describe(n))
	}
	kind := kindOf(n)
	if text, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		if kind == boolScalar {
			return fail("%s", surprise(n))
		}
		if err := text.UnmarshalText([]byte(n.Value)); err != nil {
			return fail("%s", err)
		}
		return true
	}
	switch v.Kind() {
	case reflect.String:
		if kind != stringScalar {
			return fail("%s", surprise(n))
		}
		if word, ok := reflect.TypeAssert[interface{ Words() []string }](v); ok && !slices.Contains(word.Words(), n.Value) {
			if near := closest(n.Value, word.Words()); near != "" {
				return fail("unknown value %q; did you mean %q?", n.Value, near)
			}
			return fail("unknown value %q; there are %s", n.Value, strings.Join(word.Words(), ", "))
		}
		v.SetString(n.Value)
		return true
	case reflect.Bool:
		value, ok := oldBool(n.Value)
		if kind != boolScalar || !ok {
			return fail("must be true or false, not %s", describe(n))
		}
		v.SetBool(value)
		return true
	}
	f, exact, ok := number(n)
	switch {
	case !ok || kind != numberScalar:
		return fail("must be a number, not %s", describe(n))
	case v.Kind() == reflect.Float64:
		v.SetFloat(f)
		return true
	case f != math.Trunc(f):
		return fail("must be a whole number, not %s", n.Value)
	case f < 0 || f > math.MaxUint32:
		return fail("%s is out of range: at most %d, and not negative", n.Value, uint32(math.MaxUint32))
	}
	v.SetUint(exact)
	return true
}

// kindWanted says what a scalar field takes.
func kindWanted(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float64, reflect.Uint32:
		return "a number"
	}
	return "a string"
}

// unknownField says what is wrong with the name of a field.
func unknownField(name string, known []string) string {
	if near := closest(name, known); near != "" {
		return fmt.Sprintf("unknown field %q; did you mean %q?", name, near)
	}
	return fmt.Sprintf("unknown field %q; there are %s", name, strings.Join(known, ", "))
}
