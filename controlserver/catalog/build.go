package catalog

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
)

// addServices makes the services of the ServiceEntries, joins the workloads to
// them, and lets the workloads nobody claims give birth to theirs.
func (c *Catalog) addServices(workloads []Workload) {
	c.byHost, c.byAddress = map[string][]*Service{}, map[string][]*Service{}
	c.chosen = map[*Object]bool{}
	b := builder{
		Catalog: c, joined: map[place]bool{},
		registered: map[string]*pool[*claimable]{}, entries: map[string]*pool[*Object]{},
	}
	workloads = slices.Clone(workloads)
	slices.SortStableFunc(workloads, compareWorkloads)
	for _, w := range workloads {
		w.Namespace = cmp.Or(w.Namespace, DefaultNamespace)
		within(b.registered, w.Namespace).add(&claimable{Workload: w}, w.Labels)
	}
	for _, o := range c.objects {
		if e, ok := o.Spec.(*networking.WorkloadEntry); ok {
			within(b.entries, o.Namespace).add(o, e.GetLabels())
		}
	}
	for _, o := range c.objects {
		if se, ok := o.Spec.(*networking.ServiceEntry); ok {
			b.declare(o, se)
		}
	}
	b.birth()
	slices.SortFunc(c.services, func(a, b *Service) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Namespace, b.Namespace))
	})
}

type builder struct {
	*Catalog
	registered map[string]*pool[*claimable]
	entries    map[string]*pool[*Object]
	joined     map[place]bool
}

// A place is where an endpoint of a service's port listens.
type place struct {
	service *Service
	port    uint32
	address string
	at      uint32
}

type claimable struct {
	Workload
	claimed bool
}

// declare adds the services of a ServiceEntry, one a host.
func (b *builder) declare(o *Object, se *networking.ServiceEntry) {
	for _, written := range se.GetHosts() {
		written = strings.ToLower(strings.TrimSuffix(written, "."))
		host := written
		var aliases []string
		if !strings.Contains(written, ".") {
			host = written + "." + o.Namespace + serviceSuffix
			aliases = []string{written}
		}
		s := b.sibling(host, o)
		if s == nil {
			s = &Service{
				Host: host, Namespace: o.Namespace, Aliases: aliases,
				Resolution: resolutions[se.GetResolution()],
				External:   se.GetLocation() == networking.ServiceEntry_MESH_EXTERNAL,
				ExportTo:   se.GetExportTo(),
				endpoints:  map[uint32][]Endpoint{},
			}
			b.add(s)
		} else if want := resolutions[se.GetResolution()]; want != s.Resolution {
			b.findings = append(b.findings, misfit(o, s.Objects, "spec.resolution",
				"%s differs from %s at %s, which declares the same host %q and is older",
				want, s.Resolution, s.Objects[0].At("spec.resolution"), written))
			continue
		}
		if len(s.Objects) == 0 || s.Objects[len(s.Objects)-1] != o {
			s.Objects = append(s.Objects, o)
		}
		for _, a := range se.GetAddresses() {
			b.address(s, a)
		}
		for _, san := range se.GetSubjectAltNames() {
			if !slices.Contains(s.SubjectAltNames, san) {
				s.SubjectAltNames = append(s.SubjectAltNames, san)
			}
		}
		ports := b.ports(s, o, se)
		b.fill(s, o, se, ports)
	}
}

// sibling returns the service an older ServiceEntry of the namespace declared for the host.
func (b *builder) sibling(host string, o *Object) *Service {
	for _, s := range b.byHost[host] {
		if s.Namespace == o.Namespace && s.Host == host {
			return s
		}
	}
	return nil
}

func (b *builder) add(s *Service) {
	b.services = append(b.services, s)
	b.byHost[s.Host] = append(b.byHost[s.Host], s)
	for _, a := range s.Aliases {
		b.byHost[a] = append(b.byHost[a], s)
	}
}

func (b *builder) address(s *Service, address string) {
	if slices.Contains(s.Addresses, address) {
		return
	}
	s.Addresses = append(s.Addresses, address)
	if ip, err := netip.ParseAddr(address); err == nil {
		b.byAddress[ip.String()] = append(b.byAddress[ip.String()], s)
	}
}

// ports adds the ports of a ServiceEntry to its service, and returns those it may fill.
func (b *builder) ports(s *Service, o *Object, se *networking.ServiceEntry) []Port {
	var mine []Port
	for i, sp := range se.GetPorts() {
		p := Port{
			Number: sp.GetNumber(), Name: sp.GetName(),
			Protocol: normalProtocol(sp.GetProtocol()), TargetPort: sp.GetTargetPort(),
		}
		if have, ok := s.Port(p.Number); !ok {
			s.Ports = append(s.Ports, p)
		} else if have.Protocol != p.Protocol {
			b.findings = append(b.findings, misfit(o, s.Objects, fmt.Sprintf("spec.ports[%d].protocol", i),
				"%s differs from %s at %s, which declares the same port of the same host and is older",
				p.Protocol, have.Protocol, s.Objects[0].Position))
			continue
		}
		mine = append(mine, p)
	}
	return mine
}

// fill adds the endpoints of a ServiceEntry.
func (b *builder) fill(s *Service, o *Object, se *networking.ServiceEntry, ports []Port) {
	selector := se.GetWorkloadSelector()
	for _, p := range ports {
		for _, e := range se.GetEndpoints() {
			b.join(s, p, entryEndpoint(e, p))
		}
	}
	switch {
	case selector != nil:
		s.selects = true
		labels := selector.GetLabels()
		if s.selector == nil {
			s.selector = labels
		}
		for _, p := range ports {
			for _, e := range b.entries[o.Namespace].selected(labels) {
				b.chosen[e] = true
				b.join(s, p, entryEndpoint(e.Spec.(*networking.WorkloadEntry), p))
			}
		}
		b.claim(s, ports, b.registered[o.Namespace].selected(labels))
	case len(se.GetEndpoints()) > 0:
	case s.Resolution == DNS || s.Resolution == DNSRoundRobin:
		for _, p := range ports {
			b.join(s, p, Endpoint{Address: dnsName(s), Port: cmp.Or(p.TargetPort, p.Number)})
		}
	case s.Resolution == Static:
		s.selects = true
		var named []*claimable
		for _, w := range b.registered[o.Namespace].members() {
			if strings.EqualFold(w.Name+"."+w.Namespace+serviceSuffix, s.Host) {
				named = append(named, w)
			}
		}
		b.claim(s, ports, named)
	}
}

func (b *builder) claim(s *Service, ports []Port, workloads []*claimable) {
	for _, w := range workloads {
		if !s.takes(&w.Workload) {
			continue
		}
		w.claimed = true
		for _, p := range ports {
			if number, ok := w.portFor(p); ok {
				b.join(s, p, w.endpoint(number))
			}
		}
	}
}

// takes reports whether a process may serve: labels are its own word, so that where SubjectAltNames say who the servers are, it has to be one of
// them. Nobody is where there are no identities.
func (s *Service) takes(w *Workload) bool {
	said := false
	for _, name := range s.SubjectAltNames {
		id, ok := strings.CutPrefix(name, "spiffe://")
		if !ok {
			continue
		}
		said = true
		if _, path, _ := strings.Cut(id, "/"); path == "ns/"+w.Namespace+"/sa/"+w.ServiceAccount {
			return true
		}
	}
	return !said || w.ServiceAccount == ""
}

func (w *claimable) endpoint(port uint32) Endpoint {
	var mode identity.Mode
	if i := slices.IndexFunc(w.Ports, func(p WorkloadPort) bool { return p.Number == port }); i >= 0 {
		mode = w.Ports[i].Mode
	}
	return Endpoint{
		Address: w.Address, Port: port, Mode: mode, Labels: w.Labels, Weight: w.Weight,
		Locality: w.Locality, Health: w.Health, ServiceAccount: w.ServiceAccount, Registered: true,
	}
}

// join adds an endpoint to a port, unless there is one at the same address and port.
func (b *builder) join(s *Service, p Port, e Endpoint) {
	at := place{s, p.Number, e.Address, e.Port}
	if !b.joined[at] {
		b.joined[at] = true
		s.endpoints[p.Number] = append(s.endpoints[p.Number], e)
	}
}

func entryEndpoint(e *networking.WorkloadEntry, p Port) Endpoint {
	out := Endpoint{
		Address: e.GetAddress(), Labels: e.GetLabels(), Weight: e.GetWeight(),
		Locality: parseLocality(e.GetLocality()), ServiceAccount: e.GetServiceAccount(),
	}
	if strings.HasPrefix(out.Address, "unix://") {
		return out
	}
	out.Port = cmp.Or(e.GetPorts()[p.Name], p.TargetPort, p.Number)
	return out
}

func parseLocality(s string) balancer.Locality {
	region, rest, _ := strings.Cut(s, "/")
	zone, sub, _ := strings.Cut(rest, "/")
	return balancer.Locality{Region: region, Zone: zone, SubZone: sub}
}

// dnsName is what to ask DNS for a service without endpoints: the host as it was written.
func dnsName(s *Service) string {
	if len(s.Aliases) > 0 {
		return s.Aliases[0]
	}
	return s.Host
}

var resolutions = map[networking.ServiceEntry_Resolution]Resolution{
	networking.ServiceEntry_STATIC:          Static,
	networking.ServiceEntry_DNS:             DNS,
	networking.ServiceEntry_DNS_ROUND_ROBIN: DNSRoundRobin,
}

// normalProtocol is the protocol a ServiceEntry's port names; "HTTP_PROXY" and
// the like are unknown to Istio too.
func normalProtocol(s string) Protocol {
	p := Protocol(strings.ToUpper(s))
	if p == "GRPC-WEB" || p == "GRPC_WEB" {
		return GRPCWeb
	}
	return p
}

func compareWorkloads(a, b Workload) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Address, b.Address), cmp.Compare(firstPort(a), firstPort(b)))
}

func firstPort(w Workload) uint32 {
	if len(w.Ports) == 0 {
		return 0
	}
	return w.Ports[0].Number
}

// finding is a finding about a field of an object.
func finding(o *Object, severity Severity, field, format string, args ...any) Finding {
	return Finding{
		Position: o.At(field), Kind: o.Kind, Namespace: o.Namespace, Name: o.Name,
		Field: field, Message: fmt.Sprintf(format, args...), Severity: severity,
	}
}

// misfit is an error about an object that does not fit others.
func misfit(o *Object, others []*Object, field, format string, args ...any) Finding {
	f := finding(o, Error, field, format, args...)
	f.cross, f.blames = true, others
	return f
}

// within returns the pool of a namespace.
func within[T any](pools map[string]*pool[T], namespace string) *pool[T] {
	p := pools[namespace]
	if p == nil {
		p = &pool[T]{}
		pools[namespace] = p
	}
	return p
}
