package xds

import (
	"fmt"
	"math"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// unservedRoutes takes out of routes what is understood and not acted on yet, and
// says so. An attempt whose time was to send a hedge ends with that time instead.
func unservedRoutes(hosts []resolver.VirtualHost) (warnings []string) {
	for _, vh := range hosts {
		for i := range vh.Routes {
			p := &vh.Routes[i].Policy
			if p.Hedge == nil {
				continue
			}
			if p.Retry.Attempts > 0 && p.Retry.TryTimeout == 0 && p.Hedge.Percentile == 0 {
				p.Retry.TryTimeout = p.Hedge.Delay
			}
			p.Hedge = nil
			warnings = append(warnings, fmt.Sprintf("route %q: hedging is not supported yet: its calls are sent once at a time", vh.Routes[i].Name))
		}
	}
	return warnings
}

// unservedCluster says which limits of a cluster are not kept yet.
func unservedCluster(c *resolver.Cluster) (warnings []string) {
	if c.Thresholds == nil {
		return nil
	}
	t := c.Thresholds[resilience.DefaultPriority]
	if t.MaxConnections < math.MaxUint32 && t.MaxConnections != resilience.DefaultThresholds().MaxConnections {
		warnings = append(warnings, fmt.Sprintf("cluster %q: max_connections is not supported yet, has no effect", c.Name))
	}
	if t.MaxPending < math.MaxUint32 && t.MaxPending != resilience.DefaultThresholds().MaxPending {
		warnings = append(warnings, fmt.Sprintf("cluster %q: max_pending_requests is not supported yet, has no effect", c.Name))
	}
	return warnings
}
