package catalog

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (v *validator) tlsRoute(p *path, r *networking.TLSRoute, hosts []string) {
	if len(r.GetMatch()) == 0 {
		v.fail(p.field("match"), "is missing")
	}
	for i, m := range r.GetMatch() {
		at := p.field("match").at(i)
		if len(m.GetSniHosts()) == 0 {
			v.fail(at.field("sniHosts"), "is missing")
		}
		for j, sni := range m.GetSniHosts() {
			v.sni(at.field("sniHosts").at(j), sni, hosts)
		}
		v.l4Match(at, m)
	}
	v.l4(p.field("route"), r.GetRoute())
}

// sni checks a name, or "*" and the end of one, by which connections are told.
func (v *validator) sni(p *path, sni string, hosts []string) {
	covered := slices.ContainsFunc(hosts, func(h string) bool {
		suffix, wild := strings.CutPrefix(h, "*")
		return sni == h || wild && strings.HasSuffix(strings.TrimPrefix(sni, "*"), suffix)
	})
	switch why := notHost(sni, true); {
	case isIP(sni):
		v.warn(p, "%q is an address, which no client sends", sni)
	case why != "":
		v.fail(p, "%q is not a host name: %s", sni, why)
	case !covered:
		v.fail(p, "%q is not among the hosts", sni)
	}
}

// l4Match checks the conditions on connections.
func (v *validator) l4Match(p *path, m interface {
	GetDestinationSubnets() []string
	GetPort() uint32
	GetSourceLabels() map[string]string
	GetGateways() []string
}) {
	for i, subnet := range m.GetDestinationSubnets() {
		v.block(p.field("destinationSubnets").at(i), subnet)
	}
	if m.GetPort() != 0 {
		v.port(p.field("port"), m.GetPort())
	}
	v.labels(p.field("sourceLabels"), m.GetSourceLabels())
	v.gateways(p.field("gateways"), m.GetGateways())
}

func (v *validator) l4(p *path, route []*networking.RouteDestination) {
	if len(route) == 0 {
		v.fail(p, "is missing")
	}
	var total uint64
	for i, d := range route {
		v.destination(p.at(i).field("destination"), d.GetDestination())
		total += v.weight(p.at(i).field("weight"), d.GetWeight())
	}
	v.total(p, len(route), total)
}
