package resolver

import (
	"fmt"
	"maps"
	"strings"
)

// Static is a Resolver that never changes: services by the name they are called by.
// It needs no control plane. A service without a Name has the one it is found by.
type Static map[string]*Service

// Watch reports the service, or an [*UnknownError] that lists the nearest names, once.
func (s Static) Watch(name string, sink func(*Service, error)) (stop func()) {
	switch svc := s[name]; {
	case svc == nil:
		sink(nil, s.unknown(name))
	case svc.Name == "":
		named := *svc
		named.Name = name
		sink(&named, nil)
	default:
		sink(svc, nil)
	}
	return func() {}
}

func (s Static) unknown(name string) error {
	detail := fmt.Sprintf("no service %q", name)
	if near := Nearest(name, maps.Keys(s)); len(near) > 0 {
		detail += "; nearest: " + strings.Join(near, ", ")
	}
	return &UnknownError{Name: name, Detail: detail}
}

// Serve reports an Inbound that demands nothing.
func (s Static) Serve(addr string, sink func(*Inbound, error)) (stop func()) {
	sink(&Inbound{Addr: addr}, nil)
	return func() {}
}

// Serving is s for a process that serves: each address it serves demands what in does.
func (s Static) Serving(in Inbound) Resolver { return serving{s, in} }

type serving struct {
	Static
	inbound Inbound
}

func (s serving) Serve(addr string, sink func(*Inbound, error)) (stop func()) {
	in := s.inbound
	in.Addr = addr
	sink(&in, nil)
	return func() {}
}
