package publish

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// A field is one field of an authorization rule: a request has one of its values, and none of its notValues.
type field struct {
	values, not []string
	// condition is that of having a value. narrow says that where a value can't be told exactly the condition is to hold for
	// less, not for more.
	condition func(value string, narrow bool) (identity.Condition, error)
	// http says that connections do not have it.
	http bool
	// bare says that a list of one value is that value's condition itself (Istio).
	bare bool
	// claims says that it is of a token, all of whose fields are to be found in one and the same.
	claims bool
}

// conditions are what the field asks for; none if it asks for nothing. Where it can't be told an error is returned for rules that
// let requests in, and for others the list of values that can't be told is left out, so that more is refused (Istio).
//
// tokens are the providers whose tokens are looked at, and in the one within claims that rules ask for which let requests in, since what
// one token says and what another says make no caller that may more than either.
func (f field) conditions(action identity.Action, connection bool, tokens []string, within string) ([]identity.Condition, error) {
	var out []identity.Condition
	for _, list := range [...]struct {
		values []string
		not    bool
	}{{f.values, false}, {f.not, true}} {
		if len(list.values) == 0 {
			continue
		}
		narrow := (action == identity.Allow) != list.not
		c, err := f.any(list.values, narrow, connection)
		if err == nil && f.claims {
			if action == identity.Allow && !list.not {
				c = claimed(c, narrow, tokens, within)
			} else {
				c = claimed(c, narrow, tokens, "")
			}
		}
		switch {
		case err != nil && action == identity.Allow:
			return nil, err
		case err != nil:
		case list.not:
			out = append(out, not(c))
		default:
			out = append(out, c)
		}
	}
	return out, nil
}

func (f field) any(values []string, narrow, connection bool) (identity.Condition, error) {
	if f.http && connection {
		return identity.Condition{}, errors.New("connections do not have it")
	}
	var of []identity.Condition
	for _, v := range values {
		c, err := f.condition(v, narrow)
		if err != nil {
			return identity.Condition{}, err
		}
		of = append(of, c)
	}
	if len(of) == 1 && f.bare {
		return of[0], nil
	}
	return oneOf(of...), nil
}

func not(c identity.Condition) identity.Condition {
	return identity.Condition{Kind: identity.Not, Of: []identity.Condition{c}}
}

func oneOf(of ...identity.Condition) identity.Condition {
	return identity.Condition{Kind: identity.Any, Of: of}
}

func eachOf(of ...identity.Condition) identity.Condition {
	return identity.Condition{Kind: identity.All, Of: of}
}

var (
	always = identity.Condition{Kind: identity.Always}
	never  = not(always)
)

// text is how a value of a rule compares: exactly, or as a prefix "abc*", a suffix "*abc" or anything "*" (Istio).
func text(value string) match.String {
	switch {
	case value == "*":
		return match.String{Kind: match.Regex, Value: ".+"}
	case strings.HasPrefix(value, "*"):
		return match.String{Kind: match.Suffix, Value: value[1:]}
	case strings.HasSuffix(value, "*"):
		return match.String{Kind: match.Prefix, Value: value[:len(value)-1]}
	}
	return match.String{Kind: match.Exact, Value: value}
}

const spiffe = "spiffe://"

// isPrincipal is a SPIFFE ID without its scheme.
func isPrincipal(value string, _ bool) (identity.Condition, error) {
	c := identity.Condition{Kind: identity.Authentic}
	switch is := text(value); is.Kind {
	case match.Regex: // anybody who has proved anything
	case match.Suffix:
		c.Is = regex(spiffe + ".*" + regexp.QuoteMeta(is.Value))
	default:
		is.Value = spiffe + is.Value
		c.Is = is
	}
	return c, nil
}

func regex(expr string) match.String { return match.String{Kind: match.Regex, Value: expr} }

// wild is an expression for a value in which "*" stands for any characters of a segment of a path.
func wild(value string) string {
	parts := strings.Split(value, "*")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return strings.Join(parts, "[^/]*")
}

func inNamespace(value string, _ bool) (identity.Condition, error) {
	return identity.Condition{Kind: identity.Authentic, Is: regex(spiffe + "[^/]+/ns/" + wild(value) + "/.+")}, nil
}

// hasServiceAccount is NAME or NAMESPACE/NAME. More may stand before and behind the name in an ID (Istio).
func hasServiceAccount(own string) func(string, bool) (identity.Condition, error) {
	return func(value string, _ bool) (identity.Condition, error) {
		ns, name, ok := strings.Cut(value, "/")
		if !ok {
			ns, name = own, value
		}
		expr := spiffe + "[^/]+/ns/" + regexp.QuoteMeta(ns) + "/(?:.+/)?sa/" + regexp.QuoteMeta(name) + "(?:/.+)?"
		return identity.Condition{Kind: identity.Authentic, Is: regex(expr)}, nil
	}
}

func inTrustDomain(value string, _ bool) (identity.Condition, error) {
	is := match.String{Kind: match.Prefix, Value: spiffe + value + "/"}
	if strings.Contains(value, "*") {
		is = regex(spiffe + wild(value) + "/.*")
	}
	return identity.Condition{Kind: identity.Authentic, Is: is}, nil
}

// inNetwork is of an address or a block of them.
func inNetwork(kind identity.ConditionKind) func(string, bool) (identity.Condition, error) {
	return func(value string, _ bool) (identity.Condition, error) {
		if ip, err := netip.ParseAddr(value); err == nil {
			return identity.Condition{Kind: kind, Net: netip.PrefixFrom(ip, ip.BitLen())}, nil
		}
		block, err := netip.ParsePrefix(value)
		if err != nil {
			return identity.Condition{}, fmt.Errorf("address %q: neither an IP address nor a block", value)
		}
		return identity.Condition{Kind: kind, Net: block.Masked()}, nil
	}
}

func onPort(value string, _ bool) (identity.Condition, error) {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return identity.Condition{}, fmt.Errorf("port %q: not a number up to 65535", value)
	}
	return identity.Condition{Kind: identity.LocalPort, Low: uint16(n), High: uint16(n)}, nil
}

func hasServerName(value string, _ bool) (identity.Condition, error) {
	return identity.Condition{Kind: identity.ServerName, Is: text(value)}, nil
}

func hasHeader(name string) func(string, bool) (identity.Condition, error) {
	name = match.ToLower(name)
	if name == "host" || name == ":authority" {
		return hasAuthority
	}
	return func(value string, _ bool) (identity.Condition, error) {
		c := identity.Condition{Kind: identity.HeaderIs, Name: name, Is: text(value)}
		if value == "*" {
			c.Is = match.String{Kind: match.Present}
		}
		return c, nil
	}
}

// hasAuthority is of the host that was asked for, which has no port where rules see it. A port that a value names is that which was
// connected to, where the condition has to be narrow, and else any.
func hasAuthority(value string, narrow bool) (identity.Condition, error) {
	c := identity.Condition{Kind: identity.HeaderIs, Name: ":authority"}
	host, number := value, ""
	if i := strings.LastIndexByte(value, ':'); i >= 0 && !strings.HasSuffix(value, "]") && strings.Trim(value[i+1:], "0123456789*") == "" && i < len(value)-1 {
		host, number = value[:i], value[i+1:]
	}
	if host == "*" {
		c.Is = match.String{Kind: match.Present}
	} else {
		c.Is = text(strings.TrimSuffix(match.ToLower(host), "."))
		c.Is.IgnoreCase = true
	}
	if number == "" || number == "*" || !narrow {
		return c, nil
	}
	p, err := onPort(number, narrow)
	return eachOf(c, p), err
}

func hasPath(value string, _ bool) (identity.Condition, error) {
	if strings.Contains(value, "{*}") || strings.Contains(value, "{**}") {
		template := strings.ReplaceAll(strings.ReplaceAll(value, "{*}", "*"), "{**}", "**")
		return identity.Condition{Kind: identity.PathFits, Is: match.String{Value: template}}, nil
	}
	return identity.Condition{Kind: identity.PathIs, Is: text(value)}, nil
}

// hasClaim is of a claim that is a string, or a list of such.
func hasClaim(path ...string) func(string, bool) (identity.Condition, error) {
	return func(value string, _ bool) (identity.Condition, error) {
		one := identity.Condition{Kind: identity.ClaimIs, Path: path, Is: text(value)}
		list := one
		list.InList = true
		return oneOf(list, one), nil
	}
}

// hasRequestPrincipal is ISSUER/SUBJECT; an issuer may have slashes itself.
func hasRequestPrincipal(value string, _ bool) (identity.Condition, error) {
	issuer, subject := value, ""
	i := strings.LastIndexByte(value, '/')
	if i >= 0 {
		issuer, subject = value[:i], value[i+1:]
	}
	exactly := func(s string) match.String { return match.String{Kind: match.Exact, Value: s} }
	iss, sub := exactly(issuer), exactly(subject)
	switch {
	case value == "*":
		iss, sub = text("*"), text("*")
	case strings.HasPrefix(value, "*") && i >= 0:
		iss = text(issuer)
	case strings.HasPrefix(value, "*"):
		iss, sub = text("*"), text(value)
	case strings.HasSuffix(value, "*") && i >= 0:
		sub = text(subject)
	case strings.HasSuffix(value, "*"):
		iss, sub = text(value), text("*")
	}
	return eachOf(
		identity.Condition{Kind: identity.ClaimIs, Path: []string{"iss"}, Is: iss},
		identity.Condition{Kind: identity.ClaimIs, Path: []string{"sub"}, Is: sub},
	), nil
}

// claimed is a condition on the claims of tokens, made one on those of the provider within or, if that is empty, of any of several. Nobody
// verifies tokens if there are no providers: then nobody can tell.
func claimed(c identity.Condition, narrow bool, providers []string, within string) identity.Condition {
	switch {
	case len(providers) == 0 && narrow:
		return never
	case len(providers) == 0:
		return always
	case len(providers) == 1:
		return c
	case within != "":
		return ofToken(c, within)
	}
	var of []identity.Condition
	for _, p := range providers {
		of = append(of, ofToken(c, p))
	}
	return oneOf(of...)
}

func ofToken(c identity.Condition, provider string) identity.Condition {
	if c.Kind == identity.ClaimIs {
		c.Name = provider
	}
	of := c.Of
	c.Of = nil
	for _, one := range of {
		c.Of = append(c.Of, ofToken(one, provider))
	}
	return c
}

// inBrackets are the names of "[a][b]"; none if s is not of that form.
func inBrackets(s string) []string {
	inner, ok := strings.CutPrefix(s, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	names := strings.Split(inner, "][")
	if !ok || !closed || slices.ContainsFunc(names, func(n string) bool { return n == "" || strings.ContainsAny(n, "[]") }) {
		return nil
	}
	return names
}
