package catalog

import (
	"maps"
	"slices"
	"strconv"

	security "istio.io/api/security/v1beta1"
)

// peerAuthentication checks a PeerAuthentication.
func (v *validator) peerAuthentication(pa *security.PeerAuthentication, p *path) {
	v.selector(p.field("selector"), pa.GetSelector())
	ports := p.field("portLevelMtls")
	switch {
	case pa.PortLevelMtls != nil && len(pa.GetPortLevelMtls()) == 0:
		v.fail(ports, "is empty")
	case len(pa.GetPortLevelMtls()) > 0 && len(pa.GetSelector().GetMatchLabels()) == 0:
		v.fail(ports, "needs a selector: ports are those of single workloads")
	case pa.GetMtls() == nil && len(pa.GetPortLevelMtls()) == 0:
		v.warn(p, "says nothing: it has neither mtls nor portLevelMtls")
	}
	for _, port := range slices.Sorted(maps.Keys(pa.GetPortLevelMtls())) {
		v.port(ports.key(strconv.FormatUint(uint64(port), 10)), port)
	}
}
