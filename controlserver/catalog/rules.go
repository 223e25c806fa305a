package catalog

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
)

// A DestinationRule is the policy for a service, merged of all objects that
// state it. It is immutable.
type DestinationRule struct {
	// Objects are where it comes from, oldest first.
	Objects []*Object
	// Host is the canonical name, or a wildcard.
	Host string
	Spec *networking.DestinationRule
}

// Subset returns the subset of that name.
func (d *DestinationRule) Subset(name string) (*networking.Subset, bool) {
	if d == nil {
		return nil, false
	}
	for _, s := range d.Spec.GetSubsets() {
		if s.GetName() == name {
			return s, true
		}
	}
	return nil, false
}

// TLS returns the tls that holds for the calls to a port of the service, as callers name it, in a subset ("" is none), and
// the object and field that say so; nil if there is none. That of the subset takes the place of that of the whole,
// and settings of the port that of all ports, also where they leave tls out (Istio).
func (d *DestinationRule) TLS(subset string, port uint32) (tls *networking.ClientTLSSettings, from *Object, field string) {
	if d == nil {
		return nil, nil, ""
	}
	take := func(p *networking.TrafficPolicy, o *Object, at string) {
		if p.GetTls() != nil {
			tls, from, field = p.GetTls(), o, at+".tls"
		}
		for i, l := range p.GetPortLevelSettings() {
			if l.GetPort().GetNumber() == port {
				tls, from, field = l.GetTls(), o, fmt.Sprintf("%s.portLevelSettings[%d].tls", at, i)
			}
		}
	}
	for _, o := range d.Objects {
		if p := o.Spec.(*networking.DestinationRule).GetTrafficPolicy(); p != nil {
			take(p, o, "spec.trafficPolicy")
			break
		}
	}
	for _, o := range d.Objects {
		subsets := o.Spec.(*networking.DestinationRule).GetSubsets()
		i := slices.IndexFunc(subsets, func(s *networking.Subset) bool { return s.GetName() == subset })
		if i >= 0 {
			take(subsets[i].GetTrafficPolicy(), o, fmt.Sprintf("spec.subsets[%d].trafficPolicy", i))
			break
		}
	}
	if tls == nil {
		return nil, nil, ""
	}
	return tls, from, field
}

// DestinationRule returns the policy that holds when a client in a namespace
// calls a service: the client's namespace is asked first, then the service's,
// then the root namespace; in each an exact host before the longest wildcard.
// Several for one host in one namespace are merged: the subsets of all, the
// trafficPolicy of the oldest that has one (Istio). Nil if there is none.
func (c *Catalog) DestinationRule(namespace string, service *Service) *DestinationRule {
	for _, ns := range [...]string{namespace, service.Namespace, c.mesh.RootNamespace} {
		hosts := c.rules[ns]
		if hosts == nil {
			continue
		}
		for pattern := range patterns(service.Host) {
			var visible []*Object
			for _, o := range hosts[pattern] {
				if exported(o.Spec.(*networking.DestinationRule).GetExportTo(), o.Namespace, namespace) {
					visible = append(visible, o)
				}
			}
			if len(visible) > 0 {
				return &DestinationRule{Objects: visible, Host: pattern, Spec: mergeRules(visible)}
			}
		}
	}
	return nil
}

// mergeRules joins DestinationRules of one host; one alone is not copied.
func mergeRules(objects []*Object) *networking.DestinationRule {
	first := objects[0].Spec.(*networking.DestinationRule)
	if len(objects) == 1 {
		return first
	}
	merged := proto.CloneOf(first)
	for _, o := range objects[1:] {
		next := o.Spec.(*networking.DestinationRule)
		if merged.TrafficPolicy == nil {
			merged.TrafficPolicy = next.GetTrafficPolicy()
		}
		for _, s := range next.GetSubsets() {
			if !slices.ContainsFunc(merged.Subsets, func(m *networking.Subset) bool { return m.GetName() == s.GetName() }) {
				merged.Subsets = append(merged.Subsets, s)
			}
		}
	}
	return merged
}

func (c *Catalog) addDestinationRules() {
	c.rules = map[string]map[string][]*Object{}
	for _, o := range c.objects {
		spec, ok := o.Spec.(*networking.DestinationRule)
		if !ok || spec.GetWorkloadSelector() != nil {
			// A rule for some workloads only must not hold for all; parsing says so.
			continue
		}
		hosts := c.rules[o.Namespace]
		if hosts == nil {
			hosts = map[string][]*Object{}
			c.rules[o.Namespace] = hosts
		}
		host := c.Expand(o.Namespace, spec.GetHost())
		hosts[host] = append(hosts[host], o)
	}
}
