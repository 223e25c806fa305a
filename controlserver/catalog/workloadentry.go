package catalog

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (v *validator) workloadEntry(e *networking.WorkloadEntry, p *path) {
	at, address := p.field("address"), e.GetAddress()
	path, unix := strings.CutPrefix(address, "unix://")
	switch {
	case address == "" && e.GetNetwork() == "":
		v.fail(at, "is missing")
	case address == "":
		v.warn(at, "is missing: workloads behind another network's gateway are not supported yet")
	case unix && !strings.HasPrefix(path, "@") && (!strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/")):
		v.fail(at, "%q is not an absolute path", path)
	case unix && len(e.GetPorts()) > 0:
		v.fail(p.field("ports"), "a unix socket has no ports")
	case unix || isIP(address):
	case strings.Contains(address, ":"):
		v.fail(at, "%q is not an IP address or host name; ports stand in ports", address)
	default:
		v.host(at, address, false)
	}
	for _, name := range sorted(e.GetPorts()) {
		v.port(p.field("ports").key(name), e.GetPorts()[name])
		if !hostLabel.MatchString(name) {
			v.fail(p.field("ports").key(name), "%q is not a port name", name)
		}
	}
	v.labels(p.field("labels"), e.GetLabels())
	if mode, ok := e.GetLabels()[tlsMode]; ok && mode != "istio" && mode != "disabled" {
		v.warn(p.field("labels").key(tlsMode), "%q is neither \"istio\" nor \"disabled\": it counts as \"disabled\"", mode)
	}
	if l := e.GetLocality(); l != "" && (strings.HasPrefix(l, "/") || strings.Count(l, "/") > 2) {
		v.warn(p.field("locality"), "%q is not region/zone/sub-zone", l)
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
