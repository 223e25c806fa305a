package catalog

import (
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// topology are the labels that stand for a locality's parts.
var topology = []string{"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"}

func (v *validator) localities(p *path, l *networking.LocalityLoadBalancerSetting) {
	if len(l.GetDistribute()) > 0 && len(l.GetFailover()) > 0 {
		v.fail(p.field("failover"), "only one of distribute and failover may be given")
	}
	for i, label := range l.GetFailoverPriority() {
		if len(l.GetFailover()) > 0 && slices.Contains(topology, label) {
			v.fail(p.field("failoverPriority").at(i), "%q says what failover says: only one of both may", label)
		}
	}
	var from []string
	for i, d := range l.GetDistribute() {
		at := p.field("distribute").at(i)
		if why := notLocality(d.GetFrom(), from); why != "" {
			v.fail(at.field("from"), "%q %s", d.GetFrom(), why)
		}
		from = append(from, d.GetFrom())
		var total uint64
		var to []string
		for _, locality := range sorted(d.GetTo()) {
			share := d.GetTo()[locality]
			if share == 0 || share > 100 {
				v.fail(at.field("to").key(locality), "%d is out of range: 1 to 100", share)
			}
			if why := notLocality(locality, to); why != "" {
				v.fail(at.field("to").key(locality), "%q %s", locality, why)
			}
			to, total = append(to, locality), total+uint64(share)
		}
		if total != 100 {
			v.fail(at.field("to"), "shares sum to %d, not 100", total)
		}
	}
	for i, f := range l.GetFailover() {
		v.failover(p.field("failover").at(i), f.GetFrom(), f.GetTo())
	}
}

func (v *validator) zones(p *path, l *networking.ZoneAwareLoadBalancerSetting) {
	for i, label := range l.GetFailoverPriority() {
		if slices.Contains(topology, label) {
			v.fail(p.field("failoverPriority").at(i), "%q is looked at without being asked for", label)
		}
	}
	for i, f := range l.GetFailover() {
		v.failover(p.field("failover").at(i), f.GetFrom(), f.GetTo())
	}
}

// failover checks from which region calls go to which.
func (v *validator) failover(p *path, from, to string) {
	if from == to {
		v.fail(p.field("to"), "%q is where it fails over from", to)
	}
	for _, region := range [...]string{from, to} {
		if strings.ContainsAny(region, "/*") {
			v.fail(p, "%q is not a region", region)
		}
	}
}

// notLocality says why a region, region/zone or region/zone/sub-zone, of which the end may be "*", cannot follow others; nothing if it can. One with "*" may
// follow those that it stands for.
func notLocality(locality string, others []string) string {
	parts := strings.SplitN(locality, "/", 3)
	switch n := strings.Count(locality, "*"); {
	case n > 1, n == 1 && !strings.HasSuffix(locality, "*"):
		return "may have one \"*\", at its end"
	case slices.Contains(parts, ""):
		return "is not region/zone/sub-zone"
	}
	for _, o := range others {
		if standsFor(o, locality) || !strings.HasSuffix(locality, "*") && standsFor(locality, o) {
			return "overlaps with " + strconv.Quote(o)
		}
	}
	return ""
}

// standsFor reports whether a locality is one of those that another stands for.
func standsFor(outer, inner string) bool {
	outer = strings.TrimSuffix(outer, "/*")
	return outer == "*" || inner == outer || strings.HasPrefix(inner, outer+"/")
}
