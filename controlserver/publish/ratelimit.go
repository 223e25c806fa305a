package publish

import (
	"net"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// RateLimitCluster is the cluster in which proxies find the rate limit service.
const RateLimitCluster = "weft-ratelimit"

// rateLimits is that cluster: there is one for proxies alone, and only where there are limits to ask for.
func (v *View) rateLimits() (wire.Cluster, bool) {
	host, port, err := net.SplitHostPort(v.config.RateLimits)
	if v.client.Dialect != Envoy || err != nil || len(v.catalog.SharedLimits()) == 0 {
		return wire.Cluster{}, false
	}
	c := resolver.Cluster{Name: RateLimitCluster, HTTP2: true, ConnectTimeout: ConnectTimeout}
	for _, ip := range v.addresses(host) {
		c.Endpoints = append(c.Endpoints, balancer.Endpoint{Addr: net.JoinHostPort(ip, port), Hostname: hostname(host, ip), Weight: 1})
	}
	return wire.Cluster{Cluster: c}, true
}
