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
		v.delegated(p, vs)
	}
	for i, h := range vs.GetHosts() {
		at := p.field("hosts").at(i)
		if first := slices.IndexFunc(vs.GetHosts()[:i], func(o string) bool { return coincide(o, h) }); first >= 0 {
			v.fail(at, "%q given twice, first as hosts[%d]", h, first)
			continue
		}
		if h == "*" && mesh {
			v.fail(at, "\"*\" cannot be used in the mesh")
			continue
		}
		if !isIP(h) {
			v.host(at, h, true)
		}
	}
	v.gateways(p.field("gateways"), vs.GetGateways())
	v.exportTo(p.field("exportTo"), vs.GetExportTo(), false)
	if len(vs.GetHttp())+len(vs.GetTcp())+len(vs.GetTls()) == 0 {
		v.fail(p.field("http"), "has no rules: one of http, tcp and tls is needed")
	}
	for i, r := range vs.GetHttp() {
		v.route(p.field("http").at(i), r, mesh)
		if r.GetDelegate() != nil && len(vs.GetHosts()) == 0 {
			v.fail(p.field("http").at(i).field("delegate"), "has no place in what others delegate to: it has no hosts")
		}
	}
	v.reachable(p.field("http"), vs.GetHttp())
	for i, r := range vs.GetTls() {
		v.tlsRoute(p.field("tls").at(i), r, vs.GetHosts())
	}
	for i, r := range vs.GetTcp() {
		at := p.field("tcp").at(i)
		v.l4(at.field("route"), r.GetRoute())
		for j, m := range r.GetMatch() {
			v.l4Match(at.field("match").at(j), m)
		}
	}
}

// delegated checks what others can delegate to: rules on HTTP, and nothing that says for whom they are.
func (v *validator) delegated(p *path, vs *networking.VirtualService) {
	for field, n := range map[string]int{"gateways": len(vs.GetGateways()), "tls": len(vs.GetTls()), "tcp": len(vs.GetTcp())} {
		if n > 0 {
			v.fail(p.field(field), "has no place where there are no hosts")
		}
	}
}

// coincide reports whether a host can be both.
func coincide(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	short, isA := strings.CutPrefix(a, "*")
	long, isB := strings.CutPrefix(b, "*")
	switch {
	case isA && isB && len(long) < len(short):
		return strings.HasSuffix(short, long)
	case isA:
		return strings.HasSuffix(long, short)
	case isB:
		return strings.HasSuffix(short, long)
	}
	return a == b
}

func (v *validator) gateways(p *path, names []string) {
	for i, name := range names {
		namespace, rest, two := strings.Cut(name, "/")
		ok := notHost(name, false) == ""
		if two {
			ok = hostLabel.MatchString(namespace) && hostLabel.MatchString(rest)
		}
		if !ok {
			v.fail(p.at(i), "%q is not \"mesh\", NAME or NAMESPACE/NAME", name)
		}
	}
}

func (v *validator) route(p *path, r *networking.HTTPRoute, mesh bool) {
	for i, m := range r.GetMatch() {
		v.match(p.field("match").at(i), m, mesh)
	}
	v.actions(p, r)
	v.headerOperations(p.field("headers"), r.GetHeaders())
	v.oneAuthority(p, r)
	v.weights(p.field("route"), r.GetRoute())
	v.duration(p.field("timeout"), r.GetTimeout())
	v.retries(p.field("retries"), r)
	v.fault(p.field("fault"), r.GetFault())
	v.mirrors(p, r)
	v.cors(p.field("corsPolicy"), r.GetCorsPolicy())
}

func (v *validator) match(p *path, m *networking.HTTPMatchRequest, mesh bool) {
	v.stringMatch(p.field("uri"), m.GetUri())
	v.someMatch(p.field("scheme"), m.GetScheme())
	v.someMatch(p.field("method"), m.GetMethod())
	v.someMatch(p.field("authority"), m.GetAuthority())
	v.headerMatches(p.field("headers"), m.GetHeaders(), mesh, false)
	v.headerMatches(p.field("withoutHeaders"), m.GetWithoutHeaders(), mesh, true)
	v.stringMatches(p.field("queryParams"), m.GetQueryParams())
	v.labels(p.field("sourceLabels"), m.GetSourceLabels())
	v.gateways(p.field("gateways"), m.GetGateways())
	if m.GetPort() != 0 {
		v.port(p.field("port"), m.GetPort())
	}
	switch ns := m.GetSourceNamespace(); {
	case ns == "" || dnsLabel.MatchString(ns):
	case hostLabel.MatchString(ns):
		v.warn(p.field("sourceNamespace"), "%q is no namespace: they are in lower case", ns)
	default:
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
		v.someMatch(p.key(name), all[name])
	}
}

// someMatch is stringMatch where the beginning of a value must be something.
func (v *validator) someMatch(p *path, m *networking.StringMatch) {
	if prefix, ok := m.GetMatchType().(*networking.StringMatch_Prefix); ok && prefix.Prefix == "" {
		v.fail(p.field("prefix"), "is empty")
	}
	v.stringMatch(p, m)
}

func (v *validator) stringMatch(p *path, m *networking.StringMatch) {
	if expr, ok := m.GetMatchType().(*networking.StringMatch_Regex); ok {
		if expr.Regex == "" {
			v.fail(p.field("regex"), "is empty")
		}
		v.regex(p.field("regex"), expr.Regex)
	}
}

// weights checks the destinations of a rule and their shares.
func (v *validator) weights(p *path, route []*networking.HTTPRouteDestination) {
	var total uint64
	for i, d := range route {
		v.destination(p.at(i).field("destination"), d.GetDestination())
		v.headerOperations(p.at(i).field("headers"), d.GetHeaders())
		total += v.weight(p.at(i).field("weight"), d.GetWeight())
	}
	v.total(p, len(route), total)
}

// weight is what a share adds to the total.
func (v *validator) weight(p *path, of int32) uint64 {
	if of < 0 {
		v.fail(p, "must not be negative")
		return 0
	}
	return uint64(of)
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
