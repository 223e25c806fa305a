package publish

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	networking "istio.io/api/networking/v1alpha3"
	selection "istio.io/api/type/v1beta1"

	"github.com/weftmesh/weft/controlserver/catalog"
)

// places are the endpoints of the catalog by where they are, and those of operators by IP address alone, so that who listens at an address is found without looking at all. It is
// safe for concurrent use.
type places struct {
	catalog *catalog.Catalog
	once    sync.Once
	all     map[place]*catalog.Endpoint
}

type place struct {
	namespace string
	at        netip.AddrPort
}

// at is the endpoint of a namespace at an address; nil if there is none. A port that no service has is of the workload that has the
// others, if all of the IP address are one's.
func (p *places) at(namespace string, at netip.AddrPort) *catalog.Endpoint {
	p.once.Do(p.find)
	ip := at.Addr().Unmap()
	if e := p.all[place{namespace, netip.AddrPortFrom(ip, at.Port())}]; e != nil {
		return e
	}
	return p.all[place{namespace, netip.AddrPortFrom(ip, 0)}]
}

func (p *places) find() {
	p.all = map[place]*catalog.Endpoint{}
	several := map[place]bool{}
	put := func(namespace string, e *catalog.Endpoint) {
		ip, err := netip.ParseAddr(e.Address)
		if err != nil {
			return
		}
		where := place{namespace, netip.AddrPortFrom(ip.Unmap(), uint16(e.Port))}
		if was := p.all[where]; was == nil || was.Registered {
			p.all[where] = e
		}
		if e.Registered {
			return
		}
		where.at = netip.AddrPortFrom(where.at.Addr(), 0)
		if was := p.all[where]; was != nil && !maps.Equal(was.Labels, e.Labels) {
			several[where] = true
		}
		p.all[where] = e
	}
	for _, s := range p.catalog.Services() {
		for _, port := range s.Ports {
			endpoints := s.Endpoints(port.Number)
			for i := range endpoints {
				put(s.Namespace, &endpoints[i])
			}
		}
	}
	for _, o := range p.catalog.Objects() { // also those that no service selects
		if e, ok := o.Spec.(*networking.WorkloadEntry); ok {
			put(o.Namespace, &catalog.Endpoint{Address: e.GetAddress(), Labels: e.GetLabels(), ServiceAccount: e.GetServiceAccount()})
		}
	}
	maps.DeleteFunc(p.all, func(where place, _ *catalog.Endpoint) bool { return several[where] })
}

// selecting reports whether it depends on a server's labels who may call it.
func selecting(c *catalog.Catalog) bool {
	return slices.ContainsFunc(c.Objects(), func(o *catalog.Object) bool {
		p, ok := o.Spec.(interface {
			GetSelector() *selection.WorkloadSelector
		})
		return ok && len(p.GetSelector().GetMatchLabels()) > 0
	})
}
