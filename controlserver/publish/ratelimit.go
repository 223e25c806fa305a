package publish

import (
	"cmp"
	"net"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/trafficpolicy"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// RateLimitCluster is the cluster in which proxies find the rate limit service.
const RateLimitCluster = "weft-ratelimit"

// askTimeout is how long an answer is waited for where nothing is said (resilience.GlobalRate).
const askTimeout = 20 * time.Millisecond

// askedOfProxies is how a proxy asks for limits of all processes together, the same for all routes: it waits as long as
// any of them wants, and refuses calls that it can't ask for if all of them want that.
func askedOfProxies(c *catalog.Catalog) resilience.GlobalRate {
	asked := resilience.GlobalRate{Domain: trafficpolicy.Domain}
	open := false
	for _, o := range c.Objects() {
		if o.Traffic == nil || o.Traffic.Client == nil || o.Traffic.Client.GlobalRateLimit == nil {
			continue
		}
		g := o.Traffic.Client.GlobalRateLimit
		asked.Timeout = max(asked.Timeout, cmp.Or(time.Duration(g.Timeout), askTimeout))
		asked.Lease.Closed = asked.Lease.Closed || g.FailClosed
		open = open || !g.FailClosed
	}
	asked.Lease.Closed = asked.Lease.Closed && !open
	return asked
}

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
