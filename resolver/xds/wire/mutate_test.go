package wire

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// mutate sets or clears a field somewhere below m, most often near the leaves.
func (g gen) mutate(m protoreflect.Message) {
	if a, ok := m.Interface().(*anypb.Any); ok && !g.chance(8) {
		if inner, err := a.UnmarshalNew(); err == nil {
			g.mutate(inner.ProtoReflect())
			a.Value = pack(inner).GetValue()
			return
		}
	}
	if below := messages(m); len(below) > 0 && !g.chance(4) {
		g.mutate(below[g.IntN(len(below))])
		return
	}
	fields := m.Descriptor().Fields()
	if fields.Len() == 0 {
		return
	}
	f := fields.Get(g.IntN(fields.Len()))
	switch {
	case m.Has(f) && g.chance(2):
		m.Clear(f)
	case f.IsMap():
		value := m.Mutable(f).Map().NewValue()
		if f.MapValue().Message() == nil {
			value = g.scalar(f.MapValue())
		}
		m.Mutable(f).Map().Set(g.scalar(f.MapKey()).MapKey(), value)
	case f.IsList() && f.Message() != nil:
		list := m.Mutable(f).List()
		if n := list.Len(); n > 0 && g.chance(2) {
			list.Append(protoreflect.ValueOfMessage(proto.Clone(list.Get(g.IntN(n)).Message().Interface()).ProtoReflect()))
		} else {
			list.AppendMutable()
		}
	case f.IsList():
		m.Mutable(f).List().Append(g.scalar(f))
	case f.Message() != nil:
		g.mutate(m.Mutable(f).Message())
	default:
		m.Set(f, g.scalar(f))
	}
}

// messages are those set directly in m.
func messages(m protoreflect.Message) (out []protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				out = append(out, v.Message())
				return true
			})
		case f.IsMap(), f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				out = append(out, v.List().Get(i).Message())
			}
		default:
			out = append(out, v.Message())
		}
		return true
	})
	return out
}

func (g gen) scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	n := []int64{0, 1, 2, 3, 4, 80, 65536, -1, math.MaxInt32, math.MaxInt64, math.MinInt64}[g.IntN(11)]
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(g.chance(2))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(int32(min(n, 9))))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString([]string{"", "/", "*", "a", "é", "*.x", "a(", "::1", "10.0.0.1", "unavailable", "envoy.router"}[g.IntN(11)])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0xff})
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(n)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n))
	default:
		return protoreflect.ValueOfFloat64(float64(n))
	}
}

// mutated checks fuzz's property with messages that are well-formed, and wrong here and there.
func mutated[T any](t *testing.T, seed func(gen) T, clean func(*T), encode func(T) proto.Message, decode func(*anypb.Any) (*T, error)) {
	t.Helper()
	const rounds = 600
	accepted := 0
	for i := range uint64(rounds) {
		g := newGen(i)
		m := encode(seed(g))
		for range 1 + g.IntN(3) {
			g.mutate(m.ProtoReflect())
		}
		a, err := Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		v, err := decode(a)
		if err != nil {
			continue
		}
		accepted++
		clean(v)
		mirrored(t, *v, encode, decode)
		if t.Failed() {
			t.Fatalf("seed %d: %v", i, m)
		}
	}
	if accepted < rounds/20 || accepted > rounds*19/20 {
		t.Errorf("%d of %d accepted: too few or too many to show anything", accepted, rounds)
	}
}

func TestWrongMessagesAreRefusedOrUnderstood(t *testing.T) {
	t.Run("listeners", func(t *testing.T) {
		mutated(t, gen.listener, func(v *Listener) { v.Warnings, v.Instances = nil, nil }, EncodeListener, DecodeListener)
	})
	t.Run("routes", func(t *testing.T) {
		mutated(t, gen.table, func(v *RouteTable) { v.Warnings = nil }, EncodeRouteTable, DecodeRouteTable)
	})
	t.Run("clusters", func(t *testing.T) {
		mutated(t, gen.cluster, func(v *Cluster) { v.Warnings, v.Instances = nil, nil }, EncodeCluster, DecodeCluster)
	})
	t.Run("endpoints", func(t *testing.T) {
		mutated(t, gen.assignment, func(v *Endpoints) { v.Warnings = nil }, EncodeEndpoints, DecodeEndpoints)
	})
}
