package registry

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/catalog"
)

const (
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	// inboundPrefix begins the name of the listener of a port a process listens
	// on; "IP:PORT" follows (Istio's server_listener_resource_name_template).
	inboundPrefix = "xds.istio.io/grpc/lds/inbound/"
)

// check returns why a process cannot be registered.
func (p Process) check() error {
	said := p.Service
	if p = p.normal(); said != "" && !label(p.Service) {
		return fmt.Errorf("service %q: not a DNS label", said)
	}
	if p.Namespace != "" && !label(p.Namespace) {
		return fmt.Errorf("namespace %q: not a DNS label", p.Namespace)
	}
	return nil
}

// normal divides the service's name from its namespace.
func (p Process) normal() Process {
	if name, rest, ok := strings.Cut(p.Service, "."); ok {
		p.Service = name
		p.Namespace, _, _ = strings.Cut(rest, ".")
	}
	return p
}

// label reports whether s is a DNS label (RFC 1123).
func label(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// inbound returns the address in the name of an inbound listener; ok is false
// for any other name.
func (i *instance) inbound(name string) (addr netip.AddrPort, ok bool, err error) {
	text, ok := strings.CutPrefix(name, inboundPrefix)
	if !ok {
		return addr, false, nil
	}
	addr, err = netip.ParseAddrPort(text)
	if err != nil {
		return addr, true, fmt.Errorf("%q is not IP:PORT", text)
	}
	if addr.Port() == 0 {
		return addr, true, fmt.Errorf("%q has no port", text)
	}
	ip := addr.Addr()
	if ip.IsUnspecified() {
		if ip, err = i.own(); err != nil {
			return addr, true, err
		}
	}
	return netip.AddrPortFrom(ip.Unmap(), addr.Port()), true, nil
}

// own is the address of a process that listens on all of its.
func (i *instance) own() (netip.Addr, error) {
	if len(i.Addresses) > 0 {
		ip, err := netip.ParseAddr(i.Addresses[0])
		if err != nil {
			return ip, fmt.Errorf("the node's own address %q is not an IP address", i.Addresses[0])
		}
		if !ip.IsUnspecified() {
			return ip, nil
		}
	}
	if !i.Peer.IsValid() {
		return i.Peer, errors.New("the node listens on all its addresses and names none of them")
	}
	return i.Peer, nil
}

// Inbound reports whether a listener of that name is one by which a process registers a port.
func Inbound(listener string) bool { return strings.HasPrefix(listener, inboundPrefix) }

// drop takes a port away.
func (i *instance) drop(addr netip.AddrPort) {
	delete(i.modes, addr)
	i.ports = slices.DeleteFunc(i.ports, func(a netip.AddrPort) bool { return a == addr })
}

// workloads is the instance in the catalog's words: one for each address.
func (i *instance) workloads() []catalog.Workload {
	var ws []catalog.Workload
	for _, addr := range i.ports {
		ip := addr.Addr().String()
		n := slices.IndexFunc(ws, func(w catalog.Workload) bool { return w.Address == ip })
		if n < 0 {
			n = len(ws)
			ws = append(ws, catalog.Workload{
				Name: i.Service, Namespace: i.Namespace, Address: ip, Labels: i.Labels,
				Locality: i.Locality, Health: i.health, ServiceAccount: i.ServiceAccount,
			})
		}
		ws[n].Ports = append(ws[n].Ports, catalog.WorkloadPort{Number: uint32(addr.Port()), Mode: i.modes[addr]})
	}
	return ws
}

func healthOf(healthy bool, reason string) balancer.Health {
	switch {
	case healthy:
		return balancer.Healthy
	case strings.HasPrefix(reason, "draining"):
		return balancer.Draining
	}
	return balancer.Unhealthy
}

func sortWorkloads(ws []catalog.Workload) {
	slices.SortFunc(ws, func(a, b catalog.Workload) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Address, b.Address),
			cmp.Compare(a.Ports[0].Number, b.Ports[0].Number))
	})
}

func equal(a, b []catalog.Workload) bool {
	return slices.EqualFunc(a, b, func(a, b catalog.Workload) bool {
		return a.Name == b.Name && a.Namespace == b.Namespace && a.Address == b.Address && a.Locality == b.Locality &&
			a.Health == b.Health && a.ServiceAccount == b.ServiceAccount &&
			slices.Equal(a.Ports, b.Ports) && maps.Equal(a.Labels, b.Labels)
	})
}
