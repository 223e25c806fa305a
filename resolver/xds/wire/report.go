package wire

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A report gathers what is found in one resource.
type report struct {
	what, name string
	errs       []error
	warned     []warning
}

// A warning is told once for all the places where it holds for a field.
type warning struct {
	field, text string
	first       string // path
	more        int
}

// A finding is why a resource is refused, and where.
type finding struct {
	path string
	error
}

func (f *finding) Unwrap() error { return f.error }

func (r *report) refuse(path, format string, args ...any) {
	err := &finding{path, fmt.Errorf("%s %q: %s: %w", r.what, r.name, path, fmt.Errorf(format, args...))}
	for _, known := range r.errs { // what is read twice is told once
		if known.Error() == err.Error() {
			return
		}
	}
	r.errs = append(r.errs, err)
}

func (r *report) warn(p *place, field, text string) {
	for i := range r.warned {
		if r.warned[i].field == field && r.warned[i].text == text {
			r.warned[i].more++
			return
		}
	}
	r.warned = append(r.warned, warning{field: field, text: text, first: p.path(field)})
}

// err joins all findings.
func (r *report) err() error { return errors.Join(r.errs...) }

func (r *report) warnings() []string {
	var out []string
	for _, w := range r.warned {
		s := fmt.Sprintf("%s %q: %s: %s", r.what, r.name, w.first, w.text)
		if w.more > 0 {
			s += fmt.Sprintf(" (and in %d more places)", w.more)
		}
		out = append(out, s)
	}
	return out
}

// A place is a message within a resource. It is cheap to make: the path is
// written only where something is found.
type place struct {
	*report
	up    *place
	field string
	index int // -1 where the field is not repeated
}

func (r *report) root() place { return place{report: r, index: -1} }

func (p *place) in(field string) place { return place{p.report, p, field, -1} }

func (p *place) at(field string, i int) place { return place{p.report, p, field, i} }

func (p *place) path(field string) string {
	parts := []string{field}
	if field == "" {
		parts = nil
	}
	for ; p != nil && p.field != ""; p = p.up {
		f := p.field
		if p.index >= 0 {
			f += "[" + strconv.Itoa(p.index) + "]"
		}
		parts = append(parts, f)
	}
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}

// refuse finds something wrong with a field of the message; "" is the message itself.
func (p *place) refuse(field, format string, args ...any) {
	p.report.refuse(p.path(field), format, args...)
}

func (p *place) warn(field, format string, args ...any) {
	p.report.warn(p, field, fmt.Sprintf(format, args...))
}

// quietly reads without warnings.
func (p *place) quietly(read func(*place)) {
	q := *p
	q.report = &report{what: p.what, name: p.name}
	read(&q)
	p.errs = append(p.errs, q.errs...)
}

// only refuses every field that is set in m and not known.
func (p *place) only(m proto.Message, known ...protoreflect.Name) {
	for _, f := range others(m, known) {
		p.refuse(f, "not supported")
	}
}

// ignores warns of every field that is set in m and not known.
func (p *place) ignores(m proto.Message, known ...protoreflect.Name) {
	for _, f := range others(m, known) {
		p.warn(f, "not supported yet, has no effect")
	}
}

func others(m proto.Message, known []protoreflect.Name) (names []string) {
	r := m.ProtoReflect()
	if !r.IsValid() {
		return nil
	}
	r.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(known, f.Name()) {
			names = append(names, string(f.Name()))
		}
		return true
	})
	slices.Sort(names)
	for b := r.GetUnknown(); len(b) > 0; b = nil {
		names = append(names, "a newer field")
	}
	return names
}

// duration reads an optional duration that must not be negative.
func (p *place) duration(field string, d *durationpb.Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case d.CheckValid() != nil:
		p.refuse(field, "%d s and %d ns are no duration", d.GetSeconds(), d.GetNanos())
		return 0
	case d.AsDuration() < 0:
		p.refuse(field, "%v is negative", d.AsDuration())
		return 0
	}
	return d.AsDuration()
}

// positive reads an optional duration that must be more than 0.
func (p *place) positive(field string, d *durationpb.Duration) time.Duration {
	if d != nil && d.CheckValid() == nil && d.AsDuration() == 0 {
		p.refuse(field, "must be more than 0")
	}
	return p.duration(field, d)
}

// hundred reads an optional percentage.
func (p *place) hundred(field string, n *wrapperspb.UInt32Value) *uint32 {
	if n.GetValue() > 100 {
		p.refuse(field, "%d is more than 100", n.GetValue())
	}
	return optional(n)
}

// percent reads a percentage; 0 if there is none.
func (p *place) percent(field string, m *typev3.Percent) float64 {
	v := m.GetValue()
	if !(v >= 0 && v <= 100) { // nor NaN
		p.refuse(field, "%v is not within 0 and 100", v)
		return 0
	}
	return v
}
