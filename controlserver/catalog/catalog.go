package catalog

import (
	"cmp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// A Catalog is everything known at one moment. It is immutable and safe for
// concurrent use.
type Catalog struct {
	objects  []*Object // one of each key, oldest first
	findings []Finding // of the fragments, and of merging them

	services  []*Service
	byHost    map[string][]*Service // canonical hosts and aliases
	byAddress map[string][]*Service
	chosen    map[*Object]bool // the WorkloadEntries that a ServiceEntry selects

	virtualServices []*VirtualService // oldest first
	routes          map[string][]*VirtualService
	rules           map[string]map[string][]*Object // namespace -> host -> DestinationRules, oldest first
	traffic         traffic
	mesh            *MeshConfig
	meshObject      *Object // nil if there is no MeshConfig
	protection      protection
}

// Merge makes one catalog of what all sources report. Of several objects with
// one name the first reported wins.
func Merge(fragments ...Fragment) *Catalog {
	c := &Catalog{}
	seen := map[Key]*Object{}
	var workloads []Workload
	for _, f := range fragments {
		c.findings = append(c.findings, f.Findings...)
		workloads = append(workloads, f.Workloads...)
		for i := range f.Objects {
			o := &f.Objects[i]
			if first, ok := seen[o.Key()]; ok {
				c.findings = append(c.findings, duplicate(o, first))
				continue
			}
			seen[o.Key()] = o
			c.objects = append(c.objects, o)
		}
	}
	slices.SortFunc(c.objects, func(a, b *Object) int {
		return cmp.Or(older(a, b), cmp.Compare(a.Kind, b.Kind))
	})
	c.addMesh()
	c.addServices(workloads)
	c.addVirtualServices()
	c.addDestinationRules()
	c.addTrafficPolicies()
	c.addProtection()
	return c
}

func duplicate(o, first *Object) Finding {
	return Finding{
		Position: o.Position, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Field: "metadata.name",
		Message: "name already taken at " + first.Position.String() + "; the first one is used",
	}
}

// Objects returns all objects in use, oldest first. Not to be modified.
func (c *Catalog) Objects() []*Object { return c.objects }

// Services returns all services by host and namespace. Not to be modified.
func (c *Catalog) Services() []*Service { return c.services }

// VirtualServices returns those for the mesh, oldest first. Not to be modified.
func (c *Catalog) VirtualServices() []*VirtualService { return c.virtualServices }

// A VirtualService holds the routes of its hosts. It is immutable.
type VirtualService struct {
	*Object
	// Hosts are the canonical names of spec.hosts, in their order.
	Hosts []string
	Spec  *networking.VirtualService
}

// VirtualService returns the routes that hold when a client in a namespace calls
// a host by its canonical name: of those for the mesh that it may see, the one
// with the most specific host, and of these the oldest; nil if there is none.
// Destination hosts in it are to be read with [Catalog.Expand], in the
// VirtualService's own namespace.
func (c *Catalog) VirtualService(namespace, host string) *VirtualService {
	for pattern := range patterns(host) {
		for _, vs := range c.routes[pattern] {
			if exported(vs.Spec.GetExportTo(), vs.Namespace, namespace) {
				return vs
			}
		}
	}
	return nil
}

func (c *Catalog) addVirtualServices() {
	c.routes = map[string][]*VirtualService{}
	for _, o := range c.objects {
		spec, ok := o.Spec.(*networking.VirtualService)
		if !ok || !forMesh(spec.GetGateways()) {
			continue
		}
		vs := &VirtualService{Object: o, Spec: spec}
		for _, h := range spec.GetHosts() {
			host := c.Expand(o.Namespace, h)
			vs.Hosts = append(vs.Hosts, host)
			c.routes[host] = append(c.routes[host], vs)
		}
		c.virtualServices = append(c.virtualServices, vs)
	}
}

// forMesh reports whether a list of gateways includes the mesh, as an empty one does.
func forMesh(gateways []string) bool {
	return len(gateways) == 0 || slices.Contains(gateways, "mesh")
}

// patterns yields the host, then the wildcards that match it, longest first.
func patterns(host string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if !yield(host) {
			return
		}
		rest := strings.TrimPrefix(host, "*.")
		if rest == host || host == "*" {
			rest = host
		}
		for {
			_, after, ok := strings.Cut(rest, ".")
			if !ok {
				break
			}
			rest = after
			if !yield("*." + rest) {
				return
			}
		}
		if host != "*" {
			yield("*")
		}
	}
}
