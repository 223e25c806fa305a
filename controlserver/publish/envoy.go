package publish

import (
	"net"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// What an Envoy sidecar gets: one listener on loopback that its application uses
// as an HTTP proxy, and one table with a virtual host for each port of each service.
const (
	sidecarListener = "outbound"
	sidecarRoutes   = "outbound"
)

// sidecar is its listener. It has all filters of which routes may have need, since
// a listener that changes closes its connections; but that for global limits, which
// Envoy refuses without the cluster it asks.
func (v *View) sidecar() wire.Listener {
	l := wire.Listener{
		Name: sidecarListener, Address: v.client.Listen, RouteConfig: sidecarRoutes,
		RateLimits: true, Faults: true, Bandwidths: true,
	}
	if _, ok := v.rateLimits(); ok {
		l.Global = &wire.GlobalFilter{GlobalRate: v.asked, Cluster: RateLimitCluster}
	}
	return l
}

// sidecarHosts are the virtual hosts of all services. A name is a domain of the
// service that it means to the client, and of no other: Envoy refuses a table in which two
// virtual hosts have one domain.
func (v *View) sidecarHosts() []resolver.VirtualHost {
	var out []resolver.VirtualHost
	for _, s := range v.catalog.Services() {
		if !s.VisibleTo(v.client.Namespace) {
			continue
		}
		for _, p := range s.Ports {
			if !p.Protocol.IsHTTP() {
				continue
			}
			number := strconv.FormatUint(uint64(p.Number), 10)
			def, ok := s.DefaultPort()
			var domains []string
			for _, name := range s.Names(v.client.Namespace) {
				for _, d := range domainsOf(name, number, ok && def.Number == p.Number) {
					if means, port := v.find(d); means == s && port.Number == p.Number {
						domains = append(domains, d)
					}
				}
			}
			if len(domains) > 0 {
				out = append(out, resolver.VirtualHost{Name: s.Host + ":" + number, Domains: domains, Routes: v.told(s, p)})
			}
		}
	}
	return out
}

func domainsOf(name, port string, isDefault bool) []string {
	if strings.Contains(name, ":") { // IPv6
		name = "[" + name + "]"
	}
	domains := []string{name + ":" + port}
	if isDefault {
		domains = append(domains, name)
	}
	return domains
}

func isIP(s string) bool { return net.ParseIP(s) != nil }
