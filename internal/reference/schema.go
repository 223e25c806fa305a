package reference

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// node is a part of a JSON schema.
type node map[string]any

// schema is the JSON Schema (2020-12) of a document.
func (r *reader) schema() (string, error) {
	defs := node{}
	for _, o := range r.objects {
		defs[o.Name()] = r.object(o)
	}
	doc := node{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"$id":                  "https://weft.dev/schema/" + strings.ToLower(r.Name) + ".schema.json",
		"title":                r.Name,
		"description":          "Made of the Go types in " + r.Source + ".",
		"type":                 "object",
		"additionalProperties": false,
		"required":             []string{"apiVersion", "kind", "metadata", "spec"},
		"properties": node{
			"apiVersion": node{"const": r.Version},
			"kind":       node{"const": r.Name},
			"metadata": node{
				"type": "object", "required": []string{"name"},
				"properties": node{
					"name":      node{"type": "string", "pattern": `^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`},
					"namespace": node{"type": "string", "pattern": `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`},
				},
			},
			"spec":   node{"$ref": "#/$defs/" + r.Spec.Name()},
			"status": true,
		},
		"$defs": defs,
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		return "", err
	}
	return b.String(), nil
}

func (r *reader) object(o reflect.Type) node {
	properties, required := node{}, []string{}
	for _, f := range reflect.VisibleFields(o) {
		name := f.Tag.Get("json")
		p := r.value(f.Type, f.Tag.Get("rule"))
		p["description"] = r.about(o, f)
		properties[name] = p
		if hasRule(f, "required") {
			required = append(required, name)
		}
	}
	out := node{
		"type": "object", "additionalProperties": false, "properties": properties,
		"description": strings.Join(strings.Fields(r.docs[key(o)]), " "),
	}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// value is what a field may be. What is no pointer may be neither zero nor empty.
func (r *reader) value(t reflect.Type, rule string) node {
	if t.Kind() == reflect.Pointer {
		n := r.value(t.Elem(), rule)
		if _, ok := n["exclusiveMinimum"]; ok {
			delete(n, "exclusiveMinimum")
			n["minimum"] = 0
		}
		delete(n, "minItems")
		return n
	}
	if words := wordsOf(t); words != nil {
		return node{"type": "string", "enum": words}
	}
	if p, ok := reflect.TypeAssert[interface{ Pattern() string }](reflect.Zero(t)); ok {
		return node{"type": "string", "pattern": p.Pattern()}
	}
	switch t.Kind() {
	case reflect.Struct:
		return node{"$ref": "#/$defs/" + t.Name()}
	case reflect.Slice:
		n := node{"type": "array", "minItems": 1, "items": r.value(t.Elem(), "")}
		if t.Elem().Kind() == reflect.String {
			n["uniqueItems"] = true
		}
		return n
	case reflect.Map:
		n := node{"type": "object", "minProperties": 1, "additionalProperties": node{"type": "string"}}
		if key := r.value(t.Key(), ""); key["pattern"] != nil {
			n["propertyNames"] = node{"pattern": key["pattern"]}
		}
		return n
	case reflect.Bool:
		return node{"type": "boolean"}
	case reflect.Uint32:
		low, high := r.Bounds(t, rule)
		return node{"type": "integer", "minimum": low, "maximum": high}
	case reflect.Float64:
		n := node{"type": "number", "exclusiveMinimum": 0}
		if t == r.Percent {
			n["maximum"] = 100
		}
		return n
	}
	return node{"type": "string", "minLength": 1}
}
