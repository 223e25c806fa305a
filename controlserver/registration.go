package controlserver

import (
	"cmp"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/ads"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/controlserver/source/registry"
)

// registration tells the registry what the streams of ads do.
type registration struct{ *registry.Registry }

func (r registration) StreamOpened(stream uint64, n *ads.Node) {
	l := n.Proto.GetLocality()
	r.Open(stream, registry.Process{
		ID:             n.ID,
		Service:        n.Service,
		Namespace:      n.Namespace,
		ServiceAccount: n.ServiceAccount,
		Labels:         n.Labels,
		Identity:       n.Identity,
		Locality:       balancer.Locality{Region: l.GetRegion(), Zone: l.GetZone(), SubZone: l.GetSubZone()},
		Addresses:      n.InstanceIPs,
		Peer:           n.Peer.Addr(),
	})
}

// client is what of a node decides what publish lets it see.
func client(n *ads.Node) publish.Client {
	return publish.Client{
		Dialect:   publish.DialectOf(n.Proto),
		Namespace: cmp.Or(n.Namespace, catalog.DefaultNamespace),
		Labels:    n.Labels,
		Addresses: n.InstanceIPs,
		Listen:    publish.ListenOf(n.Proto),
		Inbound:   publish.InboundOf(n.Proto),

		ServiceAccount: n.ServiceAccount,
	}
}
