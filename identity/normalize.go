package identity

import (
	"errors"
	"unicode/utf8"
)

// Why a path has no normal form.
var (
	errNoSlash   = errors.New("path: does not begin with a slash")
	errQuery     = errors.New("path: has a query")
	errControl   = errors.New("path: has a control character")
	errBackslash = errors.New("path: has a backslash")
	errSlash     = errors.New("path: has an escaped slash")
	errEscape    = errors.New("path: has a broken escape")
	errUTF8      = errors.New("path: is not UTF-8")
	errParameter = errors.New("path: has a parameter that hides a segment")
)

// NormalizePath is the one form of a request's path by which rules, routes and handlers know it (RFC 3986 section 6, and what
// Istio's DECODE_AND_MERGE_SLASHES does, but for escaped slashes, which it refuses). raw is as it came, without query. The error
// says why a path has no such form; the request is to be answered with 400.
//
// Two paths that a handler would see as the same have the same form: what may stand in a path (RFC 3986 pchar) stands unescaped, all else as
// %XX in capitals, decoded once only. So url.PathUnescape of the form is what net/http's handlers are to have as URL.Path, and the form itself
// as URL.RawPath. The form of a form is itself.
//
// Slashes are merged and dot segments removed, in this order; what follows a "#" is dropped; letter case, a slash at the end, and
// dots at the end of a name do count. Control characters, backslashes, slashes that are escaped, and what is not UTF-8 are errors. Path parameters
// (";v=1") stay, but for those that would hide a segment from who does not know them: "..;" and ";" with no name before it or nothing after it. "*"
// is the form of itself, and that of "" is "/".
func NormalizePath(raw string) (string, error) {
	if isNormal(raw) {
		return raw, nil
	}
	if raw == "" || raw[0] == '#' {
		return "/", nil
	}
	if raw == "*" {
		return raw, nil
	}
	if raw[0] != '/' {
		return "", errNoSlash
	}
	var space [256]byte
	b, err := canonical(space[:0], raw)
	if err != nil {
		return "", err
	}
	if b = mergeSegments(b); !harmless(b) {
		return "", errParameter
	}
	if string(b) == raw {
		return raw, nil
	}
	return string(b), nil
}

var errMethod = errors.New("method: is not of the form /package.Service/Method")

// NormalizeMethod is NormalizePath for gRPC: there is nothing to be mended in the path of a method. What is not exactly of the form
// "/package.Service/Method", of letters, digits, "_", "-" and ".", is no method, and is to be answered with UNIMPLEMENTED.
func NormalizeMethod(raw string) (string, error) {
	slashes, name := 0, false // name: the segment has more than dots
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '/':
			if slashes > 0 && !name {
				return "", errMethod
			}
			slashes, name = slashes+1, false
		case isAlphanumeric(c), c == '_', c == '-':
			name = true
		case c == '.':
		default:
			return "", errMethod
		}
	}
	if slashes != 2 || !name || raw[0] != '/' {
		return "", errMethod
	}
	return raw, nil
}

// isNormal reports whether a path is evidently its own normal form: most are.
func isNormal(p string) bool {
	if p == "" || p[0] != '/' {
		return false
	}
	for i := range len(p) {
		c := p[i]
		if !isLiteral(c) || c == ';' {
			return false
		}
		if c == '/' && i+1 < len(p) && (p[i+1] == '/' || p[i+1] == '.') {
			return false
		}
	}
	return true
}

// canonical appends a path, or a part of one, up to its fragment, with each character in its one form.
func canonical(b []byte, raw string) ([]byte, error) {
	const digits = "0123456789ABCDEF"
	multi := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '#' {
			break
		}
		escaped := c == '%'
		if escaped {
			if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
				return nil, errEscape
			}
			c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
			i += 2
		}
		switch {
		case c < ' ' || c == 0x7f:
			return nil, errControl
		case c == '\\':
			return nil, errBackslash
		case c == '/' && escaped:
			return nil, errSlash
		case c == '?' && !escaped:
			return nil, errQuery
		case isLiteral(c):
			b = append(b, c)
		default:
			multi = multi || c >= utf8.RuneSelf
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	if multi && !wellEncoded(b) {
		return nil, errUTF8
	}
	return b, nil
}

// wellEncoded reports whether what is escaped in a canonical path is UTF-8 without control characters.
func wellEncoded(b []byte) bool {
	var char [utf8.UTFMax]byte
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' {
			c = unhex(b[i+1])<<4 | unhex(b[i+2])
			i += 2
		}
		if c < utf8.RuneSelf {
			if n > 0 {
				return false
			}
			continue
		}
		if n == len(char) {
			return false
		}
		char[n] = c
		n++
		if !utf8.FullRune(char[:n]) {
			continue
		}
		if r, size := utf8.DecodeRune(char[:n]); size != n || r == utf8.RuneError && n == 1 || r < 0xa0 {
			return false
		}
		n = 0
	}
	return n == 0
}

// mergeSegments removes empty and dot segments, in place. What the last segment leaves ends in a slash if it was one of dots.
func mergeSegments(b []byte) []byte {
	out := 0 // b[:out] is done and ends before a slash
	for i := 0; i < len(b); {
		end := i + 1 // b[i] is a slash
		for end < len(b) && b[end] != '/' {
			end++
		}
		last := end == len(b)
		switch string(b[i+1 : end]) {
		case "", ".":
			if last {
				b[out] = '/'
				out++
			}
		case "..":
			for out > 0 {
				out--
				if b[out] == '/' {
					break
				}
			}
			if last {
				b[out] = '/'
				out++
			}
		default:
			out += copy(b[out:], b[i:end])
		}
		i = end
	}
	return b[:out]
}

// harmless reports whether the parameters of no segment hide it.
func harmless(b []byte) bool {
	start := 0 // of the segment
	for i, c := range b {
		switch c {
		case '/':
			start = i + 1
		case ';':
			if i+1 == len(b) || b[i+1] == '/' || b[i+1] == ';' {
				return false
			}
			if name := string(b[start:i]); name == "" || name == "." || name == ".." {
				return false
			}
		}
	}
	return true
}

// withoutParameters is a normal path as who knows path parameters reads it: "/a;v=1/b" is "/a/b".
func withoutParameters(p string) string {
	b := make([]byte, 0, len(p))
	skip := false
	for i := range len(p) {
		switch p[i] {
		case ';':
			skip = true
		case '/':
			skip = false
		}
		if !skip {
			b = append(b, p[i])
		}
	}
	return string(b)
}

// isLiteral reports whether a byte stands in a normal path as itself: RFC 3986 pchar, and the slash.
func isLiteral(c byte) bool {
	switch c {
	case '-', '.', '_', '~', '!', '$', '&', '\'', '(', ')', '*', '+', ',', ';', '=', ':', '@', '/':
		return true
	}
	return isAlphanumeric(c)
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}
