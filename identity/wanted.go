package identity

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

var errNowhere = errors.New("no path in normal form has it, so that it would never hold")

// pathString is a condition on paths in the words of paths in normal form. What none of these can fulfil is an error: a
// rule that is never kept must not look like one.
func pathString(is match.String) (match.String, error) {
	switch is.Kind {
	case match.Exact:
		if strings.ContainsAny(is.Value, "#?") || is.Value == "" {
			return is, errNowhere
		}
		p, err := NormalizePath(is.Value)
		if err != nil {
			return is, fmt.Errorf("%w: %w", errNowhere, err)
		}
		is.Value = p
	case match.Prefix, match.Suffix, match.Contains:
		if is.Kind == match.Prefix && !strings.HasPrefix(is.Value, "/") {
			return is, errNowhere
		}
		b, err := canonical(nil, is.Value)
		if err != nil {
			return is, fmt.Errorf("%w: %w", errNowhere, err)
		}
		end := is.Kind == match.Suffix && (strings.HasSuffix(string(b), "/.") || strings.HasSuffix(string(b), "/.."))
		if nowhere(is.Value) || nowhere(string(b)) || end {
			return is, errNowhere
		}
		is.Value = string(b)
	case match.Regex:
		if wants(is.Value, func(r rune) bool { return r > 0x7f || !isLiteral(byte(r)) && r != '%' }) {
			return is, errNowhere
		}
	case match.Range:
		return is, noRange(is)
	}
	return is, nil
}

// nowhere reports whether a part of a path has what no normal path has.
func nowhere(part string) bool {
	return slices.ContainsFunc([]string{"//", "/./", "/../", "#"}, func(bad string) bool { return strings.Contains(part, bad) })
}

// authorityString is a condition on authorities in the words of those in normal form: without a port, which does not count (ISTIO-2021-008), and
// in lower case.
func authorityString(is match.String) (match.String, error) {
	if is.Kind != match.Regex {
		is.Value, is.IgnoreCase = match.ToLower(is.Value), false
	}
	host, port, found := strings.Cut(is.Value, ":")
	if found = found && !strings.ContainsAny(is.Value, "[]"); found && is.Kind != match.Regex && (!isPort(port) || host == "") {
		return is, errors.New("authority: no host in normal form has a colon")
	}
	switch is.Kind {
	case match.Exact:
		a, err := NormalizeAuthority(is.Value)
		if err != nil {
			return is, err
		}
		is.Value = a
	case match.Prefix:
		if found { // Istio's "host:*"
			is.Kind, is.Value = match.Exact, host
		}
	case match.Suffix, match.Contains:
		if found {
			is.Kind, is.Value = match.Suffix, host
		}
		if is.Kind == match.Suffix && is.Value != "." {
			is.Value = strings.TrimSuffix(is.Value, ".")
		}
	case match.Regex:
		brackets := strings.ContainsAny(is.Value, "[]")
		if wants(is.Value, func(r rune) bool {
			return r > 0x7f || r == ':' && !brackets || r == '@' || r == '/' || r == ',' || r == '%'
		}) {
			return is, errors.New("authority: regex wants what no host in normal form has, such as a port")
		}
		is.Value = "(?i)" + is.Value
	case match.Range:
		return is, noRange(is)
	}
	return is, nil
}

// wants reports whether whatever an expression matches has one of some characters. What is no expression wants nothing.
func wants(expr string, some func(rune) bool) bool {
	re, err := syntax.Parse(expr, syntax.Perl)
	return err == nil && demands(re, some)
}

func demands(re *syntax.Regexp, some func(rune) bool) bool {
	part := func(re *syntax.Regexp) bool { return demands(re, some) }
	switch re.Op {
	case syntax.OpLiteral:
		return slices.ContainsFunc(re.Rune, some)
	case syntax.OpConcat:
		return slices.ContainsFunc(re.Sub, part)
	case syntax.OpAlternate:
		return !slices.ContainsFunc(re.Sub, func(re *syntax.Regexp) bool { return !part(re) })
	case syntax.OpCapture, syntax.OpPlus:
		return part(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min > 0 && part(re.Sub[0])
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if !some(r) {
					return false
				}
			}
		}
		return true
	}
	return false
}
