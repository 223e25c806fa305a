package catalog

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/controlserver/trafficpolicy"
)

// traffic is what the TrafficPolicies say, so that those of a call are found without looking at all of them.
type traffic struct {
	all []*policy // oldest first
	// byHost has the policies of a namespace by their target's canonical host or wildcard; "" are those without a target.
	byHost map[string]map[string][]*policy
	// served has the ports of services by who serves them, for policies with a target.
	served map[netip.AddrPort][]servicePort
	apart  bool
}

// A policy is a TrafficPolicy that may be used.
type policy struct {
	*Object
	age     int
	host    string // canonical, or a wildcard; empty without a target
	calls   trafficpolicy.Calls
	serving trafficpolicy.Serving
}

// serves reports whether the policy says anything of servers: what is for routes or some callers does not.
func (p *policy) serves() bool {
	return len(p.serving.Origins) > 0 && p.Traffic.From == nil && (p.Traffic.Target == nil || p.Traffic.Target.Route == "")
}

type servicePort struct {
	service *Service
	port    uint32
}

func (c *Catalog) addTrafficPolicies() {
	c.traffic.byHost = map[string]map[string][]*policy{}
	targeted := false
	for _, o := range c.objects {
		if o.Traffic == nil {
			continue
		}
		origin := o.Key().String() + " at " + o.Position.String()
		p := &policy{
			Object: o, age: len(c.traffic.all),
			calls: o.Traffic.Calls(o.policyName(), origin), serving: o.Traffic.Serving(o.policyName(), origin),
		}
		if t := o.Traffic.Target; t != nil {
			p.host = c.Expand(o.Namespace, t.Service)
			targeted = targeted || p.serves()
		}
		if f := o.Traffic.From; f != nil && (f.ServiceAccount != "" || len(f.Labels) > 0) {
			c.traffic.apart = true
		}
		hosts := c.traffic.byHost[o.Namespace]
		if hosts == nil {
			hosts = map[string][]*policy{}
			c.traffic.byHost[o.Namespace] = hosts
		}
		hosts[p.host] = append(hosts[p.host], p)
		c.traffic.all = append(c.traffic.all, p)
	}
	if targeted {
		c.addServed()
	}
}

func (c *Catalog) addServed() {
	c.traffic.served = map[netip.AddrPort][]servicePort{}
	for _, s := range c.services {
		for _, p := range s.Ports {
			for _, e := range s.Endpoints(p.Number) {
				if ip, err := netip.ParseAddr(e.Address); err == nil {
					at := netip.AddrPortFrom(ip.Unmap(), uint16(e.Port))
					c.traffic.served[at] = append(c.traffic.served[at], servicePort{s, p.Number})
				}
			}
		}
	}
}

// ClientPolicy returns what TrafficPolicies say of the calls that a caller makes to a port of a service. route is the name
// of the VirtualService's rule (http[].name) that such a call takes; empty for what is a cluster's, and where
// there is no rule or it has no name. What is a route's is to be asked of the service that is called, what is a cluster's of
// the service that the route leads to. The same arguments return the same pointers.
func (c *Catalog) ClientPolicy(caller trafficpolicy.Caller, service *Service, port uint32, route string) trafficpolicy.Calls {
	var found []candidate
	namespaces := []string{caller.Namespace, service.Namespace, c.mesh.RootNamespace}
	for place, ns := range namespaces {
		hosts := c.traffic.byHost[ns]
		if hosts == nil || slices.Index(namespaces, ns) < place {
			continue
		}
		consider := func(policies []*policy, width int) {
			for _, p := range policies {
				t, f := p.Traffic.Target, p.Traffic.From
				if len(p.calls.Origins) == 0 || !f.Holds(caller) {
					continue
				}
				if t != nil && (t.Port != 0 && t.Port != port || t.Route != "" && t.Route != route) {
					continue
				}
				found = append(found, candidate{p, width, place})
			}
		}
		width := 0
		for pattern := range patterns(service.Host) {
			consider(hosts[pattern], width)
			width++
		}
		if place != 1 || ns == c.mesh.RootNamespace {
			consider(hosts[""], width) // a default is for the callers of its namespace, not for those of its services
		}
	}
	var out trafficpolicy.Calls
	for _, f := range sortCandidates(found) {
		out.Take(f.calls)
	}
	return out
}

// ServerPolicy returns what TrafficPolicies say of the calls that a process serves.
func (c *Catalog) ServerPolicy(w trafficpolicy.Workload) trafficpolicy.Serving {
	served := c.servedBy(w)
	namespaces := []string{cmp.Or(w.Namespace, DefaultNamespace), c.mesh.RootNamespace}
	var found []candidate
	for place, ns := range slices.Compact(namespaces) {
		hosts := c.traffic.byHost[ns]
		for _, at := range served {
			width := 0
			for pattern := range patterns(at.service.Host) {
				for _, p := range hosts[pattern] {
					if p.Traffic.Target.Port == 0 || p.Traffic.Target.Port == at.port {
						found = append(found, candidate{p, width, place})
					}
				}
				width++
			}
		}
		for _, p := range hosts[""] {
			found = append(found, candidate{p, 0, place})
		}
	}
	found = slices.DeleteFunc(found, func(f candidate) bool { return !f.serves() })
	var out trafficpolicy.Serving
	for _, f := range sortCandidates(found) {
		out.Take(f.serving)
	}
	return out
}

// servedBy are the ports of services that a process serves. The service that it registers under counts before the
// registration is known.
func (c *Catalog) servedBy(w trafficpolicy.Workload) []servicePort {
	if c.traffic.served == nil {
		return nil
	}
	var out []servicePort
	if ip, err := netip.ParseAddr(w.Address); err == nil && !ip.IsUnspecified() {
		out = slices.Clone(c.traffic.served[netip.AddrPortFrom(ip.Unmap(), uint16(w.Port))])
	} else {
		for _, s := range c.services {
			for _, p := range s.Ports {
				if slices.ContainsFunc(s.Endpoints(p.Number), func(e Endpoint) bool { return e.Port == w.Port && maps.Equal(e.Labels, w.Labels) }) {
					out = append(out, servicePort{s, p.Number})
				}
			}
		}
	}
	if w.Service == "" {
		return out
	}
	name := strings.ToLower(w.Service) + "." + cmp.Or(w.Namespace, DefaultNamespace) + serviceSuffix
	if !slices.ContainsFunc(out, func(at servicePort) bool { return at.service.Host == name }) {
		out = append(out, servicePort{&Service{Host: name}, w.Port})
	}
	return out
}

// TellsCallersApart reports whether a TrafficPolicy holds for some callers of a namespace only: then clients that differ in
// labels or service account may see different things.
func (c *Catalog) TellsCallersApart() bool { return c.traffic.apart }

// SharedLimits returns the limits that all processes share, by name.
func (c *Catalog) SharedLimits() []trafficpolicy.SharedLimit {
	var all []trafficpolicy.SharedLimit
	for _, p := range c.traffic.all {
		all = append(all, p.Traffic.SharedLimits(p.policyName())...)
	}
	slices.SortFunc(all, func(a, b trafficpolicy.SharedLimit) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// A candidate is a policy that holds for a call.
type candidate struct {
	*policy
	width int // of the host: 0 is exact, more is a shorter wildcard
	place int // of the namespace: 0 is the caller's or the server's own
}

// sortCandidates orders policies from the most specific one; of one that holds for several reasons the first counts.
func sortCandidates(all []candidate) []candidate {
	whether := func(b bool) int { return map[bool]int{true: 0, false: 1}[b] }
	slices.SortStableFunc(all, func(a, b candidate) int {
		x, y := a.Traffic, b.Traffic
		if order := cmp.Compare(whether(x.Target != nil), whether(y.Target != nil)); order != 0 {
			return order
		}
		if x.Target == nil { // the namespace before the mesh
			return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(whether(x.From != nil), whether(y.From != nil)), cmp.Compare(a.age, b.age))
		}
		return cmp.Or(
			cmp.Compare(whether(x.Target.Route != ""), whether(y.Target.Route != "")),
			cmp.Compare(whether(x.Target.Port != 0), whether(y.Target.Port != 0)),
			cmp.Compare(a.width, b.width),
			cmp.Compare(whether(x.From != nil), whether(y.From != nil)),
			cmp.Compare(a.place, b.place),
			cmp.Compare(a.age, b.age),
		)
	})
	seen := map[*policy]bool{}
	return slices.DeleteFunc(all, func(f candidate) bool {
		twice := seen[f.policy]
		seen[f.policy] = true
		return twice
	})
}

func (o *Object) policyName() string { return o.Namespace + "/" + o.Name }
