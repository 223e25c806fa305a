package identity

import (
	"iter"
	"strings"
)

// queriesOf are what a raw query is to those who read its parameters, in words of rules: unescaped, but for what separates parameters, and with
// semicolons for ampersands, as some have it. They are none of a query that has but one reading.
func queriesOf(raw string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !strings.ContainsAny(raw, "%+;") {
			return
		}
		for _, space := range []string{"+", "%20"} {
			if !yield(plainQuery(raw, space)) {
				return
			}
		}
		if strings.IndexByte(raw, ';') < 0 {
			return
		}
		raw = strings.ReplaceAll(raw, ";", "&")
		for _, space := range []string{"+", "%20"} {
			if !yield(plainQuery(raw, space)) {
				return
			}
		}
	}
}

// plainQuery is a query with each character that may stand in it as itself, and spaces in one form.
func plainQuery(raw, space string) string {
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(raw)+8)
	value := false // behind the "=" of a parameter
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch c {
		case '+', ' ':
			b = append(b, space...)
			continue
		case '&':
			value = false
		case '=':
			value = true
		}
		if c != '%' || i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
			b = append(b, c)
			continue
		}
		c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
		i += 2
		switch {
		case c == ' ':
			b = append(b, space...)
		case c == '=' && value, c == '?', isLiteral(c) && strings.IndexByte("&=+;", c) < 0:
			b = append(b, c)
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

// onQueries reports whether the test holds of a target by another reading of its query.
func (h *headerTest) onQueries(s *sight) bool {
	for query := range queriesOf(s.r.Query) {
		if h.is.Matches(s.r.Path + "?" + query) {
			return true
		}
	}
	return false
}
