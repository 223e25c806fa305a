package controlserver

import (
	"cmp"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/ads"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/controlserver/source/registry"
	"github.com/weftmesh/weft/resolver/xds/wire"
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

// Took tells how the ports of a process take connections from now on: by that callers are told how to call it.
func (r registration) Took(stream uint64, resources []*ads.Resource) {
	for _, res := range resources {
		if res.TypeURL != wire.ListenerType || !registry.Inbound(res.Name) {
			continue
		}
		if l, err := wire.DecodeListener(res.Any()); err == nil && l.Inbound != nil { // always: it is our own
			r.InForce(stream, res.Name, l.Inbound.TLS.Mode)
		}
	}
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
