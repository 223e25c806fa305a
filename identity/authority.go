package identity

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

var errAuthority = errors.New("authority: is no host")

// NormalizeAuthority is the one form of the host of a request: in lower case, without port, without a trailing dot; an IPv6 address in
// brackets and shortest form, without zone, and an IPv4 address that is written as IPv6 as IPv4. The error says why
// raw is none: a user before "@", a comma, an escape, or whatever else stands in no name of a host.
func NormalizeAuthority(raw string) (string, error) {
	if strings.HasPrefix(raw, "[") {
		return normalizeIPv6(raw)
	}
	host, port, found := strings.Cut(raw, ":")
	if found && !isPort(port) {
		return "", errors.New("authority: has a port that is none")
	}
	host = strings.TrimSuffix(host, ".")
	label := 0 // length of the label so far
	for i := range len(host) {
		switch c := host[i]; {
		case c == '.':
			if label == 0 {
				return "", errAuthority
			}
			label = 0
			continue
		case isAlphanumeric(c), c == '-', c == '_', c == '~':
		default:
			return "", errAuthority
		}
		label++
	}
	if label == 0 {
		return "", errAuthority
	}
	return match.ToLower(host), nil
}

func normalizeIPv6(raw string) (string, error) {
	inside, port, found := strings.Cut(raw[1:], "]")
	if !found || port != "" && (port[0] != ':' || !isPort(port[1:])) {
		return "", errAuthority
	}
	addr, err := netip.ParseAddr(inside)
	if err != nil || !addr.Is6() {
		return "", errors.New("authority: is no IPv6 address in brackets")
	}
	if addr = plain(addr); addr.Is4() {
		return addr.String(), nil
	}
	var space [64]byte
	b := append(addr.AppendTo(append(space[:0], '[')), ']')
	if string(b) == raw {
		return raw, nil
	}
	return string(b), nil
}

// isPort reports whether s may stand behind the colon of an authority: it may be empty (RFC 3986 section 3.2.3).
func isPort(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || n > 65535 {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

// plain is an address as conditions know it: one of IPv4 as such, without zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
