package wire

import (
	"maps"
	"math"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/resilience"
)

// ownKey is where the metadata of a route or cluster carries what its values have
// and no field of Envoy's does. Other clients do without.
const ownKey = "weft"

// offField is where it says what is turned off.
const offField = "off"

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

// bytes is a count that may be large.
func (o *own) bytes(name string) uint64 {
	n := o.number(name)
	if n > 1<<53 || n != math.Trunc(n) { // what a number can say exactly
		o.refuse(name, "%v is no count", n)
		return 0
	}
	return uint64(n)
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

func (o *own) text(name string) string {
	v := o.take(name)
	if v == nil {
		return ""
	}
	t, ok := v.GetKind().(*structpb.Value_StringValue)
	if !ok {
		o.refuse(name, "is no text")
		return ""
	}
	return t.StringValue
}

// texts is a list of texts.
func (o *own) texts(name string) (out []string) {
	for i, v := range o.list(name) {
		t, ok := v.GetKind().(*structpb.Value_StringValue)
		if !ok {
			q := o.at(name, i)
			q.refuse("", "is no text")
			continue
		}
		out = append(out, t.StringValue)
	}
	return out
}

// all is a list of structs; what is not one is refused and left out.
func (o *own) all(name string) (out []*own) {
	for i, v := range o.list(name) {
		q := o.at(name, i)
		s, ok := v.GetKind().(*structpb.Value_StructValue)
		if !ok {
			q.refuse("", "is no struct")
			continue
		}
		out = append(out, &own{place: q, fields: s.StructValue.GetFields()})
	}
	return out
}

func (o *own) list(name string) []*structpb.Value {
	v := o.take(name)
	if v == nil {
		return nil
	}
	l, ok := v.GetKind().(*structpb.Value_ListValue)
	if !ok {
		o.refuse(name, "is no list")
		return nil
	}
	return l.ListValue.GetValues()
}

// fraction is a share; none of the calls if it is not there.
func (o *own) fraction(name string) resilience.Fraction {
	in := o.in(name)
	if in == nil {
		return resilience.Fraction{}
	}
	f := resilience.Fraction{Numerator: in.count("numerator"), Per: in.count("per")}
	in.unknown()
	in.sound(f.Check())
	if f.Per == 100 {
		f.Per = 0
	}
	return f
}

// switches are the kinds of policy that are turned off.
func (o *own) switches() resilience.Switches {
	s, unknown := resilience.ParseSwitches(o.text(offField))
	for _, name := range unknown {
		o.warn(offField, "%q is not known, has no effect", name)
	}
	return s
}

// sound refuses what a value's own check found.
func (o *own) sound(findings []error) {
	for _, err := range findings {
		o.refuse("", "%w", err)
	}
}

// unknown warns of what nobody read.
func (o *own) unknown() {
	if o == nil {
		return
	}
	for _, name := range o.unread() {
		o.warn(name, "not supported yet, has no effect")
	}
}

func (o *own) unread() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(o.fields)), func(name string) bool { return slices.Contains(o.known, name) })
}

func (o *own) take(name string) *structpb.Value {
	if o == nil {
		return nil
	}
	o.known = append(o.known, name)
	return o.fields[name]
}

// fields are an own as it is written. What is zero is left out.
type fields map[string]*structpb.Value

// metadata carries the fields; nil if there are none.
func (f fields) metadata() *corev3.Metadata {
	if len(f) == 0 {
		return nil
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{ownKey: {Fields: f}}}
}

func (f fields) bool(name string, v bool) {
	if v {
		f[name] = structpb.NewBoolValue(v)
	}
}

func (f fields) number(name string, v float64) {
	if v != 0 {
		f[name] = structpb.NewNumberValue(v)
	}
}

// bytes is a count; one so large that no number says it exactly is as good as none.
func (f fields) bytes(name string, n uint64) { f.number(name, float64(min(n, 1<<53))) }

func (f fields) duration(name string, d time.Duration) {
	if d != 0 {
		f[name] = structpb.NewStringValue(d.String())
	}
}

func (f fields) text(name, s string) {
	if s != "" {
		f[name] = structpb.NewStringValue(s)
	}
}

func (f fields) texts(name string, list []string) {
	if len(list) == 0 {
		return
	}
	out := &structpb.ListValue{}
	for _, s := range list {
		out.Values = append(out.Values, structpb.NewStringValue(s))
	}
	f[name] = structpb.NewListValue(out)
}

func (f fields) fraction(name string, share resilience.Fraction) {
	if share.Numerator == 0 {
		return
	}
	in := fields{}
	in.number("numerator", float64(share.Numerator))
	if share.Per != 100 {
		in.number("per", float64(share.Per))
	}
	f.in(name, in)
}

// in adds a struct, unless it is nil: one that is empty says that it is there.
func (f fields) in(name string, below fields) {
	if below != nil {
		f[name] = structpb.NewStructValue(&structpb.Struct{Fields: below})
	}
}

// some adds a struct that is not empty.
func (f fields) some(name string, below fields) {
	if len(below) > 0 {
		f.in(name, below)
	}
}

func (f fields) all(name string, list []fields) {
	if len(list) == 0 {
		return
	}
	out := &structpb.ListValue{}
	for _, each := range list {
		out.Values = append(out.Values, structpb.NewStructValue(&structpb.Struct{Fields: each}))
	}
	f[name] = structpb.NewListValue(out)
}
