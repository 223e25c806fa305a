package catalog

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// Check returns all that is wrong, by file and line: what the sources found,
// what merging them found, and references that lead nowhere.
func (c *Catalog) Check() []Finding {
	k := checker{Catalog: c, findings: slices.Clone(c.findings)}
	for _, s := range c.services {
		k.service(s)
	}
	k.shadows()
	for _, vs := range c.virtualServices {
		k.virtualService(vs)
	}
	for _, o := range c.objects {
		switch spec := o.Spec.(type) {
		case *networking.DestinationRule:
			k.destinationRule(o, spec)
		case *networking.WorkloadEntry:
			if !k.chosen[o] {
				k.warn(o, "spec.labels", "no ServiceEntry of namespace %s selects it", o.Namespace)
			}
		}
	}
	for _, p := range c.traffic.all {
		k.trafficPolicy(p)
	}
	k.refusals()
	k.meshKinds()
	k.security()
	return sortFindings(k.findings)
}

type checker struct {
	*Catalog
	findings []Finding
	pools    map[string]*pool[member]
}

func (k *checker) warn(o *Object, field, format string, args ...any) {
	k.findings = append(k.findings, finding(o, Warning, field, format, args...))
}

func (k *checker) misfit(o *Object, others []*Object, field, format string, args ...any) {
	k.findings = append(k.findings, misfit(o, others, field, format, args...))
}

func (k *checker) service(s *Service) {
	if s.Born() {
		return
	}
	first := s.Objects[0]
	for _, o := range s.Objects[1:] {
		k.warn(o, hostField(o, s), "host is also declared by %s at %s: they are merged", first.Key(), first.Position)
	}
	for _, other := range k.byHost[s.Host] {
		if other == s {
			break
		}
		if !other.Born() && len(other.ExportTo) == 0 && len(s.ExportTo) == 0 {
			k.warn(first, hostField(first, s), "host is also declared by %s at %s, which clients in other namespaces get",
				other.Objects[0].Key(), other.Objects[0].Position)
			break
		}
	}
	for _, a := range s.Addresses {
		if all := k.byAddress[a]; len(all) > 1 && all[0] != s && all[0].Host != s.Host {
			k.warn(first, "spec.addresses", "%s is also an address of %s", a, all[0].Host)
		}
	}
	_, _, member := splitHost(s.Host)
	if s.Resolution == Static && !member && len(s.Objects) == 1 {
		se := first.Spec.(*networking.ServiceEntry)
		if len(se.GetEndpoints()) == 0 && se.GetWorkloadSelector() == nil {
			k.warn(first, "spec", "has neither endpoints nor a workloadSelector: nothing serves %s", s.Host)
		}
	}
}

// shadows warns of VirtualServices that an older one takes a host from.
func (k *checker) shadows() {
	for _, vs := range k.virtualServices {
		for i, host := range vs.Hosts {
			for _, other := range k.routes[host] {
				if other == vs {
					break
				}
				if overlap(other, vs) {
					k.warn(vs.Object, fmt.Sprintf("spec.hosts[%d]", i), "host %q already belongs to %s at %s: this one is not used for it",
						host, other.Key(), other.Position)
					break
				}
			}
		}
	}
}

// overlap reports whether a client may see both.
func overlap(a, b *VirtualService) bool {
	for _, pair := range [...][2]*VirtualService{{a, b}, {b, a}} {
		x, y := pair[0], pair[1]
		if len(x.Spec.GetExportTo()) == 0 || slices.Contains(x.Spec.GetExportTo(), "*") {
			return true
		}
		for _, to := range x.Spec.GetExportTo() {
			if to == "." {
				to = x.Namespace
			}
			if exported(y.Spec.GetExportTo(), y.Namespace, to) {
				return true
			}
		}
	}
	return false
}

func (k *checker) virtualService(vs *VirtualService) {
	for i, host := range vs.Hosts {
		if !k.declared(host) {
			k.warn(vs.Object, fmt.Sprintf("spec.hosts[%d]", i), "no service has the host %q%s", host, k.suggest(host))
		}
	}
	seen := map[string]*Service{}
	for i, r := range vs.Spec.GetHttp() {
		for j, d := range r.GetRoute() {
			host := d.GetDestination().GetHost()
			s, known := seen[host]
			if !known {
				s = k.find(vs.Namespace, host)
				seen[host] = s
			}
			k.destination(vs, s, d.GetDestination(), i, j)
		}
	}
}

func (k *checker) destination(vs *VirtualService, s *Service, d *networking.Destination, i, j int) {
	if s == nil {
		k.misfit(vs.Object, nil, destinationField(i, j, "host"), "no service has the host %q%s", d.GetHost(), k.suggest(d.GetHost()))
		return
	}
	if d.GetPort() != nil {
		if _, ok := s.Port(d.GetPort().GetNumber()); !ok {
			k.misfit(vs.Object, s.Objects, destinationField(i, j, "port.number"), "%s has no port %d; there is %s",
				s.Host, d.GetPort().GetNumber(), portList(s))
		}
	}
	if d.GetSubset() == "" {
		return
	}
	dr := k.DestinationRule(vs.Namespace, s)
	if dr == nil {
		k.misfit(vs.Object, nil, destinationField(i, j, "subset"), "no DestinationRule gives %s the subset %q", s.Host, d.GetSubset())
		return
	}
	if _, ok := dr.Subset(d.GetSubset()); ok {
		return
	}
	var names []string
	for _, sub := range dr.Spec.GetSubsets() {
		names = append(names, sub.GetName())
	}
	hint := ""
	if near := closest(d.GetSubset(), names); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	k.misfit(vs.Object, dr.Objects, destinationField(i, j, "subset"), "%s at %s gives %s no subset %q%s",
		dr.Objects[0].Key(), dr.Objects[0].Position, s.Host, d.GetSubset(), hint)
}

func (k *checker) destinationRule(o *Object, dr *networking.DestinationRule) {
	host := k.Expand(o.Namespace, dr.GetHost())
	if !k.declared(host) {
		k.warn(o, "spec.host", "no service has the host %q%s", host, k.suggest(host))
		return
	}
	for _, other := range k.rules[o.Namespace][host] {
		if other == o {
			break
		}
		first := other.Spec.(*networking.DestinationRule)
		if dr.GetTrafficPolicy() != nil && first.GetTrafficPolicy() != nil {
			k.warn(o, "spec.trafficPolicy", "%s at %s is older and has one for the same host: this one is not used", other.Key(), other.Position)
		}
		for i, s := range dr.GetSubsets() {
			if slices.ContainsFunc(first.GetSubsets(), func(f *networking.Subset) bool { return f.GetName() == s.GetName() }) {
				k.warn(o, fmt.Sprintf("spec.subsets[%d].name", i), "%q is also given by %s at %s, which is older: this one is not used",
					s.GetName(), other.Key(), other.Position)
			}
		}
	}
	if s := k.find(o.Namespace, host); s != nil {
		k.subsets(o, dr, s)
		k.tls(o, &DestinationRule{Objects: []*Object{o}, Host: host, Spec: dr}, s)
	}
}

// subsets warns of those that select none of the workloads there are.
func (k *checker) subsets(o *Object, dr *networking.DestinationRule, s *Service) {
	for i, sub := range dr.GetSubsets() {
		some, match := false, false
		for _, p := range s.Ports {
			for _, e := range s.Endpoints(p.Number) {
				some = true
				match = match || e.Matches(sub.GetLabels())
			}
		}
		if some && !match {
			k.warn(o, fmt.Sprintf("spec.subsets[%d].labels", i), "subset %q selects none of the workloads of %s", sub.GetName(), s.Host)
		}
	}
	for i, p := range dr.GetTrafficPolicy().GetPortLevelSettings() {
		if n := p.GetPort().GetNumber(); len(s.Ports) > 0 {
			if _, ok := s.Port(n); !ok {
				k.warn(o, fmt.Sprintf("spec.trafficPolicy.portLevelSettings[%d].port.number", i), "%s has no port %d; there is %s", s.Host, n, portList(s))
			}
		}
	}
}

// declared reports whether a service has the host, or one that a wildcard covers.
func (k *checker) declared(host string) bool {
	suffix, wild := strings.CutPrefix(host, "*")
	if !wild {
		return len(k.byHost[host]) > 0 || len(k.byAddress[host]) > 0
	}
	return slices.ContainsFunc(k.services, func(s *Service) bool { return strings.HasSuffix(s.Host, suffix) })
}

func (k *checker) suggest(host string) string {
	switch near := k.Nearest(host, 3); len(near) {
	case 0:
		return ""
	case 1:
		return "; did you mean " + near[0] + "?"
	default:
		return "; the nearest are " + strings.Join(near, ", ")
	}
}

func destinationField(i, j int, name string) string {
	return fmt.Sprintf("spec.http[%d].route[%d].destination.%s", i, j, name)
}

// hostField is where an object names a service.
func hostField(o *Object, s *Service) string {
	for i, h := range o.Spec.(*networking.ServiceEntry).GetHosts() {
		if strings.EqualFold(h, s.Host) || slices.Contains(s.Aliases, strings.ToLower(h)) {
			return fmt.Sprintf("spec.hosts[%d]", i)
		}
	}
	return "spec.hosts"
}

func portList(s *Service) string {
	if len(s.Ports) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, p := range s.Ports {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d", p.Number)
	}
	return b.String()
}
