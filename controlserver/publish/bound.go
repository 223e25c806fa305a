package publish

import (
	"regexp"
	"strings"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// A phrase says with what a kind of client can tell a condition that has no others in it: exactly, or with one that holds for
// less, if narrow, or for more. told is false where it has nothing like it.
type phrase func(c identity.Condition, narrow bool) (told bool, _ identity.Condition)

// bounds phrases rules for a kind of client. What it can't tell never lets anybody in, and always keeps out.
type bounds struct {
	phrase phrase
	lost   map[string]bool // the policies of which something could not be told
}

// rules are r in the client's words.
func (b *bounds) rules(r *identity.Rules) *identity.Rules {
	if r == nil {
		return nil
	}
	out := &identity.Rules{Action: r.Action}
	for _, p := range r.Policies {
		one := identity.Policy{Name: p.Name}
		for _, c := range p.Permissions {
			one.Permissions = append(one.Permissions, b.bound(p.Name, c, r.Action == identity.Allow))
		}
		for _, c := range p.Principals {
			one.Principals = append(one.Principals, b.bound(p.Name, c, r.Action == identity.Allow))
		}
		out.Policies = append(out.Policies, one)
	}
	return out
}

func (b *bounds) bound(policy string, c identity.Condition, narrow bool) identity.Condition {
	switch c.Kind {
	case identity.Always:
		return c
	case identity.Not:
		return not(b.bound(policy, c.Of[0], !narrow))
	case identity.All, identity.Any:
		of := make([]identity.Condition, len(c.Of))
		for i := range c.Of {
			of[i] = b.bound(policy, c.Of[i], narrow)
		}
		c.Of = of
		return c
	}
	told, said := b.phrase(c, narrow)
	switch {
	case told:
		return said
	case narrow:
		b.lost[policy] = true
		return never
	}
	b.lost[policy] = true
	return always
}

// phraseOfGRPC has no tokens and no names of TLS, and what stands in a header that has several lines, or in an authority with its port,
// it sees as one string (gRFC A41).
func phraseOfGRPC(c identity.Condition, narrow bool) (bool, identity.Condition) {
	switch c.Kind {
	case identity.HeaderIs:
		switch {
		case c.Name == ":authority":
			return true, withPort(c)
		case c.Name == ":method":
			return true, c
		case strings.HasPrefix(c.Name, ":"), strings.HasPrefix(c.Name, "grpc-"), c.Name == "te", strings.HasSuffix(c.Name, "-bin"):
			return false, c
		}
		return joined(c, narrow)
	case identity.PathFits:
		return templated(c, narrow)
	case identity.PathIs, identity.Authentic, identity.SourceIn, identity.RemoteIn, identity.LocalIn, identity.LocalPort:
		return true, c
	}
	return false, c
}

// phraseOfEnvoy sees a header that has several lines as one string. The listener strips the port off the authority.
func phraseOfEnvoy(c identity.Condition, narrow bool) (bool, identity.Condition) {
	if c.Kind == identity.HeaderIs && !strings.HasPrefix(c.Name, ":") {
		return joined(c, narrow)
	}
	return true, c
}

// joined is a condition on a header whose lines a client joins with commas. A line must not keep out of a rule that denies
// by another beside it.
func joined(c identity.Condition, narrow bool) (bool, identity.Condition) {
	switch {
	case c.Invert, c.MissingAsEmpty:
		return false, c
	case narrow, c.Is.Kind == match.Present:
		return true, c
	}
	const before, after = `(?:.*,)?[ \t]*`, `[ \t]*(?:,.*)?`
	quoted := regexp.QuoteMeta(c.Is.Value)
	switch c.Is.Kind {
	case match.Exact:
		quoted = before + quoted + after
	case match.Prefix:
		quoted = before + quoted + ".*"
	case match.Suffix:
		quoted = ".*" + quoted + after
	case match.Contains:
		return true, c
	case match.Regex:
		quoted = before + "(?:" + c.Is.Value + ")" + after
	default:
		return false, c
	}
	c.Is = regex(flags(c.Is) + quoted)
	return true, c
}

// flags begin an expression that means what a condition on a string does.
func flags(is match.String) string {
	if is.IgnoreCase {
		return "(?is)"
	}
	return "(?s)"
}

// withPort is a condition on an authority that may have a port and a dot at its end.
func withPort(c identity.Condition) identity.Condition {
	const rest = `\.?(?::[0-9]*)?`
	quoted := regexp.QuoteMeta(c.Is.Value)
	switch c.Is.Kind {
	case match.Exact:
		c.Is = regex(flags(c.Is) + quoted + rest)
	case match.Suffix:
		c.Is = regex(flags(c.Is) + ".*" + quoted + rest)
	}
	return c // the others do not look at the end
}

// templated is a path with operators as an expression.
func templated(c identity.Condition, narrow bool) (bool, identity.Condition) {
	segment, rest := `[^/]+`, `.*`
	if narrow { // what Envoy's operators take
		segment, rest = `[A-Za-z0-9._~%!$&'()+,;:@=-]+`, `[A-Za-z0-9._~%!$&'()+,;:@=/-]*`
	}
	if strings.Contains(c.Is.Value, "=") {
		return false, c
	}
	plain := strings.ReplaceAll(strings.ReplaceAll(c.Is.Value, "{*}", "*"), "{**}", "**")
	if strings.ContainsAny(plain, "{}") {
		return false, c
	}
	expr := strings.ReplaceAll(regexp.QuoteMeta(plain), `\*\*`, rest)
	expr = strings.ReplaceAll(expr, `\*`, segment)
	return true, identity.Condition{Kind: identity.PathIs, Is: regex(expr)}
}
