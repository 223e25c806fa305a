package catalog

import (
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
)

func (v *validator) virtualService(vs *networking.VirtualService, p *path) {
	mesh := forMesh(vs.GetGateways())
	if !mesh {
		v.warn(p.field("gateways"), "does not name \"mesh\", and gateways are not supported yet: not used")
	}
	if len(vs.GetHosts()) == 0 {
		v.warn(p.field("hosts"), "no hosts: only of use by delegation, which is not supported yet")
	}
	seen := map[string]int{}
	for i, h := range vs.GetHosts() {
		at, lower := p.field("hosts").at(i), strings.ToLower(h)
		if first, ok := seen[lower]; ok {
			v.fail(at, "%q given twice, first as hosts[%d]", h, first)
			continue
		}
		seen[lower] = i
		if h == "*" && mesh {
			v.fail(at, "\"*\" cannot be used in the mesh")
			continue
		}
		if !isIP(h) {
			v.host(at, h, true)
		}
	}
	v.gateways(p.field("gateways"), vs.GetGateways())
	v.exportTo(p.field("exportTo"), vs.GetExportTo())
	if len(vs.GetHttp())+len(vs.GetTcp())+len(vs.GetTls()) == 0 {
		v.fail(p.field("http"), "has no rules: one of http, tcp and tls is needed")
	}
	for i, r := range vs.GetHttp() {
		v.route(p.field("http").at(i), r)
	}
	v.reachable(p.field("http"), vs.GetHttp())
	for i, r := range vs.GetTls() {
		v.tlsRoute(p.field("tls").at(i), r, vs.GetHosts())
	}
	for i, r := range vs.GetTcp() {
		at := p.field("tcp").at(i)
		v.l4(at.field("route"), r.GetRoute())
		for j, m := range r.GetMatch() {
			v.labels(at.field("match").at(j).field("sourceLabels"), m.GetSourceLabels())
			v.gateways(at.field("match").at(j).field("gateways"), m.GetGateways())
		}
	}
}

func (v *validator) gateways(p *path, names []string) {
	for i, name := range names {
		parts := strings.Split(name, "/")
		ok := len(parts) <= 2
		for j, part := range parts {
			ok = ok && (dnsLabel.MatchString(part) || len(parts) == 2 && j == 0 && part == "." || j == len(parts)-1 && objectName.MatchString(part))
		}
		if !ok {
			v.fail(p.at(i), "%q is not \"mesh\", NAME or NAMESPACE/NAME", name)
		}
	}
}

func (v *validator) route(p *path, r *networking.HTTPRoute) {
	for i, m := range r.GetMatch() {
		v.match(p.field("match").at(i), m)
	}
	v.actions(p, r)
	v.weights(p.field("route"), r.GetRoute())
	v.duration(p.field("timeout"), r.GetTimeout())
	v.retries(p.field("retries"), r)
	v.fault(p.field("fault"), r.GetFault())
	v.mirrors(p, r)
	if age := r.GetCorsPolicy().GetMaxAge(); age != nil && (age.GetNanos() != 0 || age.GetSeconds() < 0) {
		v.fail(p.field("corsPolicy").field("maxAge"), "must be whole seconds")
	}
	for i, o := range r.GetCorsPolicy().GetAllowOrigins() {
		v.stringMatch(p.field("corsPolicy").field("allowOrigins").at(i), o)
	}
}

func (v *validator) match(p *path, m *networking.HTTPMatchRequest) {
	v.stringMatch(p.field("uri"), m.GetUri())
	v.stringMatch(p.field("scheme"), m.GetScheme())
	v.stringMatch(p.field("method"), m.GetMethod())
	v.stringMatch(p.field("authority"), m.GetAuthority())
	v.stringMatches(p.field("headers"), m.GetHeaders())
	v.stringMatches(p.field("withoutHeaders"), m.GetWithoutHeaders())
	v.stringMatches(p.field("queryParams"), m.GetQueryParams())
	v.labels(p.field("sourceLabels"), m.GetSourceLabels())
	v.gateways(p.field("gateways"), m.GetGateways())
	if m.GetPort() != 0 {
		v.port(p.field("port"), m.GetPort())
	}
	if ns := m.GetSourceNamespace(); ns != "" && !dnsLabel.MatchString(ns) {
		v.fail(p.field("sourceNamespace"), "%q is not a namespace", ns)
	}
}

func (v *validator) stringMatches(p *path, all map[string]*networking.StringMatch) {
	if len(all) == 0 {
		return
	}
	for _, name := range sorted(all) {
		if name == "" {
			v.fail(p, "a name is empty")
			continue
		}
		v.stringMatch(p.key(name), all[name])
	}
}

func (v *validator) stringMatch(p *path, m *networking.StringMatch) {
	if expr, ok := m.GetMatchType().(*networking.StringMatch_Regex); ok {
		v.regex(p.field("regex"), expr.Regex)
	}
}

// weights checks the destinations of a rule and their shares.
func (v *validator) weights(p *path, route []*networking.HTTPRouteDestination) {
	var total uint64
	for i, d := range route {
		v.destination(p.at(i).field("destination"), d.GetDestination())
		if d.GetWeight() < 0 {
			v.fail(p.at(i).field("weight"), "must not be negative")
			continue
		}
		total += uint64(d.GetWeight())
	}
	v.total(p, len(route), total)
}

func (v *validator) total(p *path, n int, total uint64) {
	switch {
	case n > 1 && total == 0:
		v.fail(p, "weights sum to 0")
	case total > math.MaxUint32:
		v.fail(p, "weights sum to %d; at most %d", total, uint32(math.MaxUint32))
	}
}

func (v *validator) destination(p *path, d *networking.Destination) {
	if d == nil {
		v.fail(p, "is missing")
		return
	}
	if d.GetHost() == "*" {
		v.fail(p.field("host"), "\"*\" is not one service")
	} else {
		v.host(p.field("host"), d.GetHost(), true)
	}
	if s := d.GetSubset(); s != "" && !subset.MatchString(s) {
		v.fail(p.field("subset"), "%q must be letters, digits and '-'", s)
	}
	if d.GetPort() != nil {
		v.port(p.field("port").field("number"), d.GetPort().GetNumber())
	}
}

// reachable warns of rules that no request can reach.
func (v *validator) reachable(p *path, rules []*networking.HTTPRoute) {
	all := -1
	seen := map[string][2]int{}
	for i, r := range rules {
		if all >= 0 {
			v.warn(p.at(i), "is never reached: http[%d] takes every request", all)
			continue
		}
		if len(r.GetMatch()) == 0 {
			all = i
		}
		for j, m := range r.GetMatch() {
			bare := m
			if m.GetName() != "" || m.GetStatPrefix() != "" {
				bare = proto.CloneOf(m)
				bare.Name, bare.StatPrefix = "", ""
			}
			text, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
			if err != nil {
				continue
			}
			if first, ok := seen[string(text)]; ok {
				v.warn(p.at(i).field("match").at(j), "is never reached: http[%d].match[%d] is the same", first[0], first[1])
				continue
			}
			seen[string(text)] = [2]int{i, j}
			if len(text) == 0 {
				all = i
			}
		}
	}
}

func (v *validator) tlsRoute(p *path, r *networking.TLSRoute, hosts []string) {
	if len(r.GetMatch()) == 0 {
		v.fail(p.field("match"), "is missing")
	}
	for i, m := range r.GetMatch() {
		at := p.field("match").at(i)
		if len(m.GetSniHosts()) == 0 {
			v.fail(at.field("sniHosts"), "is missing")
		}
		for j, sni := range m.GetSniHosts() {
			covered := slices.ContainsFunc(hosts, func(h string) bool {
				suffix, wild := strings.CutPrefix(h, "*")
				return sni == h || wild && strings.HasSuffix(sni, suffix)
			})
			if !covered {
				v.fail(at.field("sniHosts").at(j), "%q is not among the hosts", sni)
			}
		}
		v.labels(at.field("sourceLabels"), m.GetSourceLabels())
		v.gateways(at.field("gateways"), m.GetGateways())
	}
	v.l4(p.field("route"), r.GetRoute())
}

func (v *validator) l4(p *path, route []*networking.RouteDestination) {
	if len(route) == 0 {
		v.fail(p, "is missing")
	}
	var total uint64
	for i, d := range route {
		v.destination(p.at(i).field("destination"), d.GetDestination())
		total += uint64(max(d.GetWeight(), 0))
	}
	v.total(p, len(route), total)
}
