package catalog

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// claimHeader begins the names of what is no header, but a claim of a verified token, where a gateway is asked (Istio).
const claimHeader = "@request.auth.claims"

// headerMatches checks the conditions of a rule on headers. absent says that a condition may be empty: the header is not there.
func (v *validator) headerMatches(p *path, all map[string]*networking.StringMatch, mesh, absent bool) {
	if len(all) == 0 {
		return
	}
	for _, name := range sorted(all) {
		at, m := p.key(name), all[name]
		claim, ok := strings.CutPrefix(strings.ToLower(name), claimHeader)
		ok = ok && (strings.HasPrefix(claim, ".") && len(claim) > 1 || strings.HasPrefix(claim, "[") && strings.HasSuffix(claim, "]") && len(claim) > 2)
		switch {
		case name == "":
			v.fail(p, "a name is empty")
			continue
		case ok && mesh:
			v.fail(at, "claims of tokens are for gateways alone (Istio)")
		case ok, slices.Contains([]string{":method", ":scheme", ":authority", ":path", ":status"}, name):
		case !headerName.MatchString(name):
			v.fail(at, "%q is not the name of a header", name)
		}
		if r, ok := m.GetMatchType().(*networking.StringMatch_Regex); ok && absent && r.Regex == "*" {
			continue // any value (Istio)
		}
		v.someMatch(at, m)
	}
}

// headerOperations checks how headers are changed.
func (v *validator) headerOperations(p *path, h *networking.Headers) {
	for _, side := range [...]struct {
		name  string
		ops   *networking.Headers_HeaderOperations
		check func(string) string
	}{{"request", h.GetRequest(), notRequestHeader}, {"response", h.GetResponse(), notHeader}} {
		at := p.field(side.name)
		for field, values := range map[string]map[string]string{"set": side.ops.GetSet(), "add": side.ops.GetAdd()} {
			for _, name := range sorted(values) {
				if why := side.check(name); why != "" {
					v.fail(at.field(field).key(name), "%s", why)
				}
				if why := notHeaderValue(values[name]); why != "" {
					v.fail(at.field(field).key(name), "%q: %s", values[name], why)
				}
			}
		}
		for i, name := range side.ops.GetRemove() {
			if why := notHeader(name); why != "" {
				v.fail(at.field("remove").at(i), "%s", why)
			}
		}
	}
}

// notHeader says why a header of that name can't be changed.
func notHeader(name string) string {
	switch {
	case name == "":
		return "a name is empty"
	case strings.EqualFold(name, "host"), strings.HasPrefix(name, ":"):
		return fmt.Sprintf("%q cannot be changed: it says where the request goes", name)
	}
	return ""
}

// notRequestHeader is notHeader of a request's, whose host may be set.
func notRequestHeader(name string) string {
	if isAuthority(name) {
		return ""
	}
	return notHeader(name)
}

func isAuthority(name string) bool {
	return strings.EqualFold(name, "host") || strings.EqualFold(name, ":authority")
}

// oneAuthority checks that a rule says once at most what the host is to be.
func (v *validator) oneAuthority(p *path, r *networking.HTTPRoute) {
	said := r.GetRewrite().GetAuthority()
	ops := r.GetHeaders().GetRequest()
	for _, op := range [...]struct {
		name   string
		values map[string]string
	}{{"set", ops.GetSet()}, {"add", ops.GetAdd()}} {
		for _, name := range sorted(op.values) {
			if !isAuthority(name) {
				continue
			}
			if said != "" {
				v.fail(p.field("headers").field("request").field(op.name).key(name), "the host is %q already", said)
			}
			said = op.values[name]
		}
	}
}

// notHeaderValue says what is wrong with a value in which %NAME% and %NAME(ARGUMENT)% stand for something, and %% for a percent sign (Envoy).
func notHeaderValue(value string) string {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return "has a character that headers can't have"
	}
	for {
		_, rest, ok := strings.Cut(value, "%")
		switch {
		case !ok:
			return ""
		case rest == "":
			return "a single % at its end: write %%"
		case rest[0] == '%':
			value = rest[1:]
			continue
		}
		end := strings.IndexAny(rest, "%(")
		if end < 0 {
			return "what begins with % does not end"
		}
		if rest[end] == '(' {
			if rest, ok = afterArgument(rest[end+1:]); !ok {
				return "the argument in ( ) is not one"
			}
			if rest, end = strings.TrimLeft(rest, " "), 0; !strings.HasPrefix(rest, "%") {
				return "an argument is not followed by %"
			}
		}
		value = rest[end+1:]
	}
}

// afterArgument is what follows an argument in brackets, or a list of strings in them as in JSON.
func afterArgument(s string) (rest string, ok bool) {
	s = strings.TrimLeft(s, " ")
	if s == "" {
		return "", false
	}
	list := s[0] == '['
	s = s[1:]
	for {
		if list {
			if s, ok = strings.CutPrefix(strings.TrimLeft(s, " "), `"`); !ok {
				return "", false
			}
		}
		for list = true; ; s = s[1:] {
			if s == "" || s == `\` {
				return "", false
			}
			if s[0] == '\\' {
				s = s[1:]
			} else if s[0] == ')' {
				return s[1:], true
			} else if s[0] == '"' {
				break
			}
		}
		if s = strings.TrimLeft(s[1:], " "); strings.HasPrefix(s, "]") {
			return strings.CutPrefix(strings.TrimLeft(s[1:], " "), ")")
		}
		if s, ok = strings.CutPrefix(s, ","); !ok {
			return "", false
		}
	}
}
