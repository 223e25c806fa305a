package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// birth makes services of the workloads that no ServiceEntry claimed.
func (b *builder) birth() {
	type identity struct{ namespace, name string }
	orphans := map[identity][]*claimable{}
	for ns, ws := range b.registered {
		for _, w := range ws.all {
			if !w.claimed && w.Name != "" && len(w.Ports) > 0 {
				id := identity{ns, strings.ToLower(w.Name)}
				orphans[id] = append(orphans[id], w)
			}
		}
	}
	ids := slices.SortedFunc(maps.Keys(orphans), func(a, b identity) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	for _, id := range ids {
		host := id.name + "." + id.namespace + serviceSuffix
		if len(b.byHost[host]) > 0 {
			b.findings = append(b.findings, Finding{
				Severity: Warning,
				Position: b.byHost[host][0].Objects[0].Position,
				Kind:     KindServiceEntry, Namespace: id.namespace, Name: b.byHost[host][0].Objects[0].Name,
				Message: fmt.Sprintf("%d registered processes of %s are not used: the service has endpoints of its own or a workloadSelector that does not match them", len(orphans[id]), host),
			})
			continue
		}
		s := &Service{Host: host, Namespace: id.namespace, Resolution: Static, endpoints: map[uint32][]Endpoint{}}
		s.Ports = bornPorts(orphans[id])
		for _, p := range s.Ports {
			for _, w := range orphans[id] {
				if number, ok := w.portFor(p); ok {
					b.join(s, p, w.endpoint(number))
				}
			}
		}
		b.add(s)
	}
}

// bornPorts are port 80, which stands for the port each process opened first,
// and the ports that all processes have in common.
func bornPorts(ws []*claimable) []Port {
	first := ws[0].Ports[0]
	ports := []Port{{Number: 80, Name: first.Name, Protocol: first.Protocol}}
	for _, p := range ws[0].Ports {
		if p.Number == 80 {
			ports[0] = Port{Number: 80, Name: p.Name, Protocol: p.Protocol}
			continue
		}
		common := !slices.ContainsFunc(ws, func(w *claimable) bool {
			return !slices.ContainsFunc(w.Ports, func(q WorkloadPort) bool { return q.Number == p.Number })
		})
		if common {
			ports = append(ports, Port{Number: p.Number, Name: p.Name, Protocol: p.Protocol})
		}
	}
	return ports
}

// portFor returns the port at which a process serves a port of its service: the
// one of that name, the one of the target's number, the only one, the only one
// of the protocol. Port 80 of a born service is the first one.
func (w *claimable) portFor(p Port) (uint32, bool) {
	target := cmp.Or(p.TargetPort, p.Number)
	for _, q := range w.Ports {
		if q.Number == target || q.Name != "" && q.Name == p.Name {
			return q.Number, true
		}
	}
	if len(w.Ports) == 1 {
		return w.Ports[0].Number, true
	}
	var same []uint32
	for _, q := range w.Ports {
		if q.Protocol == p.Protocol {
			same = append(same, q.Number)
		}
	}
	if len(same) == 1 || len(same) > 0 && !w.claimed {
		return same[0], true
	}
	return 0, false
}
