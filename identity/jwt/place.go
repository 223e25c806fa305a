package jwt

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// A place is where a token may stand, made ready.
type place struct {
	identity.TokenPlace
	header match.HeaderName
	scheme string // the prefix in lower case, without the space behind it
	spaced bool   // there was one
}

func newPlace(is identity.TokenPlace) (place, error) {
	at := place{TokenPlace: is}
	if is.Name == "" {
		return at, errors.New("place of tokens: has no name")
	}
	switch is.Kind {
	case identity.InHeader:
		if strings.HasPrefix(is.Name, ":") {
			return at, fmt.Errorf("place of tokens: %q is no header", is.Name)
		}
		at.header = match.Named(is.Name)
		at.scheme = match.ToLower(strings.TrimRight(is.Prefix, " "))
		at.spaced = at.scheme != "" && len(at.scheme) < len(is.Prefix)
	case identity.InQuery:
	case identity.InCookie:
		at.header = match.Named("cookie")
	default:
		return at, fmt.Errorf("place of tokens: kind %d is not known", is.Kind)
	}
	return at, nil
}

var errTwice = errors.New("is there more than once")

// find looks for a token. Where there is more than one, none is taken: others might take the other one.
func (at *place) find(r *identity.Request) (raw string, there bool, err error) {
	switch at.Kind {
	case identity.InQuery:
		return single(parameters(r.Query, at.Name))
	case identity.InCookie:
		if r.Header == nil {
			return "", false, nil
		}
		return single(cookies(r.Header.Values(at.header), at.Name))
	}
	if r.Header == nil {
		return "", false, nil
	}
	values := r.Header.Values(at.header)
	if len(values) == 0 {
		return "", false, nil
	}
	for _, v := range values {
		if token, ok := at.cut(v); ok {
			raw, there = token, true
		}
	}
	if there && len(values) > 1 || len(values) > 1 && at.header.Lower == "authorization" {
		return "", true, errTwice
	}
	return raw, there, nil
}

// cut takes the prefix off a header. Its case does not count, as that of a scheme (RFC 9110, 11.1): whoever reads the header after us may
// not care for it either, and would take for a token what was not looked at.
func (at *place) cut(value string) (token string, ok bool) {
	value = strings.Trim(value, " \t")
	if value == "" || !match.HasPrefix(value, at.scheme, true) {
		return "", false
	}
	rest := value[len(at.scheme):]
	token = strings.TrimLeft(rest, " \t")
	if at.spaced && rest != "" && token == rest {
		return "", false // another scheme, that begins like ours
	}
	return token, true
}

func single(all []string) (string, bool, error) {
	switch len(all) {
	case 0:
		return "", false, nil
	case 1:
		return all[0], true, nil
	}
	return "", true, errTwice
}

// parameters are the values of a parameter, as net/url reads them, but however many others there are.
func parameters(query, name string) (values []string) {
	for pair := range strings.SplitSeq(query, "&") {
		if key, value, ok := parameter(pair); ok && key == name {
			values = append(values, value)
		}
	}
	return values
}

func parameter(pair string) (key, value string, ok bool) {
	key, value, _ = strings.Cut(pair, "=")
	if strings.ContainsAny(pair, "%+") {
		var bad, worse error
		key, bad = url.QueryUnescape(key)
		value, worse = url.QueryUnescape(value)
		if bad != nil || worse != nil {
			return "", "", false
		}
	}
	return key, value, pair != ""
}

// WithoutParameters is a raw query without the parameters of some names; the others stay as they are.
func WithoutParameters(query string, names []string) string {
	return without(query, "&", func(pair string) bool {
		key, _, ok := parameter(pair)
		return ok && slices.Contains(names, key)
	})
}

// cookies are the values of a cookie.
func cookies(headers []string, name string) (values []string) {
	for _, h := range headers {
		for pair := range strings.SplitSeq(h, ";") {
			key, value, _ := strings.Cut(pair, "=")
			if strings.Trim(key, " \t") == name {
				values = append(values, strings.Trim(value, " \t\""))
			}
		}
	}
	return values
}

// WithoutCookies is a value of the header cookie without the cookies of some names; the others stay as they are.
func WithoutCookies(header string, names []string) string {
	return strings.TrimLeft(without(header, ";", func(pair string) bool {
		key, _, _ := strings.Cut(pair, "=")
		return slices.Contains(names, strings.Trim(key, " \t"))
	}), " ")
}

func without(list, separator string, out func(string) bool) string {
	var kept []string
	for one := range strings.SplitSeq(list, separator) {
		if !out(one) {
			kept = append(kept, one)
		}
	}
	return strings.Join(kept, separator)
}
