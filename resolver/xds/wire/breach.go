package wire

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A ruled is a message whose fields have rules of Envoy's own (protoc-gen-validate).
type ruled interface {
	proto.Message
	ValidateAll() error
}

// A breach is one rule that a message does not keep.
type breach interface {
	error
	Field() string
	Reason() string
	Cause() error
}

// keeps refuses what Envoy's own rules refuse in m, be it of a field that has no effect here. It comes after
// what is refused in words of our own, and tells nothing twice.
func (p *place) keeps(m ruled) {
	if err := m.ValidateAll(); err != nil {
		p.breaches(m.ProtoReflect().Descriptor(), err)
	}
}

// breaches reads the error of a message's rules, whose fields go by their names in Go.
func (p *place) breaches(of protoreflect.MessageDescriptor, err error) {
	var (
		several interface{ AllErrors() []error }
		one     breach
	)
	if errors.As(err, &several) {
		for _, each := range several.AllErrors() {
			p.breaches(of, each)
		}
		return
	}
	if !errors.As(err, &one) {
		p.breached("", "%w", err)
		return
	}
	field, index, _ := strings.Cut(strings.TrimSuffix(one.Field(), "]"), "[")
	name, within := fieldIn(of, field)
	var below breach
	if cause := one.Cause(); within == nil || !errors.As(cause, &below) && !errors.As(cause, &several) {
		if index != "" {
			name += "[" + index + "]"
		}
		if cause != nil {
			p.breached(name, "%s: %w", one.Reason(), cause)
			return
		}
		p.breached(name, "%s", one.Reason())
		return
	}
	q := p.in(name)
	if i, err := strconv.Atoi(index); err == nil {
		q = p.at(name, i)
	} else if index != "" { // of a map
		q = p.in(name + "." + index)
	}
	q.breaches(within, one.Cause())
}

// breached refuses a field if nothing was refused yet in it or in what it is in.
func (p *place) breached(field, format string, args ...any) {
	path := p.path(field)
	within := func(a, b string) bool {
		rest, ok := strings.CutPrefix(a, b)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	if slices.ContainsFunc(p.errs, func(err error) bool {
		var f *finding
		return errors.As(err, &f) && (within(f.path, path) || within(path, f.path))
	}) {
		return
	}
	p.refuse(field, "%w", fmt.Errorf(format, args...))
}

// fieldIn is the name that a field, or one of several, has in a message, and what message it is.
func fieldIn(m protoreflect.MessageDescriptor, name string) (string, protoreflect.MessageDescriptor) {
	same := func(n protoreflect.Name) bool {
		return strings.EqualFold(strings.ReplaceAll(string(n), "_", ""), strings.ReplaceAll(name, "_", ""))
	}
	for i := range m.Fields().Len() {
		if f := m.Fields().Get(i); same(f.Name()) {
			if f.IsMap() {
				return string(f.Name()), f.MapValue().Message()
			}
			return string(f.Name()), f.Message()
		}
	}
	for i := range m.Oneofs().Len() {
		if o := m.Oneofs().Get(i); same(o.Name()) {
			return string(o.Name()), nil
		}
	}
	return name, nil
}
