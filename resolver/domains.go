package resolver

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// domains finds the virtual host of an authority. Letter case does not count.
type domains struct {
	exact  map[string]*section
	suffix []wildcard // "*.foo", longest first
	prefix []wildcard // "foo.*", longest first
	any    *section
}

// A wildcard is the part of a domain that is not "*"; what the star stands for is never empty.
type wildcard struct {
	fixed string
	to    *section
}

func newDomains() domains { return domains{exact: map[string]*section{}} }

func (d *domains) add(domain string, to *section) {
	domain = match.ToLower(domain)
	switch {
	case domain == "*":
		if d.any == nil {
			d.any = to
		}
	case strings.HasPrefix(domain, "*"):
		d.suffix = append(d.suffix, wildcard{fixed: domain[1:], to: to})
	case strings.HasSuffix(domain, "*"):
		d.prefix = append(d.prefix, wildcard{fixed: domain[:len(domain)-1], to: to})
	default:
		if d.exact[domain] == nil {
			d.exact[domain] = to
		}
	}
}

// sort must follow the last add. It is stable: of equals the first stays first.
func (d *domains) sort() {
	longest := func(a, b wildcard) int { return cmp.Compare(len(b.fixed), len(a.fixed)) }
	slices.SortStableFunc(d.suffix, longest)
	slices.SortStableFunc(d.prefix, longest)
}

// find returns the section of an authority, or nil. A port is looked at as
// written and then left out: "payments" names "payments:9000" too, but less well
// than "payments:9000" does.
func (d *domains) find(authority string) *section {
	bare := withoutPort(authority)
	if s := d.named(authority); s != nil {
		return s
	}
	if s := d.named(bare); s != nil {
		return s
	}
	for _, a := range [...]string{authority, bare} {
		for i := range d.suffix {
			if w := &d.suffix[i]; len(a) > len(w.fixed) && match.HasPrefix(a[len(a)-len(w.fixed):], w.fixed, true) {
				return w.to
			}
		}
	}
	for i := range d.prefix {
		if w := &d.prefix[i]; len(authority) > len(w.fixed) && match.HasPrefix(authority, w.fixed, true) {
			return w.to
		}
	}
	return d.any
}

func (d *domains) named(authority string) *section {
	if match.IsLower(authority) {
		return d.exact[authority]
	}
	var buf [262]byte // the longest name in the DNS, ":" and a port; a longer one is copied
	return d.exact[string(match.AppendLower(buf[:0], authority))]
}

// withoutPort drops ":port". An IPv6 address has one only behind brackets.
func withoutPort(authority string) string {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.IndexByte(authority[:i], ':') >= 0 && authority[i-1] != ']' {
		return authority
	}
	for _, c := range []byte(authority[i+1:]) {
		if c < '0' || c > '9' {
			return authority
		}
	}
	return authority[:i]
}
