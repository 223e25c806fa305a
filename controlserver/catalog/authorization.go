package catalog

import (
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"
)

// authorizationPolicy checks an AuthorizationPolicy.
func (v *validator) authorizationPolicy(ap *security.AuthorizationPolicy, annotations map[string]string, p *path) {
	v.attachment(p, ap)
	action := ap.GetAction()
	rules := p.field("rules")
	switch action {
	case security.AuthorizationPolicy_CUSTOM:
		if len(ap.GetRules()) == 0 {
			v.fail(rules, "is missing, and action is CUSTOM: it names no request; [{}] names every one")
		} else if ap.GetProvider().GetName() == "" {
			v.fail(p.field("provider").field("name"), "is missing, and action is CUSTOM")
		}
	case security.AuthorizationPolicy_DENY:
		if len(ap.GetRules()) == 0 {
			v.fail(rules, "is missing, and action is DENY: it names no request; [{}] names every one")
		}
	case security.AuthorizationPolicy_AUDIT:
		if len(ap.GetRules()) == 0 {
			v.warn(rules, "is missing: it names no request")
		}
	}
	if ap.GetProvider() != nil && action != security.AuthorizationPolicy_CUSTOM {
		v.fail(p.field("provider"), "is for action CUSTOM, and action is %s", action)
	}
	v.trial((*path)(nil).field("metadata").field("annotations").key(dryRun), annotations, action)
	for i, r := range ap.GetRules() {
		at := rules.at(i)
		for j, from := range r.GetFrom() {
			v.source(at.field("from").at(j).field("source"), from.GetSource(), action)
		}
		for j, to := range r.GetTo() {
			v.operation(at.field("to").at(j).field("operation"), to.GetOperation())
		}
		for j, c := range r.GetWhen() {
			v.when(at.field("when").at(j), c, action)
		}
	}
}

// trial checks the annotation of a policy that is only tried.
func (v *validator) trial(p *path, annotations map[string]string, action security.AuthorizationPolicy_Action) {
	text, ok := annotations[dryRun]
	if !ok {
		return
	}
	on, err := strconv.ParseBool(text)
	switch {
	case action == security.AuthorizationPolicy_CUSTOM && on:
		v.fail(p, "is for ALLOW and DENY: nobody is asked, and what a provider would say is not known without asking it")
	case action != security.AuthorizationPolicy_ALLOW && action != security.AuthorizationPolicy_DENY:
		v.fail(p, "is for ALLOW and DENY, and action is %s", action)
	case err != nil:
		v.fail(p, "%q is neither \"true\" nor \"false\"", text)
	}
}

// A wording is a list of values and of those that are excepted.
type wording struct {
	name            string
	values, without []string
	check           func(p *path, value string)
	known           bool // to services outside that are asked by CUSTOM
}

// lists checks lists of values, and reports whether there is any.
func (v *validator) lists(p *path, all []wording, action security.AuthorizationPolicy_Action) bool {
	some := false
	for _, w := range all {
		lists := map[string][]string{w.name: w.values, "not" + strings.ToUpper(w.name[:1]) + w.name[1:]: w.without}
		for _, name := range sorted(lists) {
			values := lists[name]
			some = some || len(values) > 0
			if len(values) > 0 && !w.known && action == security.AuthorizationPolicy_CUSTOM {
				v.fail(p.field(name), "is not supported with action CUSTOM (Istio)")
			}
			for i, value := range values {
				if value == "" {
					v.fail(p.field(name).at(i), "is empty")
				} else {
					w.check(p.field(name).at(i), value)
				}
			}
		}
	}
	return some
}

func (v *validator) source(p *path, s *security.Source, action security.AuthorizationPolicy_Action) {
	if s == nil {
		v.fail(p, "is missing: from without it names nobody")
		return
	}
	some := v.lists(p, []wording{
		{"principals", s.GetPrincipals(), s.GetNotPrincipals(), v.principal, false},
		{"requestPrincipals", s.GetRequestPrincipals(), s.GetNotRequestPrincipals(), v.requestPrincipal, false},
		{"namespaces", s.GetNamespaces(), s.GetNotNamespaces(), v.namespaces, false},
		{"serviceAccounts", s.GetServiceAccounts(), s.GetNotServiceAccounts(), v.serviceAccount, false},
		{"trustDomains", s.GetTrustDomains(), s.GetNotTrustDomains(), v.trustDomain, false},
		{"ipBlocks", s.GetIpBlocks(), s.GetNotIpBlocks(), v.block, true},
		{"remoteIpBlocks", s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks(), v.block, true},
	}, action)
	if !some {
		v.fail(p, "is empty: it names everybody; leave from out for that")
	}
	accounts := len(s.GetServiceAccounts()) + len(s.GetNotServiceAccounts())
	if accounts > 0 && len(s.GetPrincipals())+len(s.GetNotPrincipals())+len(s.GetNamespaces())+len(s.GetNotNamespaces()) > 0 {
		v.fail(p, "serviceAccounts cannot stand beside principals and namespaces, which they are made of")
	}
	v.fewAccounts(p.field("serviceAccounts"), s.GetServiceAccounts())
	v.fewAccounts(p.field("notServiceAccounts"), s.GetNotServiceAccounts())
}

func (v *validator) operation(p *path, o *security.Operation) {
	if o == nil {
		v.fail(p, "is missing: to without it names nothing")
		return
	}
	some := v.lists(p, []wording{
		{"hosts", o.GetHosts(), o.GetNotHosts(), v.requestHost, true},
		{"ports", o.GetPorts(), o.GetNotPorts(), v.portText, true},
		{"methods", o.GetMethods(), o.GetNotMethods(), v.method, true},
		{"paths", o.GetPaths(), o.GetNotPaths(), v.requestPath, true},
	}, security.AuthorizationPolicy_ALLOW)
	if !some {
		v.fail(p, "is empty: it names every request; leave to out for that")
	}
}

// when checks a condition on an attribute.
func (v *validator) when(p *path, c *security.Condition, action security.AuthorizationPolicy_Action) {
	key := c.GetKey()
	if key == "" {
		v.fail(p.field("key"), "is missing")
		return
	}
	if len(c.GetValues())+len(c.GetNotValues()) == 0 {
		v.fail(p, "needs values or notValues")
	}
	if strings.HasPrefix(key, "experimental.envoy.filters.") {
		v.fail(p.field("key"), "%q is not supported: there are no filters of Envoy to ask; what can't be told must not be passed over", key)
		return
	}
	check, known := v.attribute(p.field("key"), key)
	if check == nil {
		return
	}
	if !known && action == security.AuthorizationPolicy_CUSTOM {
		v.fail(p.field("key"), "%q is not supported with action CUSTOM (Istio)", key)
	}
	v.lists(p, []wording{{"values", c.GetValues(), c.GetNotValues(), check, true}}, action)
	if key == "source.serviceAccount" {
		v.fewAccounts(p.field("values"), c.GetValues())
		v.fewAccounts(p.field("notValues"), c.GetNotValues())
	}
}

// replaced are attributes that there were, and what to write instead.
var replaced = map[string]string{
	"destination.namespace": "a policy holds for its own namespace",
	"destination.name":      "a policy holds for what its selector names",
	"destination.user":      "a policy holds for what its selector names",
}

// attributes are those without a name in brackets.
var attributes = []string{
	"source.ip", "remote.ip", "source.namespace", "source.serviceAccount", "source.principal", "source.trustDomain",
	"request.auth.principal", "request.auth.audiences", "request.auth.presenter", "destination.ip", "destination.port",
	"connection.sni",
}

// attribute returns what the values of an attribute must be, and whether CUSTOM knows it; nil if there is no such attribute.
func (v *validator) attribute(p *path, key string) (check func(*path, string), known bool) {
	name, rest, bracket := strings.Cut(key, "[")
	if bracket {
		switch name {
		case "request.headers":
			header, closed := strings.CutSuffix(rest, "]")
			v.headerKey(p, header, closed)
			return v.wildcard, true
		case "request.auth.claims":
			v.claimKey(p, "["+rest)
			return v.wildcard, false
		case "destination.labels":
			v.fail(p, "%q is no attribute any more: a policy holds for what its selector names", key)
			return nil, false
		}
	}
	switch key {
	case "source.ip", "remote.ip", "destination.ip":
		return v.block, true
	case "destination.port":
		return v.portText, true
	case "connection.sni":
		return v.wildcard, true
	case "source.namespace":
		return v.namespaces, false
	case "source.serviceAccount":
		return v.serviceAccount, false
	case "source.principal":
		return v.principal, false
	case "source.trustDomain":
		return v.trustDomain, false
	case "request.auth.principal":
		return v.requestPrincipal, false
	case "request.auth.audiences", "request.auth.presenter":
		return v.wildcard, false
	}
	switch near := closest(key, attributes); {
	case replaced[key] != "":
		v.fail(p, "%q is no attribute any more: %s", key, replaced[key])
	case key == "request.headers" || key == "request.auth.claims":
		v.fail(p, "%q needs a name in brackets: %s[NAME]", key, key)
	case near != "":
		v.fail(p, "unknown attribute %q; did you mean %q?", key, near)
	default:
		v.fail(p, "unknown attribute %q; there are request.headers[NAME], request.auth.claims[NAME], %s", key, strings.Join(attributes, ", "))
	}
	return nil, false
}

func (v *validator) headerKey(p *path, header string, closed bool) {
	switch {
	case !closed || header == "":
		v.fail(p, "must be request.headers[NAME]")
	case header == ":authority" || header == ":method" || header == ":path" || header == ":scheme":
	case !headerName.MatchString(header):
		v.fail(p, "%q is not the name of a header", header)
	}
}

// claimKey checks the names of nested claims: "[a][b]".
func (v *validator) claimKey(p *path, names string) {
	for names != "" {
		name, rest, closed := strings.Cut(strings.TrimPrefix(names, "["), "]")
		if !strings.HasPrefix(names, "[") || !closed || name == "" || strings.Contains(name, "[") {
			v.fail(p, "must be request.auth.claims[NAME] or request.auth.claims[NAME][NAME]")
			return
		}
		names = rest
	}
}
