package catalog

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/identity"
)

// These check single values of the lists that an AuthorizationPolicy is made of.

var (
	headerName = regexp.MustCompile("^[0-9A-Za-z!#$%&'*+.^_`|~-]+$")
	// segment is what may stand between the slashes of a path template (Envoy uri_template).
	segment = regexp.MustCompile(`^[a-zA-Z0-9-._~%!$&'()+,;:@=]+$`)
)

// wildcard warns of a "*" that stands for nothing: it does at the beginning or at the end alone.
func (v *validator) wildcard(p *path, value string) {
	inner := value
	if strings.HasPrefix(inner, "*") {
		inner = inner[1:]
	} else {
		inner = strings.TrimSuffix(inner, "*")
	}
	if strings.Contains(inner, "*") {
		v.warn(p, "%q: a \"*\" stands for something at the beginning or at the end alone; this one is taken as it is", value)
	}
}

func (v *validator) principal(p *path, value string) {
	v.wildcard(p, value)
	switch {
	case strings.Contains(value, "://"):
		v.warn(p, "%q is nobody's: principals are written without the scheme, as TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT", value)
	case !strings.Contains(value, "*") && strings.Count(value, "/") != 4:
		v.warn(p, "%q is nobody's: an identity is TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT", value)
	}
}

func (v *validator) requestPrincipal(p *path, value string) {
	v.wildcard(p, value)
	if !strings.Contains(value, "*") && !strings.Contains(value, "/") {
		v.warn(p, "%q is no token's: it is ISSUER/SUBJECT", value)
	}
}

func (v *validator) namespaces(p *path, value string) {
	v.wildcard(p, value)
	if plain := strings.Trim(value, "*-"); plain != "" && !dnsLabel.MatchString(plain) {
		v.warn(p, "%q is no namespace's name", value)
	}
}

func (v *validator) trustDomain(p *path, value string) {
	if strings.Contains(value, "/") {
		v.fail(p, "%q is not a trust domain: it has a \"/\"", value)
	}
	stars := strings.Count(value, "*")
	if stars > 1 || stars == 1 && !strings.HasPrefix(value, "*") && !strings.HasSuffix(value, "*") {
		v.fail(p, "%q: one \"*\" may stand at the beginning or at the end", value)
	}
}

// most is how many service accounts a list may have (Istio).
const most = 16

func (v *validator) fewAccounts(p *path, list []string) {
	if len(list) > most {
		v.fail(p, "has %d values; at most %d", len(list), most)
	}
}

func (v *validator) serviceAccount(p *path, value string) {
	namespace, name, ok := strings.Cut(value, "/")
	if !ok {
		namespace, name = "-", value
	}
	switch {
	case strings.Contains(value, "*"):
		v.fail(p, "%q: \"*\" is not allowed; use principals", value)
	case len(value) > 320:
		v.fail(p, "is longer than 320 characters")
	case namespace == "" || name == "" || strings.Contains(name, "/"):
		v.fail(p, "%q is not SERVICEACCOUNT or NAMESPACE/SERVICEACCOUNT", value)
	}
}

// block checks an address or a CIDR.
func (v *validator) block(p *path, value string) {
	var ip netip.Addr
	var err error
	if strings.Contains(value, "/") {
		var prefix netip.Prefix
		prefix, err = netip.ParsePrefix(value)
		ip = prefix.Addr()
	} else {
		ip, err = netip.ParseAddr(value)
	}
	switch {
	case err != nil:
		v.fail(p, "%q is not an IP address or CIDR", value)
	case ip.Is4In6():
		v.warn(p, "%q is an IPv4 address in IPv6's form, which no peer has: write it as IPv4", value)
	case ip.Zone() != "":
		v.warn(p, "%q: the zone does not count", value)
	}
}

func (v *validator) portText(p *path, value string) {
	switch n, err := strconv.ParseUint(value, 10, 32); {
	case err != nil || n > 65535:
		v.fail(p, "%q is not the number of a port", value)
	case n == 0:
		v.warn(p, "port 0 is nobody's")
	}
}

func (v *validator) method(p *path, value string) {
	v.wildcard(p, value)
	switch {
	case strings.HasPrefix(value, "/"):
		v.warn(p, "%q is not an HTTP method: gRPC's is POST, and /package.Service/Method is its path", value)
	case value != strings.ToUpper(value):
		v.warn(p, "%q is not an HTTP method: they are in upper case", value)
	}
}

func (v *validator) requestHost(p *path, value string) {
	v.wildcard(p, value)
	if host, port := splitPort(value); port != 0 && !isIP(value) {
		v.warn(p, "%q: hosts are compared without their port, which counts as the one that was connected to: write %q, and the port in ports", value, host)
	}
}

func (v *validator) requestPath(p *path, value string) {
	if strings.ContainsAny(value, "{}") {
		v.template(p, value)
		return
	}
	v.wildcard(p, value)
	switch {
	case !strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "*"):
		v.warn(p, "%q is no request's: paths begin with \"/\"", value)
	case strings.ContainsAny(value, "?#"):
		v.warn(p, "%q is no request's: paths are compared without query and fragment", value)
	default:
		v.normal(p, value)
	}
}

// normal warns of a path that no request has once it is in its normal form, or of the beginning or end of one.
func (v *validator) normal(p *path, value string) {
	whole := value
	if rest, ok := strings.CutPrefix(value, "*"); ok {
		whole = "/x" + rest
	} else if start, ok := strings.CutSuffix(value, "*"); ok {
		whole = start + "x"
	}
	switch form, err := identity.NormalizePath(whole); {
	case value == "*":
	case err != nil:
		v.warn(p, "%q is no request's: %s", value, err)
	case form != whole && whole == value:
		v.warn(p, "%q is no request's: it is compared in the form %q", value, form)
	case form != whole:
		v.warn(p, "%q is no request's: paths are compared without \"//\", \"/./\" and \"/../\", and with %%XX for what may not stand in them", value)
	}
}

// template checks a path with "{*}" and "{**}" (Envoy uri_template).
func (v *validator) template(p *path, value string) {
	rest := false
	known := strings.Contains(value, "{*}") || strings.Contains(value, "{**}")
	for part := range strings.SplitSeq(strings.Trim(value, "/"), "/") {
		switch {
		case part == "{*}" || part == "{**}":
			if rest {
				v.fail(p, "%q: nothing may be left open behind {**}", value)
				return
			}
			rest = part == "{**}"
		case strings.ContainsAny(part, "{}"):
			v.fail(p, "%q: %q is not a template; {*} is one part of a path, and {**} the rest", value, part)
			return
		case known && !segment.MatchString(part):
			v.fail(p, "%q: %q cannot stand in a path with a template", value, part)
			return
		}
	}
	if !strings.HasPrefix(value, "/") {
		v.warn(p, "%q is no request's: paths begin with \"/\"", value)
	}
}
