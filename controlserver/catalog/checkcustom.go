package catalog

import (
	"slices"
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"
)

// checkPath is what an authorizer by gRPC is called by (Envoy ext_authz).
const checkPath = "/envoy.service.auth.v3.Authorization/Check"

// asksItself warns of a policy that is for the very service that it asks: what is asked there would be asked about.
func (k *checker) asksItself(p *AuthorizationPolicy, provider *ExtensionProvider, s *Service, number uint32) {
	if s == nil || s.External || p.Namespace != k.mesh.RootNamespace && p.Namespace != s.Namespace {
		return
	}
	port, _ := s.Port(number)
	at, kinds := []uint32{number, port.TargetPort}, []map[string]string{}
	for _, e := range s.Endpoints(number) {
		at, kinds = append(at, e.Port), append(kinds, e.Labels)
	}
	if len(kinds) == 0 {
		kinds = append(kinds, s.Selector())
	}
	labels := p.Spec.GetSelector().GetMatchLabels()
	if !slices.ContainsFunc(kinds, func(own map[string]string) bool { return selects(labels, own) }) {
		return
	}
	path := ""
	if provider.GRPC != nil {
		path = checkPath
	}
	if slices.ContainsFunc(p.Spec.GetRules(), func(r *security.Rule) bool { return mayName(r, at, path) }) {
		field := "spec.selector"
		if len(labels) == 0 {
			field = "spec"
		}
		k.warn(p.Object, field, "is for %s, too, which is asked: to ask it would take an answer of its own; select the workloads that it is for, or leave out its port with notPorts", s.Host)
	}
}

// mayName reports whether a rule may name requests to one of the ports, with that path if it is not empty.
func mayName(r *security.Rule, ports []uint32, path string) bool {
	if len(r.GetTo()) == 0 {
		return true
	}
	return slices.ContainsFunc(r.GetTo(), func(t *security.Rule_To) bool {
		o := t.GetOperation()
		isPort := func(text string) bool {
			return slices.ContainsFunc(ports, func(n uint32) bool { return strconv.FormatUint(uint64(n), 10) == text })
		}
		isPath := func(pattern string) bool { return path == "" || fits(pattern, path) }
		switch {
		case len(o.GetPorts()) > 0 && !slices.ContainsFunc(o.GetPorts(), isPort),
			len(o.GetPaths()) > 0 && !slices.ContainsFunc(o.GetPaths(), isPath),
			slices.ContainsFunc(o.GetNotPorts(), isPort),
			path != "" && slices.ContainsFunc(o.GetNotPaths(), isPath):
			return false
		}
		return true
	})
}

// fits reports whether a path may be what a pattern of a policy stands for.
func fits(pattern, path string) bool {
	if strings.ContainsAny(pattern, "{}") {
		return true
	}
	if end, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(path, end)
	}
	if start, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(path, start)
	}
	return pattern == path
}
