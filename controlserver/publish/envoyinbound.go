package publish

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// forwards begins the names of the listeners of an Envoy that stands before a server; its address follows.
const forwards = "inbound|"

// forward finds the address of a listener or cluster of that name.
func (v *View) forward(name string) (Forward, bool) {
	listen, ok := strings.CutPrefix(name, forwards)
	i := slices.IndexFunc(v.client.Inbound, func(f Forward) bool { return f.Listen == listen })
	if !ok || i < 0 || v.client.Dialect != Envoy {
		return Forward{}, false
	}
	return v.client.Inbound[i], true
}

func (v *View) forwardNames() []string {
	if v.client.Dialect != Envoy {
		return nil
	}
	var names []string
	for _, f := range v.client.Inbound {
		names = append(names, forwards+f.Listen)
	}
	return names
}

// before is the listener before a server: all who may call it, and nothing else of what the mesh's library does for its servers.
func (v *View) before(name string, f Forward) wire.Listener {
	at, err := netip.ParseAddrPort(f.Listen)
	if err != nil {
		at = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	w := v.workload(netip.AddrPortFrom(at.Addr(), uint16(f.Port)))
	serving := v.serving(netip.AddrPortFrom(at.Addr(), uint16(f.Port)).String())
	told, lost := v.limitInbound(v.protected(f.Listen, serving, w, f.Port), w)
	v.lose(lost)
	l := wire.Listener{Name: name, Inbound: &told.Inbound, Proxy: &wire.Proxy{Cluster: name, TCP: f.TCP}, Secrets: wire.SDS}
	if told.TLS.Mode > identity.Disable {
		l.RevocationLists = v.lists(told.From)
	}
	return l
}

// behind is the server behind a listener.
func behind(name string, f Forward) wire.Cluster {
	return wire.Cluster{Cluster: resolver.Cluster{
		Name: name, Balance: balancer.Policy{Kind: balancer.RoundRobin}, ConnectTimeout: ConnectTimeout,
		Endpoints: []balancer.Endpoint{{Addr: f.To, Weight: 1}},
	}}
}

// askedNames are the clusters of the services that a proxy asks by itself, be it for a verdict or for keys.
func (v *View) askedNames() []string {
	var names []string
	add := func(service string) {
		if i := strings.LastIndexByte(service, ':'); i >= 0 {
			if n, err := strconv.ParseUint(service[i+1:], 10, 16); err == nil {
				names = append(names, clusterName(uint32(n), "", service[:i]))
			}
		}
	}
	for _, f := range v.client.Inbound {
		l := v.before(forwards+f.Listen, f)
		for _, s := range slices.Concat(l.Inbound.Guard.Steps, l.Inbound.Guard.Connections) {
			if s.Ask != nil {
				add(s.Ask.Service)
			}
		}
		for _, p := range providersOf(l.Inbound.Guard.JWT) {
			add(p.Service)
		}
	}
	return names
}

func providersOf(t *identity.JWT) []identity.Provider {
	if t == nil {
		return nil
	}
	return t.Providers
}
