package catalog

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A decoder fills a message from a tree by the rules of protojson (either name of
// a field, enums by name or number, quoted numbers, wrappers, null as absent).
// Unlike protojson it tells all that is wrong, each with its place, and takes
// every duration Go does, as Istio does.
type decoder struct {
	report func(n *yaml.Node, p *path, s Severity, format string, args ...any)
	served map[string]bool
	// instead and zeros are what to say of a field that is not served, and of a 0.
	instead, zeros map[string]string
	// extra reads a field that the message lacks, and reports whether there is such a field.
	extra func(n *yaml.Node, m protoreflect.Message, p *path, name string) bool
	// hollow is what to say of a list that is empty, if anything.
	hollow string
}

// message fills m. schema is the path without indexes, by which served is asked;
// "*" is a message that is served whole, or that a finding was made about already.
func (d *decoder) message(n *yaml.Node, m protoreflect.Message, p *path, schema string) {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		d.report(n, p, Error, "must be an object, not %s", describe(n))
		return
	}
	all := m.Descriptor().Fields()
	for _, f := range fields(n) {
		name, fp := f.key.Value, p.field(f.key.Value)
		fd := all.ByJSONName(name)
		if fd == nil {
			fd = all.ByTextName(name)
		}
		if fd == nil {
			if d.extra != nil && d.extra(resolve(f.value), m, fp, name) {
				continue
			}
			d.unknown(f.key, fp, all)
			continue
		}
		below, zero := schema, ""
		if schema != "*" {
			below = strings.TrimPrefix(schema+"."+fd.JSONName(), ".")
			zero = d.zeros[below]
			whole, ok := d.served[below]
			if !ok {
				d.report(f.key, fp, Warning, "%s", cmp.Or(d.instead[below], "not supported yet"))
			}
			if !ok || whole {
				below = "*"
			}
		}
		v := resolve(f.value)
		if v.Kind == yaml.ScalarNode && kindOf(v) == nullScalar {
			continue
		}
		if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
			if other := m.WhichOneof(o); other != nil && other != fd {
				d.report(f.key, fp, Error, "only one of %q and %q may be given", other.JSONName(), fd.JSONName())
				continue
			}
		}
		switch {
		case fd.IsMap():
			d.mapField(v, m, fd, fp, below)
		case fd.IsList():
			d.list(v, m, fd, fp, below)
		case fd.Message() != nil:
			if value, ok := d.known(v, fd.Message(), fp); ok {
				if value != nil {
					m.Set(fd, protoreflect.ValueOfMessage(value.ProtoReflect()))
				}
				continue
			}
			d.message(v, m.Mutable(fd).Message(), fp, below)
		default:
			if value, ok := d.scalar(v, fd, fp); ok {
				m.Set(fd, value)
				if zero != "" && !m.Has(fd) {
					d.report(f.key, fp, Warning, "%s", zero)
				}
			}
		}
	}
}

func (d *decoder) unknown(key *yaml.Node, p *path, all protoreflect.FieldDescriptors) {
	names := make([]string, all.Len())
	for i := range names {
		names[i] = all.Get(i).JSONName()
	}
	d.report(key, p, Error, "%s", unknownField(key.Value, names))
}

func (d *decoder) list(n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, p *path, schema string) {
	if n.Kind != yaml.SequenceNode {
		d.report(n, p, Error, "must be a list, not %s", describe(n))
		return
	}
	if len(n.Content) == 0 && d.hollow != "" {
		d.report(n, p, Warning, "%s", d.hollow)
	}
	list := m.Mutable(fd).List()
	for i, c := range n.Content {
		c = resolve(c)
		if fd.Message() == nil {
			if v, ok := d.scalar(c, fd, p.at(i)); ok {
				list.Append(v)
			}
			continue
		}
		d.message(c, list.AppendMutable().Message(), p.at(i), schema)
	}
}

func (d *decoder) mapField(n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, p *path, schema string) {
	if n.Kind != yaml.MappingNode {
		d.report(n, p, Error, "must be an object, not %s", describe(n))
		return
	}
	// Every map of the kinds read here has strings for keys, or the numbers of ports.
	entries := m.Mutable(fd).Map()
	for _, f := range fields(n) {
		fp, key := p.key(f.key.Value), protoreflect.ValueOfString(f.key.Value).MapKey()
		if fd.MapKey().Kind() != protoreflect.StringKind {
			value, ok := d.scalar(f.key, fd.MapKey(), fp)
			if !ok {
				continue
			}
			if key = value.MapKey(); entries.Has(key) {
				d.report(f.key, fp, Error, "%s given twice", f.key.Value)
			}
		}
		v := resolve(f.value)
		if fd.MapValue().Message() == nil {
			if value, ok := d.scalar(v, fd.MapValue(), fp); ok {
				entries.Set(key, value)
			}
			continue
		}
		value := entries.NewValue()
		d.message(v, value.Message(), fp, schema)
		entries.Set(key, value)
	}
}

// known reads the well-known types that are scalars in JSON. It reports false for
// all other messages, and a nil value where it reported a finding.
func (d *decoder) known(n *yaml.Node, md protoreflect.MessageDescriptor, p *path) (proto.Message, bool) {
	switch md.FullName() {
	case "google.protobuf.Duration":
		if n.Kind != yaml.ScalarNode || kindOf(n) != stringScalar {
			d.report(n, p, Error, "must be a duration such as \"1.5s\", not %s", describe(n))
			return nil, true
		}
		v, err := time.ParseDuration(n.Value)
		if err != nil {
			d.report(n, p, Error, "%q is not a duration such as \"1.5s\" or \"2m\"", n.Value)
			return nil, true
		}
		return durationpb.New(v), true
	case "google.protobuf.BoolValue":
		return wrap(d, n, md, p, func(v protoreflect.Value) proto.Message { return wrapperspb.Bool(v.Bool()) })
	case "google.protobuf.UInt32Value":
		return wrap(d, n, md, p, func(v protoreflect.Value) proto.Message { return wrapperspb.UInt32(uint32(v.Uint())) })
	case "google.protobuf.DoubleValue":
		return wrap(d, n, md, p, func(v protoreflect.Value) proto.Message { return wrapperspb.Double(v.Float()) })
	}
	return nil, false
}

func wrap(d *decoder, n *yaml.Node, md protoreflect.MessageDescriptor, p *path, box func(protoreflect.Value) proto.Message) (proto.Message, bool) {
	v, ok := d.scalar(n, md.Fields().Get(0), p)
	if !ok {
		return nil, true
	}
	return box(v), true
}

func (d *decoder) scalar(n *yaml.Node, fd protoreflect.FieldDescriptor, p *path) (protoreflect.Value, bool) {
	fail := func(format string, args ...any) (protoreflect.Value, bool) {
		d.report(n, p, Error, format, args...)
		return protoreflect.Value{}, false
	}
	if n.Kind != yaml.ScalarNode {
		return fail("must be %s, not %s", wanted(fd), describe(n))
	}
	got := kindOf(n)
	if got == nullScalar {
		return fail("must be %s, not null", wanted(fd))
	}
	switch fd.Kind() {
	case protoreflect.StringKind:
		if got != stringScalar {
			return fail("%s", surprise(n))
		}
		return protoreflect.ValueOfString(n.Value), true
	case protoreflect.BytesKind:
		b, err := base64.StdEncoding.DecodeString(n.Value)
		if err != nil || got != stringScalar {
			return fail("must be base64")
		}
		return protoreflect.ValueOfBytes(b), true
	case protoreflect.BoolKind:
		v, ok := oldBool(n.Value)
		if got != boolScalar || !ok {
			return fail("must be true or false, not %s", describe(n))
		}
		return protoreflect.ValueOfBool(v), true
	case protoreflect.EnumKind:
		return d.enum(n, fd, got, fail)
	}
	f, exact, ok := number(n)
	if !ok || got == boolScalar {
		return fail("must be %s, not %s", wanted(fd), describe(n))
	}
	switch fd.Kind() {
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(f), true
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(f)), true
	}
	if f != math.Trunc(f) {
		return fail("must be a whole number, not %s", n.Value)
	}
	low, high := bounds(fd.Kind())
	if f < low || f > high {
		return fail("%s is out of range: %.0f to %.0f", n.Value, low, high)
	}
	switch fd.Kind() {
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(f)), true
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(f)), true
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(exact)), true
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(exact), true
	}
	return fail("has a type that is not supported yet")
}

func (d *decoder) enum(n *yaml.Node, fd protoreflect.FieldDescriptor, got scalar, fail func(string, ...any) (protoreflect.Value, bool)) (protoreflect.Value, bool) {
	values := fd.Enum().Values()
	if got == stringScalar {
		if v := values.ByName(protoreflect.Name(n.Value)); v != nil {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
	}
	if f, _, ok := number(n); ok && got == numberScalar {
		if v := values.ByNumber(protoreflect.EnumNumber(int32(f))); v != nil && f == float64(v.Number()) {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
	}
	names := make([]string, values.Len())
	for i := range names {
		names[i] = string(values.Get(i).Name())
	}
	if near := closest(n.Value, names); near != "" {
		return fail("unknown value %q; did you mean %q?", n.Value, near)
	}
	return fail("unknown value %q; there are %s", n.Value, strings.Join(names, ", "))
}

// number reads a number, quoted or not. exact is its value when it is an integer.
func number(n *yaml.Node) (f float64, exact uint64, ok bool) {
	bare := *n
	bare.Style, bare.Tag = 0, ""
	switch bare.ShortTag() {
	case "!!int":
		var i int64
		var u uint64
		if bare.Decode(&i) == nil {
			return float64(i), uint64(i), true
		}
		if bare.Decode(&u) == nil {
			return float64(u), u, true
		}
		return math.Inf(1), 0, true
	case "!!float":
		if bare.Decode(&f) != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return 0, 0, false
		}
		return f, uint64(max(f, 0)), true
	}
	return 0, 0, false
}

func bounds(k protoreflect.Kind) (low, high float64) {
	switch k {
	case protoreflect.Int32Kind:
		return math.MinInt32, math.MaxInt32
	case protoreflect.Uint32Kind:
		return 0, math.MaxUint32
	case protoreflect.Uint64Kind:
		return 0, math.MaxUint64
	}
	return math.MinInt64, math.MaxInt64
}

// wanted says what a scalar field takes.
func wanted(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return "a string"
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.EnumKind:
		return "a name"
	}
	return "a number"
}

// describe says what a node is.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	}
	if kindOf(n) == nullScalar {
		return "null"
	}
	if len(n.Value) > 64 {
		return fmt.Sprintf("%q...", n.Value[:64])
	}
	return fmt.Sprintf("%q", n.Value)
}
