package resolver

import (
	"net/url"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// A parameter is a QueryMatch made ready.
type parameter struct {
	name string
	is   match.Matcher
}

// matches looks at the first parameter of that name. Plain names and values are
// read where they stand; only those with escapes are copied.
func (p *parameter) matches(query string) bool {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		if unescape(name) == p.name {
			return p.is.Matches(unescape(value))
		}
	}
	return false
}

// unescape leaves what is no valid escape as it stands.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}
