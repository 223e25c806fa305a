package resolver

// Static is a Resolver that never changes: services by the name they are called by.
// It needs no control plane.
type Static map[string]*Service

// Watch reports the service, or an [*UnknownError], once.
func (s Static) Watch(name string, sink func(*Service, error)) (stop func()) {
	if svc := s[name]; svc != nil {
		sink(svc, nil)
	} else {
		sink(nil, &UnknownError{Name: name})
	}
	return func() {}
}

// Serve reports an Inbound that demands nothing.
func (s Static) Serve(addr string, sink func(*Inbound, error)) (stop func()) {
	sink(&Inbound{Addr: addr}, nil)
	return func() {}
}
