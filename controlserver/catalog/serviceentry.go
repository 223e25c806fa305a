package catalog

import (
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (v *validator) serviceEntry(se *networking.ServiceEntry, p *path) {
	if len(se.GetHosts()) == 0 {
		v.fail(p.field("hosts"), "must name at least one host")
	}
	seen := map[string]int{}
	for i, h := range se.GetHosts() {
		at := p.field("hosts").at(i)
		lower := strings.ToLower(h)
		if first, ok := seen[lower]; ok {
			v.warn(at, "%q given twice, first as hosts[%d]", h, first)
			continue
		}
		seen[lower] = i
		if h == "*" {
			v.fail(at, "\"*\" would take every host")
			continue
		}
		v.host(at, h, true)
		if strings.HasPrefix(h, "*.") && se.GetResolution() == networking.ServiceEntry_STATIC {
			v.warn(at, "wildcard %q is not supported yet: nobody calls it", h)
		}
	}
	for i, a := range se.GetAddresses() {
		v.vip(p.field("addresses").at(i), a)
		if r := se.GetResolution(); strings.Contains(a, "/") && r != networking.ServiceEntry_NONE && r != networking.ServiceEntry_STATIC {
			v.fail(p.field("addresses").at(i), "CIDR %q cannot have resolution %s", a, r)
		}
	}
	v.servicePorts(p.field("ports"), se)
	v.resolution(p, se)
	if s := se.GetWorkloadSelector(); s != nil {
		at := p.field("workloadSelector")
		if len(se.GetEndpoints()) > 0 {
			v.fail(at, "only one of workloadSelector and endpoints may be given")
		}
		if len(s.GetLabels()) == 0 {
			v.warn(at, "has no labels: it selects every workload of the namespace")
		}
		v.labels(at.field("labels"), s.GetLabels())
	}
	for i, e := range se.GetEndpoints() {
		v.endpoint(p.field("endpoints").at(i), se, e)
	}
	v.exportTo(p.field("exportTo"), se.GetExportTo(), true)
	v.altNames(p.field("subjectAltNames"), se.GetSubjectAltNames())
}

func (v *validator) vip(p *path, address string) {
	if strings.Contains(address, "/") {
		if _, err := netip.ParsePrefix(address); err != nil {
			v.fail(p, "%q is not an IP address or CIDR", address)
			return
		}
		v.warn(p, "CIDR %q is not supported yet: a process reaches a service by name or by a single address", address)
		return
	}
	if !isIP(address) {
		v.fail(p, "%q is not an IP address or CIDR", address)
	}
}

var protocols = []Protocol{HTTP, HTTP2, GRPC, GRPCWeb, HTTPS, TLS, TCP, Mongo, MySQL, Redis}

func (v *validator) servicePorts(p *path, se *networking.ServiceEntry) {
	if len(se.GetPorts()) == 0 && len(se.GetHosts()) > 0 {
		v.warn(p, "no ports: nothing can be called")
	}
	numbers, names := map[uint32]bool{}, map[string]bool{}
	for i, sp := range se.GetPorts() {
		at := p.at(i)
		v.port(at.field("number"), sp.GetNumber())
		if numbers[sp.GetNumber()] {
			v.fail(at.field("number"), "port %d given twice", sp.GetNumber())
		}
		numbers[sp.GetNumber()] = true
		switch {
		case sp.GetName() == "":
			v.fail(at.field("name"), "is missing")
		case !hostLabel.MatchString(sp.GetName()):
			v.fail(at.field("name"), "%q must be letters, digits and '-'", sp.GetName())
		case names[sp.GetName()]:
			v.fail(at.field("name"), "%q given twice", sp.GetName())
		}
		names[sp.GetName()] = true
		if sp.GetTargetPort() != 0 {
			v.port(at.field("targetPort"), sp.GetTargetPort())
		}
		switch proto := normalProtocol(sp.GetProtocol()); {
		case proto == "":
		case proto == UDP:
			v.warn(at.field("protocol"), "UDP is not supported yet")
		case !slices.Contains(protocols, proto):
			options := make([]string, len(protocols))
			for i, o := range protocols {
				options[i] = string(o)
			}
			v.fail(at.field("protocol"), "unknown protocol %q; there are %s", sp.GetProtocol(), strings.Join(options, ", "))
		}
		if len(se.GetHosts()) > 1 && se.GetResolution() != networking.ServiceEntry_NONE && (sp.GetProtocol() == "" || !namesHost(normalProtocol(sp.GetProtocol()))) {
			v.fail(at.field("protocol"), "nothing in it names a host, and the service has %d", len(se.GetHosts()))
		}
	}
}

// namesHost reports whether what is spoken by a protocol names the host that is called.
func namesHost(p Protocol) bool { return p.IsHTTP() || p == HTTPS || p == TLS }

func (v *validator) resolution(p *path, se *networking.ServiceEntry) {
	at := p.field("resolution")
	switch se.GetResolution() {
	case networking.ServiceEntry_NONE, networking.ServiceEntry_DYNAMIC_DNS:
		if len(se.GetEndpoints()) > 0 {
			v.fail(at, "resolution %s takes no endpoints", se.GetResolution())
		}
		v.warn(at, "resolution %s is not supported yet: use STATIC or DNS", se.GetResolution())
		if se.GetResolution() == networking.ServiceEntry_DYNAMIC_DNS {
			v.dynamic(p, se)
		}
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		for i, h := range se.GetHosts() {
			if why := notHost(h, false); len(se.GetEndpoints()) == 0 && why != "" && notHost(h, true) == "" {
				v.fail(p.field("hosts").at(i), "%q has no address in DNS: %s", h, why)
			}
		}
		if se.GetResolution() == networking.ServiceEntry_DNS_ROUND_ROBIN && len(se.GetEndpoints()) > 1 {
			v.fail(p.field("endpoints"), "DNS_ROUND_ROBIN takes one endpoint, not %d", len(se.GetEndpoints()))
		}
	}
}

// dynamic checks a service whose hosts are looked up as they are called.
func (v *validator) dynamic(p *path, se *networking.ServiceEntry) {
	for i, h := range se.GetHosts() {
		if !strings.HasPrefix(h, "*") {
			v.fail(p.field("hosts").at(i), "%q is no wildcard, and resolution is DYNAMIC_DNS", h)
		}
	}
	if len(se.GetAddresses()) > 0 {
		v.fail(p.field("addresses"), "has no place with resolution DYNAMIC_DNS: a call is told by its host")
	}
	for i, sp := range se.GetPorts() {
		if proto := normalProtocol(sp.GetProtocol()); proto != HTTP && proto != HTTP2 && proto != GRPC && proto != TLS {
			v.fail(p.field("ports").at(i).field("protocol"), "resolution DYNAMIC_DNS is for HTTP, HTTP2, GRPC and TLS")
		}
	}
}

func (v *validator) endpoint(p *path, se *networking.ServiceEntry, e *networking.WorkloadEntry) {
	address := e.GetAddress()
	unix := strings.HasPrefix(address, "unix://")
	switch se.GetResolution() {
	case networking.ServiceEntry_STATIC:
		switch {
		case unix && len(se.GetPorts()) != 1:
			v.fail(p.field("address"), "a unix socket serves one port, and the service has %d", len(se.GetPorts()))
		case !unix && address != "" && !isIP(address):
			v.fail(p.field("address"), "%q is not an IP address; use resolution DNS for names", address)
		}
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		if unix {
			v.fail(p.field("address"), "%q is not a name or an IP address", address)
		}
	}
	for _, name := range sorted(e.GetPorts()) {
		if !slices.ContainsFunc(se.GetPorts(), func(sp *networking.ServicePort) bool { return sp.GetName() == name }) {
			v.fail(p.field("ports").key(name), "the service has no port %q", name)
		}
	}
	v.workloadEntry(e, p)
}
