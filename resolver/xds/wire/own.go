package wire

import (
	"maps"
	"math"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// ownKey is where the metadata of a route or cluster carries what its values have
// and no field of Envoy's does. Other clients do without.
const ownKey = "weft"

// An own is a struct of such fields. A field that was read is known; unknown
// tells the others.
type own struct {
	place
	fields map[string]*structpb.Value
	known  []string
}

func decodeOwn(p *place, m *corev3.Metadata) *own {
	fields := m.GetFilterMetadata()[ownKey].GetFields()
	meta := p.in("metadata")
	return &own{place: place{p.report, &meta, ownKey, -1}, fields: fields}
}

// in is a struct within; nil if there is none.
func (o *own) in(name string) *own {
	v := o.take(name)
	if v == nil {
		return nil
	}
	s, ok := v.GetKind().(*structpb.Value_StructValue)
	if !ok {
		o.refuse(name, "is no struct")
		return nil
	}
	return &own{place: o.place.in(name), fields: s.StructValue.GetFields()}
}

func (o *own) bool(name string) bool {
	v := o.take(name)
	if v == nil {
		return false
	}
	b, ok := v.GetKind().(*structpb.Value_BoolValue)
	if !ok {
		o.refuse(name, "is neither true nor false")
		return false
	}
	return b.BoolValue
}

// number is finite and not negative.
func (o *own) number(name string) float64 {
	v := o.take(name)
	if v == nil {
		return 0
	}
	n, ok := v.GetKind().(*structpb.Value_NumberValue)
	switch {
	case !ok:
		o.refuse(name, "is no number")
		return 0
	case !(n.NumberValue >= 0 && n.NumberValue <= math.MaxFloat64):
		o.refuse(name, "%v is not a finite number from 0 on", n.NumberValue)
		return 0
	}
	return n.NumberValue
}

func (o *own) count(name string) uint32 {
	n := o.number(name)
	if n > math.MaxUint32 || n != math.Trunc(n) {
		o.refuse(name, "%v is no count", n)
		return 0
	}
	return uint32(n)
}

// duration is written as Go does: "1.5s".
func (o *own) duration(name string) time.Duration {
	v := o.take(name)
	if v == nil {
		return 0
	}
	d, err := time.ParseDuration(v.GetStringValue())
	if err != nil {
		o.refuse(name, "is no duration")
		return 0
	}
	if d < 0 {
		o.refuse(name, "%v is negative", d)
		return 0
	}
	return d
}

// unknown warns of what nobody read.
func (o *own) unknown() {
	for _, name := range slices.Sorted(maps.Keys(o.fields)) {
		if !slices.Contains(o.known, name) {
			o.warn(name, "not supported yet, has no effect")
		}
	}
}

func (o *own) take(name string) *structpb.Value {
	o.known = append(o.known, name)
	return o.fields[name]
}

// encodeOwn is the metadata that carries fields; nil if there are none.
func encodeOwn(fields map[string]*structpb.Value) *corev3.Metadata {
	if len(fields) == 0 {
		return nil
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{ownKey: {Fields: fields}}}
}
